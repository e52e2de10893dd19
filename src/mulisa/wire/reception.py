"""What arrived of one stream and what did not: sequence cycles, loss, jitter, reports. Pure.

RFC 3550, 6.4.1 and appendix A.3 and A.8.
"""

from __future__ import annotations

from typing import Final

from mulisa.wire.rtcp import ReportBlock, SenderReport
from mulisa.wire.rtp import sequence_delta

GIVE_UP: Final = 0.5
"""Seconds after which a missing packet is not asked for any more."""
CURRENT: Final = 5.0
"""Seconds without a packet after which a stream's loss says nothing any more."""
_RETRY = 0.06
"""Seconds between two requests for the same packet."""
_MAX_MISSING = 256
"""More than that is an interruption, not loss: nobody mends it packet by packet."""


class Reception:
    """Counts one stream. `now` is seconds on a monotonic clock and never goes backwards."""

    __slots__ = (
        "_clock_rate",
        "_expected_before",
        "_first",
        "_fraction_lost",
        "_jitter",
        "_missing",
        "_next_request",
        "_received_before",
        "_report",
        "_report_at",
        "_transit",
        "heard",
        "highest",
        "received",
    )

    def __init__(self, clock_rate: int, sequence: int) -> None:
        self._clock_rate = clock_rate
        self._first = sequence
        self.highest = sequence - 1
        """Extended sequence number of the newest packet."""
        self.received = 0
        self.heard = 0.0
        """When the newest packet came."""
        self._fraction_lost = 0.0
        self._jitter = 0.0
        self._transit: float | None = None
        self._missing: dict[int, tuple[float, float]] = {}
        """By extended sequence number: since when, and when to ask for it next."""
        self._next_request = 0.0
        self._expected_before = self._received_before = 0
        self._report = 0
        self._report_at = 0.0

    def receive(self, sequence: int, timestamp: int, now: float) -> int | None:
        """The packet's extended sequence number; None if it came before, or too late to matter."""
        ahead = sequence_delta(sequence, self.highest)
        if ahead <= 0:
            return self._receive_late(self.highest + ahead)
        if ahead > 1:
            self._miss(self.highest + 1, self.highest + ahead, now)
        self.highest += ahead
        self.received += 1
        self.heard = now
        self._measure_jitter(timestamp, now)
        return self.highest

    def _receive_late(self, extended: int) -> int | None:
        """Only what is missing may still come: no packet is forwarded twice."""
        if self._missing.pop(extended, None) is None:
            return None
        self.received += 1
        return extended

    def _miss(self, start: int, end: int, now: float) -> None:
        if end - start > _MAX_MISSING:
            self._missing.clear()
            return
        for extended in range(start, end):
            self._missing[extended] = (now, now)
        while len(self._missing) > _MAX_MISSING:
            del self._missing[next(iter(self._missing))]
        self._next_request = now

    def _measure_jitter(self, timestamp: int, now: float) -> None:
        transit = now * self._clock_rate - timestamp
        if self._transit is not None:
            difference = abs(transit - self._transit)
            if difference < self._clock_rate:  # else the timestamps began anew, or wrapped
                self._jitter += (difference - self._jitter) / 16
        self._transit = transit

    @property
    def has_missing(self) -> bool:
        """True while there may be something to ask for."""
        return bool(self._missing)

    @property
    def is_news(self) -> bool:
        """True if anything came since the last report."""
        return self.received > self._received_before

    def requests(self, now: float) -> list[int]:
        """Sequence numbers to ask the sender for now, oldest first; none if it is too early."""
        if now < self._next_request:
            return []
        self._next_request = now + _RETRY
        self._forget(now - GIVE_UP)
        due = [extended for extended, (_, at) in self._missing.items() if at <= now]
        for extended in due:
            self._missing[extended] = (self._missing[extended][0], now + _RETRY)
        return [extended & 0xFFFF for extended in due]

    def _forget(self, before: float) -> None:
        for extended in [each for each, (since, _) in self._missing.items() if since < before]:
            del self._missing[extended]

    @property
    def lost(self) -> int:
        """Packets that have not come so far."""
        return max(self.highest - self._first + 1 - self.received, 0)

    def receive_report(self, report: SenderReport, now: float) -> None:
        """Remember a report of the sender, which the next block refers to."""
        self._report = report.ntp >> 16 & 0xFFFFFFFF
        self._report_at = now

    def loss(self, now: float) -> float:
        """Share lost between the last two reports, 0 to 1; none of a stream that fell silent."""
        return self._fraction_lost if now - self.heard <= CURRENT else 0.0

    def report(self, ssrc: int, now: float) -> ReportBlock:
        """What to tell the sender about the time since the last call."""
        self._forget(now - 2 * GIVE_UP)
        expected = self.highest - self._first + 1
        expected_now = expected - self._expected_before
        lost_now = expected_now - (self.received - self._received_before)
        self._expected_before, self._received_before = expected, self.received
        self._fraction_lost = min(max(lost_now / expected_now, 0.0), 1.0) if expected_now else 0.0
        return ReportBlock(
            ssrc,
            min(int(self._fraction_lost * 256), 255),
            expected - self.received,
            self.highest & 0xFFFFFFFF,
            int(self._jitter),
            self._report,
            int((now - self._report_at) * 65536) & 0xFFFFFFFF if self._report else 0,
        )
