"""Speaks: resamples what was synthesised and sends it, one frame per 20 ms."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import soxr  # type: ignore[import-untyped]

from mulisa.agent.playout import PlayoutPosition, PlayoutQueue
from mulisa.core.audio import FRAME_DURATION, SAMPLE_RATE_HZ, Samples
from mulisa.core.transport import SendFrame

__all__ = ["Mouth", "MouthConfig", "Playout", "PlayoutPosition"]

CATCH_UP: Final = 2 * FRAME_DURATION
"""A loop that wakes later than this skips the rest, so no burst is longer than 3 frames."""


SLICE: Final = 0.2
"""Seconds of audio that are resampled at a time: about 0.5 ms on the event loop."""


@dataclass(frozen=True, slots=True)
class MouthConfig:
    """Pacing; seconds."""

    max_queued: float = 10.0
    """With more than this in the playout queue, `Playout.write` waits."""


class Playout:
    """One reply on its way out. Made by `Mouth.begin`."""

    def __init__(
        self, config: MouthConfig, changed: Callable[[], None], send: SendFrame | None = None
    ) -> None:
        """`send` is where it goes; None while that is not known: nothing is sent before `open`."""
        self._send = send
        self._queue = PlayoutQueue()
        self._resampler = _Upsampler()
        self._max_queued = round(config.max_queued * SAMPLE_RATE_HZ)
        self._changed = changed
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._started_or_ended = asyncio.Event()
        self._ended = asyncio.Event()
        self._first_frame_sent_at: float | None = None
        self._position: PlayoutPosition | None = None

    @property
    def first_frame_sent_at(self) -> float | None:
        """Seconds on the loop's clock; None before."""
        return self._first_frame_sent_at

    @property
    def ended(self) -> bool:
        """Drained or flushed."""
        return self._position is not None

    def position(self) -> PlayoutPosition:
        """How much was sent so far; final once ended."""
        return self._position or self._queue.position()

    def open(self, send: SendFrame) -> None:
        """From now on it is spoken, and to whom: the way to one person only, for a whisper."""
        self._send = send
        self._changed()

    def segment(self, text: str) -> None:
        """What is written from now on speaks `text`."""
        self._queue.write(self._resampler.end())
        self._queue.segment(text)
        self._changed()

    def extend(self, text: str) -> None:
        """The speech since the last `segment`, and what is written from now on, says this, too."""
        self._queue.extend(text)
        self._changed()

    def cut_text(self) -> str:
        """No more audio of this segment comes: the words that it does not say, which are gone."""
        self._queue.write(self._resampler.end())
        return self._queue.cut_text()

    @property
    def queued(self) -> float:
        """Seconds of audio that wait to be sent."""
        return self._queue.queued_samples / SAMPLE_RATE_HZ

    async def write(self, samples: Samples, rate_hz: int) -> None:
        """Queue synthesised audio (int16 mono, any length).

        Waits while more than `MouthConfig.max_queued` is queued. Does nothing once ended.
        """
        size = round(rate_hz * SLICE)
        for start in range(0, len(samples), size):
            if start:
                await asyncio.sleep(0)
            await self._has_room.wait()
            if self.ended:
                return
            self._write_slice(samples[start : start + size], rate_hz)

    def _write_slice(self, samples: Samples, rate_hz: int) -> None:
        self._queue.write(self._resampler.push(samples, rate_hz))
        if self._queue.queued_samples > self._max_queued:
            self._has_room.clear()
        self._changed()

    def finish(self) -> None:
        """All is written. Idempotent."""
        self._queue.write(self._resampler.end())
        self._queue.finish()
        self._changed()

    async def wait_started(self) -> float | None:
        """Wait for the first frame; when it was sent. None if the reply ended without any."""
        await self._started_or_ended.wait()
        return self._first_frame_sent_at

    async def wait_drained(self) -> PlayoutPosition:
        """Wait until all was sent after `finish`, or until the reply was flushed."""
        await self._ended.wait()
        return self.position()

    # What follows is for the mouth.

    @property
    def queue(self) -> PlayoutQueue:
        """The samples and their text."""
        return self._queue

    @property
    def destination(self) -> SendFrame | None:
        """Where its frames go; None before `open`."""
        return self._send

    @property
    def has_frame(self) -> bool:
        """A frame could be sent now."""
        return self._send is not None and self._queue.has_frame

    def send_frame(self, now: float) -> None:
        """Send the next frame."""
        assert self._send is not None
        self._send(self._take_frame(now))

    def _take_frame(self, now: float) -> Samples:
        frame = self._queue.take_frame()
        if self._first_frame_sent_at is None:
            self._first_frame_sent_at = now
            self._started_or_ended.set()
        if self._queue.queued_samples <= self._max_queued:
            self._has_room.set()
        return frame

    def end(self) -> PlayoutPosition:
        """Nothing more is sent; wakes everybody."""
        self._position = self._queue.position()
        for event in (self._has_room, self._started_or_ended, self._ended):
            event.set()
        return self._position


class Mouth:
    """The one voice in a room. `play` sends; everything else decides what, and never waits.

    The first frame of a reply is sent at once, each further one 20 ms after the deadline of the
    one before, so nothing drifts. While there is nothing to say nothing is sent.
    """

    def __init__(self, send: SendFrame, config: MouthConfig = MouthConfig()) -> None:
        """`send` is the voice that all listeners hear."""
        self._send = send
        self._config = config
        self._playout: Playout | None = None
        self._paused = False
        self._farewell: tuple[SendFrame, Samples] | None = None
        """A frame that fades out, to be sent instead of the next one, to whom it belongs."""
        self._next_at = float("-inf")
        """No frame is sent earlier."""
        self._in_mid_speech = False
        """A frame was sent and the next one should follow without a gap."""
        self.sent_at = float("-inf")
        """When the latest frame of a reply was sent, the end of a fade left out."""
        self._wake = asyncio.Event()
        self.underruns = 0
        """Gaps because synthesis was slower than speech."""
        self.stalls = 0
        """Gaps because the loop woke too late."""

    @property
    def speaking(self) -> bool:
        """A reply was begun and neither drained nor flushed; it may be paused."""
        return self._playout is not None

    @property
    def paused(self) -> bool:
        """Between `pause` and `resume`, `flush` or the next `begin`."""
        return self._paused

    async def play(self) -> None:
        """Send for ever; the session's speak task. Cancelling is safe, another call goes on."""
        loop = asyncio.get_running_loop()
        while True:
            if not self._has_frame():
                await self._wait_for_frame()
                self._next_at = max(self._next_at, loop.time())
            elif (early := self._next_at - loop.time()) > 0:
                await asyncio.sleep(early)
            else:
                self._send_frame(loop.time())

    def begin(self) -> Playout:
        """Begin a reply. Raises RuntimeError while another one is neither drained nor flushed."""
        return self._begin(self._send)

    def begin_whisper(self) -> Playout:
        """As `begin`, for one listener: it is silent until `Playout.open` says where it goes."""
        return self._begin(None)

    def begin_aloud_instead(self) -> Playout:
        """Throw the whisper away that could not be opened; a pause holds for what is said now."""
        paused = self._paused
        self.flush()
        playout = self.begin()
        self._paused = paused
        return playout

    def pause(self) -> None:
        """Fade out within the next 5 ms of speech, then send nothing. Idempotent."""
        if self._playout is not None and not self._paused:
            self._paused = True
            self._fade_out(self._playout)

    def resume(self) -> None:
        """Go on at the very sample at which the fade began. Idempotent."""
        if self._playout is None or not self._paused:
            return
        self._paused = False
        if self._farewell is not None:  # so early that nothing was paused yet
            self._farewell = None
            self._playout.queue.forget_fade()
            self._in_mid_speech = True
        self._wake.set()

    def flush(self) -> PlayoutPosition | None:
        """Cut the reply; what was heard of it. None if there is none."""
        if self._playout is None:
            return None
        if not self._paused:
            self._fade_out(self._playout)
        return self._end(self._playout)

    def _begin(self, send: SendFrame | None) -> Playout:
        if self._playout is not None:
            raise RuntimeError("a reply is still being spoken")
        self._paused = False
        self._playout = Playout(self._config, self._on_change, send)
        return self._playout

    def _has_frame(self) -> bool:
        if self._farewell is not None:
            return True
        playout = self._playout
        return playout is not None and not self._paused and playout.has_frame

    async def _wait_for_frame(self) -> None:
        while not self._has_frame():
            self._wake.clear()
            await self._wake.wait()
        if self._in_mid_speech and asyncio.get_running_loop().time() > self._next_at:
            self.underruns += 1

    def _send_frame(self, now: float) -> None:
        if now - self._next_at > CATCH_UP:
            self.stalls += 1
            self._next_at = now - CATCH_UP
        self._next_at += FRAME_DURATION
        if self._farewell is not None:
            send, samples = self._farewell
            self._farewell = None
            send(samples)
        elif self._playout is not None:
            self._in_mid_speech = True
            self.sent_at = now
            self._playout.send_frame(now)
            self._on_change()

    def _fade_out(self, playout: Playout) -> None:
        send, queue = playout.destination, playout.queue
        if send is not None and self._in_mid_speech and queue.queued_samples:
            self._farewell = send, queue.fade_out_frame()
            self._wake.set()
        self._in_mid_speech = False

    def _on_change(self) -> None:
        self._wake.set()
        if self._playout is not None and self._playout.queue.drained:
            self._end(self._playout)

    def _end(self, playout: Playout) -> PlayoutPosition:
        self._playout = None
        self._paused = False
        self._in_mid_speech = False
        return playout.end()


class _Upsampler:
    """To 48 kHz; each segment by itself, so that its last samples never wait for the next one."""

    def __init__(self) -> None:
        self._rate_hz = SAMPLE_RATE_HZ
        self._stream: soxr.ResampleStream | None = None

    def push(self, samples: Samples, rate_hz: int) -> Samples:
        """What comes out now; HQ holds back about 30 ms until `end`."""
        if rate_hz != self._rate_hz:
            rest = self.end()
            self._rate_hz = rate_hz
            return np.concatenate((rest, self.push(samples, rate_hz)))
        if rate_hz == SAMPLE_RATE_HZ:
            return samples
        if self._stream is None:
            self._stream = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="int16")
        out: Samples = self._stream.resample_chunk(samples)
        return out

    def end(self) -> Samples:
        """What was held back; the next samples begin anew."""
        stream, self._stream = self._stream, None
        empty: Samples = np.empty(0, dtype=np.int16)
        if stream is None:
            return empty
        out: Samples = stream.resample_chunk(empty, last=True)
        return out
