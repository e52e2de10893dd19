import numpy as np
import pytest

from mulisa.providers.plausible import (
    is_inaudible,
    is_noise,
    is_repetitive,
    quietest_cut,
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
