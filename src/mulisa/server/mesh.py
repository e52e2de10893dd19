"""``WS /mesh``: sockets around the signalling relay. Every decision is `MeshRelay`'s."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from mulisa.core.errors import TokenError
from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.server.ratelimit import RateLimit
from mulisa.server.responses import error_response, refuse_unless_websocket
from mulisa.server.rooms import RoomState, Stay
from mulisa.server.tokens import Grant
from mulisa.transport.mesh.relay import (
    MAX_PEOPLE,
    Close,
    MeshRelay,
    Outcome,
    RoomEvent,
    RoomFull,
    RoomSnapshot,
    Send,
)
from mulisa.transport.mesh.signaling import (
    MAX_MESSAGE_BYTES,
    IceServer,
    LeaveReason,
    encode,
)

logger = logging.getLogger(__name__)

PING_INTERVAL: Final = 5.0
VANISHED_AFTER: Final = 15.0
"""Without anything from a client, answers to pings included."""
OUTBOX_MESSAGES: Final = 512
"""Messages that wait for a client which does not read; one more and it is closed."""
FLUSH_TIME: Final = 2.0
"""What a closed client has to take its last messages and to say goodbye."""

_ABSURD_BYTES: Final = 4 * MAX_MESSAGE_BYTES
"""Up to here a message is answered with `too_large`; beyond it the socket is closed (1009)."""


class MeshEndpoint:
    """The gateway's mesh rooms: a handler for ``WS /mesh`` and the state that the API shows."""

    def __init__(
        self,
        verify: Callable[[str], Grant],
        *,
        ice_servers: Callable[[Identity, datetime], list[IceServer]] = lambda identity, at: [],
        max_people: int = MAX_PEOPLE,
        join_limit: RateLimit | None = None,
        is_elsewhere: Callable[[RoomName], bool] = lambda room: False,
        on_event: Callable[[RoomEvent], None] = lambda event: None,
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        """`verify` raises TokenError. `join_limit` is for people; agents come by dispatch.

        `is_elsewhere` tells of a room that is open in another topology now.
        `on_event` is called at once, in order, and may not raise.
        `on_message` is called for each message of a client, good or bad.
        """
        self._verify = verify
        self._relay = MeshRelay(ice_servers=ice_servers, max_people=max_people)
        self._join_limit = join_limit
        self._is_elsewhere = is_elsewhere
        self._on_event = on_event
        self._on_message = on_message
        self._clients: dict[ParticipantSid, _Client] = {}
        self._is_open = True
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one socket until it closes.

        Refuses with 401, 403, 409, 426, 429 or 503 before the upgrade.
        """
        try:
            grant = self._verify(request.query.get("access_token", ""))
        except TokenError as error:
            return error_response(401, str(error))
        if not grant.room_join or grant.room is None:
            return error_response(403, "this token does not allow to join a room")
        refuse_unless_websocket(request)
        if not self._admits(request.remote, grant):
            return error_response(429, "too many joins from your address; wait a minute")
        if not self._is_open:
            return error_response(503, "the gateway is shutting down")
        if self._is_elsewhere(grant.room):
            return error_response(409, "that room is on the SFU now; ask for a new token")
        try:
            self._relay.check_space(grant.room, grant.identity, grant.kind)
        except RoomFull as error:
            return error_response(503, str(error))
        socket = web.WebSocketResponse(
            timeout=FLUSH_TIME, autoping=False, max_msg_size=_ABSURD_BYTES, compress=False
        )
        await socket.prepare(request)
        if not self._is_open:  # shut down while this socket was being upgraded
            await socket.close(code=WSCloseCode.GOING_AWAY)
            return socket
        await self._serve(request, socket, grant, grant.room)
        return socket

    def room(self, name: RoomName) -> RoomState | None:
        """The room's state now; None while nobody is in it."""
        snapshot = self._relay.room(name)
        return _state(snapshot) if snapshot else None

    def rooms(self) -> list[RoomState]:
        """All rooms with somebody in them."""
        return [_state(snapshot) for snapshot in self._relay.rooms()]

    def holds(self, name: RoomName) -> bool:
        """Somebody is in the room."""
        return self._relay.room(name) is not None

    def remove(self, room: RoomName, identity: Identity) -> None:
        """Put somebody out of the room."""
        self._perform(self._relay.remove(room, identity))

    def close_room(self, room: RoomName) -> None:
        """Put everybody out of the room."""
        self._perform(self._relay.close_room(room))

    async def shut_down(self) -> None:
        """Tell everybody that the gateway goes, and wait until all sockets are closed."""
        self._is_open = False
        self._perform(self._relay.shut_down())
        await self._all_gone.wait()

    def _admits(self, address: str | None, grant: Grant) -> bool:
        if self._join_limit is None or grant.kind == "agent":
            return True
        return self._join_limit.admit(address or "", asyncio.get_running_loop().time())

    async def _serve(
        self, request: web.Request, socket: web.WebSocketResponse, grant: Grant, room: RoomName
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            sid, outcome = self._relay.enter(
                room,
                grant.identity,
                grant.name,
                grant.kind,
                grant.attributes,
                may_update=grant.can_update_metadata,
                now=loop.time(),
                at=datetime.now(UTC),
            )
        except RoomFull as error:  # it filled up while this socket was being upgraded
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=str(error).encode())
            return
        client = self._clients[sid] = _Client(socket, request.transport)
        self._all_gone.clear()
        writing = asyncio.create_task(client.write(), name=f"mesh socket of {sid}")
        reason: LeaveReason = "vanished"
        try:
            self._perform(outcome)
            reason = await self._read(socket, sid)
        finally:
            self._perform(self._relay.leave(sid, reason))
            client.finish()
            del self._clients[sid]
            if not self._clients:
                self._all_gone.set()
            await writing

    async def _read(self, socket: web.WebSocketResponse, sid: ParticipantSid) -> LeaveReason:
        """Take messages until the client leaves, vanishes or is closed."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                message = await socket.receive(timeout=VANISHED_AFTER)
            except TimeoutError:
                return "vanished"
            match message.type:
                case WSMsgType.TEXT:
                    self._on_message()
                    self._perform(self._relay.receive(sid, message.data, loop.time()))
                case WSMsgType.BINARY:  # the relay refuses it, and counts it as any other
                    self._on_message()
                    self._perform(self._relay.receive(sid, "", loop.time()))
                case WSMsgType.PING:
                    self._clients[sid].pong(message.data)
                case WSMsgType.PONG:
                    pass
                case _:
                    return "left" if message.type is WSMsgType.CLOSE else "vanished"

    def _perform(self, outcome: Outcome) -> None:
        for each in outcome:
            match each:
                case Send(sid, message):
                    if client := self._clients.get(sid):
                        client.send(encode(message))
                case Close(sid):
                    if client := self._clients.get(sid):
                        client.finish()
                case _:
                    self._on_event(each)


class _Client:
    """One socket's way out: a bounded outbox and the task that empties it."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self._socket = socket
        self._transport = transport
        self._outbox: asyncio.Queue[str | bytes | None] = asyncio.Queue(OUTBOX_MESSAGES)
        self._is_finished = False

    def send(self, text: str) -> None:
        """Queue a message. A client that lets too many wait is closed."""
        self._put(text)

    def pong(self, payload: bytes) -> None:
        """Queue the answer to a ping."""
        self._put(payload)

    def finish(self) -> None:
        """Close the socket once what waits is sent. Idempotent."""
        if not self._is_finished:
            self._put(None)
            self._is_finished = True

    def _put(self, item: str | bytes | None) -> None:
        if self._is_finished:
            return
        try:
            self._outbox.put_nowait(item)
        except asyncio.QueueFull:
            logger.info("a mesh client does not read its messages and is closed")
            self._is_finished = True
            self._abort()

    def _abort(self) -> None:
        """Drop the connection: `write` fails with it, and the reader ends."""
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> None:
        """Send what is queued and a ping every PING_INTERVAL, until `finish` or a broken socket."""
        try:
            await self._write()
            async with asyncio.timeout(2 * FLUSH_TIME):
                await self._socket.close()
        except (ConnectionError, TimeoutError):
            self._abort()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        ping_at = loop.time() + PING_INTERVAL
        while True:
            try:
                async with asyncio.timeout_at(ping_at):
                    item = await self._outbox.get()
            except TimeoutError:
                ping_at += PING_INTERVAL
                await self._socket.ping()
                continue
            if item is None:
                return
            async with asyncio.timeout(VANISHED_AFTER):
                if isinstance(item, str):
                    await self._socket.send_str(item)
                else:
                    await self._socket.pong(item)


def _state(room: RoomSnapshot) -> RoomState:
    stays = tuple(Stay(stay.participant, stay.joined_at) for stay in room.stays)
    return RoomState(room.name, "mesh", room.created_at, stays)
