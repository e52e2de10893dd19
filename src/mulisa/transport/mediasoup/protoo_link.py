"""A protoo connection over a WebSocket: asks, answers, and tells what comes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import count
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp

from mulisa.core.errors import ConnectionLost, SignalingError, TransportError
from mulisa.ending import within
from mulisa.transport.mediasoup.protoo import (
    MAX_MESSAGE_BYTES,
    SUBPROTOCOL,
    Message,
    Notification,
    Refusal,
    Request,
    Success,
    encode,
    parse,
)

logger = logging.getLogger(__name__)

Incoming: TypeAlias = Request | Notification

HEARTBEAT: Final = 10.0
"""Seconds between pings; half of it later the connection is lost."""
CONNECT_TIME: Final = 10.0
REQUEST_TIME: Final = 10.0
CLOSING_TIME: Final = 2.0
CLOSED_BY_ROOM: Final = 4000
"""WebSocket code by which protoo's servers end somebody's stay, and everybody's when they stop."""
ASKING_TIME: Final = 1.5
"""Seconds in which a server that is still there answers."""
_FORBIDDEN: Final = 403
_OUT_OF_SERVICE: Final = (502, 503, 504)
"""HTTP by which a proxy says that nobody is behind it."""
MAX_WAITING: Final = 10_000
"""Messages that nobody has read yet; a server that sends more is cut off."""


class ProtooLink:
    """`connect`, then ask; `incoming` needs a reader. Belongs to one event loop."""

    def __init__(self, url: str) -> None:
        """`url` begins with ``ws://`` or ``wss://`` and says who wants to be where."""
        self._url = url
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._incoming: asyncio.Queue[Incoming | None] = asyncio.Queue()
        self._garbage = 0
        self.close_code: int | None = None
        """The WebSocket's, once it is closed."""

    async def connect(self) -> None:
        """Raises TransportError; not retryable if the address is no protoo server's."""
        self._http = aiohttp.ClientSession()
        try:
            async with asyncio.timeout(CONNECT_TIME):
                self._socket = await self._http.ws_connect(
                    self._url,
                    protocols=(SUBPROTOCOL,),
                    heartbeat=HEARTBEAT,
                    max_msg_size=MAX_MESSAGE_BYTES,
                    origin=_origin(self._url),
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSING_TIME),
                )
        except aiohttp.WSServerHandshakeError as error:
            raise TransportError(
                f"the server at {_shown(self._url)} refuses us with HTTP {error.status}; "
                + self._advice(error.status),
                retryable=error.status >= 500 or error.status == 429,
            ) from error
        except aiohttp.InvalidURL as error:
            raise TransportError(f"{self._url!r} is no address", retryable=False) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise TransportError(
                f"the certificate of {_shown(self._url)} is not trusted; name it with --trust",
                retryable=False,
            ) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TransportError(f"nobody answers at {_shown(self._url)}") from error
        if self._socket.protocol != SUBPROTOCOL:
            raise TransportError(
                f"the server at {_shown(self._url)} does not speak protoo", retryable=False
            )
        self._reading = asyncio.create_task(self._read(self._socket), name="protoo")

    async def request(self, method: str, data: Any = None) -> Any:
        """What the server answers. Raises TransportError if it refuses or does not answer."""
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            async with asyncio.timeout(REQUEST_TIME):
                await self._send(Request(number, method, {} if data is None else data))
                return await answer
        except TimeoutError as error:
            raise TransportError(
                f"the server did not answer {method!r} within {REQUEST_TIME:.0f} s"
            ) from error
        finally:
            del self._asked[number]
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # nobody else will look

    async def notify(self, method: str, data: Any = None) -> None:
        """Tell the server, without an answer. Raises ConnectionLost."""
        await self._send(Notification(method, {} if data is None else data))

    async def accept(self, request: Request, data: Any = None) -> None:
        """Grant what was asked. Who is gone does not hear of it."""
        with suppress(ConnectionLost):
            await self._send(Success(request.id, {} if data is None else data))

    async def reject(self, request: Request, code: int, reason: str) -> None:
        """Refuse it."""
        with suppress(ConnectionLost):
            await self._send(Refusal(request.id, code, reason))

    async def incoming(self) -> AsyncIterator[Incoming]:
        """Requests and notifications, oldest first.

        Ends when the server ended our stay; raises ConnectionLost if it was not that, or if it
        is gone itself.
        """
        while (message := await self._incoming.get()) is not None:
            yield message
        if self.close_code != CLOSED_BY_ROOM or not await self._is_there():
            raise ConnectionLost("the server's signalling is out of reach")

    async def aclose(self) -> None:
        """Idempotent."""
        socket, self._socket = self._socket, None
        if socket is not None:
            await within(CLOSING_TIME, socket.close())
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        if self._http is not None:
            await self._http.close()

    async def _is_there(self) -> bool:
        """Somebody answers at the address: we alone were meant, it did not stop."""
        if self._http is None:
            return True
        try:
            async with (
                asyncio.timeout(ASKING_TIME),
                self._http.get(_page(self._url), allow_redirects=False) as answer,
            ):
                return answer.status not in _OUT_OF_SERVICE
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _advice(self, status: int) -> str:
        if status == _FORBIDDEN:
            return f"it may want to be called by its own name: we come from {_origin(self._url)}"
        return "is this the address of its protoo WebSocket?"

    async def _send(self, message: Message) -> None:
        if self._socket is None or self._socket.closed:
            raise ConnectionLost("the server's signalling is out of reach")
        try:
            await self._socket.send_str(encode(message))
        except (ConnectionError, aiohttp.ClientError) as error:
            raise ConnectionLost("the server's signalling is out of reach") from error

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            async for frame in socket:
                if frame.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    self._receive(frame.data)
                if self._incoming.qsize() > MAX_WAITING:
                    logger.warning("the server sends more than anybody could read")
                    break
        finally:
            self.close_code = socket.close_code
            self._incoming.put_nowait(None)
            lost = ConnectionLost("the server's signalling was lost before it answered")
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(lost)

    def _receive(self, text: str | bytes) -> None:
        try:
            message = parse(text)
        except SignalingError as error:
            self.complain(str(error))
            return
        if isinstance(message, Request | Notification):
            self._incoming.put_nowait(message)
            return
        answer = self._asked.get(message.id)
        if answer is None or answer.done():
            return
        if isinstance(message, Success):
            answer.set_result(message.data)
        else:
            answer.set_exception(TransportError(f"the server refuses: {message.reason}"))

    def complain(self, what: str) -> None:
        """A message cannot be read: said aloud once."""
        self._garbage += 1
        level = logging.WARNING if self._garbage == 1 else logging.DEBUG
        logger.log(level, "a message of the server is ignored: %s", what)


def _origin(url: str) -> str:
    """Of the page that a browser would come from: the demo lets nobody else in."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{_web_scheme(parts.scheme)}://{host}"


def _page(url: str) -> str:
    """What a browser would ask for at this address."""
    parts = urlsplit(url)
    return f"{_web_scheme(parts.scheme)}://{parts.netloc}{parts.path}"


def _web_scheme(scheme: str) -> str:
    return "https" if scheme == "wss" else "http"


def _shown(url: str) -> str:
    """Without the query, in which tokens stand."""
    return url.partition("?")[0]
