from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.speech import Boundary, Offset, Onset, SpeechConfig, SpeechDetector, may_split

pytestmark = pytest.mark.unit

WINDOW = 0.032


def near(seconds: float) -> Any:
    return pytest.approx(seconds)


def hear(
    probabilities: list[float], config: SpeechConfig | None = None
) -> list[tuple[int, Boundary]]:
    """Boundaries with the number of windows that had been heard when they were found."""
    detector = SpeechDetector(config or SpeechConfig(), WINDOW)
    heard = ((n, detector.hear(p, n * WINDOW)) for n, p in enumerate(probabilities, 1))
    return [(n, boundary) for n, boundary in heard if boundary is not None]


def test_two_windows_of_three_are_an_onset_and_it_is_backdated() -> None:
    assert hear([0.1] * 5 + [0.9, 0.9]) == [(7, Onset(near(5 * WINDOW)))]
    assert hear([0.1] * 5 + [0.9, 0.2, 0.6]) == [(8, Onset(near(5 * WINDOW)))]
    assert hear([0.9, 0.2, 0.2, 0.9, 0.2, 0.2]) == []
    assert hear([0.49] * 50) == []


def test_an_onset_is_found_within_100_ms() -> None:
    ((windows, onset),) = hear([0.0] * 10 + [0.9] * 10)
    assert windows * WINDOW - onset.at < 0.1


def test_speech_ends_after_enough_silence_and_is_backdated() -> None:
    (_, (windows, offset)) = hear([0.9] * 10 + [0.1] * 10)
    assert offset == Offset(near(10 * WINDOW), click=False)
    assert windows == 16  # 0.19 s


def test_a_fading_word_is_speech_until_it_is_below_the_lower_threshold() -> None:
    (_, (_, offset)) = hear([0.9] * 5 + [0.4] * 20 + [0.3] * 10)
    assert offset.at == pytest.approx(25 * WINDOW)


def test_a_short_pause_does_not_end_speech() -> None:
    assert len(hear(([0.9] * 5 + [0.0] * 5) * 10)) == 1


def test_a_click_is_told_from_a_word() -> None:
    assert hear([0.0, 0.9, 0.9, 0.9] + [0.0] * 10)[1][1] == Offset(near(0.128), click=True)
    assert hear([0.0] + [0.9] * 4 + [0.0] * 10)[1][1] == Offset(near(0.16), click=False)


def test_a_gap_in_arrival_is_silence() -> None:
    detector = SpeechDetector(SpeechConfig(), WINDOW)
    assert detector.deadline() is None
    assert detector.tick(5.0) is None
    for n in range(1, 11):
        detector.hear(0.9, n * WINDOW)
    deadline = detector.deadline()
    assert deadline == pytest.approx(0.32 + 0.3)
    assert deadline is not None
    assert detector.tick(deadline - 0.001) is None
    assert detector.tick(deadline) == Offset(near(0.32), click=False)
    assert not detector.speaking
    assert detector.end() is None


def test_silence_that_arrives_in_a_burst_is_counted() -> None:
    detector = SpeechDetector(SpeechConfig(), WINDOW)
    for _ in range(10):
        detector.hear(0.9, 1.0)
    found = [detector.hear(0.0, 1.0) for _ in range(6)]
    assert found[:5] == [None] * 5
    assert isinstance(found[5], Offset)


def test_the_end_of_hearing_ends_speech() -> None:
    detector = SpeechDetector(SpeechConfig(), WINDOW)
    assert detector.end() is None
    for n in range(1, 11):
        detector.hear(0.9, n * WINDOW)
    assert detector.end() == Offset(near(0.32), click=False)


@given(st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.6, 1.0]), max_size=200))
def test_onsets_and_offsets_alternate_and_are_ordered(probabilities: list[float]) -> None:
    boundaries = [boundary for _, boundary in hear(probabilities)]
    assert all(isinstance(b, Onset) == (n % 2 == 0) for n, b in enumerate(boundaries))
    times = [boundary.at for boundary in boundaries]
    assert times == sorted(times)


def test_a_long_utterance_may_be_split_at_a_weak_window_and_in_the_end_at_any() -> None:
    config = SpeechConfig(max_utterance=25.0, split_patience=2.0)
    assert not may_split(config, 24.9, 0.0)
    assert may_split(config, 25.0, 0.35)
    assert not may_split(config, 25.0, 0.36)
    assert not may_split(config, 26.0, 0.9)
    assert may_split(config, 26.0, 0.6)
    assert may_split(config, 27.0, 1.0)
