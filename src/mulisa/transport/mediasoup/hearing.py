"""How one participant is heard: their consumers, of which one is decoded, and what was counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mulisa.core.transport import SubscriptionStats
from mulisa.transport.mediasoup.parameters import OPUS, RtpParameters
from mulisa.transport.rtp.stream import StreamCounters, VoiceStream
from mulisa.transport.subscription import Subscription
from mulisa.wire.rtcp import ReceiverReport, SenderReport

REPORTS_OF: Final = 1
"""SSRC under which we report: we send nothing on the transport that we receive on."""


@dataclass(slots=True)
class Consumer:
    """A voice that the server can send us."""

    id: str
    ssrc: int
    payload_type: int
    muted: bool
    is_taken: bool = False
    """The server sends it, or was asked to."""

    @classmethod
    def of(cls, consumer: str, parameters: RtpParameters, *, muted: bool) -> Consumer | None:
        """None if it is not Opus."""
        codec = parameters.codecs[0]
        if codec.mime_type != OPUS:
            return None
        return cls(consumer, parameters.encodings[0].ssrc, codec.payload_type, muted)


class Ear:
    """Decodes one consumer from the moment it is wanted until it is not."""

    def __init__(self, consumer: Consumer, on_garbage: Callable[[], None]) -> None:
        """`on_garbage` is called once when nothing of what comes can be decoded."""
        self.consumer = consumer
        self.subscription = Subscription()
        self._on_garbage = on_garbage
        self._stream: VoiceStream | None = None
        self._timer: asyncio.TimerHandle | None = None

    def receive(self, sequence: int, timestamp: int, payload: bytes, now: float) -> None:
        """A packet came."""
        stream = self._stream
        if stream is None:
            stream = self._stream = VoiceStream(self.consumer.ssrc, sequence)
        for samples, at in stream.receive(sequence, timestamp, payload, now):
            self.subscription.push(samples, at)
        self._arm(stream)
        if stream.is_garbled:
            self._on_garbage()

    def receive_report(self, report: SenderReport, now: float) -> None:
        """The server told of the stream."""
        if self._stream is not None and report.ssrc == self.consumer.ssrc:
            self._stream.reception.receive_report(report, now)

    def report(self, now: float) -> ReceiverReport | None:
        """What to tell the server; None if nothing came since the last one."""
        stream = self._stream
        if stream is None or not stream.reception.is_news:
            return None
        return ReceiverReport(REPORTS_OF, (stream.reception.report(stream.ssrc, now),))

    def counters(self) -> StreamCounters:
        """So far."""
        return self._stream.counters() if self._stream else StreamCounters()

    def close(self) -> None:
        """Decode no more; the frames end. Idempotent."""
        self._cancel()
        self.subscription.close()

    def _arm(self, stream: VoiceStream) -> None:
        """While packets wait behind a gap, wake up when it is given up."""
        self._cancel()
        if (deadline := stream.deadline) is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._expire, stream)

    def _expire(self, stream: VoiceStream) -> None:
        for samples, at in stream.expire(asyncio.get_running_loop().time()):
            self.subscription.push(samples, at)
        self._arm(stream)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Hearing:
    """Of one participant, through all their stays and ours: the newest of their voices is heard."""

    def __init__(self) -> None:
        self.consumers: dict[str, Consumer] = {}
        """Of the present connection, oldest first."""
        self.ear: Ear | None = None
        self.packets = 0
        """That came, whether or not anybody listened."""
        self._before = StreamCounters()
        self._frames_before = self._dropped_before = 0

    @property
    def newest(self) -> Consumer | None:
        """The one to hear, if any."""
        return next(reversed(self.consumers.values()), None)

    @property
    def muted(self) -> bool:
        """There is nothing to be heard of them now."""
        return all(each.muted for each in self.consumers.values())

    def open(self, consumer: Consumer, on_garbage: Callable[[], None]) -> None:
        """Decode this one."""
        assert self.ear is None, "close the former one first"
        self.ear = Ear(consumer, on_garbage)

    def close(self) -> bool:
        """Decode nothing. True if something was decoded."""
        ear, self.ear = self.ear, None
        if ear is None:
            return False
        ear.close()
        self._before += ear.counters()
        self._frames_before += ear.subscription.frames_received
        self._dropped_before += ear.subscription.frames_dropped
        return True

    def stats(self) -> SubscriptionStats:
        """Of all their connections so far."""
        counters, frames, dropped = self._before, self._frames_before, self._dropped_before
        if self.ear is not None:
            counters = counters + self.ear.counters()
            frames += self.ear.subscription.frames_received
            dropped += self.ear.subscription.frames_dropped
        return SubscriptionStats(
            frames,
            dropped,
            counters.lost,
            self.packets,
            counters.recovered,
            counters.late,
            counters.concealed,
            counters.mean_delay,
        )
