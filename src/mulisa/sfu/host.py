"""The SFU: all rooms, the RTC port below them, and what the gateway mounts and asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from aiohttp import web
from livekit.protocol import models, rtc
from livekit.protocol.room import (
    CreateRoomRequest,
    SendDataRequest,
    UpdateParticipantRequest,
    UpdateSubscriptionsRequest,
)

from mulisa.core.room import Identity, RoomName
from mulisa.sfu.config import HostConfig, HostCounters
from mulisa.sfu.door import Door, Elsewhere
from mulisa.sfu.endpoint import Endpoint
from mulisa.sfu.errors import NotFound
from mulisa.sfu.events import RoomAction
from mulisa.sfu.forward import Forwarder
from mulisa.sfu.joining import check_room_name
from mulisa.sfu.media import TrackSid
from mulisa.sfu.port import RtcPort
from mulisa.sfu.pulse import Pulse
from mulisa.sfu.room import Room
from mulisa.sfu.rooms import Rooms
from mulisa.wire.dtls import our_context

REPORT_INTERVAL: Final = 1.0
"""Seconds between RTCP reports, and between looks at the connections' quality."""
TOKEN_INTERVAL: Final = 300.0
"""Seconds between new tokens for those who are here; each is good for longer."""
GOODBYE_TIME: Final = 3.0
"""Seconds that clients have to take their goodbye when we shut down."""


class Host:
    """Make it inside a running event loop; enter it to open the RTC port.

    Entering raises ConfigError if the port is taken. Without clients it has no timers::

        async with Host(config) as host:
            application.add_routes(host.routes())
    """

    def __init__(self, config: HostConfig) -> None:
        self._config = config
        self._forwarder = Forwarder(loudest=config.loudest, now=asyncio.get_running_loop().time)
        self._levels = Pulse(config.room.speakers_interval, self._measure_levels)
        self._reports = Pulse(REPORT_INTERVAL, self._report)
        self._tokens = Pulse(TOKEN_INTERVAL, self._send_tokens)
        self._rooms = Rooms(config, self._forwarder, on_media=self._levels.start)
        self._door = Door(config, self._rooms, self._forwarder)
        self._endpoint = Endpoint(config, self._door, on_entered=self._entered)
        self._port: RtcPort | None = None

    async def __aenter__(self) -> Self:
        config = self._config
        self._port = await RtcPort.open(config.rtc_host, config.rtc_port, config.public_address)
        our_context()  # making its certificate takes a while, for which nobody needs to wait
        self._door.open(self._port)
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
        if self._port:
            await self._port.aclose()

    def routes(self) -> list[web.RouteDef]:
        """Where clients join: ``/rtc``, ``/rtc/v1``, and ``validate`` below each."""
        return self._endpoint.routes()

    async def shut_down(self) -> None:
        """Send everybody away, to come back once we are here again. Idempotent.

        Rooms are not reported as finished: those who were in them will be back in them.
        """
        self._door.close()
        leave = rtc.LeaveRequest(
            reason=models.DisconnectReason.SERVER_SHUTDOWN, action=rtc.LeaveRequest.RECONNECT
        )
        for client in self._rooms.clients:
            client.send(rtc.SignalResponse(leave=leave))
        self._rooms.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_TIME):
                await self._endpoint.closed()

    @property
    def port(self) -> int:
        """The RTC port, UDP and TCP; 0 before it is open."""
        return self._port.port if self._port else 0

    @property
    def counters(self) -> HostCounters:
        """What happened so far."""
        forwarded = self._forwarder.counters
        return HostCounters(
            joins=self._door.joins,
            resumes=self._door.resumes,
            refused=self._door.refused,
            failed=self._rooms.failures,
            slow_readers=self._endpoint.slow_readers,
            packets_forwarded=forwarded.packets_forwarded,
            bytes_forwarded=forwarded.bytes_forwarded,
            packets_dropped=forwarded.packets_dropped,
        )

    # ---- for the directory and the API

    def rooms(self) -> list[models.Room]:
        """All rooms that are open."""
        return [room.room.info() for room in self._rooms]

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
            room = self._rooms.open(name, request)
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
        return self._rooms.find(name).room.participant(identity)

    def remove(self, name: RoomName, identity: Identity) -> None:
        """Put somebody out. Raises NotFound."""
        self._change(name, lambda room, now: room.remove(identity, now))

    def mute(
        self, name: RoomName, identity: Identity, track: TrackSid, is_muted: bool
    ) -> models.TrackInfo:
        """Mute a track, which only its publisher can unmute. Raises NotFound, InputError."""
        self._change(name, lambda room, now: room.mute(identity, track, is_muted, now))
        info = self._rooms.find(name).room.track(identity, track)
        if info is None:
            raise NotFound("there is no such track")
        return info

    def update_participant(self, request: UpdateParticipantRequest) -> models.ParticipantInfo:
        """Change what is said of somebody and allowed. Raises NotFound, LimitExceeded.

        What is no longer allowed has ended when this returns: no packet of it is sent any more.
        """
        name = RoomName(request.room)
        self._change(name, lambda room, now: room.update_participant(request, now))
        return self.participant(name, Identity(request.identity))

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
        return self._rooms.find(name).room.info()

    def _change(self, name: RoomName, change: Callable[[Room, float], list[RoomAction]]) -> None:
        room = self._rooms.find(name)
        room.perform(change(room.room, asyncio.get_running_loop().time()))

    # ---- what is done again and again while somebody is here

    def _entered(self) -> None:
        self._reports.start()
        self._tokens.start()

    def _measure_levels(self) -> bool:
        rooms = [room for room in self._rooms if any(room.published())]
        for room in rooms:
            room.levels()
        return bool(rooms)

    def _report(self) -> bool:
        self._forwarder.tick(asyncio.get_running_loop().time())
        measured = self._forwarder.quality()
        for room in self._rooms:
            room.quality(measured)
        return bool(self._rooms.clients)

    def _send_tokens(self) -> bool:
        clients = self._rooms.clients
        for client in clients:
            client.send_token()
        return bool(clients)
