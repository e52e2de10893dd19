"""``/rtc``, ``/rtc/v1`` and what validates them: how clients come to the rooms of a `Host`.

The statuses are those of LiveKit's server, which its clients read: 401 for tokens, 400 for what
cannot be understood, 404 for a room that must exist and does not, 503 for what is full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import WSMsgType, web
from livekit.protocol import rtc

from mulisa.core.errors import InputError, SignalingError, TokenError
from mulisa.sfu.allowance import Allowance
from mulisa.sfu.client import Client
from mulisa.sfu.config import HostConfig
from mulisa.sfu.door import Door, Elsewhere, Visitor
from mulisa.sfu.errors import LimitExceeded, NotFound
from mulisa.sfu.hosted_room import HostedRoom
from mulisa.sfu.joining import read_ticket, read_wish
from mulisa.sfu.outbox import FLUSH_TIME, Outbox
from mulisa.sfu.signal import decode_request

HEARTBEAT: Final = 20.0
"""Seconds between pings of a socket; one that is not answered closes it."""
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Of a client; the state of a stay in a full room is about 1 MB."""
_BYTES_OF_ONE: Final = 16 * 1024
"""A message this long counts as two."""
_CANDIDATES_OF_ONE: Final = 20
"""So many of a client's ICE candidates count as one message. libwebrtc gathers its TCP ports again
and again until it is connected, on every address and m-line: hundreds from a busy machine, and none
of them matters to us.
"""

_ANYBODY: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "OPTIONS, HEAD, GET, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "86400",
    "Cross-Origin-Resource-Policy": "cross-origin",
}


class Endpoint:
    """Handlers for the `Door` of one host."""

    def __init__(self, config: HostConfig, door: Door, on_entered: Callable[[], None]) -> None:
        """`on_entered` is called when somebody has come in."""
        self.slow_readers = 0
        """Sockets that were closed because their clients did not read."""
        self._config = config
        self._door = door
        self._on_entered = on_entered
        self._sockets: set[Outbox] = set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    def routes(self) -> list[web.RouteDef]:
        """To be added to an application. Doubled slashes are LiveKit's clients' own."""
        routes: list[web.RouteDef] = []
        for path, handle in (
            ("rtc", self._join),
            ("rtc/v1", self._join),
            ("rtc/validate", self._validate),
            ("rtc/v1/validate", self._validate),
        ):
            routes.append(web.get(f"/{{slashes:/*}}{path}", handle))
            routes.append(web.options(f"/{{slashes:/*}}{path}", self._allow))
        return routes

    async def closed(self) -> None:
        """Wait until no socket is open."""
        await self._all_closed.wait()

    async def _allow(self, _: web.Request) -> web.Response:
        return web.Response(status=204, headers=_ANYBODY)

    async def _validate(self, request: web.Request) -> web.Response:
        answer = self._admit(request)
        return answer if isinstance(answer, web.Response) else _answer(200, "success")

    async def _join(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            timeout=FLUSH_TIME,
            heartbeat=HEARTBEAT,
            max_msg_size=MAX_MESSAGE_BYTES,
            compress=False,
        )
        if not socket.can_prepare(request):
            return _answer(404, "this address speaks WebSocket")
        visitor = self._admit(request)
        if not isinstance(visitor, web.Response) and not self._door.admit():
            visitor = _answer(503, "too many join at once; try again")
        if isinstance(visitor, web.Response):
            self._door.refused += 1
            return visitor
        await socket.prepare(request)
        await self._serve(visitor, socket, Outbox(socket, request.transport, self._slow))
        return socket

    def _slow(self) -> None:
        self.slow_readers += 1

    def _admit(self, request: web.Request) -> Visitor | web.Response:
        try:
            visitor = self._visitor(request)
            self._door.check(visitor)
        except TokenError as error:
            return _answer(401, str(error))
        except NotFound as error:
            return _answer(404, str(error))
        except Elsewhere as error:
            return _answer(409, str(error))
        except LimitExceeded as error:
            return _answer(503, str(error))
        except InputError as error:
            return _answer(400, str(error))
        return visitor

    def _visitor(self, request: web.Request) -> Visitor:
        """Raises TokenError before anything else is looked at."""
        claims = self._config.verify(_token(request))
        return Visitor(claims, read_ticket(claims), read_wish(request.query))

    async def _serve(self, visitor: Visitor, socket: web.WebSocketResponse, outbox: Outbox) -> None:
        self._sockets.add(outbox)
        self._all_closed.clear()
        writing = asyncio.create_task(outbox.run(), name=f"signalling to {visitor.ticket.identity}")
        entered = None
        try:
            entered = self._door.enter(visitor, outbox)
            if entered:
                self._on_entered()
                await self._read(socket, *entered)
        finally:
            if entered:
                entered[1].detach(outbox)
            outbox.finish()
            try:
                await writing
            finally:
                self._sockets.discard(outbox)
                if not self._sockets:
                    self._all_closed.set()

    async def _read(self, socket: web.WebSocketResponse, room: HostedRoom, client: Client) -> None:
        loop = asyncio.get_running_loop()
        allowance = Allowance(self._config.signal_rate, self._config.signal_burst, loop.time())
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                return
            if message.type is not WSMsgType.BINARY:
                client.fail("it sends text", is_final=True)
                return
            try:
                request = decode_request(message.data)
            except SignalingError:
                client.fail("it sends what is no signalling message", is_final=True)
                return
            if not allowance.take(loop.time(), _cost(request, len(message.data))):
                client.fail("it sends too much", is_final=True)
                return
            room.take(client, request)


def _cost(request: rtc.SignalRequest, size: int) -> float:
    """What a message of so many bytes takes of its client's allowance."""
    is_candidate = request.WhichOneof("message") == "trickle"
    return (1 / _CANDIDATES_OF_ONE if is_candidate else 1) + size / _BYTES_OF_ONE


def _token(request: web.Request) -> str:
    """Raises TokenError if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.query.get("access_token", "")
    if not token:
        raise TokenError("permissions denied: no token")
    return token.strip()


def _answer(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text, headers=_ANYBODY)
