"""How loud a track was."""

from __future__ import annotations

import pytest

from mulisa.sfu.levels import LevelMeter

pytestmark = pytest.mark.unit


def test_the_share_of_loud_packets_and_the_loudest() -> None:
    meter = LevelMeter(48000, now=10.0)
    for number in range(20):
        meter.hear(30 if number < 10 else 36, 960 * number)
    assert meter.drain(now=10.4) == pytest.approx((0.5, -30.0))
    assert meter.drain(now=10.8) == (0.0, -127.0)


def test_packets_count_as_long_as_they_are() -> None:
    meter = LevelMeter(48000, now=0.0)
    for number in range(4):
        meter.hear(10, 2**32 - 2880 + 2880 * number)
    assert meter.drain(now=0.4) == pytest.approx((0.5, -10.0))


def test_a_packet_after_a_silence_is_20_ms() -> None:
    meter = LevelMeter(48000, now=0.0)
    meter.hear(10, 0)
    meter.hear(10, 48000)
    assert meter.drain(now=0.4) == pytest.approx((0.1, -10.0))


def test_more_sound_than_time_is_all_of_it() -> None:
    meter = LevelMeter(48000, now=0.0)
    for number in range(100):
        meter.hear(0, 960 * number)
    assert meter.drain(now=0.4) == (1.0, 0.0)
    assert meter.drain(now=0.4) == (0.0, -127.0)
