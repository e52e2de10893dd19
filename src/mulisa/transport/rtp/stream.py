"""One voice from one synchronisation source: packets in, timed sound out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from mulisa.core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples
from mulisa.transport.rtp.decoding import VoiceDecoder
from mulisa.transport.rtp.jitter import JitterBuffer, VoicePacket
from mulisa.transport.rtp.opus import OpusDecoder
from mulisa.wire.reception import Reception

Sound: TypeAlias = tuple[Samples, float]
"""Decoded audio (int16, 48 kHz, any length), and when its last sample was available."""


@dataclass(frozen=True, slots=True)
class StreamCounters:
    """What became of the packets of a voice."""

    lost: int = 0
    """Never came."""
    recovered: int = 0
    """Lost, or late, and taken from their successors (FEC)."""
    late: int = 0
    """Came after they were given up."""
    concealed: int = 0
    """Frames of 20 ms that were made up."""
    passed_on: int = 0
    delay: float = 0.0
    """Seconds that packets waited for others before them, in total."""

    @property
    def mean_delay(self) -> float:
        """Seconds from a packet's arrival until it was passed on."""
        return self.delay / self.passed_on if self.passed_on else 0.0

    def __add__(self, other: StreamCounters) -> StreamCounters:
        return StreamCounters(
            self.lost + other.lost,
            self.recovered + other.recovered,
            self.late + other.late,
            self.concealed + other.concealed,
            self.passed_on + other.passed_on,
            self.delay + other.delay,
        )


class VoiceStream:
    """Call `receive` for each packet, and `expire` at `deadline`. `now` never goes backwards."""

    def __init__(self, ssrc: int, sequence: int) -> None:
        """`sequence` is that of the first packet."""
        self.ssrc = ssrc
        self.said_bye = False
        """The source has announced its end (RFC 3550, 6.6)."""
        self.reception = Reception(SAMPLE_RATE_HZ, sequence)
        """For the reports to the sender."""
        self._jitter = JitterBuffer()
        self._decoder = VoiceDecoder(OpusDecoder())
        self._lost_before = 0
        self._passed_on = 0
        self._delay = 0.0

    @property
    def deadline(self) -> float | None:
        """When to call `expire`, if nothing comes before."""
        return self._jitter.deadline

    @property
    def is_garbled(self) -> bool:
        """Nothing of what came in the last second can be decoded."""
        return self._decoder.is_garbled

    def receive(self, sequence: int, timestamp: int, payload: bytes, now: float) -> list[Sound]:
        """A packet came: what can be heard now."""
        if self._jitter.is_near(sequence):
            self.reception.receive(sequence, timestamp, now)
        return self._hear(self._jitter.receive(sequence, timestamp, payload, now), now)

    def expire(self, now: float) -> list[Sound]:
        """What was waited for in vain is given up."""
        return self._hear(self._jitter.expire(now), now)

    def flush(self, now: float) -> list[Sound]:
        """Nothing more is waited for."""
        return self._hear(self._jitter.flush(), now)

    def counters(self) -> StreamCounters:
        """So far."""
        return StreamCounters(
            self._lost_before + self.reception.lost,
            self._decoder.recovered,
            self._jitter.late,
            self._decoder.concealed // FRAME_SAMPLES,
            self._passed_on,
            self._delay,
        )

    def _hear(self, packets: Iterable[VoicePacket], now: float) -> list[Sound]:
        """What was missing is dated back, as if it had come in time."""
        sounds: list[Sound] = []
        for packet in packets:
            if packet.restarts and self._passed_on:
                self._lost_before += self.reception.lost
                self.reception = Reception(SAMPLE_RATE_HZ, packet.sequence)
                self.reception.receive(packet.sequence, packet.timestamp, now)
            self._passed_on += 1
            self._delay += now - packet.arrived_at
            pieces = list(self._decoder.hear(packet, now))
            missing = sum(map(len, pieces))
            for piece in pieces:
                missing -= len(piece)
                sounds.append((piece, now - missing / SAMPLE_RATE_HZ))
        return sounds
