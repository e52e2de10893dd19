from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.playout import FADE_SAMPLES, PlayoutPosition, PlayoutQueue
from mulisa.core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from tests.speech import joined, voice

pytestmark = pytest.mark.unit

SECOND = SAMPLE_RATE_HZ


def test_a_frame_that_fades_out_is_not_taken_and_fades_in_later() -> None:
    queue = PlayoutQueue()
    queue.write(voice(2 * FRAME_SAMPLES))
    farewell, again = queue.fade_out_frame(), queue.take_frame()
    source = voice(2 * FRAME_SAMPLES)[:FRAME_SAMPLES]
    assert (np.diff(farewell[:FADE_SAMPLES] / source[:FADE_SAMPLES]) < 1e-3).all()
    assert not farewell[FADE_SAMPLES:].any()
    assert (np.diff(again[:FADE_SAMPLES] / source[:FADE_SAMPLES]) > -1e-3).all()
    assert np.array_equal(again[FADE_SAMPLES:], source[FADE_SAMPLES:])
    assert queue.queued_samples == FRAME_SAMPLES


def test_the_text_of_a_segment_spans_what_is_audible_of_it() -> None:
    queue = PlayoutQueue()
    queue.segment("one two")
    hush = np.zeros(SECOND, dtype=np.int16)
    for part in (hush, voice(SECOND), hush):
        queue.write(part)
    queue.segment("three")
    queue.write(voice(SECOND))

    def heard_after(seconds: float) -> str:
        while queue.position().samples_sent < seconds * SECOND:
            queue.take_frame()
        return queue.position().heard_text

    assert heard_after(1.0) == ""
    assert heard_after(1.5) == "one"
    assert heard_after(2.0) == "one two"
    assert heard_after(3.9) == "one two"
    queue.finish()
    assert heard_after(4.0) == "one two three"
    assert queue.drained


def test_a_segment_without_audio_is_heard_when_it_is_passed() -> None:
    queue = PlayoutQueue()
    queue.segment("one")
    queue.write(voice(FRAME_SAMPLES))
    queue.segment("...")
    queue.segment("two")
    queue.write(voice(FRAME_SAMPLES))
    queue.finish()
    assert queue.position() == PlayoutPosition(0, "", "one ... two")
    queue.take_frame()
    assert queue.position() == PlayoutPosition(FRAME_SAMPLES, "one ...", "two")


@given(
    st.lists(st.tuples(st.text("ab .", max_size=20), st.integers(0, 5000)), max_size=6),
    st.integers(0, 30),
)
def test_heard_and_unspoken_are_all_words_in_order(
    segments: list[tuple[str, int]], n_frames: int
) -> None:
    queue = PlayoutQueue()
    for text, n_samples in segments:
        queue.segment(text)
        queue.write(voice(n_samples))
    queue.finish()
    taken = [queue.take_frame() for _ in range(n_frames) if queue.has_frame]
    position = queue.position()
    written = joined(voice(n_samples) for _, n_samples in segments)
    assert np.array_equal(joined(taken)[: len(written)], written[: position.samples_sent])
    words = f"{position.heard_text} {position.unspoken_text}".split()
    assert words == " ".join(text for text, _ in segments).split()


def test_text_that_comes_in_pieces_is_heard_at_the_usual_pace_until_its_end_is_known() -> None:
    queue = PlayoutQueue()
    queue.extend("one two ")
    queue.write(voice(SECOND))
    queue.extend("three four five six")
    for _ in range(25):
        queue.take_frame()
    assert queue.position().heard_text == "one two", "half a second, at 15 characters a second"
    queue.write(voice(SECOND))
    queue.finish()
    assert queue.position() == PlayoutPosition(25 * FRAME_SAMPLES, "one", "two three four five six")


def test_a_segment_that_is_cut_short_gives_back_what_it_does_not_say() -> None:
    queue = PlayoutQueue()
    assert queue.cut_text() == ""
    queue.extend("one two three four")
    queue.write(voice(SECOND * 8 // 15))
    assert queue.cut_text() == " three four"
    queue.segment("5 6")
    queue.write(voice(SECOND))
    queue.finish()
    while queue.has_frame:
        queue.take_frame()
    assert queue.position().heard_text == "one two 5 6"
    assert queue.cut_text() == ""
