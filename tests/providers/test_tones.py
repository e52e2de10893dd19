from __future__ import annotations

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.audio import HEARING_RATE_HZ, SAMPLE_RATE_HZ, Samples, silence
from mulisa.providers.tones import VOCABULARY, recognise
from tests.speech import say

pytestmark = pytest.mark.unit


def at_hearing_rate(samples: Samples) -> Samples:
    heard: Samples = soxr.resample(samples, SAMPLE_RATE_HZ, HEARING_RATE_HZ, "LQ")
    return heard


words = st.integers(0, VOCABULARY - 1)


@given(st.lists(words, max_size=5))
def test_words_are_recognised_after_resampling(spoken: list[int]) -> None:
    samples = np.concatenate((silence(4800), *(say(word) for word in spoken)))
    assert recognise(at_hearing_rate(samples)) == spoken


@given(words, words, st.integers(0, 12), st.integers(0, 1000))
def test_words_are_recognised_with_a_lost_frame_and_noise(
    first: int, second: int, lost: int, seed: int
) -> None:
    samples = say(first, second).copy()
    noise = np.random.default_rng(seed).normal(0, 100, len(samples))
    kept = np.delete(samples + noise.astype(np.int16), slice(lost * 960, (lost + 1) * 960))
    assert recognise(at_hearing_rate(kept)) == [first, second]


@pytest.mark.parametrize("bit_rate", [24_000, 32_000])
def test_words_survive_opus(bit_rate: int) -> None:
    spoken = list(range(VOCABULARY))
    heard = through_opus(say(*spoken, seconds=0.2), bit_rate)
    assert recognise(at_hearing_rate(heard)) == spoken


def through_opus(samples: Samples, bit_rate: int) -> Samples:
    import av

    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = SAMPLE_RATE_HZ, "mono", "s16"
    encoder.bit_rate = bit_rate
    encoder.options = {"application": "voip", "frame_duration": "20"}
    decoder = av.CodecContext.create("libopus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = SAMPLE_RATE_HZ, "mono"
    heard = []
    for part in samples.reshape(-1, 960):
        frame = av.AudioFrame.from_ndarray(part[np.newaxis], "s16", "mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for packet in encoder.encode(frame):
            for decoded in decoder.decode(packet):
                assert decoded.format.name == "s16"
                heard.append(np.asarray(decoded.to_ndarray().ravel(), dtype=np.int16))
    return np.concatenate(heard)
