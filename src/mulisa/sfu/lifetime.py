"""When a room is over, and when it tells of itself. Pure."""

from __future__ import annotations

from typing import Final

from livekit.protocol import rtc

from mulisa.sfu.roster import Actions, Roster

BULLETIN_INTERVAL: Final = 1.0
"""Seconds between two room updates about counts: a full room that is joined tells it to all."""


class Lifetime:
    """A room lives while people are in it, and for a while before and after.

    Agents and recorders keep no room open.
    """

    def __init__(self, roster: Roster, now: float) -> None:
        self._roster = roster
        self._over_at: float | None = now + roster.config.empty_timeout

    def settle(self, now: float) -> None:
        """Somebody may have come or gone."""
        if any(not participant.is_dependent for participant in self._roster):
            self._over_at = None
        elif self._over_at is None:
            self._over_at = now + self._roster.config.departure_timeout

    def deadline(self) -> float | None:
        """When the room is over unless somebody comes."""
        return self._over_at


class Bulletin:
    """Room updates: at once, but no more than one per interval."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._told = roster.revision
        self._not_before = 0.0

    def settle(self, now: float) -> Actions:
        """Tell what has changed, if it is time to."""
        if self._told != self._roster.revision and now >= self._not_before:
            self._not_before = now + BULLETIN_INTERVAL
            yield from self.tell()

    def tell(self) -> Actions:
        """Tell everybody now."""
        self._told = self._roster.revision
        update = rtc.RoomUpdate(room=self._roster.info())
        yield from self._roster.tell_all(rtc.SignalResponse(room_update=update))

    def deadline(self) -> float | None:
        """When there is something to tell."""
        return self._not_before if self._told != self._roster.revision else None
