"""Bytes of any service become samples, or an error."""

from __future__ import annotations

import struct
import wave
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.providers.openai.sound import RATE_HZ, Sound
from mulisa.providers.tones import recognise, tone
from tests.services.openai_service import beep

pytestmark = pytest.mark.unit

SAMPLES = np.arange(-500, 500, dtype=np.int16)
CUTS = st.lists(st.integers(0, 2200), max_size=12)


def heard(sent: bytes, cuts: Sequence[int] = (), content_type: str = "") -> Samples:
    sound = Sound("the service", content_type)
    ends = [*sorted(cuts), len(sent)]
    pieces = [sent[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return np.concatenate([*map(sound.push, pieces), sound.end()])


def wav(
    samples: Samples = SAMPLES, rate_hz: int = RATE_HZ, channels: int = 1, width: int = 2
) -> bytes:
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(samples.tobytes())
    return out.getvalue()


@given(CUTS)
def test_raw_samples_cut_anywhere(cuts: list[int]) -> None:
    assert np.array_equal(heard(SAMPLES.tobytes(), cuts), SAMPLES)


@given(CUTS, st.binary(max_size=60))
def test_a_header_with_more_in_it_cut_anywhere(cuts: list[int], note: bytes) -> None:
    """As ffmpeg writes it to a pipe: with a note, and without lengths."""
    whole = wav()
    endless = struct.pack("<4sI4s", b"RIFF", 0xFFFFFFFF, b"WAVE")
    noted = struct.pack("<4sI", b"LIST", len(note)) + note + b"\0" * (len(note) % 2)
    data = struct.pack("<4sI", b"data", 0xFFFFFFFF)
    assert np.array_equal(heard(endless + whole[12:36] + noted + data + whole[44:], cuts), SAMPLES)


def test_few_samples() -> None:
    assert len(heard(b"")) == 0
    assert heard(b"\x01\x00\x02\x00\x03").tolist() == [1, 2]
    assert heard(wav(SAMPLES[:1])).tolist() == [-500]


def test_other_rates_are_converted() -> None:
    said = np.concatenate([tone(3, 0.3, 16_000), np.zeros(3200, np.int16)])
    got = heard(wav(said, 16_000), [100, 1001, 3000])
    assert abs(len(got) - len(said) * 3 // 2) <= 2
    at_16_khz = heard(wav(got, 36_000))  # two thirds of what 24 kHz take
    assert recognise(at_16_khz) == [3]


@pytest.mark.parametrize(
    "sent",
    [
        wav(channels=2),
        wav(width=1),
        wav(rate_hz=200),
        wav()[:12] + wav()[36:],
        wav()[:30],
        b"RIFF\0\0\0\0WAVE" + b"junk\xff\xff\xff\x7f" * 3,
    ],
)
def test_what_nobody_can_play(sent: bytes) -> None:
    with pytest.raises(ProviderError, match="the service sent"):
        heard(sent)


@pytest.mark.parametrize(
    ("head", "content_type"),
    [(b"ID3\4", "audio/mpeg"), (b"OggS", ""), (b"fLaC", ""), (b"\xff\xfb\x90\xc4", "audio/mpeg")],
)
def test_compressed_sound_is_no_noise(head: bytes, content_type: str) -> None:
    with pytest.raises(ProviderUnavailable, match="response_format=pcm") as caught:
        heard(head + bytes(100), [1, 5], content_type)
    assert not caught.value.retryable


async def test_samples_that_are_called_compressed() -> None:
    sound = await beep("hello")
    assert np.array_equal(heard(sound.tobytes(), (), "audio/mpeg"), sound)
    quiet = np.full(100, -1, np.int16)
    assert np.array_equal(heard(quiet.tobytes(), (), "audio/mpeg"), quiet)


@given(st.binary(max_size=200), CUTS, st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", wav()[:36]]))
def test_garbage(sent: bytes, cuts: list[int], head: bytes) -> None:
    try:
        samples = heard(head + sent, cuts)
    except ProviderError:
        return
    assert samples.dtype == np.int16 and samples.ndim == 1
