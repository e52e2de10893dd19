"""Who has lost the gateway, or was forgotten by it, and may still be here. Pure.

We are a witness for who is detached, and judge by ourselves who is not back after the gateway was
restarted (docs/protocol.md, "A lost socket"). Times are seconds on one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mulisa.core.room import ParticipantSid

LOOK_INTERVAL: Final = 0.5
FRESH: Final = 2.0
"""Packets that came within this are a sign of life."""
WITNESS_INTERVAL: Final = 1.5
EXPECTED_FOR: Final = 4.5
"""Without a packet, until who did not come back is gone."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What one look told."""

    alive: list[ParticipantSid]
    """Detached, and to be witnessed now."""
    gone: list[ParticipantSid]
    """Expected no longer."""


class Vigil:
    """Looks at whom it was told of."""

    def __init__(self) -> None:
        self._witnessed: dict[ParticipantSid, float] = {}
        """Who is detached, and when we last said that they live."""
        self._expected: dict[ParticipantSid, float] = {}
        """Who is not back, and since when we wait."""

    @property
    def is_over(self) -> bool:
        """There is nobody to look at."""
        return not self._witnessed and not self._expected

    def detached(self, sid: ParticipantSid) -> None:
        """Their socket is lost."""
        self._witnessed.setdefault(sid, float("-inf"))

    def expect(self, sids: Iterable[ParticipantSid], now: float) -> None:
        """The gateway has forgotten everybody, and these are not back."""
        self._witnessed.clear()
        self._expected = dict.fromkeys(sids, now)

    def settled(self, sid: ParticipantSid) -> None:
        """They are back, or gone."""
        self._witnessed.pop(sid, None)
        self._expected.pop(sid, None)

    def look(self, heard_at: Mapping[ParticipantSid, float], now: float) -> Findings:
        """`heard_at` says when the last packet of each came; who is not in it was never heard."""
        never = float("-inf")
        alive = [
            sid
            for sid, witnessed_at in self._witnessed.items()
            if now - heard_at.get(sid, never) <= FRESH and now - witnessed_at >= WITNESS_INTERVAL
        ]
        self._witnessed.update(dict.fromkeys(alive, now))
        gone = [
            sid
            for sid, since in self._expected.items()
            if now - max(since, heard_at.get(sid, never)) >= EXPECTED_FOR
        ]
        for sid in gone:
            del self._expected[sid]
        return Findings(alive, gone)
