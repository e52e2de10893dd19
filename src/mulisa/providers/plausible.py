"""Is what a recogniser wrote what somebody said, and all of it? Where may one cut? Pure."""

from __future__ import annotations

import re
import zlib
from typing import Any, Final

import numpy as np

from mulisa.core.audio import HEARING_RATE_HZ, Samples

MAX_COMPRESSION_RATIO: Final = 2.4
NO_SPEECH: Final = 0.6
WEAK_LOG_PROB: Final = -1.0
INAUDIBLE_DBFS: Final = -62.0
"""Below this in every 20 ms there is nothing to recognise, not even a whisper."""

_NOISE_WORDS: Final = frozenset(
    ("you", "thank you", "thanks", "thank you for watching", "thanks for watching", "bye", "so")
)
"""What Whisper writes for breath, keys and hum; real if it is sure of it."""
_NOISE_LOG_PROB: Final = -0.75

_LEFT_OUT_FRAMES: Final = 20
"""Of speech (0.4 s), without which the rest is a breath or the end of the last word."""
_SPEECH_RANGE_DB: Final = 14.0
"""What is this much quieter than the loud parts of an utterance is a pause, or background."""

_CUT_SAMPLES: Final = HEARING_RATE_HZ * 3 // 10
_FRAME_SAMPLES: Final = HEARING_RATE_HZ // 50


def spoken_words(text: str) -> list[str]:
    """Words in lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower())


def is_repetitive(text: str) -> bool:
    """True if it says the same thing over again, as a decoder does that has lost its way."""
    raw = text.encode()
    if len(raw) > 60 and len(raw) / len(zlib.compress(raw)) > MAX_COMPRESSION_RATIO:
        return True
    words = spoken_words(text)
    longest = max(len(words) // 2, 0)
    return any(words[-size:] == words[-2 * size : -size] for size in range(2, longest + 1)) or (
        len(words) >= 4 and _ends_in_its_beginning(words)
    )


def is_noise(text: str, log_prob: float, no_speech_prob: float) -> bool:
    """True if nobody said that: no words at all, or words that the model itself doubts.

    `log_prob` is the mean per token, `no_speech_prob` is 0..1.
    """
    words = spoken_words(text)
    if not words:
        return True
    if no_speech_prob < NO_SPEECH:
        return False
    if log_prob < WEAK_LOG_PROB:
        return True
    return " ".join(words) in _NOISE_WORDS and log_prob < _NOISE_LOG_PROB


def is_inaudible(samples: Samples) -> bool:
    """True if the loudest 20 ms are quieter than any speech. int16, 16 kHz."""
    levels = _levels(samples)
    return not levels.size or bool(levels.max() < INAUDIBLE_DBFS)


def speaks_on(samples: Samples, end: int) -> int | None:
    """Where to read on if a text that ends at index `end` left speech out; None if it did not.

    int16, 16 kHz.
    """
    levels = _levels(samples)
    if not levels.size:
        return None
    rest = levels[end // _FRAME_SAMPLES :]
    is_speech = rest > np.percentile(levels, 90) - _SPEECH_RANGE_DB
    if np.count_nonzero(is_speech) < _LEFT_OUT_FRAMES:
        return None
    around = max(0, end - 2 * _CUT_SAMPLES), min(samples.size, end + _CUT_SAMPLES)
    return quietest_cut(samples, *around)


def quietest_cut(samples: Samples, earliest: int, latest: int) -> int:
    """Index between `earliest` and `latest` in the middle of the quietest 0.3 s. int16, 16 kHz."""
    power = samples[earliest:latest].astype(np.float64) ** 2
    if power.size <= _CUT_SAMPLES:
        return latest
    sums = np.cumsum(power)
    energy = sums[_CUT_SAMPLES:] - sums[:-_CUT_SAMPLES]
    return earliest + int(np.argmin(energy)) + _CUT_SAMPLES // 2


def _levels(samples: Samples) -> np.ndarray[Any, np.dtype[np.float64]]:
    """dBFS of every 20 ms."""
    frames = samples[: samples.size // _FRAME_SAMPLES * _FRAME_SAMPLES]
    power = np.mean(frames.reshape(-1, _FRAME_SAMPLES).astype(np.float64) ** 2, axis=1)
    levels: np.ndarray[Any, np.dtype[np.float64]] = 10 * np.log10(power / 32768.0**2 + 1e-12)
    return levels


def _ends_in_its_beginning(words: list[str]) -> bool:
    """``who was there? who was``: the start of a repetition that the length cap ended."""
    size = len(words)
    return any(words[period:] == words[: size - period] for period in range(size // 2, size - 1))
