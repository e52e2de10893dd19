"""One continuous numbering of a track's packets, whatever its publisher does. Pure.

A track's packets come from one stream, then from another (a new SSRC, another simulcast layer),
stop and go on. Subscribers see one stream without a seam: each packet gets an *number* that only
grows (their sequence numbers are the number plus a constant) and a timestamp that keeps up with the
wall clock.

Why the timestamp is set forward: the RTP time of a libwebrtc publisher stands still while nothing
is captured. A receiver then takes the first word after a silence for one that is late by the whole
silence, and plays it 400 to 700 ms later than it could.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple

from mulisa.wire.rtp import timestamp_delta

SILENCE: Final = 0.3
"""Seconds without a packet after which the timestamp is compared with the clock."""
_SLACK = 0.12
"""Seconds that the timestamp may lag behind the clock: jitter, and steps of 20 to 120 ms."""
_MAX_GAP = 3000
"""Packets: a wider gap in the sequence numbers is a new beginning (RFC 3550, A.1)."""
_MASK = 0xFFFFFFFF


class Place(NamedTuple):
    """Where a packet stands in its track."""

    number: int
    timestamp: int


class Timeline:
    """Places the packets of one track. `now` is seconds and never goes backwards."""

    __slots__ = (
        "_clock_rate",
        "_is_interrupted",
        "_is_spoken",
        "_newest_at",
        "_newest_timestamp",
        "_offset",
        "_shift",
        "_source",
        "first",
        "newest",
    )

    def __init__(self, clock_rate: int, *, is_spoken: bool) -> None:
        self._clock_rate = clock_rate
        self._is_spoken = is_spoken
        """Audio: only its time may stand still; a video frame must keep one timestamp."""
        self._source: Hashable = None
        self._shift = 0
        self._offset = 0
        self._is_interrupted = False
        self._newest_timestamp = 0
        self._newest_at = 0.0
        self.newest = -1
        """Number of the newest packet."""
        self.first = 0
        """Number of the first packet of this run; what is older cannot be placed any more."""

    def interrupt(self) -> None:
        """A new run begins with the next packet: what came before was not forwarded (muted)."""
        self._is_interrupted = True

    def timestamp_of(self, source: Hashable, timestamp: int) -> int | None:
        """A timestamp of a sender report in the track's time; None if another source is on."""
        return (timestamp + self._offset) & _MASK if source == self._source else None

    def place(self, source: Hashable, extended: int, timestamp: int, now: float) -> Place | None:
        """Place a packet by its source's numbers; None for one of before this run.

        A source gives each of its `extended` sequence numbers once.
        """
        if source != self._source:
            self._begin(source, extended, timestamp, now)
        number = extended + self._shift
        if number <= self.newest:
            late = (timestamp + self._offset) & _MASK
            return Place(number, late) if number >= self.first else None
        if number - self.newest > _MAX_GAP:
            self._shift -= number - self.newest - 1
            number = self.newest + 1
            self.first = number
        return self._place_next(number, timestamp, now)

    def _begin(self, source: Hashable, extended: int, timestamp: int, now: float) -> None:
        """Go on with another source right behind the newest packet."""
        self.first = self.newest + 1
        self._shift = self.first - extended
        if self._source is None:
            self._offset = 0
        else:
            passed = max(round((now - self._newest_at) * self._clock_rate), 1)
            self._offset = (self._newest_timestamp + passed - timestamp) & _MASK
        self._source = source
        self._is_interrupted = False

    def _place_next(self, number: int, timestamp: int, now: float) -> Place:
        placed = (timestamp + self._offset) & _MASK
        if self._is_interrupted:
            self.first = number
        if self.newest >= 0:
            advance = timestamp_delta(placed, self._newest_timestamp)
            forward = self._lag(advance, now)
            if forward > 0:
                self.first = number
                self._offset = (self._offset + forward) & _MASK
                placed = (placed + forward) & _MASK
        self._is_interrupted = False
        self.newest = number
        self._newest_timestamp = placed
        self._newest_at = now
        return Place(number, placed)

    def _lag(self, advance: int, now: float) -> int:
        """By how much to set the timestamp forward."""
        elapsed = now - self._newest_at
        passed = round(elapsed * self._clock_rate)
        if advance < 0:
            return passed - advance
        if not self._is_spoken or not (elapsed > SILENCE or self._is_interrupted):
            return 0
        return passed - advance if advance < passed - _SLACK * self._clock_rate else 0
