"""How busy the machine was, from looks at its counters."""

from __future__ import annotations

import pytest

from mulisa.compare.load import Load, Loads, Look, late_percent, watching

pytestmark = pytest.mark.unit


def looks(*idle: float, stolen: float = 0.0) -> Loads:
    """One a second, of two cores."""
    return Loads([Look(float(at), i, stolen * at, 2.0 * at) for at, i in enumerate(idle)])


def test_idle_time_is_what_is_missing_of_all_cores() -> None:
    loads = looks(0.0, 2.0, 3.0, 3.0)
    assert loads.between(0.0, 1.0) == Load(0.0)
    assert loads.between(1.0, 2.0) == Load(50.0)
    assert loads.between(2.0, 3.0).is_at_limit


def test_what_lies_between_two_looks_counts_whole() -> None:
    loads = looks(0.0, 2.0, 3.0, 3.0)
    assert loads.between(1.2, 1.9) == Load(50.0)
    assert loads.between(1.2, 2.5) == Load(75.0)


def test_stolen_time_is_busy_and_told() -> None:
    load = looks(0.0, 1.0, stolen=0.2).between(0.0, 1.0)
    assert load.busy == pytest.approx(50.0)
    assert load.stolen == pytest.approx(10.0)
    assert load.is_at_limit


def test_nothing_seen_is_no_limit() -> None:
    assert Loads().between(0.0, 1.0, late=0.5) == Load(0.0, late=0.5)
    forgotten = looks(0.0, 2.0)
    forgotten.forget()
    assert not forgotten.between(0.0, 1.0).is_at_limit


def test_late_sound_counts_where_it_fell() -> None:
    stops = [(1.0, 0.1), (2.0, 0.3), (9.0, 5.0)]
    assert late_percent(stops, 1.5, 3.5) == pytest.approx(15.0)
    assert late_percent([], 1.5, 3.5) == 0.0


async def test_this_machine_is_looked_at() -> None:
    async with watching() as loads:
        (look,) = loads.looks
        assert look.total > look.idle > 0
