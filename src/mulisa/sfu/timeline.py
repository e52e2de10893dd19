"""One continuous numbering of a track's packets, whatever its publisher does. Pure.

A track's packets come from one stream, then from another (a new SSRC, another simulcast layer),
stop and go on. Subscribers see one stream without a seam: each packet gets an *number* that only
grows (their sequence numbers are the number plus a constant) and a timestamp that keeps up with the
wall clock.

The timestamp of audio is set forward after a silence in which the publisher's RTP time stood still;
`Lateness` says by how much, and why.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple

from mulisa.sfu.lateness import Lateness
from mulisa.wire.rtp import timestamp_delta

SILENCE: Final = 0.1
"""Seconds without a packet after which the timestamp is compared with the clock."""
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
        "_lateness",
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
        self._lateness = Lateness(clock_rate) if is_spoken else None
        """Of audio: only its time may stand still; a video frame must keep one timestamp."""
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
            self._newest_timestamp = timestamp
            self._newest_at = now
        else:
            passed = max(round((now - self._newest_at) * self._clock_rate), 1)
            self._offset = (self._newest_timestamp + passed - timestamp) & _MASK
        self._source = source
        self._is_interrupted = False

    def _place_next(self, number: int, timestamp: int, now: float) -> Place:
        placed = (timestamp + self._offset) & _MASK
        forward = self._lag(timestamp_delta(placed, self._newest_timestamp), now)
        if forward:
            self._offset = (self._offset + forward) & _MASK
            placed = (placed + forward) & _MASK
        if forward or self._is_interrupted:
            self.first = number
            self._is_interrupted = False
        self.newest = number
        self._newest_timestamp = placed
        self._newest_at = now
        return Place(number, placed)

    def _lag(self, advance: int, now: float) -> int:
        """By how much to set the timestamp forward."""
        elapsed = now - self._newest_at
        drift = round(elapsed * self._clock_rate) - advance
        lateness = self._lateness
        forward = 0
        if advance < 0:
            forward = drift
        elif lateness is not None and (elapsed > SILENCE or self._is_interrupted):
            forward = lateness.of_silence(drift, now)
        if lateness is not None:
            lateness.note(drift - forward, now)
        return forward
