"""The SFU: all rooms, the RTC port below them, and what the gateway mounts and asks."""

from __future__ import annotations

import asyncio
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
)

from mulisa.core.room import RoomName
from mulisa.sfu.allowance import Allowance
from mulisa.sfu.client import Client
from mulisa.sfu.config import HostConfig, HostCounters
from mulisa.sfu.endpoint import Elsewhere, Endpoint, Visitor
from mulisa.sfu.errors import LimitExceeded, NotFound
from mulisa.sfu.events import Arrival, Resumption, RoomConfig
from mulisa.sfu.forward import Forwarder
from mulisa.sfu.hosted_room import HostedRoom
from mulisa.sfu.outbox import Outbox
from mulisa.sfu.permissions import Permissions
from mulisa.sfu.port import RtcPort
from mulisa.sfu.pulse import Pulse
from mulisa.sfu.room import Room
from mulisa.sfu.sids import new_participant_sid, new_room_sid

QUALITY_INTERVAL: Final = 1.0
"""Seconds between RTCP reports, and between looks at the connections' quality."""
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
        self._is_open = True
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shut_down()
        self._levels.stop()
        self._reports.stop()
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
            room.room.check_space(visitor.ticket.identity)
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
            return self._let_back_in(visitor, outbox)
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
        arrival = self._arrival(visitor)
        client = Client(
            arrival.sid,
            ticket.identity,
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
        return room, client

    def _let_back_in(self, visitor: Visitor, outbox: Outbox) -> tuple[HostedRoom, Client] | None:
        room = self._rooms.get(visitor.ticket.room)
        client = room.client(visitor.wish.resumes, visitor.ticket.identity) if room else None
        if room is None or client is None or not self._is_open:
            _turn_away(outbox)
            return None
        self._resumes += 1
        client.attach(outbox)
        servers = self._config.ice_servers(client.identity)
        token = self._config.issue_refresh(visitor.claims)
        room.resume(client, Resumption(client.sid, token, tuple(servers)))
        return room, client

    def _arrival(self, visitor: Visitor) -> Arrival:
        ticket, wish = visitor.ticket, visitor.wish
        permissions = Permissions.from_claim(visitor.claims["video"])
        metadata, attributes = ticket.metadata, dict(ticket.attributes)
        if permissions.can_update_own_metadata:
            metadata = wish.metadata or metadata
            attributes |= wish.attributes
        return Arrival(
            new_participant_sid(),
            ticket.identity,
            ticket.name,
            ticket.kind,
            metadata,
            attributes,
            permissions,
            wish.client,
            wish.is_single_connection,
            wish.auto_subscribe,
            datetime.now(UTC),
            self._config.issue_refresh(visitor.claims),
            wish.add_track_requests,
            tuple(self._config.ice_servers(ticket.identity)),
        )

    # ---- rooms

    def _open(
        self, name: RoomName, wish: RoomConfiguration | CreateRoomRequest | None
    ) -> HostedRoom:
        config = self._config
        room = Room(name, new_room_sid(), _room_config(config.room, wish), datetime.now(UTC))
        hosted = HostedRoom(
            name,
            room,
            self._forwarder,
            on_report=config.on_report,
            on_media=self._levels.start,
            on_over=self._room_over,
        )
        self._rooms[name] = hosted
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
