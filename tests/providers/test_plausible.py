import numpy as np
import pytest

from mulisa.core.audio import HEARING_RATE_HZ
from mulisa.providers.plausible import (
    is_inaudible,
    is_noise,
    is_repetitive,
    quietest_cut,
    speaks_on,
    spoken_words,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "text",
    [
        "who was in the call. Who was in the call.",
        "No, not yet. No, not",
        "Melissa, can you hear me? Melissa, can",
        "so the thing is the thing is",
        "la " * 40,
    ],
)
def test_loops(text: str) -> None:
    assert is_repetitive(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Yes.",
        "yes, yes.",
        "No, no, no.",
        "We should move the meeting to Thursday.",
        "The more we talk, the more we know.",
        "Can you hear me? I can hear you.",
    ],
)
def test_no_loops(text: str) -> None:
    assert not is_repetitive(text)


@pytest.mark.parametrize(
    ("text", "log_prob", "no_speech_prob", "noise"),
    [
        ("", 0.0, 0.0, True),
        (". . . .", -0.2, 0.97, True),
        ("You", -1.6, 0.9, True),
        ("Thank you.", -0.8, 0.7, True),
        ("Thank you.", -0.2, 0.7, False),
        ("Thank you.", -0.8, 0.1, False),
        ("Yes.", -0.8, 0.67, False),
        ("Something in Welsh", -1.4, 0.2, False),
    ],
)
def test_noise(text: str, log_prob: float, no_speech_prob: float, noise: bool) -> None:
    assert is_noise(text, log_prob, no_speech_prob) is noise


def test_words() -> None:
    assert spoken_words("Hey, don’t — it's 5 o'clock!") == ["hey", "don’t", "it's", "5", "o'clock"]


def test_inaudible() -> None:
    tone = np.sin(np.arange(16_000) / 5)
    assert is_inaudible(np.zeros(0, np.int16))
    assert is_inaudible((tone * 20).astype(np.int16))
    assert not is_inaudible((tone * 200).astype(np.int16))
    click = np.zeros(16_000, np.int16)
    click[8000:8320] = 2000
    assert not is_inaudible(click)


def test_the_cut_is_in_the_pause() -> None:
    loud = np.full(160_000, 5000, np.int16)
    loud[70_000:78_000] = 10
    assert 70_000 < quietest_cut(loud, 40_000, 120_000) < 78_000
    assert quietest_cut(loud, 100, 200) == 200


def test_what_comes_after_a_text_is_speech_if_it_is_as_loud_and_long_enough() -> None:
    def after_two_seconds(*rest: np.ndarray) -> int | None:
        spoken = np.concatenate((sine(2.0, 0.3), silence(0.3), *rest, silence(1.0)))
        return speaks_on(spoken, 2 * HEARING_RATE_HZ)

    cut = after_two_seconds(sine(1.0, 0.2))
    assert cut is not None and 2.0 <= cut / HEARING_RATE_HZ <= 2.3, "in the pause"
    assert after_two_seconds() is None
    assert after_two_seconds(sine(0.3, 0.3)) is None, "a breath"
    assert after_two_seconds(sine(2.0, 0.02)) is None, "somebody far away"
    assert speaks_on(np.zeros(0, np.int16), 0) is None
    assert speaks_on(sine(1.0, 0.3), HEARING_RATE_HZ) is None


def sine(seconds: float, amplitude: float) -> np.ndarray:
    t = np.arange(int(HEARING_RATE_HZ * seconds)) / HEARING_RATE_HZ
    return (32_767 * amplitude * np.sin(2 * np.pi * 220 * t)).astype(np.int16)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(HEARING_RATE_HZ * seconds), np.int16)
