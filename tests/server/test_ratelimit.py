from __future__ import annotations

import pytest

from mulisa.server import ratelimit
from mulisa.server.ratelimit import RateLimit

pytestmark = pytest.mark.unit


def test_a_burst_is_admitted_and_then_the_rate() -> None:
    limit = RateLimit(rate=0.5, burst=3)
    assert [limit.admit("a", now=10.0) for _ in range(4)] == [True, True, True, False]
    assert not limit.admit("a", now=11.0)
    assert limit.admit("a", now=12.5)
    assert not limit.admit("a", now=12.6)


def test_a_long_silence_saves_no_more_than_a_burst() -> None:
    limit = RateLimit(rate=1.0, burst=2)
    assert [limit.admit("a", now=0.0) for _ in range(2)] == [True, True]
    assert [limit.admit("a", now=1e6) for _ in range(3)] == [True, True, False]


def test_one_address_does_not_use_up_anothers() -> None:
    limit = RateLimit(rate=0.1, burst=1)
    assert limit.admit("a", now=0.0)
    assert limit.admit("b", now=0.0)
    assert not limit.admit("a", now=0.0)


def test_memory_is_bounded_and_who_asks_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratelimit, "_MAX_ADDRESSES", 3)
    limit = RateLimit(rate=0.1, burst=1)
    assert limit.admit("flood", now=0.0)
    for number in range(10):
        limit.admit(str(number), now=0.0)
        assert not limit.admit("flood", now=0.0)
    assert limit.admit("0", now=0.0), "long forgotten"
