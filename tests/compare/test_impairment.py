"""The arithmetic of bad networks: sound that was made up, delays, words, and their theory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mulisa.compare.impairment import concealed_percent, delays
from mulisa.compare.impairments import IMPAIRMENTS, concealed
from mulisa.compare.probe import Stream
from mulisa.compare.words import word_error_rate
from tests.compare.test_probe import FIRST

pytestmark = pytest.mark.unit


def test_what_two_networks_lose() -> None:
    assert [concealed(topology, 2, "loss 10 %", 50.0) for topology in ("mesh", "sfu")] == [19.0] * 2
    assert concealed("sfu", 2, "good network", 50.0) == 0
    assert concealed("sfu", 2, "delay 60 ms, jitter 40 ms", 50.0) is None
    assert concealed("sfu", 2, "on the moon", 50.0) is None


def test_an_uplink_is_too_narrow_for_many_copies() -> None:
    """256 kb/s carry 5 streams of 51.2 kb/s; with 10 people half of what a mesh sends is lost."""
    uplink = "uplink 256 kb/s"
    assert concealed("mesh", 5, uplink, 51.2) == 0
    assert concealed("mesh", 10, uplink, 51.2) == 50.0
    assert concealed("sfu", 10, uplink, 51.2) == 0


def test_impairments_are_told_apart_by_their_names() -> None:
    assert len({each.name for each in IMPAIRMENTS}) == len(IMPAIRMENTS)


def test_made_up_sound_is_that_of_the_voice_that_came() -> None:
    before = replace(FIRST, received={1: Stream(0, 0, 0, 0, 0), 2: Stream(50, 0, 0, 900, 48_000)})
    after = replace(
        FIRST, received={1: Stream(100, 0, 0, 4_800, 96_000), 2: Stream(52, 0, 0, 900, 96_000)}
    )
    assert list(concealed_percent([before], [after])) == [5.0]
    assert list(concealed_percent([before], [])) == []
    assert list(concealed_percent([before], [before])) == []


def test_delay_is_from_the_first_sound_to_the_first_one_since() -> None:
    said = [(10.0, 11.0), (11.5, 12.0)]
    assert delays(said, [(3.0, 4.0), (10.25, 11.25), (11.8, None)]) == [250.0]
    assert delays(said, [(3.0, 4.0)]) == []
    assert delays([], [(3.0, 4.0)]) == []


@pytest.mark.parametrize(
    ("heard", "rate"),
    [
        ("the train was late again", 0.0),
        ("The TRAIN was -- late, again!", 0.0),
        ("the rain was late again", 0.2),
        ("the train was late again and again", 0.4),
        ("", 1.0),
    ],
)
def test_words(heard: str, rate: float) -> None:
    assert word_error_rate("The train was late again.", heard) == pytest.approx(rate)
