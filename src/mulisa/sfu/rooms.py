"""The rooms of a host, by name: opened at the first join or by the API, gone when they are over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

from livekit.protocol.room import CreateRoomRequest, RoomConfiguration

from mulisa.core.room import RoomName
from mulisa.sfu.client import Client
from mulisa.sfu.config import HostConfig
from mulisa.sfu.errors import LimitExceeded, NotFound
from mulisa.sfu.events import RoomConfig
from mulisa.sfu.forward import Forwarder
from mulisa.sfu.hosted_room import HostedRoom
from mulisa.sfu.room import Room
from mulisa.sfu.sids import new_room_sid

RoomWish: TypeAlias = RoomConfiguration | CreateRoomRequest
"""What a room should be like, as a token or the API says."""


class Rooms:
    """Iterate over those that are open. `on_media` is called when somebody has published."""

    def __init__(
        self, config: HostConfig, forwarder: Forwarder, on_media: Callable[[], None]
    ) -> None:
        self._config = config
        self._forwarder = forwarder
        self._on_media = on_media
        self._by_name: dict[RoomName, HostedRoom] = {}
        self._failures = 0

    def __iter__(self) -> Iterator[HostedRoom]:
        return iter(tuple(self._by_name.values()))

    @property
    def failures(self) -> int:
        """Clients that were put out, in all rooms there ever were."""
        return self._failures + sum(room.failures for room in self)

    @property
    def clients(self) -> list[Client]:
        """Everybody."""
        return [client for room in self for client in room.clients.values()]

    def get(self, name: RoomName) -> HostedRoom | None:
        """The room, if it is open."""
        return self._by_name.get(name)

    def find(self, name: RoomName) -> HostedRoom:
        """The room. Raises NotFound."""
        if name not in self._by_name:
            raise NotFound("requested room does not exist")
        return self._by_name[name]

    def check_space(self) -> None:
        """Raises LimitExceeded if there is no space for one more."""
        if len(self._by_name) >= self._config.max_rooms:
            raise LimitExceeded("there are too many rooms here")

    def open(self, name: RoomName, wish: RoomWish | None) -> HostedRoom:
        """A room of a name that no other one has. Raises LimitExceeded."""
        self.check_space()
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
            on_media=self._on_media,
            on_over=self._over,
        )
        self._by_name[name] = hosted
        hosted.perform(room.start())
        if wish and wish.agents:
            config.on_agents(name, tuple(wish.agents))
        return hosted

    def close(self) -> None:
        """Drop all rooms and everybody in them, without a word."""
        for room in self:
            room.close()
            self._over(room)

    def _over(self, room: HostedRoom) -> None:
        self._failures += room.failures
        del self._by_name[room.name]


def _room_config(standard: RoomConfig, wish: RoomWish | None) -> RoomConfig:
    """The standard one with what is asked for; 0 asks for nothing."""
    if wish is None:
        return standard
    return replace(
        standard,
        empty_timeout=wish.empty_timeout or standard.empty_timeout,
        departure_timeout=wish.departure_timeout or standard.departure_timeout,
        max_participants=wish.max_participants or standard.max_participants,
    )
