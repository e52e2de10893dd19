"""The SFU: all rooms, the RTC port below them, and what the gateway mounts and asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from livekit.protocol import models, rtc
from livekit.protocol.room import (
    CreateRoomRequest,
    RoomConfiguration,
    SendDataRequest,
    UpdateParticipantRequest,
    UpdateSubscriptionsRequest,
)

from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.sfu.allowance import Allowance
from mulisa.sfu.client import Client
from mulisa.sfu.config import HostConfig, HostCounters
from mulisa.sfu.endpoint import Elsewhere, Endpoint, Visitor
from mulisa.sfu.errors import LimitExceeded, NotFound
from mulisa.sfu.events import Arrival, Resumption, RoomAction, RoomConfig
from mulisa.sfu.forward import Forwarder
from mulisa.sfu.hosted_room import HostedRoom
from mulisa.sfu.joining import check_room_name
from mulisa.sfu.media import TrackSid
from mulisa.sfu.outbox import Outbox
from mulisa.sfu.port import RtcPort
from mulisa.sfu.pulse import Pulse
from mulisa.sfu.room import Room
from mulisa.sfu.sids import new_participant_sid, new_room_sid
from mulisa.sfu.standing import Standing

QUALITY_INTERVAL: Final = 1.0
"""Seconds between RTCP reports, and between looks at the connections' quality."""
TOKEN_INTERVAL: Final = 300.0
"""Seconds between new tokens for those who are here; each is good for longer."""
GOODBYE_TIME: Final = 3.0
"""Seconds that clients have to take their goodbye when we shut down."""


class Host:
    """Enter it to open the RTC port, which raises ConfigError if that is taken.

    ::

        async with Host(config) as host:
            application.add_routes(host.routes())

    An empty host, and one whose rooms are silent, has no timers.
    """

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        self._rooms: dict[RoomName, HostedRoom] = {}
        self._endpoint = Endpoint(config, self)
        self._is_open = False
        self._joins = self._resumes = self._refused = self._slow_readers = self._failed = 0

    async def __aenter__(self) -> Self:
        config, loop = self._config, asyncio.get_running_loop()
        self._port = await RtcPort.open(config.rtc_host, config.rtc_port, config.public_address)
        self._forwarder = Forwarder(loudest=config.loudest, now=loop.time)
        self._allowance = Allowance(config.join_rate, config.join_burst, loop.time())
        self._levels = Pulse(config.room.speakers_interval, self._measure_levels)
        self._reports = Pulse(QUALITY_INTERVAL, self._measure_quality)
        self._tokens = Pulse(TOKEN_INTERVAL, self._send_tokens)
        self._is_open = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shut_down()
        for pulse in (self._levels, self._reports, self._tokens):
            pulse.stop()
        await self._port.aclose()

    def routes(self) -> list[web.RouteDef]:
        """Where clients join: ``/rtc``, ``/rtc/v1``, and ``validate`` below each."""
        return self._endpoint.routes()

    async def shut_down(self) -> None:
        """Send everybody away, to come back once we are here again. Idempotent.

        Rooms are not reported as finished: those who were in them will be back in them.
        """
        self._is_open = False
        leave = rtc.LeaveRequest(
            reason=models.DisconnectReason.SERVER_SHUTDOWN, action=rtc.LeaveRequest.RECONNECT
        )
        for room in self._rooms.values():
            for client in room.clients.values():
                client.send(rtc.SignalResponse(leave=leave))
            room.close()
        self._rooms.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_TIME):
                await self._endpoint.closed()

    @property
    def port(self) -> int:
        """The RTC port, UDP and TCP."""
        return self._port.port

    @property
    def counters(self) -> HostCounters:
        """What happened so far."""
        forwarded = self._forwarder.counters
        failures = self._failed + sum(room.failures for room in self._rooms.values())
        return HostCounters(
            joins=self._joins,
            resumes=self._resumes,
            refused=self._refused,
            failed=failures,
            slow_readers=self._slow_readers,
            packets_forwarded=forwarded.packets_forwarded,
            bytes_forwarded=forwarded.bytes_forwarded,
            packets_dropped=forwarded.packets_dropped,
        )

    # ---- the door

    def check(self, visitor: Visitor) -> None:
        """Raises LimitExceeded, NotFound or Elsewhere if the visitor cannot be let in now."""
        name = visitor.ticket.room
        if not self._is_open:
            raise LimitExceeded("the server is shutting down")
        if self._config.is_elsewhere(name):
            raise Elsewhere("that room is in another topology now; ask for a new token")
        if (room := self._rooms.get(name)) is not None:
            ticket = visitor.ticket
            if room.room.is_full(ticket.identity, ticket.permissions, ticket.kind):
                raise LimitExceeded("that room is full")
            return
        if not self._config.creates_rooms and not visitor.ticket.may_create:
            raise NotFound("requested room does not exist")
        self._check_room_limit()

    def admit(self, visitor: Visitor) -> bool:
        """Count somebody who comes in; False if it is one too many at once."""
        return self._allowance.take(asyncio.get_running_loop().time())

    def enter(self, visitor: Visitor, outbox: Outbox) -> tuple[HostedRoom, Client] | None:
        """Let the visitor in, or back in; None if it was told to come back as new."""
        if visitor.wish.resumes is not None:
            return self._let_back_in(visitor, visitor.wish.resumes, outbox)
        try:
            self.check(visitor)  # again: that was before the socket was upgraded
            return self._let_in(visitor, outbox)
        except (LimitExceeded, NotFound, Elsewhere):
            self.refused()
            _turn_away(outbox)
            return None

    def refused(self) -> None:
        """A visitor was turned away."""
        self._refused += 1

    def slow(self) -> None:
        """A client did not read."""
        self._slow_readers += 1

    def _check_room_limit(self) -> None:
        if len(self._rooms) >= self._config.max_rooms:
            raise LimitExceeded("there are too many rooms here")

    def _let_in(self, visitor: Visitor, outbox: Outbox) -> tuple[HostedRoom, Client]:
        ticket, wish = visitor.ticket, visitor.wish
        room = self._rooms.get(ticket.room) or self._open(ticket.room, ticket.configuration)
        standing = Standing(visitor.claims, self._config.issue_refresh)
        arrival = self._arrival(visitor, standing.token())
        client = Client(
            arrival.sid,
            ticket.identity,
            standing,
            ticket.room,
            self._port,
            self._forwarder,
            room.receive,
            lambda work: room.attempt(arrival.sid, work),
            is_single_connection=wish.is_single_connection,
            hears_everybody=ticket.kind == models.ParticipantInfo.AGENT,
        )
        client.attach(outbox)
        self._joins += 1
        room.enter(client, arrival)
        if (offer := wish.offer) is not None:
            room.attempt(client.sid, lambda: client.take_offer(offer))
        self._reports.start()
        self._tokens.start()
        return room, client

    def _let_back_in(
        self, visitor: Visitor, sid: ParticipantSid, outbox: Outbox
    ) -> tuple[HostedRoom, Client] | None:
        room = self._rooms.get(visitor.ticket.room)
        client = room.client(sid, visitor.ticket.identity) if room else None
        if room is None or client is None or not self._is_open:
            _turn_away(outbox)
            return None
        self._resumes += 1
        client.attach(outbox)
        servers = self._config.ice_servers(client.identity)
        room.resume(client, Resumption(client.sid, client.standing.token(), tuple(servers)))
        return room, client

    def _arrival(self, visitor: Visitor, refresh_token: str) -> Arrival:
        ticket, wish = visitor.ticket, visitor.wish
        metadata, attributes = ticket.metadata, dict(ticket.attributes)
        if ticket.permissions.can_update_own_metadata:
            metadata = wish.metadata or metadata
            attributes |= wish.attributes
        return Arrival(
            new_participant_sid(),
            ticket.identity,
            ticket.name,
            ticket.kind,
            metadata,
            attributes,
            ticket.permissions,
            wish.client,
            wish.is_single_connection,
            wish.auto_subscribe,
            datetime.now(UTC),
            refresh_token,
            wish.add_track_requests,
            tuple(self._config.ice_servers(ticket.identity)),
        )

    # ---- rooms, for the directory and the API

    def rooms(self) -> list[models.Room]:
        """All rooms that are open."""
        return [room.room.info() for room in self._rooms.values()]

    def room(self, name: RoomName) -> models.Room | None:
        """One room, if it is open."""
        room = self._rooms.get(name)
        return room.room.info() if room else None

    def create_room(self, request: CreateRoomRequest) -> models.Room:
        """Open a room, if it is not open yet. Raises InputError, LimitExceeded, Elsewhere."""
        name = RoomName(request.name)
        room = self._rooms.get(name)
        if room is None:
            check_room_name(name)
            if self._config.is_elsewhere(name):
                raise Elsewhere("that room is in another topology now")
            self._check_room_limit()
            room = self._open(name, request)
        return room.room.info()

    def delete_room(self, name: RoomName) -> None:
        """Close a room for everybody in it. Raises NotFound."""
        self._change(name, lambda room, now: room.close(now=now))

    def participants(self, name: RoomName) -> list[models.ParticipantInfo]:
        """Everybody in a room; nobody in one that is not open."""
        room = self._rooms.get(name)
        return room.room.participants() if room else []

    def participant(self, name: RoomName, identity: Identity) -> models.ParticipantInfo:
        """Raises NotFound."""
        return self._room(name).participant(identity)

    def remove(self, name: RoomName, identity: Identity) -> None:
        """Put somebody out. Raises NotFound."""
        self._change(name, lambda room, now: room.remove(identity, now))

    def mute(
        self, name: RoomName, identity: Identity, track: TrackSid, is_muted: bool
    ) -> models.TrackInfo:
        """Mute a track, which only its publisher can unmute. Raises NotFound, InputError."""
        self._change(name, lambda room, now: room.mute(identity, track, is_muted, now))
        info = self._room(name).track(identity, track)
        if info is None:
            raise NotFound("there is no such track")
        return info

    def update_participant(self, request: UpdateParticipantRequest) -> models.ParticipantInfo:
        """Change what is said of somebody and allowed. Raises NotFound, LimitExceeded."""
        name = RoomName(request.room)
        self._change(name, lambda room, now: room.update_participant(request, now))
        return self._room(name).participant(Identity(request.identity))

    def update_subscriptions(self, request: UpdateSubscriptionsRequest) -> None:
        """Subscribe somebody to tracks, or no longer. Raises NotFound."""
        name = RoomName(request.room)
        self._change(name, lambda room, now: room.update_subscriptions(request, now))

    def send_data(self, request: SendDataRequest) -> None:
        """Send data from nobody. Raises NotFound, LimitExceeded, InputError."""
        name = RoomName(request.room)
        self._change(name, lambda room, now: room.send_data(request, now))

    def update_metadata(self, name: RoomName, metadata: str) -> models.Room:
        """Change a room's metadata. Raises NotFound, LimitExceeded."""
        self._change(name, lambda room, now: room.update_metadata(metadata, now))
        return self._room(name).info()

    def _room(self, name: RoomName) -> Room:
        room = self._rooms.get(name)
        if room is None:
            raise NotFound("requested room does not exist")
        return room.room

    def _change(self, name: RoomName, change: Callable[[Room, float], list[RoomAction]]) -> None:
        actions = change(self._room(name), asyncio.get_running_loop().time())
        self._rooms[name].perform(actions)

    def _open(
        self, name: RoomName, wish: RoomConfiguration | CreateRoomRequest | None
    ) -> HostedRoom:
        config = self._config
        room = Room(
            name,
            new_room_sid(),
            _room_config(config.room, wish),
            datetime.now(UTC),
            now=asyncio.get_running_loop().time(),
            metadata=wish.metadata if wish else "",
        )
        hosted = HostedRoom(
            name,
            room,
            self._forwarder,
            on_report=config.on_report,
            on_media=self._levels.start,
            on_over=self._room_over,
        )
        self._rooms[name] = hosted
        hosted.perform(room.start())
        if wish and wish.agents:
            config.on_agents(name, tuple(wish.agents))
        return hosted

    def _room_over(self, room: HostedRoom) -> None:
        self._failed += room.failures
        del self._rooms[room.name]

    def _measure_levels(self) -> bool:
        rooms = [room for room in self._rooms.values() if any(room.published())]
        for room in rooms:
            room.levels()
        return bool(rooms)

    def _measure_quality(self) -> bool:
        self._forwarder.tick(asyncio.get_running_loop().time())
        measured = self._forwarder.quality()
        for room in tuple(self._rooms.values()):
            room.quality(measured)
        return any(room.clients for room in self._rooms.values())

    def _send_tokens(self) -> bool:
        clients = [client for room in self._rooms.values() for client in room.clients.values()]
        for client in clients:
            client.send_token()
        return bool(clients)


def _turn_away(outbox: Outbox) -> None:
    """What the client knows of us is over: it joins as new, by itself."""
    leave = rtc.LeaveRequest(
        reason=models.DisconnectReason.STATE_MISMATCH, action=rtc.LeaveRequest.RECONNECT
    )
    outbox.send(rtc.SignalResponse(leave=leave).SerializeToString())
    outbox.finish()


def _room_config(
    standard: RoomConfig, wish: RoomConfiguration | CreateRoomRequest | None
) -> RoomConfig:
    """The standard one with what is asked for; 0 asks for nothing."""
    if wish is None:
        return standard
    return replace(
        standard,
        empty_timeout=wish.empty_timeout or standard.empty_timeout,
        departure_timeout=wish.departure_timeout or standard.departure_timeout,
        max_participants=wish.max_participants or standard.max_participants,
    )
