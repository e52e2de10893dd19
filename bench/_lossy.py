"""A voice over a bad network, in virtual time: the same packets are lost and late for everybody."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Protocol

import av
import numpy as np
from aiortc.codecs.opus import OpusDecoder as StockDecoder
from aiortc.jitterbuffer import JitterBuffer as StockJitterBuffer
from aiortc.rtp import RtpPacket

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples
from mulisa.transport.rtp.jitter import VoicePacket
from mulisa.transport.rtp.stream import Sound, VoiceStream

BURST: Final = 3.0
"""Packets in a row that a burst takes on average."""
_SSRC = 1


@dataclass(frozen=True)
class Network:
    """A path that loses `loss` of the packets, and holds the others up for up to `jitter`."""

    loss: float = 0.0
    bursty: bool = False
    jitter: float = 0.0
    """Seconds, evenly distributed; packets overtake each other."""

    def __str__(self) -> str:
        kind = "in bursts" if self.bursty else "at random"
        loss = f"{self.loss:.0%} {kind}" if self.loss else "no loss"
        return f"{loss}, jitter {self.jitter * 1000:.0f} ms"

    def delays(self, seed: int) -> Iterator[float | None]:
        """For one packet after the other: seconds that it takes longer, None if it is lost."""
        chance = random.Random(seed)
        leave = 1 / BURST
        enter = self.loss / (1 - self.loss) * leave
        is_bad = False
        while True:
            if self.bursty:
                is_bad = chance.random() < (1 - leave if is_bad else enter)
            else:
                is_bad = chance.random() < self.loss
            late = chance.random() * self.jitter
            yield None if is_bad else late


class Buffer(Protocol):
    """What is between packets and frames."""

    delays: list[float]
    """Seconds from a packet's arrival until its sound came out."""

    @property
    def deadline(self) -> float | None: ...
    def receive(self, sequence: int, timestamp: int, payload: bytes, now: float) -> list[Sound]: ...
    def expire(self, now: float) -> list[Sound]: ...


class Ours(VoiceStream):
    """What her ear has."""

    def __init__(self, ssrc: int = _SSRC, sequence: int = 0) -> None:
        super().__init__(ssrc, sequence)
        self.delays: list[float] = []

    def _hear(self, packets: Sequence[VoicePacket], now: float) -> list[Sound]:  # type: ignore[override]
        packets = list(packets)
        self.delays += [now - packet.arrived_at for packet in packets]
        return super()._hear(packets, now)


class Stock(VoiceStream):
    """What aiortc's receiver has, without its thread."""

    def __init__(self, ssrc: int = _SSRC, sequence: int = 0) -> None:
        super().__init__(ssrc, sequence)
        self.delays: list[float] = []
        self._buffer = StockJitterBuffer(capacity=16, prefetch=4)
        self._stock = StockDecoder()
        self._arrived: dict[int, float] = {}

    @property
    def deadline(self) -> float | None:
        """It never waits for time."""
        return None

    def receive(self, sequence: int, timestamp: int, payload: bytes, now: float) -> list[Sound]:
        """At most one packet comes out for one that goes in."""
        self.reception.receive(sequence, timestamp, now)
        packet = RtpPacket(payload_type=96, sequence_number=sequence, timestamp=timestamp)
        packet._data = payload  # type: ignore[attr-defined]
        self._arrived[timestamp] = now
        _, ready = self._buffer.add(packet)
        if ready is None:
            return []
        self.delays.append(now - self._arrived.pop(ready.timestamp))
        frames = self._stock.decode(ready)
        return [
            (each.to_ndarray().reshape(-1, 2)[:, 0].astype(np.int16), now)
            for each in frames
            if isinstance(each, av.AudioFrame)
        ]

    def expire(self, now: float) -> list[Sound]:
        """Nothing is given up for being late."""
        return []


def encode(samples: Samples, expected_loss: float | None) -> list[bytes]:
    """Opus as a browser sends a voice; with in-band FEC if a loss is expected."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.bit_rate, encoder.sample_rate = 32_000, SAMPLE_RATE_HZ
    encoder.format, encoder.layout = av.AudioFormat("s16"), av.AudioLayout("mono")
    encoder.time_base = Fraction(1, SAMPLE_RATE_HZ)
    encoder.options = {"application": "voip", "compression_level": "9", "frame_duration": "20"}
    if expected_loss is not None:
        encoder.options |= {"fec": "1", "packet_loss": str(round(100 * expected_loss))}
    payloads: list[bytes] = []
    for number, part in enumerate(samples.reshape(-1, FRAME_SAMPLES)):
        frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, number * FRAME_SAMPLES
        payloads += map(bytes, encoder.encode(frame))
    return payloads


def play(payloads: Sequence[bytes], network: Network, seed: int, buffer: Buffer) -> Samples:
    """What comes out of the buffer, joined."""
    arrivals: list[tuple[float, int]] = []
    for number, (_, late) in enumerate(zip(payloads, network.delays(seed), strict=False)):
        if late is not None:
            heapq.heappush(arrivals, (number * FRAME_DURATION + late, number))
    heard: list[Samples] = [np.empty(0, dtype=np.int16)]
    while arrivals:
        now, number = heapq.heappop(arrivals)
        while (deadline := buffer.deadline) is not None and deadline < now:
            heard += [samples for samples, _ in buffer.expire(deadline)]
        sounds = buffer.receive(number, number * FRAME_SAMPLES, payloads[number], now)
        heard += [samples for samples, _ in sounds]
    return np.concatenate(heard)
