"""Which voices of a big room are forwarded: the loudest N. Pure.

In a room of hundreds few people speak at once, and the packets of the others' breathing would be
most of the traffic. A voice enters with its first loud packet; it leaves only when somebody else
needs its place, and is then not cut off between two words.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from mulisa.sfu.levels import SILENCE
from mulisa.sfu.media import TrackSid

UNKNOWN_LEVEL = 40
"""Minus dBov that a packet of a publisher without levels counts as: it sends none in silence."""


@dataclass(frozen=True, slots=True)
class LoudestConfig:
    """How many voices of a room are forwarded, and when they change."""

    count: int = 5
    min_publishers: int = 8
    """With at most that many audio publishers everybody is forwarded."""
    audible_level: int = 55
    """Minus dBov: what is quieter never takes a place."""
    margin: int = 6
    """dB by which a voice must be louder than one that speaks, to take its place."""
    hang: float = 1.5
    """Seconds for which a voice that paused still counts as speaking."""
    release: float = 12.0
    """dB per second by which the loudness of a voice fades: attack is at once."""
    onset: float = 0.16
    """Seconds before a voice's first loud packet that are forwarded too."""


class Loudest:
    """The voices of one room. `now` is seconds and never goes backwards."""

    def __init__(self, config: LoudestConfig) -> None:
        self.config = config
        self._voices: dict[TrackSid, _Voice] = {}
        self._selected: set[TrackSid] = set()

    @property
    def is_on(self) -> bool:
        """False while there are few enough publishers for everybody to be forwarded."""
        return len(self._voices) > self.config.min_publishers

    @property
    def tracks(self) -> tuple[TrackSid, ...]:
        """All voices of the room."""
        return tuple(self._voices)

    def is_selected(self, track: TrackSid) -> bool:
        """True for tracks that are forwarded to everybody who subscribed to them."""
        return not self.is_on or track not in self._voices or track in self._selected

    def add(self, track: TrackSid) -> None:
        """Somebody publishes audio. Agents' tracks are not added: they are always forwarded."""
        self._voices.setdefault(track, _Voice())
        if len(self._selected) < self.config.count:
            self._selected.add(track)

    def remove(self, track: TrackSid) -> None:
        """The track ended; its place is free for the next who speaks."""
        self._voices.pop(track, None)
        self._selected.discard(track)

    def hear(self, track: TrackSid, level: int, now: float) -> Change | None:
        """A packet of that level (minus dBov) came, and this is what it changes."""
        voice = self._voices.get(track)
        if voice is None or level > self.config.audible_level:
            return None
        voice.hear(-level, now, self.config.release)
        if track in self._selected:
            return None
        left = self._place_for(voice, now)
        if left is None and len(self._selected) >= self.config.count:
            return None
        if left is not None:
            self._selected.remove(left)
        self._selected.add(track)
        return Change(track, left)

    def _place_for(self, voice: _Voice, now: float) -> TrackSid | None:
        """Whose place a voice takes: that of the quietest who speaks, or rather of who does not."""
        if len(self._selected) < self.config.count:
            return None
        quietest = min(self._selected, key=lambda each: self._rank(each, now))
        speaks, loudness = self._rank(quietest, now)
        is_louder = voice.loudness >= loudness + self.config.margin
        return quietest if is_louder or not speaks else None

    def _rank(self, track: TrackSid, now: float) -> tuple[bool, float]:
        voice = self._voices[track]
        return now - voice.spoke <= self.config.hang, voice.at(now, self.config.release)


class Change(NamedTuple):
    """The selection after a packet."""

    entered: TrackSid
    left: TrackSid | None


class _Voice:
    """Loudness of one track, in dBov: up at once, down slowly."""

    __slots__ = ("loudness", "spoke")

    def __init__(self) -> None:
        self.loudness = -float(SILENCE)
        self.spoke = -inf

    def at(self, now: float, release: float) -> float:
        return max(self.loudness - (now - self.spoke) * release, -float(SILENCE))

    def hear(self, loudness: float, now: float, release: float) -> None:
        self.loudness = max(loudness, self.at(now, release))
        self.spoke = now
