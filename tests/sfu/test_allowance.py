"""How often something may happen."""

from __future__ import annotations

import pytest

from mulisa.sfu.allowance import Allowance

pytestmark = pytest.mark.unit


def test_a_burst_then_so_many_per_second() -> None:
    allowance = Allowance(rate=2.0, burst=3, now=10.0)
    assert [allowance.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [allowance.take(10.5), allowance.take(10.5)] == [True, False]
    assert [allowance.take(99.0) for _ in range(4)] == [True, True, True, False]


def test_what_is_dear_takes_more_and_nothing_if_there_is_less() -> None:
    allowance = Allowance(rate=1.0, burst=4, now=0.0)
    assert not allowance.take(0.0, 5)
    assert allowance.take(0.0, 3.5)
    assert not allowance.take(0.0)
    assert allowance.take(0.5)
