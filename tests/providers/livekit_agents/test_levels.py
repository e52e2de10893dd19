from __future__ import annotations

import numpy as np
import pytest

from mulisa.core.audio import silence
from mulisa.providers.livekit_agents.levels import FADE_SAMPLES, WORD_SAMPLES, Levels

pytestmark = pytest.mark.unit

LOUD = np.full(8_000, 1_000, dtype=np.int16)
NOISE = LOUD // 10


def levels(*pieces: object) -> Levels:
    found = Levels()
    for piece in pieces:
        found.push(np.asarray(piece, dtype=np.int16))
    return found


def test_nothing_is_quiet() -> None:
    assert levels().is_quiet_since(0)
    assert levels(silence(0), silence(10)).is_quiet_since(0)


def test_after_speech_comes_quiet() -> None:
    found = levels(LOUD, NOISE, silence(4_000))
    assert found.samples == 20_000
    assert found.is_quiet_since(8_000)
    assert found.is_quiet_since(8_000 - FADE_SAMPLES), "the last word may fade"
    assert found.is_quiet_since(8_000 - FADE_SAMPLES - WORD_SAMPLES + 320), "a click is no word"
    assert not found.is_quiet_since(8_000 - FADE_SAMPLES - WORD_SAMPLES)
    assert found.is_quiet_since(90_000)


def test_who_goes_on_is_not_quiet() -> None:
    assert not levels(LOUD, NOISE, LOUD).is_quiet_since(8_000)


def test_the_loudest_samples_there_are() -> None:
    assert not levels(np.full(8_000, -32_768)).is_quiet_since(0)
