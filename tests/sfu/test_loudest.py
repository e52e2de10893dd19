"""Which voices of a big room are forwarded, as timelines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.sfu.loudest import Change, Loudest, LoudestConfig
from mulisa.sfu.media import TrackSid

pytestmark = pytest.mark.unit

VOICES = [TrackSid(f"TR_{name}") for name in "abcdefghijkl"]
A, B, C, D, *_ = VOICES
CONFIG = LoudestConfig(count=2, min_publishers=3, margin=6, hang=1.5, release=12.0)


def room(voices: int = 5) -> Loudest:
    loudest = Loudest(CONFIG)
    for track in VOICES[:voices]:
        loudest.add(track)
    return loudest


def selected(loudest: Loudest) -> set[TrackSid]:
    return {track for track in loudest.tracks if loudest.is_selected(track)}


def test_everybody_is_forwarded_in_a_small_room() -> None:
    loudest = room(3)
    assert not loudest.is_on
    assert selected(loudest) == {A, B, C}
    loudest.add(D)
    assert loudest.is_on
    assert len(selected(loudest)) == 2
    loudest.remove(D)
    assert selected(loudest) == {A, B, C}


def test_a_voice_takes_the_place_of_one_that_never_spoke_at_once() -> None:
    loudest = room()
    change = loudest.hear(D, 30, now=1.0)
    assert change is not None
    assert change.entered == D
    assert change.left in {A, B}
    assert selected(loudest) == {A, B, D} - {change.left}


def test_a_voice_that_is_in_changes_nothing() -> None:
    loudest = room()
    loudest.hear(D, 30, now=1.0)
    assert loudest.hear(D, 10, now=1.02) is None


def test_a_breath_takes_nobodys_place() -> None:
    loudest = room()
    assert loudest.hear(D, 70, now=1.0) is None
    assert loudest.hear(D, 127, now=1.02) is None


def test_while_the_selected_speak_a_third_must_be_clearly_louder() -> None:
    loudest = room()
    loudest.hear(A, 30, now=1.0)
    loudest.hear(B, 25, now=1.0)
    assert loudest.hear(C, 27, now=1.02) is None
    assert loudest.hear(C, 24, now=1.04) == Change(entered=C, left=A)
    assert selected(loudest) == {B, C}


def test_a_pause_between_words_keeps_the_place_and_silence_gives_it_up() -> None:
    loudest = room()
    loudest.hear(A, 20, now=1.0)
    loudest.hear(B, 25, now=2.0)
    assert loudest.hear(C, 45, now=2.4) is None
    assert loudest.hear(C, 45, now=2.6) == Change(entered=C, left=A)


def test_a_place_that_became_free_is_taken_without_a_loser() -> None:
    loudest = room()
    loudest.hear(A, 20, now=1.0)
    loudest.hear(B, 20, now=1.0)
    loudest.remove(A)
    assert loudest.hear(C, 50, now=1.1) == Change(entered=C, left=None)


def test_unknown_tracks_are_always_forwarded() -> None:
    loudest = room()
    agent = TrackSid("TR_agent")
    assert loudest.is_selected(agent)
    assert loudest.hear(agent, 10, now=1.0) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(VOICES), st.integers(0, 127), st.integers(0, 300)), max_size=80
    )
)
def test_there_are_never_more_than_n_and_the_loudest_of_all_is_among_them(
    packets: list[tuple[TrackSid, int, int]],
) -> None:
    loudest = room(len(VOICES))
    now = 0.0
    for track, level, passed in packets:
        now += passed / 100
        before = selected(loudest)
        change = loudest.hear(track, level, now)
        after = selected(loudest)
        assert len(after) <= CONFIG.count
        if change is None:
            assert after == before
        else:
            assert after == (before | {change.entered}) - {change.left}
        if level <= 0:
            assert track in after or len(before) == CONFIG.count
    for track in VOICES:
        loudest.remove(track)
    assert loudest.tracks == ()
