"""One track as one subscriber gets it: its own numbers, and what it says about their arrival.

Every subscription's sequence numbers are the track's number plus a constant, its timestamps the
track's plus a constant. The first constant changes while nothing is forwarded (paused, muted, not
among the loudest), so that the subscriber sees no gap; the second never does, because a track's
time goes on meanwhile. Pure.
"""

from __future__ import annotations

from secrets import randbits
from typing import Final

from mulisa.sfu.media import AUDIO_LEVEL, DEPENDENCY_DESCRIPTOR, Codec, Outbound
from mulisa.wire.rtcp import ReportBlock, SenderReport
from mulisa.wire.rtp import MAX_EXTENSION_ID, sequence_delta

RESENDS: Final = 64
"""Packets that a subscriber may ask for again at once, and per second."""
CURRENT: Final = 15.0
"""Seconds for which a report counts: clients send one every 5 s or so."""
_MASK = 0xFFFFFFFF


class Subscription:
    """Numbers and counters. Whether packets are forwarded now is its fanout's decision."""

    __slots__ = (
        "_loss",
        "_loss_at",
        "_next",
        "_report",
        "_report_at",
        "_resends",
        "_resends_at",
        "codecs",
        "descriptor_id",
        "first",
        "is_paused",
        "last",
        "level_id",
        "octets",
        "offset",
        "outbound",
        "packets",
        "revision",
        "round_trip",
        "shift",
    )

    def __init__(self, outbound: Outbound) -> None:
        self.is_paused = False
        self.revision = 0
        """Grows when its packets begin to look different, or go another way."""
        self.first: int | None = None
        """Number of the first packet since it is forwarded again; None while it is not."""
        self.last = -1
        """Number of the newest packet when forwarding stopped."""
        self._next = randbits(15)  # the upper half is left out as RFC 3711, 3.3.1 advises
        self.shift = 0
        """A packet's sequence number is its number plus this modulo 2^16."""
        self.offset = randbits(32)
        self.packets = self.octets = 0
        """Sent, payload only."""
        self._loss = 0.0
        self._loss_at = 0.0
        self.round_trip = 0.0
        """Seconds, 0 while it is unknown."""
        self._report = 0
        self._report_at = 0.0
        self._resends, self._resends_at = RESENDS, 0.0
        self.describe(outbound)

    def describe(self, outbound: Outbound) -> None:
        """Take what was negotiated. Packets of before are not sent again: they looked different."""
        self.outbound = outbound
        self.revision += 1
        self.codecs: dict[str, Codec] = {codec.name: codec for codec in outbound.codecs}
        self.level_id = _short_id(outbound, AUDIO_LEVEL)
        """Id of the level in packets to the subscriber, 0 if it takes none."""
        self.descriptor_id = _short_id(outbound, DEPENDENCY_DESCRIPTOR)
        """The same of the dependency descriptor."""

    def takes(self, codec: str) -> bool:
        """True if it can be sent packets of that codec; RED is stripped for who takes opus only."""
        return ("opus" if codec == "red" else codec) in self.codecs

    def begin(self, first: int) -> None:
        """Forward again from the packet with that number on."""
        self.first = first
        self.revision += 1
        self.shift = self._next - first

    def end(self, newest: int) -> None:
        """Stop behind the track's newest packet."""
        if self.first is not None:
            self.last = max(newest, self.first - 1)
            self._next = self.last + 1 + self.shift
            self.first = None

    def number_of(self, sequence: int, newest: int) -> int | None:
        """The track's number of a packet that was sent with that number since `begin`."""
        if self.first is None:
            return None
        number = newest + sequence_delta(sequence, newest + self.shift)
        return number if self.first <= number <= newest else None

    def may_resend(self, now: float) -> bool:
        """Take one from a budget, so that requests cannot keep the server busy."""
        refill = int((now - self._resends_at) * RESENDS)
        if refill:
            self._resends = min(self._resends + refill, RESENDS)
            self._resends_at = now
        if self._resends == 0:
            return False
        self._resends -= 1
        return True

    def sender_report(self, ntp: int, timestamp: int, now: float) -> SenderReport:
        """The publisher's report as the subscriber must read it; `timestamp` is the track's."""
        self._report, self._report_at = ntp >> 16 & _MASK, now
        ssrc = self.outbound.ssrc
        mine = (timestamp + self.offset) & _MASK
        return SenderReport(ssrc, ntp, mine, self.packets & _MASK, self.octets & _MASK)

    def loss(self, now: float) -> float:
        """Share that the subscriber missed lately, by its own reports: 0 to 1."""
        return self._loss if now - self._loss_at <= CURRENT else 0.0

    def receive_report(self, block: ReportBlock, now: float) -> None:
        """What the subscriber says of its reception (round-trip time: RFC 3550, 6.4.1)."""
        self._loss, self._loss_at = block.fraction_lost / 256, now
        if block.last_report and block.last_report == self._report:
            self.round_trip = max(now - self._report_at - block.delay / 65536, 0.0)


def _short_id(outbound: Outbound, uri: str) -> int:
    """The subscriber's id of a header extension; 0 for none that the one-byte form can have."""
    number = outbound.extensions.get(uri, 0)
    return number if number <= MAX_EXTENSION_ID else 0
