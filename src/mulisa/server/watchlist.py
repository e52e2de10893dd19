"""Which rooms of an external SFU to look into, when, and what a look tells. Pure.

A room is on the list from the first token that was given for it until all its tokens ran out::

    token given -> expected (looked into often) -> occupied (regularly) -> quiet (with all others)
                         '-> quiet, if nobody came                             |
                                ^---- a look at all quiet rooms found somebody-'
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from mulisa.core.room import Identity, Participant, RoomName
from mulisa.server.events import GatewayEvent, Joined, Left, RoomClosed, RoomOpened, Updated
from mulisa.server.rooms import RoomState, Stay


@dataclass(frozen=True, slots=True)
class WatchConfig:
    """Times in seconds."""

    expected_interval: float = 0.3
    """Between looks while somebody may be coming."""
    expected_time: float = 10.0
    """After a token was given."""
    occupied_interval: float = 1.0
    looks_per_second: float = 40.0
    """Into expected and occupied rooms; with more of them each is looked into less often."""
    missed_pause: float = 1.0
    """After a look that told nothing."""
    quiet_interval: float = 3.0
    """Between looks at all rooms where nobody is."""
    forget_after: float = 6 * 3600.0
    """After the last token: it has run out."""


@dataclass(slots=True)
class _Watch:
    token_at: float
    next_look: float
    state: RoomState | None = None


class Watchlist:
    """Decides; `now` is seconds on a monotonic clock and never goes backwards."""

    def __init__(self, config: WatchConfig | None = None) -> None:
        self._config = config or WatchConfig()
        self._watches: dict[RoomName, _Watch] = {}
        self._next_quiet_look = 0.0

    def expect(self, room: RoomName, now: float) -> None:
        """Somebody got a token for the room, or showed one."""
        watch = self._watches.setdefault(room, _Watch(now, now))
        watch.token_at = now
        watch.next_look = min(watch.next_look, now)

    def room(self, name: RoomName) -> RoomState | None:
        """As it was at the last look; None while nobody is in it."""
        watch = self._watches.get(name)
        return watch.state if watch else None

    def rooms(self) -> list[RoomState]:
        """All rooms with somebody in them."""
        return [watch.state for watch in self._watches.values() if watch.state]

    def deadline(self) -> float | None:
        """When the next look is due; None while there is nothing to look for."""
        looks = [watch.next_look for watch in self._watches.values()]
        if self._quiet():
            looks.append(self._next_quiet_look)
        return min((look for look in looks if look != _NEVER), default=None)

    def due(self, now: float) -> list[RoomName]:
        """The rooms to look into now; each look is reported with `seen` or `missed`."""
        return [name for name, watch in self._watches.items() if watch.next_look <= now]

    def due_quiet(self, now: float) -> list[RoomName]:
        """The rooms to be asked for in one request now; reported with `found`."""
        self._forget(now)
        return self._quiet() if self._next_quiet_look <= now else []

    def found(self, occupied: Iterable[RoomName], now: float) -> None:
        """Which of the quiet rooms have somebody in them."""
        self._next_quiet_look = now + self._config.quiet_interval
        for name in occupied:
            if watch := self._watches.get(name):
                watch.next_look = now

    def seen(
        self, name: RoomName, stays: Iterable[Stay], now: float, at: datetime
    ) -> list[GatewayEvent]:
        """Who is in a room now, and what changed with it; `at` is the wall clock."""
        watch = self._watches[name]
        former, here = watch.state, tuple(stays)
        created_at = former.created_at if former else at
        watch.state = RoomState(name, "sfu", created_at, here) if here else None
        watch.next_look = self._next_look(watch, now)
        return _changes(name, former.stays if former else (), here)

    def missed(self, name: RoomName, now: float) -> None:
        """A look told nothing, and everybody counts as still there."""
        self._watches[name].next_look = now + self._config.missed_pause

    def _next_look(self, watch: _Watch, now: float) -> float:
        config = self._config
        is_expected = now < watch.token_at + config.expected_time
        if watch.state is None and not is_expected:
            return _NEVER
        interval = config.expected_interval if is_expected else config.occupied_interval
        rooms = len(self._watches) - len(self._quiet())
        return now + max(interval, rooms / config.looks_per_second)

    def _quiet(self) -> list[RoomName]:
        return [name for name, watch in self._watches.items() if watch.next_look == _NEVER]

    def _forget(self, now: float) -> None:
        for name in self._quiet():
            if self._watches[name].token_at + self._config.forget_after <= now:
                del self._watches[name]


_NEVER = float("inf")


def _changes(
    room: RoomName, former: tuple[Stay, ...], here: tuple[Stay, ...]
) -> list[GatewayEvent]:
    """What must have happened between two looks."""
    before = {stay.participant.identity: stay.participant for stay in former}
    now = {stay.participant.identity: stay.participant for stay in here}
    events: list[GatewayEvent] = [RoomOpened(room, "sfu")] if now and not before else []
    for identity, participant in before.items():
        if reason := _reason_gone(participant, now):
            events.append(Left(room, participant, reason))
        elif now[identity] != participant:
            events.append(Updated(room, now[identity]))
    for identity, participant in now.items():
        if identity not in before or before[identity].sid != participant.sid:
            events.append(Joined(room, participant))
    if before and not now:
        events.append(RoomClosed(room))
    return events


def _reason_gone(participant: Participant, now: dict[Identity, Participant]) -> str:
    """Empty if they are still there; the server does not say why somebody left."""
    present = now.get(participant.identity)
    if present is None:
        return "left"
    return "" if present.sid == participant.sid else "replaced"
