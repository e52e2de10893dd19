"""Loss, jitter and requests of one received stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.wire.reception import Reception
from mulisa.wire.rtcp import SenderReport

pytestmark = pytest.mark.unit


def receive(reception: Reception, sequences: list[int], now: float = 0.0) -> list[int | None]:
    return [reception.receive(each & 0xFFFF, 960 * each, now) for each in sequences]


def test_sequence_numbers_go_on_beyond_their_cycle() -> None:
    reception = Reception(48000, 65534)
    assert receive(reception, [65534, 65535, 65536, 65538, 65537]) == [
        65534,
        65535,
        65536,
        65538,
        65537,
    ]


def test_nothing_comes_twice() -> None:
    reception = Reception(48000, 5)
    assert receive(reception, [5, 7, 7, 6, 6, 5, 4]) == [5, 7, None, 6, None, None, None]


def test_a_report_counts_what_was_lost_since_the_last() -> None:
    reception = Reception(48000, 10)
    receive(reception, [10, 11, 13, 14])
    block = reception.report(42, now=1.0)
    assert (block.ssrc, block.packets_lost, block.highest_sequence) == (42, 1, 14)
    assert block.fraction_lost == 256 // 5
    assert reception.loss(2.0) == pytest.approx(1 / 5)
    assert reception.loss(99.0) == 0
    receive(reception, [12, 15, 16], now=1.1)
    block = reception.report(42, now=2.0)
    assert (block.fraction_lost, block.packets_lost, block.highest_sequence) == (0, 0, 16)
    assert not reception.is_news


def test_jitter_is_that_of_rfc_3550() -> None:
    reception = Reception(48000, 0)
    expected = 0.0
    for number, late in enumerate([0.0, 0.01, 0.0, 0.03, 0.0]):
        before = [0.0, 0.0, 0.01, 0.0, 0.03][number]
        reception.receive(number, 960 * number, 0.02 * number + late)
        if number:
            expected += (abs(late - before) * 48000 - expected) / 16
    assert reception.report(1, now=1.0).jitter == int(expected)


def test_a_leap_of_the_timestamps_is_no_jitter() -> None:
    reception = Reception(48000, 0)
    reception.receive(0, 0, 0.0)
    reception.receive(1, 2**31, 0.02)
    assert reception.report(1, now=1.0).jitter == 0


def test_a_report_names_the_senders_and_how_long_ago_it_came() -> None:
    reception = Reception(48000, 0)
    receive(reception, [0])
    reception.receive_report(SenderReport(1, 0x1122334455667788, 0, 0, 0), now=5.0)
    block = reception.report(1, now=5.5)
    assert (block.last_report, block.delay) == (0x33445566, 32768)


def test_what_is_missing_is_asked_for_until_it_comes_or_is_too_late() -> None:
    reception = Reception(48000, 0)
    assert not reception.has_missing
    receive(reception, [0, 3], now=1.0)
    assert reception.has_missing
    assert reception.requests(1.0) == [1, 2]
    assert reception.requests(1.03) == []
    receive(reception, [1, 5], now=1.03)
    assert reception.requests(1.03) == [4]
    assert reception.requests(1.07) == []
    assert reception.requests(1.1) == [2, 4]
    assert reception.requests(1.6) == []
    assert not reception.has_missing
    assert receive(reception, [2], now=1.7) == [None]


def test_an_interruption_is_not_asked_for() -> None:
    reception = Reception(48000, 0)
    receive(reception, [0, 1000])
    assert not reception.has_missing


def test_what_nobody_asks_for_is_forgotten_with_the_reports() -> None:
    reception = Reception(48000, 0)
    receive(reception, [0, 3], now=1.0)
    reception.report(1, now=1.5)
    assert receive(reception, [1], now=1.6) == [1]
    reception.report(1, now=3.0)
    assert receive(reception, [2], now=3.0) == [None]


@given(st.integers(0, 65535), st.lists(st.integers(-300, 300), max_size=200))
def test_every_extended_number_is_given_once(start: int, steps: list[int]) -> None:
    reception = Reception(48000, start)
    sent = start
    seen: set[int] = set()
    for now, step in enumerate(steps):
        sent = max(sent + step, start)
        extended = reception.receive(sent & 0xFFFF, 0, now / 100)
        if extended is not None:
            assert extended == sent
            assert extended not in seen
            seen.add(extended)
        assert len(reception.requests(now / 100)) <= 256
    report = reception.report(1, now=len(steps))
    assert reception.received == len(seen)
    assert 0 <= report.fraction_lost <= 255
