"""Who speaks, from the levels of each 0.4 s."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.room import ParticipantSid
from mulisa.sfu.media import TrackSid
from mulisa.sfu.speakers import Speakers

pytestmark = pytest.mark.unit

A, B = ParticipantSid("PA_a"), ParticipantSid("PA_b")
TRACK_A, TRACK_B, SCREEN_A = TrackSid("TR_a"), TrackSid("TR_b"), TrackSid("TR_s")
OWNERS = {TRACK_A: A, TRACK_B: B, SCREEN_A: A}


def test_who_is_loud_for_long_enough_speaks_and_the_loudest_is_first() -> None:
    speakers = Speakers()
    levels = {TRACK_A: (0.5, -20.0), TRACK_B: (1.0, -3.0)}
    assert speakers.measure(levels, OWNERS) == {B: 0.5, A: 0.125}
    assert list(speakers.measure(levels, OWNERS)) == [B, A]


def test_a_cough_is_no_speech() -> None:
    assert Speakers().measure({TRACK_A: (0.39, -5.0)}, OWNERS) == {}


def test_the_level_rises_over_two_intervals_and_falls_silent_at_once() -> None:
    speakers = Speakers()
    levels = [speakers.measure({TRACK_A: (1.0, 0.0)}, OWNERS)[A] for _ in range(4)]
    assert levels == [0.75, 1.0, 1.0, 1.0]
    assert speakers.measure({TRACK_A: (0.0, -60.0)}, OWNERS) == {}
    assert speakers.measure({TRACK_A: (1.0, 0.0)}, OWNERS) == {A: 0.75}


def test_a_participant_is_as_loud_as_the_louder_track() -> None:
    levels = {TRACK_A: (1.0, 0.0), SCREEN_A: (1.0, -30.0)}
    assert Speakers().measure(levels, OWNERS) == {A: 0.75}


def test_tracks_without_an_owner_do_not_count() -> None:
    assert Speakers().measure({TrackSid("TR_x"): (1.0, 0.0)}, OWNERS) == {}


def test_who_left_and_comes_again_begins_anew() -> None:
    speakers = Speakers()
    speakers.measure({TRACK_A: (1.0, 0.0)}, OWNERS)
    speakers.forget(A)
    assert speakers.measure({TRACK_A: (1.0, 0.0)}, OWNERS) == {A: 0.75}


_levels = st.dictionaries(
    st.sampled_from(list(OWNERS)), st.tuples(st.floats(0, 1), st.floats(-127, 0)), max_size=3
)


@given(st.lists(_levels, max_size=10))
def test_levels_are_eighths_above_zero(history: list[dict[TrackSid, tuple[float, float]]]) -> None:
    speakers = Speakers()
    for levels in history:
        measured = speakers.measure(levels, OWNERS)
        assert all(0 < level <= 1 and level * 8 == int(level * 8) for level in measured.values())
        assert list(measured.values()) == sorted(measured.values(), reverse=True)
