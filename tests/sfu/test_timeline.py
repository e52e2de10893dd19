"""One numbering of a track, whatever its sources do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.sfu.timeline import Place, Timeline
from mulisa.wire.rtp import timestamp_delta

pytestmark = pytest.mark.unit

SECOND = 48000


def voice() -> Timeline:
    """A timeline whose source A has sent packet 100 at time 0 with timestamp 7000."""
    timeline = Timeline(SECOND, is_spoken=True)
    assert timeline.place("A", 100, 7000, now=0.0) == Place(0, 7000)
    return timeline


def test_numbers_follow_the_source() -> None:
    timeline = voice()
    assert timeline.place("A", 101, 7960, now=0.02) == Place(1, 7960)
    assert timeline.place("A", 104, 10840, now=0.08) == Place(4, 10840)
    assert timeline.place("A", 102, 8920, now=0.09) == Place(2, 8920)
    assert (timeline.first, timeline.newest) == (0, 4)


def test_time_that_stood_still_is_set_forward() -> None:
    timeline = voice()
    assert timeline.place("A", 101, 7960, now=2.0) == Place(1, 7000 + 2 * SECOND)
    assert timeline.place("A", 102, 8920, now=2.02) == Place(2, 7000 + 2 * SECOND + 960)
    assert timeline.first == 1


def test_after_a_long_silence_the_first_word_is_due_at_once() -> None:
    timeline = voice()
    placed = 7000 + 5 * SECOND - 7200
    assert timeline.place("A", 101, 7960, now=5.0) == Place(1, placed)
    assert timeline.place("A", 102, 8920, now=5.2) == Place(2, placed + SECOND // 5)


@pytest.mark.parametrize("now", [0.3, 0.52, 5.0])
def test_time_that_passed_is_left_alone(now: float) -> None:
    advance = round((now - 0.05) * SECOND)
    assert voice().place("A", 101, 7000 + advance, now=now) == Place(1, 7000 + advance)


def test_a_source_ahead_of_the_clock_is_left_alone() -> None:
    assert voice().place("A", 101, 7000 + SECOND, now=0.5) == Place(1, 7000 + SECOND)


def test_what_came_before_the_silence_is_too_late_after_it() -> None:
    timeline = voice()
    timeline.place("A", 102, 8920, now=5.0)
    assert timeline.place("A", 101, 7960, now=5.01) is None


def test_time_never_goes_back() -> None:
    timeline = voice()
    assert timeline.place("A", 101, 10, now=0.1) == Place(1, 7000 + 4800)


def test_another_source_goes_on_behind_the_last() -> None:
    timeline = voice()
    assert timeline.place("B", 9, 5, now=0.02) == Place(1, 7960)
    assert timeline.place("B", 10, 965, now=0.04) == Place(2, 8920)
    assert timeline.place("A", 101, 7960, now=0.04) == Place(3, 8921)


def test_a_leap_of_the_numbers_is_a_new_beginning() -> None:
    timeline = voice()
    assert timeline.place("A", 20000, 7960, now=0.02) == Place(1, 7960)
    assert timeline.place("A", 19999, 7000, now=0.03) is None


def test_an_unmute_begins_a_run_and_needs_no_long_silence() -> None:
    timeline = voice()
    timeline.interrupt()
    assert timeline.place("A", 101, 7960, now=0.25) == Place(1, 7000 + SECOND // 4)
    assert timeline.first == 1
    timeline.interrupt()
    assert timeline.place("A", 102, 8920, now=0.27) == Place(2, 7960 + SECOND // 4)
    assert timeline.first == 2


def test_a_video_frame_keeps_one_timestamp_however_late_its_end_comes() -> None:
    timeline = Timeline(90000, is_spoken=False)
    timeline.place("A", 1, 500, now=0.0)
    assert timeline.place("A", 2, 500, now=0.9) == Place(1, 500)


def test_a_report_is_translated_for_the_current_source_only() -> None:
    timeline = voice()
    timeline.place("B", 9, 5, now=0.02)
    assert timeline.timestamp_of("A", 7000) is None
    assert timeline.timestamp_of("B", 105) == 8060


_packets = st.lists(
    st.tuples(
        st.sampled_from("AAAAAB"),
        st.integers(1, 5) | st.just(4000),
        st.integers(0, 2**32 - 1) | st.integers(0, 4000),
        st.floats(0, 3),
        st.booleans(),
    ),
    max_size=60,
)


@given(_packets, st.booleans())
def test_numbers_and_timestamps_only_grow(
    packets: list[tuple[str, int, int, float, bool]], is_spoken: bool
) -> None:
    timeline = Timeline(SECOND, is_spoken=is_spoken)
    extended = {"A": 0, "B": 60000}
    timestamp = 0
    now = 0.0
    before: Place | None = None
    for source, step, advance, passed, is_unmuted in packets:
        extended[source] += step
        timestamp = (timestamp + advance) % 2**32
        now += passed
        if is_unmuted:
            timeline.interrupt()
        place = timeline.place(source, extended[source], timestamp, now)
        assert place is not None
        assert 0 <= place.timestamp < 2**32
        assert timeline.first <= place.number == timeline.newest
        if before is not None:
            assert 1 <= place.number - before.number <= 5
            assert timestamp_delta(place.timestamp, before.timestamp) >= 0
        before = place
