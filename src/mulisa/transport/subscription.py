"""One participant's decoded voice on its way to the ear."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import numpy as np

from mulisa.core.audio import FRAME_SAMPLES, AudioFrame, Samples, silence

MAX_WAITING_FRAMES: Final = 50
"""One second; an ear that is later than this hears the present rather than the past."""


class Subscription:
    """Bounded frames of one track, cut to 20 ms. One reader; a later one ends the former.

    A slow reader loses the oldest frames, counted.
    """

    def __init__(self) -> None:
        self.frames_received = 0
        self.frames_dropped = 0
        self._waiting: deque[AudioFrame] = deque()
        self._rest: Samples = silence(0)
        self._news = asyncio.Event()
        self._reader = 0
        self._is_closed = False

    def push(self, samples: Samples, now: float) -> None:
        """Append decoded audio: int16, 48 kHz mono, any length; its last sample came at `now`."""
        if len(self._rest) or len(samples) != FRAME_SAMPLES:
            samples = np.concatenate((self._rest, samples))
        whole = len(samples) - len(samples) % FRAME_SAMPLES
        for start in range(0, whole, FRAME_SAMPLES):
            self._append(AudioFrame(samples[start : start + FRAME_SAMPLES], now))
        self._rest = samples[whole:]

    def close(self) -> None:
        """The track ended: the reader gets what is there, then its iterator ends."""
        self._is_closed = True
        self._news.set()

    async def frames(self) -> AsyncIterator[AudioFrame]:
        """Oldest first."""
        self._reader += 1
        me = self._reader
        self._news.set()
        while self._reader == me:
            if self._waiting:
                yield self._waiting.popleft()
            elif self._is_closed:
                return
            else:
                self._news.clear()
                await self._news.wait()

    def _append(self, frame: AudioFrame) -> None:
        self.frames_received += 1
        if len(self._waiting) >= MAX_WAITING_FRAMES:
            self._waiting.popleft()
            self.frames_dropped += 1
        self._waiting.append(frame)
        self._news.set()
