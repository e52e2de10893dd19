"""Who speaks now, and how loud, as LiveKit's server decides it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log10
from typing import Final

from mulisa.core.room import ParticipantSid
from mulisa.sfu.media import TrackSid

MIN_SHARE: Final = 0.4
"""Of an interval: who was louder than the threshold for less does not speak."""
STEPS: Final = 8
"""Between 0 and 1: a level that changes by less is not told to anybody."""
_SMOOTHING = 2 / 3
"""Weight of the newest interval: two intervals are averaged exponentially."""


class Speakers:
    """The speakers of one room, from one `LevelsMeasured` to the next."""

    def __init__(self) -> None:
        self._levels: dict[ParticipantSid, float] = {}
        """Smoothed: all who spoke in the last interval."""

    def measure(
        self,
        levels: Mapping[TrackSid, tuple[float, float]],
        owners: Mapping[TrackSid, ParticipantSid],
    ) -> dict[ParticipantSid, float]:
        """Everybody who speaks now with a level above 0 and up to 1, the loudest first.

        A participant with several tracks is as loud as the loudest of them.
        """
        heard: dict[ParticipantSid, float] = {}
        for track, (share, loudest) in levels.items():
            if track in owners and share >= MIN_SHARE:
                level = _linear(share, loudest)
                heard[owners[track]] = max(level, heard.get(owners[track], 0.0))
        self._levels = {sid: self._smooth(sid, level) for sid, level in heard.items()}
        steps = {sid: ceil(level * STEPS) / STEPS for sid, level in self._levels.items()}
        return dict(sorted(steps.items(), key=lambda each: -each[1]))

    def forget(self, sid: ParticipantSid) -> None:
        """The participant left."""
        self._levels.pop(sid, None)

    def _smooth(self, sid: ParticipantSid, level: float) -> float:
        before = self._levels.get(sid, 0.0)
        return before + (level - before) * _SMOOTHING


def _linear(share: float, loudest: float) -> float:
    """Loudness of an interval, 0 to 1: speech that filled half of it counts 6 dB less."""
    return min(10 ** ((loudest + 20 * log10(min(share, 1.0))) / 20), 1.0)
