"""What is silence in the lateness of packets, and what a jitter buffer makes of the rest."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from mulisa.sfu.lateness import Lateness
from mulisa.sfu.timeline import Timeline

pytestmark = pytest.mark.unit

SECOND = 48000
FRAME = 960


def even(at: float = 0.0) -> Lateness:
    """Packets came on time."""
    lateness = Lateness(SECOND)
    lateness.note(0, at)
    return lateness


def after(lateness: Lateness, drift: int, now: float) -> int:
    """A packet after a silence: what is taken out of its drift."""
    taken = lateness.of_silence(drift, now)
    lateness.note(drift - taken, now)
    return taken


def come_at_once(lateness: Lateness, now: float, packets: int = 10) -> None:
    """What was spoken at the usual pace comes together; later packets are even again."""
    for _ in range(packets):
        lateness.note(-FRAME, now)
    for second in (1.0, 2.0):
        lateness.note(0, now + second)


def test_a_silence_is_taken_out() -> None:
    assert after(even(), SECOND, now=1.0) == SECOND


def test_it_is_measured_from_the_most_punctual_packet_not_from_the_last() -> None:
    lateness = even()
    lateness.note(1000, 0.02)
    assert after(lateness, SECOND, now=1.0) == SECOND + 1000


def test_a_punctual_packet_is_forgotten_in_the_second_block_after_it() -> None:
    lateness = even()
    for now in (1.0, 2.0):
        lateness.note(500, now)
    assert after(lateness, SECOND, now=3.0) == SECOND + 500


def test_jitter_is_left_alone() -> None:
    assert after(even(), SECOND // 20, now=0.2) == 0


def test_a_bit_is_left_of_a_long_silence_and_is_no_lateness_afterwards() -> None:
    lateness = even()
    assert after(lateness, 5 * SECOND, now=5.0) == 5 * SECOND - 7200
    assert after(lateness, SECOND // 20, now=5.2) == 0
    assert after(lateness, SECOND, now=6.2) == SECOND + SECOND // 20


def test_what_was_held_up_on_its_way_is_left_alone_the_next_time() -> None:
    lateness = even()
    assert after(lateness, SECOND // 5, now=0.22) == SECOND // 5
    come_at_once(lateness, now=0.23)
    assert after(lateness, SECOND // 6, now=3.0) == 0
    assert after(lateness, SECOND, now=5.0) > SECOND // 2
    assert after(lateness, SECOND // 6, now=12.0) == SECOND // 6


def test_a_second_without_a_packet_is_silence_whatever_comes_after_it() -> None:
    lateness = even()
    assert after(lateness, SECOND, now=1.0) == SECOND
    come_at_once(lateness, now=1.01, packets=50)
    assert after(lateness, SECOND // 5, now=4.0) == SECOND // 5


def test_words_at_their_own_pace_raise_no_doubt() -> None:
    lateness = even()
    for number in range(1, 30):
        assert after(lateness, SECOND // 5, now=number) >= SECOND // 5
        lateness.note(-SECOND // 20, number + 0.02)
        lateness.note(SECOND // 20, number + 0.04)


class JitterBuffer:
    """What libwebrtc's NetEq notes of arrivals: lateness in a window of RTP time.

    It is compared with the most punctual packet of the last 2 s, and 2 s or more of it is not
    registered.
    """

    def __init__(self) -> None:
        self.registered: list[float] = []
        self._arrivals: list[tuple[int, float]] = []

    def arrive(self, timestamp: int, at: float) -> None:
        self._arrivals.append((timestamp, at))
        self._arrivals = [each for each in self._arrivals if timestamp - each[0] <= 2 * SECOND]
        best = min(at - timestamp / SECOND for timestamp, at in self._arrivals)
        late = at - timestamp / SECOND - best
        if late < 2.0:
            self.registered.append(late)


def speech(silence: float, jitter: float) -> Iterator[tuple[int, float]]:
    """Timestamps and arrivals of words with silences between them, in which RTP time stands."""
    rng = random.Random(1)
    timestamp, at = 0, 0.0
    for _ in range(4):
        for _ in range(60):
            yield timestamp, at + rng.uniform(0, jitter)
            timestamp, at = timestamp + FRAME, at + FRAME / SECOND
        at += silence


@pytest.mark.parametrize("silence", [0.0, 0.2, 0.5, 1.0, 1.9, 2.0, 2.1, 2.2, 2.3, 2.5, 5.0, 20.0])
def test_no_length_of_silence_looks_late_to_a_jitter_buffer(silence: float) -> None:
    timeline, buffer = Timeline(SECOND, is_spoken=True), JitterBuffer()
    for number, (timestamp, at) in enumerate(speech(silence, jitter=0.019)):
        place = timeline.place("A", number, timestamp, at)
        assert place is not None
        buffer.arrive(place.timestamp, at)
    assert max(buffer.registered) < 0.04


@pytest.mark.parametrize("silence", [0.2, 0.5, 1.0, 1.9])
def test_it_does_if_nothing_is_taken_out(silence: float) -> None:
    buffer = JitterBuffer()
    for timestamp, at in speech(silence, jitter=0.0):
        buffer.arrive(timestamp, at)
    assert max(buffer.registered) >= silence - 1e-9
