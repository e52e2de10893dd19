"""When silence fills the gap between frames of a voice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.transport.sfu.pacing import GAP, RESTART, Pacing

pytestmark = pytest.mark.unit


def test_silence_follows_silence_every_20_ms() -> None:
    pacing = Pacing(10.0)
    for n in range(5):
        assert pacing.silence_at() == pytest.approx(10.0 + n * 0.02)
        pacing.sent(pacing.silence_at(), is_speech=False)


def test_speech_that_is_late_is_not_taken_for_ended() -> None:
    pacing = Pacing(0.0)
    pacing.sent(0.0, is_speech=True)
    assert pacing.silence_at() == pytest.approx(0.02 + GAP)
    pacing.sent(0.05, is_speech=True)
    assert pacing.silence_at() == pytest.approx(0.04 + GAP), "the time line is not moved by jitter"


def test_after_the_last_word_silence_makes_up_for_the_time_that_passed() -> None:
    pacing = Pacing(0.0)
    pacing.sent(0.0, is_speech=True)
    now = pacing.silence_at()
    n_sent = 0
    while pacing.silence_at() <= now:
        pacing.sent(now, is_speech=False)
        n_sent += 1
    assert n_sent == 4, "60 ms that were waited for, and the present frame"


def test_after_a_stop_of_the_process_nothing_is_made_up_for() -> None:
    pacing = Pacing(0.0)
    pacing.sent(0.0, is_speech=False)
    pacing.sent(5.0, is_speech=False)
    assert pacing.silence_at() == pytest.approx(5.02)


@given(st.lists(st.tuples(st.floats(0.0, 0.06), st.booleans()), min_size=1, max_size=200))
def test_as_much_is_captured_as_time_passes(steps: list[tuple[float, bool]]) -> None:
    """Whatever comes when, what listeners get is never far from the clock on the wall."""
    pacing, now, captured = Pacing(0.0), 0.0, 0
    for delay, is_speech in steps:
        speech_at = max(now + delay, captured * 0.02 - 0.02)
        while pacing.silence_at() < speech_at:
            now = max(now, pacing.silence_at())
            pacing.sent(now, is_speech=False)
            captured += 1
        now = max(now, speech_at)
        if is_speech:
            pacing.sent(now, is_speech=True)
            captured += 1
        assert -GAP - 0.021 <= captured * 0.02 - now <= 0.041
    assert RESTART > GAP
