"""Words as tones, for scripted engines: word `n` is a burst of a pitch of its own. Pure.

Pitches are 100 Hz apart between 300 and 3,300 Hz, so they survive Opus, resampling and a lost
frame, and whatever hears them knows which word it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Final

import numpy as np

from mulisa.core.audio import HEARING_RATE_HZ, SAMPLE_RATE_HZ, Samples

VOCABULARY: Final = 31
"""Words 0 to 30."""
LOWEST_HZ: Final = 300
STEP_HZ: Final = 100

_EDGE: Final = 0.005
"""Seconds of fade at either end of a word."""
_STEP_SAMPLES: Final = HEARING_RATE_HZ // 50
_FFT_SIZE: Final = 1024
_AUDIBLE: Final = 10 ** (-40 / 20)
"""RMS (full scale is 1) from which 20 ms are part of a word."""
_MIN_RUN: Final = 3
"""Steps of 20 ms that make a word; fewer are an edge or noise."""


def tone(
    word: int, seconds: float, rate_hz: int = SAMPLE_RATE_HZ, level_dbfs: float = -20.0
) -> Samples:
    """Word `word` (modulo the vocabulary) as a burst of that RMS level."""
    pitch = LOWEST_HZ + STEP_HZ * (word % VOCABULARY)
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    edges = np.minimum(1.0, np.minimum(time, time[::-1]) / _EDGE)
    amplitude = 32767 * np.sqrt(2) * 10 ** (level_dbfs / 20)
    samples: Samples = np.round(amplitude * edges * np.sin(2 * np.pi * pitch * time)).astype(
        np.int16
    )
    return samples


def recognise(samples: Samples) -> list[int]:
    """The words in 16 kHz audio, in order; the same one twice needs silence of 60 ms between."""
    runs = [(word, len(list(run))) for word, run in groupby(_steps(samples))]
    # An odd step inside a word or a lost one does not make it two.
    steady = _merged((word, length) for word, length in runs if length >= _MIN_RUN)
    return [word for word in steady if word is not None]


def _merged(runs: Iterable[tuple[int | None, int]]) -> list[int | None]:
    return [word for word, _ in groupby(word for word, _ in runs)]


def _steps(samples: Samples) -> list[int | None]:
    """The word of each 20 ms; None for silence."""
    count = len(samples) // _STEP_SAMPLES
    steps = samples[: count * _STEP_SAMPLES].reshape(count, _STEP_SAMPLES) / np.float32(32768)
    loud = np.sqrt(np.mean(np.square(steps), axis=1)) > _AUDIBLE
    spectrum = np.abs(np.fft.rfft(steps * np.hanning(_STEP_SAMPLES), _FFT_SIZE, axis=1))
    pitches = spectrum.argmax(axis=1) * (HEARING_RATE_HZ / _FFT_SIZE) if count else ()
    words = np.clip(np.round((np.asarray(pitches) - LOWEST_HZ) / STEP_HZ), 0, VOCABULARY - 1)
    return [int(word) if is_loud else None for word, is_loud in zip(words, loud, strict=True)]
