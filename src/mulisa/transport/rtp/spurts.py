"""Talk spurts: frames of a voice as Opus packets with the RTP time of a voice that is often silent.

Opus predicts each packet from those before and looks 6.5 ms ahead, so an encoder that spoke to one
person would carry something of it into the first packet for everybody. Each voice that different
people may hear therefore has an encoder of its own; the clock they share, for on a connection
their packets are one RTP stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from fractions import Fraction
from typing import Final, TypeAlias

import av

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence

BIT_RATE: Final = 32_000
EXPECTED_LOSS_PERCENT: Final = 10
COMPLEXITY: Final = 5
"""Half the CPU of 10 (156 instead of 311 us a frame); speech sounds the same."""

GAP: Final = 3 * FRAME_DURATION
"""A frame that is later than this begins a new talk spurt; anything less is jitter."""
TAIL_AFTER: Final = 2 * FRAME_DURATION
"""By how much a frame is late when the talk spurt is taken for ended."""
TAIL_FRAMES: Final = 5

_TIME_BASE: Final = Fraction(1, SAMPLE_RATE_HZ)

VoicePacket: TypeAlias = "av.Packet[av.AudioStream]"


class SpeechClock:
    """RTP time of the frames of a voice that is often silent (RFC 3550, 5.1; RFC 7587, 4.1).

    Pure. Time passes in silence, too: after a gap the timestamps have advanced by as much as the
    clock has, so a jitter buffer sees a pause and not packets that are late. Within a talk spurt
    they advance by one frame, whatever the jitter of our pacing.
    """

    def __init__(self) -> None:
        self._next_pts = 0
        self._due_at: float | None = None

    def stamp(self, now: float) -> int:
        """Timestamp, in samples, of the frame that is sent now."""
        if self._due_at is None:
            self._due_at = now
        late = now - self._due_at
        if late > GAP:
            skipped = round(late / FRAME_DURATION)
            self._next_pts += skipped * FRAME_SAMPLES
            self._due_at += skipped * FRAME_DURATION
        pts = self._next_pts
        self._next_pts += FRAME_SAMPLES
        self._due_at += FRAME_DURATION
        return pts


class TalkSpurts:
    """One encoder and what comes out of it.

    A talk spurt ends in `TAIL_FRAMES` of silence which nobody asked for: they push the encoder's
    look-ahead (6.5 ms) out, so it does not begin the next one, and give the listeners' concealment
    silence to extrapolate from, where it would prolong a cut word by 100 ms.
    """

    def __init__(self, clock: SpeechClock, send: Callable[[VoicePacket], None]) -> None:
        self._clock = clock
        self._send = send
        self._encoder = _opus_encoder()
        self._tail: asyncio.TimerHandle | None = None
        self.frames_encoded = 0

    def speak(self, samples: Samples) -> None:
        """Encode 20 ms (int16, shape (960,), 48 kHz) and send them now."""
        if samples.shape != (FRAME_SAMPLES,):
            raise ValueError(f"a frame has shape ({FRAME_SAMPLES},), not {samples.shape}")
        self._cancel_tail()
        loop = asyncio.get_running_loop()
        self._emit(samples, loop.time())
        self._tail = loop.call_later(2 * FRAME_DURATION, self._expect_tail)

    def end(self) -> None:
        """End the talk spurt now rather than when its next frame is late. Idempotent."""
        if self._tail is not None:
            self._tail.cancel()
            self._emit_tail()

    def close(self) -> None:
        """Send no more, not even the end of this talk spurt. Idempotent."""
        self._cancel_tail()

    def _emit(self, samples: Samples, now: float) -> None:
        pts = self._clock.stamp(now)
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        frame.pts = self.frames_encoded * FRAME_SAMPLES
        self.frames_encoded += 1
        for packet in self._encoder.encode(frame):
            packet.pts = pts
            packet.time_base = _TIME_BASE
            self._send(packet)

    def _expect_tail(self) -> None:
        """The next frame is late. After a stall of the loop it comes now, so wait once more."""
        loop = asyncio.get_running_loop()
        self._tail = loop.call_later(TAIL_AFTER - FRAME_DURATION, self._emit_tail)

    def _emit_tail(self) -> None:
        """All at once: they are as late as their number, so the jitter buffer has room for them."""
        self._tail = None
        now = asyncio.get_running_loop().time()
        for _ in range(TAIL_FRAMES):
            self._emit(silence(), now)

    def _cancel_tail(self) -> None:
        if self._tail is not None:
            self._tail.cancel()
            self._tail = None


def _opus_encoder() -> av.AudioCodecContext:
    """Opus as RFC 7587 calls speech: mono, 20 ms, in-band FEC sized for some loss."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.bit_rate = BIT_RATE
    encoder.format = av.AudioFormat("s16")
    encoder.layout = av.AudioLayout("mono")
    encoder.sample_rate = SAMPLE_RATE_HZ
    encoder.time_base = _TIME_BASE
    encoder.options = {
        "application": "voip",
        "compression_level": str(COMPLEXITY),
        "fec": "1",
        "frame_duration": "20",
        "packet_loss": str(EXPECTED_LOSS_PERCENT),
    }
    return encoder
