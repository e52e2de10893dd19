"""``WS /mesh``: sockets around the signalling relay. Every decision is `MeshRelay`'s."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from mulisa.core.errors import TokenError
from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.server.ratelimit import RateLimit
from mulisa.server.responses import error_response, refuse_unless_websocket
from mulisa.server.rooms import RoomState, Stay
from mulisa.server.tokens import Grant
from mulisa.transport.mesh.outcome import Close, Outcome, RoomEvent, RoomSnapshot, Send
from mulisa.transport.mesh.relay import MAX_PEOPLE, MeshRelay, Resumption, RoomFull
from mulisa.transport.mesh.signaling import MAX_MESSAGE_BYTES, IceServer

logger = logging.getLogger(__name__)

PING_INTERVAL: Final = 1.5
SILENCE: Final = 4.5
"""Seconds without anything from a client, answers to pings included, after which its socket is
lost."""
OUTBOX_MESSAGES: Final = 512
"""Messages that wait for a client which does not read; one more and it is closed."""
SOCKETS_PER_ADDRESS: Final = 200
"""Of people; agents are not counted."""
FLUSH_TIME: Final = 2.0
"""What a closed client has to take its last messages and to say goodbye."""

_GOING: Final = (WSCloseCode.OK, WSCloseCode.GOING_AWAY)
"""With these a client closes that does not come back: it is done, or its page is closed."""
_COUNT_DIGITS: Final = 16
_ABSURD_BYTES: Final = 4 * MAX_MESSAGE_BYTES
"""Up to here a message is answered with `too_large`; beyond it the socket is closed (1009)."""


class MeshEndpoint:
    """The gateway's mesh rooms: a handler for ``WS /mesh`` and the state that the API shows."""

    def __init__(
        self,
        verify: Callable[[str], Grant],
        *,
        ice_servers: Callable[[Identity, datetime], list[IceServer]] = lambda identity, at: [],
        secret: str = "",
        max_people: int = MAX_PEOPLE,
        join_limit: RateLimit | None = None,
        is_elsewhere: Callable[[RoomName], bool] = lambda room: False,
        on_event: Callable[[RoomEvent], None] = lambda event: None,
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        """`verify` raises TokenError. `join_limit` is for people; agents come by dispatch.

        `secret` signs sids, which lets stays outlive the gateway.
        `is_elsewhere` tells of a room that is open in another topology now.
        `on_event` is called at once, in order, and may not raise.
        `on_message` is called for each message of a client, good or bad.
        """
        self._verify = verify
        self._loop = asyncio.get_running_loop()
        self._relay = MeshRelay(
            ice_servers=ice_servers, max_people=max_people, secret=secret, now=self._loop.time()
        )
        self._max_people = max_people
        self._join_limit = join_limit
        self._is_elsewhere = is_elsewhere
        self._on_event = on_event
        self._on_message = on_message
        self._clients: dict[ParticipantSid, _Client] = {}
        self._sockets: set[_Client] = set()
        """Of `_clients`, and those that are superseded or still closing."""
        self._expiry: asyncio.TimerHandle | None = None
        self._is_open = True
        self._all_gone = asyncio.Event()
        self._all_gone.set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one socket until it closes.

        Refuses with 400, 401, 403, 409, 426, 429 or 503 before the upgrade.
        """
        try:
            grant = self._verify(request.query.get("access_token", ""))
        except TokenError as error:
            return error_response(401, str(error))
        if not grant.room_join or grant.room is None:
            return error_response(403, "this token does not allow to join a room")
        refuse_unless_websocket(request)
        try:
            resumption = _resumption(request.query)
        except ValueError:
            return error_response(400, "resume and received are a sid and a number")
        if not self._admits(request.remote or "", grant):
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
        try:
            await socket.prepare(request)
        except ConnectionError:  # gone while this socket was being upgraded
            return socket
        if not self._is_open:  # shut down while this socket was being upgraded
            await socket.close(code=WSCloseCode.GOING_AWAY)
            return socket
        address = "" if grant.kind == "agent" else request.remote or ""
        client = _Client(socket, request.transport, address)
        await self._serve(client, grant, grant.room, resumption)
        return socket

    def room(self, name: RoomName) -> RoomState | None:
        """The room's state now; None while nobody is in it."""
        snapshot = self._relay.room(name)
        return _state(snapshot, self._max_people) if snapshot else None

    def rooms(self) -> list[RoomState]:
        """All rooms with somebody in them."""
        return [_state(snapshot, self._max_people) for snapshot in self._relay.rooms()]

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
        for client in self._sockets:
            client.finish()
        await self._all_gone.wait()

    def _admits(self, address: str, grant: Grant) -> bool:
        if grant.kind == "agent":
            return True
        if sum(client.address == address for client in self._sockets) >= SOCKETS_PER_ADDRESS:
            return False
        return self._join_limit is None or self._join_limit.admit(address, self._loop.time())

    async def _serve(
        self, client: _Client, grant: Grant, room: RoomName, resumption: Resumption | None
    ) -> None:
        try:
            sid, outcome = self._relay.enter(
                room,
                grant.identity,
                grant.name,
                grant.kind,
                grant.attributes,
                may_update=grant.can_update_metadata,
                resumption=resumption,
                now=self._loop.time(),
                at=datetime.now(UTC),
            )
        except RoomFull as error:  # it filled up while this socket was being upgraded
            await client.refuse(str(error))
            return
        if former := self._clients.get(sid):
            former.abort()  # it is half open, or its client would not be here
        self._clients[sid] = client
        self._sockets.add(client)
        self._all_gone.clear()
        writing = asyncio.create_task(client.write(), name=f"mesh socket of {sid}")
        has_left = False
        try:
            self._perform(outcome)
            has_left = await self._read(client, sid)
        finally:
            self._lost(client, sid, has_left=has_left)
            client.finish()
            self._sockets.discard(client)
            if not self._sockets:
                self._all_gone.set()
            await writing

    async def _read(self, client: _Client, sid: ParticipantSid) -> bool:
        """Take messages until the socket ends; whether its client said that it goes."""
        while True:
            try:
                message = await client.receive()
            except TimeoutError:
                client.abort()
                return False
            if self._clients.get(sid) is not client:
                return False
            match message.type:
                case WSMsgType.TEXT:
                    self._on_message()
                    self._perform(self._relay.receive(sid, message.data, self._loop.time()))
                case WSMsgType.BINARY:  # the relay refuses it, and counts it as any other
                    self._on_message()
                    self._perform(self._relay.receive(sid, "", self._loop.time()))
                case WSMsgType.PING:
                    client.pong(message.data)
                case WSMsgType.PONG:
                    pass
                case WSMsgType.CLOSE:
                    return message.data in _GOING
                case _:
                    return False
            await asyncio.sleep(0)  # what is buffered is taken without a pause; others have a turn

    def _lost(self, client: _Client, sid: ParticipantSid, *, has_left: bool) -> None:
        """The socket has ended; it is not the stay's any more if another one resumed that."""
        if self._clients.get(sid) is client:
            del self._clients[sid]
            gone = self._relay.leave(sid) if has_left else self._detach(sid)
            self._perform(gone)

    def _detach(self, sid: ParticipantSid) -> Outcome:
        return self._relay.detach(sid, self._loop.time())

    def _perform(self, outcome: Outcome) -> None:
        for each in outcome:
            match each:
                case Send(sid, text):
                    if client := self._clients.get(sid):
                        client.send(text)
                case Close(sid):
                    if client := self._clients.get(sid):
                        client.finish()
                case _:
                    self._on_event(each)
        self._set_expiry()

    def _set_expiry(self) -> None:
        """Wake up when the time of somebody who is detached is over."""
        deadline = self._relay.deadline()
        if self._expiry is not None:
            if self._expiry.when() == deadline:
                return
            self._expiry.cancel()
        self._expiry = None if deadline is None else self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        # A loop may call a little too early, by its clock's resolution.
        deadline = self._relay.deadline() or 0.0
        self._perform(self._relay.expire(max(deadline, self._loop.time())))


class _Client:
    """One socket's way out: a bounded outbox and the task that empties it."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        address: str,
    ) -> None:
        """`address` is that of a person; agents have none."""
        self.address = address
        self._socket = socket
        self._transport = transport
        self._outbox: asyncio.Queue[str | bytes | None] = asyncio.Queue(OUTBOX_MESSAGES)
        self._is_finished = False

    async def receive(self) -> WSMessage:
        """The next message of whatever kind. Raises TimeoutError if nothing comes for SILENCE."""
        return await self._socket.receive(timeout=SILENCE)

    async def refuse(self, reason: str) -> None:
        """Close the socket before anything was sent."""
        await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=reason.encode())

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
            self.abort()

    def abort(self) -> None:
        """Drop the connection: `write` fails with it, and the reader ends. Idempotent."""
        self._is_finished = True
        while not self._outbox.empty():
            self._outbox.get_nowait()
        self._outbox.put_nowait(None)
        if self._transport is not None:
            self._transport.abort()

    async def write(self) -> None:
        """Send what is queued and a ping every PING_INTERVAL, until `finish` or a broken socket."""
        try:
            await self._write()
            async with asyncio.timeout(2 * FLUSH_TIME):
                await self._socket.close()
        except (ConnectionError, TimeoutError):
            self.abort()

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
            async with asyncio.timeout(SILENCE):
                if isinstance(item, str):
                    await self._socket.send_str(item)
                else:
                    await self._socket.pong(item)


def _resumption(query: Mapping[str, str]) -> Resumption | None:
    """What a client that comes back asks for. Raises ValueError."""
    sid = query.get("resume")
    if sid is None:
        return None
    received = query.get("received", "")
    if not (received.isascii() and received.isdigit() and len(received) <= _COUNT_DIGITS):
        raise ValueError(received)
    return Resumption(ParticipantSid(sid), int(received))


def _state(room: RoomSnapshot, places: int) -> RoomState:
    stays = tuple(Stay(stay.participant, stay.joined_at) for stay in room.stays)
    return RoomState(room.name, "mesh", room.created_at, stays, places)
