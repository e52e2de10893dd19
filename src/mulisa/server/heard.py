"""Who hears whom in each room, as its agent passes it on. Pure."""

from __future__ import annotations

from collections.abc import Collection

from mulisa.core.reception import Receptions
from mulisa.core.room import Identity, RoomName


class Heard:
    """The reports of all rooms; a room of which nothing came for seconds takes no memory."""

    def __init__(self) -> None:
        self._rooms: dict[RoomName, Receptions] = {}
        """Oldest report first."""

    def report(
        self, room: RoomName, listener: Identity, heard: frozenset[Identity], now: float
    ) -> None:
        """The agent of a room heard a participant say so."""
        reports = self._rooms[room] = self._rooms.pop(room, Receptions())
        reports.report(listener, heard, now)
        self._forget(now)

    def matrix(
        self, room: RoomName, present: Collection[Identity], now: float
    ) -> dict[Identity, frozenset[Identity]]:
        """As `Receptions.matrix` of that room."""
        reports = self._rooms.get(room)
        return reports.matrix(present, now) if reports else {}

    def __len__(self) -> int:
        return len(self._rooms)

    def _forget(self, now: float) -> None:
        while self._rooms:
            room, reports = next(iter(self._rooms.items()))
            reports.matrix((), now)
            if not reports.is_empty:
                return
            del self._rooms[room]
