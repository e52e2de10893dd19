"""The cache of a track's last packets."""

from __future__ import annotations

import pytest

from mulisa.sfu.packets import NO_LEVEL, Packet, PacketCache

pytestmark = pytest.mark.unit


def packet(number: int, at: float = 0.0) -> Packet:
    return Packet(number, 0, "opus", False, NO_LEVEL, b"", 0, False, at)


def test_the_newest_packets_are_kept() -> None:
    cache = PacketCache(4)
    for number in range(6):
        cache.put(packet(number))
    assert [cache.get(number) for number in (0, 1)] == [None, None]
    assert [cache.get(number) for number in (2, 5)] == [packet(2), packet(5)]
    assert cache.get(6) is None
    cache.clear()
    assert cache.get(5) is None


def test_what_came_since_a_time_is_in_order_without_what_is_lost() -> None:
    cache = PacketCache(8)
    for number in (1, 2, 4, 5):
        cache.put(packet(number, at=number / 10))
    assert [each.number for each in cache.since(0.2, 0, 4)] == [2, 4]
    assert [each.number for each in cache.since(0.0, 3, 5)] == [4, 5]
    assert list(cache.since(0.0, 9, 5)) == []


def test_a_size_that_is_no_power_of_two_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="power of two, not 6"):
        PacketCache(6)
