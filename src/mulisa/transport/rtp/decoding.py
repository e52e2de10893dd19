"""Makes sound of the packets of one voice, also of those that did not come.

What is missing between two packets is told by their timestamps. The last piece of it is taken from
the copy in the next packet (in-band FEC), if that has one; what is before it is concealed. A gap
that is long is not filled: whoever hears the frames sees by their times that there was one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from mulisa.core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from mulisa.transport.rtp.jitter import VoicePacket
from mulisa.transport.rtp.opus import GRAIN_SAMPLES, OpusDecoder
from mulisa.wire.rtp import timestamp_delta

logger = logging.getLogger(__name__)

MAX_CONCEALED: Final = round(0.1 * SAMPLE_RATE_HZ)
"""Samples at the beginning of a gap; what Opus makes up after that is noise."""
MAX_FILLED: Final = round(0.5 * SAMPLE_RATE_HZ)
"""Samples by which a gap is filled, the rest of them with silence."""
HEAD_START: Final = round(2.0 * SAMPLE_RATE_HZ)
"""Samples that may come faster than time passes, as after a stall of network or event loop."""

MAX_GARBLED: Final = 50
"""So many packets in a row that are not Opus are not a mishap any more."""


class VoiceDecoder:
    """One stream: give it packets in order.

    A sender cannot make us decode more than it could speak: what is beyond `HEAD_START` and
    `PACE` times real time is dropped.
    """

    PACE: Final = 1.25

    def __init__(self, opus: OpusDecoder) -> None:
        self.recovered = 0
        """Packets that were lost and made good by FEC."""
        self.concealed = 0
        """Samples that were made up for lost packets."""
        self._opus = opus
        self._expected: int | None = None
        """Timestamp at which the next packet begins if nothing is missing."""
        self._allowance = float(HEAD_START)
        self._allowed_at: float | None = None
        self._garbled = 0

    @property
    def is_garbled(self) -> bool:
        """Nothing of what came in the last second can be decoded."""
        return self._garbled >= MAX_GARBLED

    def hear(self, packet: VoicePacket, now: float) -> Iterator[Samples]:
        """What was missing before the packet, and what it holds: int16, any length, 48 kHz."""
        try:
            duration = self._opus.duration(packet.payload)
        except ValueError:
            self._complain(packet)
            return
        gap = self._gap(packet)
        if not self._affords(duration + gap, now):
            self._expected = None
            return
        self._expected = packet.timestamp + duration
        if gap:
            yield from self._fill(packet, gap)
        try:
            yield self._opus.decode(packet.payload)
            self._garbled = 0
        except ValueError:
            self._complain(packet)
            yield self._conceal(duration)

    def _gap(self, packet: VoicePacket) -> int:
        """Samples to fill before the packet."""
        if packet.restarts or self._expected is None:
            return 0
        missing = timestamp_delta(packet.timestamp, self._expected & 0xFFFFFFFF)
        return min(max(missing, 0), MAX_FILLED) // GRAIN_SAMPLES * GRAIN_SAMPLES

    def _fill(self, packet: VoicePacket, gap: int) -> Iterator[Samples]:
        """Without a lost packet the sender was silent (DTX), and Opus makes comfort noise."""
        copied = self._opus.copied(packet.payload) if packet.lost else 0
        copied = copied if copied <= gap else 0
        made_up = min(gap - copied, MAX_CONCEALED)
        if packet.lost:
            self.recovered += copied > 0
            self.concealed += gap - copied
        for start in range(0, made_up, FRAME_SAMPLES):
            yield self._opus.conceal(min(FRAME_SAMPLES, made_up - start))
        if gap > made_up + copied:
            yield silence(gap - made_up - copied)
        if copied:
            yield self._opus.recover(packet.payload, copied)

    def _conceal(self, n_samples: int) -> Samples:
        self.concealed += n_samples
        return self._opus.conceal(n_samples)

    def _affords(self, n_samples: int, now: float) -> bool:
        passed = now - self._allowed_at if self._allowed_at is not None else 0.0
        self._allowed_at = now
        earned = passed * SAMPLE_RATE_HZ * self.PACE
        self._allowance = min(self._allowance + earned, float(HEAD_START))
        if n_samples > self._allowance:
            return False
        self._allowance -= n_samples
        return True

    def _complain(self, packet: VoicePacket) -> None:
        self._garbled += 1
        if self._garbled == MAX_GARBLED:
            logger.warning("a voice cannot be decoded; it begins with %s", packet.payload[:8].hex())
