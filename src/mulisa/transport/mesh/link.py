"""A participant's way to the gateway, over as many sockets as it takes (docs/protocol.md)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp

from mulisa.core.backoff import Backoff
from mulisa.core.errors import SignalingError, TransportError
from mulisa.core.room import ParticipantSid
from mulisa.ending import within
from mulisa.transport.mesh.backlog import Backlog
from mulisa.transport.mesh.signaling import (
    MAX_MESSAGE_BYTES,
    ClientMessage,
    Closing,
    GatewayMessage,
    Joined,
    Leave,
    Ping,
    Pong,
    Resumed,
    Witness,
    encode,
    parse_gateway_message,
)

logger = logging.getLogger(__name__)

PING_INTERVAL: Final = 2.0
SILENCE: Final = 5.0
"""Seconds without a message of the gateway, pongs included, after which a socket is given up."""
JOIN_TIME: Final = 10.0
RETURN_TIME: Final = 5.0
"""For one try to come back."""
FIRST_RETRY: Final = 0.25
LONGEST_RETRY: Final = 2.0
LEAVE_TIME: Final = 2.0

_Socket: TypeAlias = aiohttp.ClientWebSocketResponse
_ABANDONED: Final = 4000
"""Closes a socket and not the stay: 1000 and 1001 would."""
_REFUSED: Final = {401: "the token was refused", 403: "the token is for another room"}


class GatewayLink:
    """Enters a room once, and then carries messages both ways until the stay is over.

    A lost socket is replaced by another one, and no message is lost or doubled by that unless
    the gateway has forgotten us, which `run` tells with another `Joined`.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._sid: ParticipantSid | None = None
        self._received = 0
        self._backlog = Backlog()
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        """For the present socket."""
        self._resources = AsyncExitStack()
        self._socket: _Socket | None = None
        self._running: asyncio.Task[Closing] | None = None

    @property
    def place(self) -> str:
        """The gateway as a message to people names it."""
        return f"the gateway at {urlsplit(self._url).netloc}"

    async def enter(self) -> Joined:
        """Join the room. Raises TransportError; then there is nothing to clean up."""
        self._socket, first = await self._connect(JOIN_TIME)
        if not isinstance(first, Joined):
            await self._resources.aclose()
            raise TransportError(f"{self.place} began with {first.type!r} instead of 'joined'")
        self._begin(first)
        return first

    def send(self, message: ClientMessage) -> None:
        """Send now, or when there is a socket again. Never blocks."""
        text = encode(message)
        if not isinstance(message, Ping | Witness | Leave):
            self._backlog.add(text)
        if self._socket is not None:
            self._outbox.put_nowait(text)

    async def run(self, receive: Callable[[GatewayMessage], None]) -> Closing | None:
        """Carry messages until the gateway ends the stay, or `leave` does (None).

        `receive` is given everything but `Pong` and `Closing`. Raises TransportError if the
        gateway does not let us back in and trying again would not help.
        """
        self._running = asyncio.create_task(self._carry(receive), name="mesh signalling")
        try:
            await asyncio.wait({self._running})
        finally:
            self._running.cancel()
            await asyncio.wait({self._running})
            await self._resources.aclose()
        return None if self._running.cancelled() else self._running.result()

    async def leave(self) -> None:
        """Tell the gateway that we go, in bounded time, and make `run` return."""
        socket = self._socket
        if socket is not None:
            with suppress(ConnectionError):
                await within(LEAVE_TIME, socket.send_str(encode(Leave())))
            await within(LEAVE_TIME, socket.close())
        if self._running is not None:
            self._running.cancel()

    async def _carry(self, receive: Callable[[GatewayMessage], None]) -> Closing:
        while True:
            assert self._socket is not None
            closing = await self._converse(self._socket, receive)
            if closing is not None and closing.reason != "shutdown":
                return closing
            logger.info("the gateway is out of reach; coming back")
            self._socket = None
            await self._resources.aclose()
            self._socket, first = await self._come_back()
            receive(first)

    async def _converse(
        self, socket: _Socket, receive: Callable[[GatewayMessage], None]
    ) -> Closing | None:
        """Over one socket, until it ends."""
        writing = asyncio.create_task(self._write(socket), name="mesh outbox")
        try:
            async for message in self._messages(socket):
                if isinstance(message, Closing):
                    return message
                if isinstance(message, Pong):
                    self._backlog.acknowledge(message.received)
                else:
                    receive(message)
        except (TimeoutError, SignalingError) as error:
            logger.info("a socket to the gateway is given up: %r", error)
        finally:
            writing.cancel()
            await asyncio.wait({writing})
        return None

    async def _messages(self, socket: _Socket) -> AsyncIterator[GatewayMessage]:
        """Until the socket is closed. Raises TimeoutError when it is silent for too long."""
        while True:
            message = await socket.receive(timeout=SILENCE)
            if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                parsed = _parse(message)
                if not isinstance(parsed, Pong | Closing):
                    self._received += 1
                if parsed is not None:
                    yield parsed
            elif message.type not in (aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG):
                return

    async def _write(self, socket: _Socket) -> None:
        """Send what is queued, and pings; a broken socket ends the reader, which tells."""
        loop = asyncio.get_running_loop()
        ping_at = loop.time() + PING_INTERVAL
        with suppress(ConnectionError):
            while True:
                try:
                    async with asyncio.timeout_at(ping_at):
                        text = await self._outbox.get()
                except TimeoutError:
                    ping_at = loop.time() + PING_INTERVAL
                    text = encode(Ping(received=self._received))
                await socket.send_str(text)

    async def _come_back(self) -> tuple[_Socket, Joined | Resumed]:
        """Try until it works. Raises TransportError if that is of no use."""
        backoff = Backoff(FIRST_RETRY, LONGEST_RETRY)
        while True:
            await asyncio.sleep(backoff.failed())
            try:
                socket, first = await self._connect(RETURN_TIME)
            except TransportError as error:
                if not error.retryable:
                    raise
                logger.debug("not back yet: %s", error)
                continue
            if self._begin(first):
                return socket, first
            await self._abandon(socket)

    def _begin(self, first: Joined | Resumed) -> bool:
        """Count from here on, and send what the gateway has missed; False if we cannot."""
        self._outbox = asyncio.Queue()
        if isinstance(first, Joined):
            self._sid, self._received = first.participant.sid, 0
            self._backlog = Backlog()
            return True
        missed = self._backlog.after(first.received)
        if missed is None:
            self._sid = None
            return False
        self._backlog.acknowledge(first.received)
        for text in missed:
            self._outbox.put_nowait(text)
        return True

    async def _connect(self, seconds: float) -> tuple[_Socket, Joined | Resumed]:
        try:
            async with asyncio.timeout(seconds):
                socket = await self._resources.enter_async_context(self._open())
                return socket, await self._first_message(socket)
        except BaseException as error:
            await self._resources.aclose()
            if isinstance(error, TimeoutError):
                message = f"{self.place} did not answer in {seconds:.0f} s"
                raise TransportError(message) from error
            raise

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[_Socket]:
        """A socket that is cut off in the end, whether or not anybody is at the other one."""
        resumption = {}
        if self._sid is not None:
            resumption = {"resume": self._sid, "received": str(self._received)}
        async with aiohttp.ClientSession() as http:  # closed, it drops its connections
            try:
                yield await http.ws_connect(
                    f"{self._url.rstrip('/')}/mesh",
                    params={"access_token": self._token, **resumption},
                    max_msg_size=4 * MAX_MESSAGE_BYTES,
                )
            except aiohttp.WSServerHandshakeError as error:
                what = _REFUSED.get(error.status, f"status {error.status}")
                message = f"{self.place} does not let us in: {what}"
                later = error.status >= 500 or error.status == 429
                raise TransportError(message, retryable=later) from error
            except (aiohttp.ClientError, OSError) as error:
                raise TransportError(f"{self.place} cannot be reached: {error}") from error

    async def _first_message(self, socket: _Socket) -> Joined | Resumed:
        message = await socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise TransportError(f"{self.place} closed the socket before we were in the room")
        try:
            first = parse_gateway_message(message.data)
        except SignalingError as error:
            raise TransportError(f"{self.place} speaks another protocol: {error}") from error
        if not isinstance(first, Joined | Resumed):
            raise TransportError(f"{self.place} began with {first.type!r} instead of 'joined'")
        return first

    async def _abandon(self, socket: _Socket) -> None:
        await within(LEAVE_TIME, socket.close(code=_ABANDONED))
        await self._resources.aclose()


def _parse(message: aiohttp.WSMessage) -> GatewayMessage | None:
    """None for one of a later version."""
    try:
        return parse_gateway_message(message.data)
    except (SignalingError, AttributeError) as error:
        logger.warning("a message of the gateway is ignored: %s", error)
        return None
