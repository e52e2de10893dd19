"""Spread, laws through measured sizes, and where they lead."""

from __future__ import annotations

import pytest

from mulisa.compare.statistics import HORIZON, Spread, fit, spread, without_one

pytestmark = pytest.mark.unit


def test_median_and_range() -> None:
    assert spread([3, 1, 2, 10]) == Spread(2.5, 1, 10, "range", 4)


def test_percentiles_only_of_enough_samples() -> None:
    assert spread(range(5), percentiles=True).kind == "range"
    assert spread(range(101), percentiles=True) == Spread(50, 5, 95, "percentiles", 101)


def test_a_parabola_is_found() -> None:
    sizes = [2, 3, 4, 6]
    law = fit(sizes, [1 + 2 * n + 0.5 * n * n for n in sizes], 2)
    assert law is not None
    assert law.coefficients == pytest.approx((1, 2, 0.5))
    assert law.residual == pytest.approx(0, abs=1e-9)
    assert law.measured == (2, 6)
    assert law.at(10) == pytest.approx(71)


@pytest.mark.parametrize(("sizes", "degree"), [([2, 4], 1), ([2, 3, 4], 2), ([2, 2], 0)])
def test_a_curve_that_goes_through_any_points_is_no_law(sizes: list[int], degree: int) -> None:
    assert fit(sizes, [float(n) for n in sizes], degree) is None


def test_how_far_the_points_lie_from_the_law_is_said() -> None:
    law = fit([1, 2, 3, 4], [1.0, 3.0, 1.0, 3.0], 0)
    assert law is not None
    assert law.coefficients == pytest.approx((2,))
    assert law.residual == pytest.approx(1)


def test_how_much_it_depends_on_one_size() -> None:
    laws = without_one([2, 3, 4], [20.0, 30.0, 46.0], 1)
    assert [law.coefficients for law in laws] == [
        pytest.approx((-18, 16)),
        pytest.approx((-6, 13)),
        pytest.approx((0, 10)),
    ]
    assert without_one([2, 3], [1.0, 2.0], 2) == ()


def test_what_falls_with_more_people_is_taken_for_constant() -> None:
    law = fit([2, 3, 4], [86.0, 85.0, 81.0], 1)
    assert law is not None
    assert law.coefficients == pytest.approx((84.0,))
    assert law.breaks_at(100) is None


def test_where_it_breaks() -> None:
    law = fit([2, 3, 4], [20.0, 30.0, 40.0], 1)
    assert law is not None
    assert law.breaks_at(105) == 11
    assert law.breaks_at(10.1 * HORIZON) is None


def test_nothing_costs_less_than_nothing() -> None:
    law = fit([4, 5, 6], [1.0, 3.0, 5.0], 1)
    assert law is not None
    assert law.at(2) == 0.0
