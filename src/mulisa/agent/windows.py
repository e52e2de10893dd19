"""Cuts 48 kHz frames into the 16 kHz windows that a VAD hears. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import HEARING_RATE_HZ, SAMPLE_RATE_HZ, AudioFrame, Samples

_RATIO = SAMPLE_RATE_HZ // HEARING_RATE_HZ


@dataclass(frozen=True, slots=True)
class Window:
    """A piece of one participant's voice."""

    samples: Samples
    """int16, 16 kHz mono; not to be written to."""
    ended_at: float
    """When the last sample was available: seconds on the clock of `AudioFrame.received_at`."""


class Windows:
    """The resampler of one subscription; costs about 10 us per frame."""

    def __init__(self, window_samples: int) -> None:
        self._window_samples = window_samples
        # LQ (16 bit, passband to 0.7 of Nyquist) holds back 6 to 20 ms; MQ up to 38, HQ up to 37.
        self._resampler = soxr.ResampleStream(
            SAMPLE_RATE_HZ, HEARING_RATE_HZ, 1, dtype="int16", quality="LQ"
        )
        self._rest: Samples = np.empty(0, dtype=np.int16)
        self._held_back = 0.0
        """Samples at 16 kHz that are still in the resampler."""
        self._latest = float("-inf")

    def push(self, frame: AudioFrame) -> list[Window]:
        """The windows that are complete with this frame, oldest first."""
        heard: Samples = self._resampler.resample_chunk(frame.samples)
        self._held_back += len(frame.samples) / _RATIO - len(heard)
        rest = np.concatenate((self._rest, heard)) if len(self._rest) else heard
        size = self._window_samples
        whole = len(rest) // size * size
        self._rest = rest[whole:]
        return [
            Window(rest[start : start + size], self._ended_at(frame, len(rest) - start - size))
            for start in range(0, whole, size)
        ]

    def _ended_at(self, frame: AudioFrame, samples_after: int) -> float:
        age = (samples_after + self._held_back) / HEARING_RATE_HZ
        # Frames may arrive in a burst, but windows never go back in time.
        self._latest = max(self._latest, frame.received_at - age)
        return self._latest
