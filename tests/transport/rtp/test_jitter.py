"""Packets of one voice are brought into order, and wait for each other no longer than it pays."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.transport.rtp.jitter import (
    MAX_LATENESS,
    MAX_WAITING,
    MIN_LATENESS,
    JitterBuffer,
    VoicePacket,
)

pytestmark = pytest.mark.unit

FRAME = 0.02


class Line:
    """A buffer, its clock, and what came out of it."""

    def __init__(self, first: int = 65_530, timestamp: int = 2**32 - 5_000) -> None:
        self.buffer = JitterBuffer()
        self.out: list[tuple[int, float]] = []
        """By number, and when."""
        self.packets: list[VoicePacket] = []
        self._first, self._timestamp = first, timestamp

    def bring(self, number: int, now: float) -> None:
        """The packet of this number comes; numbers begin at 0 and sequence numbers wrap around."""
        self.pass_time(now)
        sequence = (self._first + number) & 0xFFFF
        timestamp = (self._timestamp + 960 * number) & 0xFFFFFFFF
        self._take(self.buffer.receive(sequence, timestamp, bytes([number & 0xFF]), now), now)

    def pass_time(self, now: float) -> None:
        while (deadline := self.buffer.deadline) is not None and deadline <= now:
            self._take(self.buffer.expire(deadline), deadline)

    def _take(self, packets: Sequence[VoicePacket], now: float) -> None:
        self.packets += packets
        self.out += [((each.sequence - self._first) & 0xFFFF, now) for each in packets]

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.out]


def test_packets_in_order_are_passed_on_at_once_however_late_they_are() -> None:
    line, chance, now = Line(), random.Random(1), 0.0
    for number in range(200):
        now = max(now, number * FRAME + chance.random() * 0.1)
        line.bring(number, now)
        assert line.out[-1] == (number, now)
    assert line.buffer.deadline is None


def test_a_packet_that_was_overtaken_takes_its_place() -> None:
    line = Line()
    for number, now in ((0, 0.0), (1, 0.02), (3, 0.06), (2, 0.065), (4, 0.08)):
        line.bring(number, now)
    assert line.out == [(0, 0.0), (1, 0.02), (2, 0.065), (3, 0.065), (4, 0.08)]
    assert [each.lost for each in line.packets] == [0] * 5


def test_on_a_calm_network_a_lost_packet_is_given_up_at_once() -> None:
    line = Line()
    for number in range(50):
        line.bring(number, number * FRAME)
    line.bring(51, 51 * FRAME)
    line.pass_time(52 * FRAME)
    assert line.packets[-1].lost == 1
    given_up_at = line.out[-1][1]
    assert given_up_at - 51 * FRAME == pytest.approx(MIN_LATENESS - FRAME)
    line.bring(52, 52 * FRAME)
    line.bring(50, 52.5 * FRAME)
    line.bring(50, 52.6 * FRAME)
    assert (line.numbers[-2:], line.buffer.late) == ([51, 52], 1)


def test_patience_is_what_the_network_needs() -> None:
    """With delays of up to 100 ms nearly nothing is late; when they are over, nothing waits."""
    line, chance = Line(), random.Random(2)
    arrivals = sorted((number * FRAME + chance.random() * 0.1, number) for number in range(600))
    for now, number in arrivals:
        line.bring(number, now)
    assert line.numbers == sorted(line.numbers)
    settled = [number for number in line.numbers if number >= 100]
    assert len(settled) >= 0.96 * 500
    assert 0.06 < line.buffer.schedule.lateness < 0.13
    for number in range(620, 1_400):
        line.bring(number, number * FRAME)
    assert line.buffer.schedule.lateness < 0.01


def test_a_gap_of_many_packets_is_one_loss() -> None:
    line = Line()
    line.bring(0, 0.0)
    line.bring(1_000, 20.0)
    line.pass_time(20.0 + MAX_LATENESS)
    assert [(each.lost, each.restarts) for each in line.packets] == [(0, True), (999, False)]


def test_a_stray_packet_changes_nothing_and_a_new_beginning_is_followed() -> None:
    line = Line()
    for number in range(3):
        line.bring(number, number * FRAME)
    line.bring(30_000, 0.05)
    line.bring(3, 0.06)
    assert line.numbers == [0, 1, 2, 3]
    line.bring(30_001, 0.08)
    line.bring(30_002, 0.10)
    line.bring(30_003, 0.12)
    assert line.numbers == [0, 1, 2, 3, 30_002, 30_003]
    assert [each.restarts for each in line.packets] == [True, *[False] * 3, True, False]


def test_behind_a_gap_only_so_many_wait() -> None:
    buffer = JitterBuffer()
    buffer.receive(0, 0, b"", 0.0)
    for number in range(2, MAX_WAITING + 2):
        assert not buffer.receive(number, 0, b"", 0.0)
    ready = buffer.receive(MAX_WAITING + 2, 0, b"", 0.0)
    assert [each.sequence for each in ready] == list(range(2, MAX_WAITING + 3))


@st.composite
def journeys(draw: st.DrawFn) -> list[tuple[float, int]]:
    """When which of up to 80 packets come: any order, any loss, any repetition."""
    chance = draw(st.randoms(use_true_random=False))
    spread, loss = draw(st.floats(0.0, 0.5)), draw(st.floats(0.0, 0.9))
    repeated = [number for number in range(80) for _ in range(chance.choice((1, 1, 2)))]
    return sorted(
        (number * FRAME + chance.random() * spread, number)
        for number in repeated
        if chance.random() >= loss
    )


@given(journeys(), st.integers(0, 65_535), st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_whatever_the_network_does_packets_come_out_in_order_and_once(
    journey: list[tuple[float, int]], sequence: int, timestamp: int
) -> None:
    line, now = Line(sequence, timestamp), 0.0
    for now, number in journey:
        line.bring(number, now)
        assert len(line.buffer._waiting) <= MAX_WAITING
        deadline = line.buffer.deadline
        assert deadline is None or now < deadline <= now + MAX_LATENESS
    line.pass_time(now + MAX_LATENESS)
    assert line.buffer.deadline is None
    if not journey:
        return
    first = journey[0][1]
    numbers = [(number - first) & 0xFFFF for number in line.numbers]
    assert numbers == sorted(set(numbers)), "in order, and none twice"
    assert {number for _, number in journey} >= {number + first for number in numbers}
    assert numbers[-1] == max(number for _, number in journey) - first, "nothing is held back"
    assert sum(each.lost for each in line.packets) + len(numbers) == numbers[-1] + 1


PACKETS = st.tuples(
    st.one_of(st.integers(0, 65_535), st.integers(0, 150)),
    st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 200_000)),
    st.floats(0.0, 0.3),
)


@given(st.lists(PACKETS, max_size=120))
@settings(max_examples=300, deadline=None)
def test_no_packet_of_a_sender_who_means_harm_makes_us_wait_or_keep_much(
    packets: list[tuple[int, int, float]],
) -> None:
    buffer, now, n_out = JitterBuffer(), 0.0, 0
    for sequence, timestamp, passed in packets:
        now += passed
        n_out += len(buffer.expire(now))
        n_out += len(buffer.receive(sequence, timestamp, b"", now))
        assert len(buffer._waiting) <= MAX_WAITING
        assert len(buffer._given_up) <= 200
        assert buffer.deadline is None or buffer.deadline <= now + MAX_LATENESS
    n_out += len(buffer.flush())
    assert n_out <= len(packets)
    assert buffer.deadline is None
