"""Where a topology comes to a limit: extrapolated from measured sizes, and marked as that. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mulisa.compare.measured import Measured, amount
from mulisa.compare.metrics import METRIC_OF, SPEECH, TOPOLOGIES, Metric, RowName, Topology
from mulisa.compare.statistics import HORIZON, Law, fit, without_one
from mulisa.compare.theory import degree_of


@dataclass(frozen=True, slots=True)
class Limit:
    """What a metric may reach, and the assumption behind it."""

    row: RowName
    metric: str
    condition: str
    value: float
    what: str


@dataclass(frozen=True, slots=True)
class Break:
    """The size of a call at which a limit is passed."""

    topology: Topology
    what: str
    people: int | None
    """None: no limit in sight."""
    law: str
    """What it rests on."""


LIMITS: Final = (
    Limit("scalability", "browser_cpu", "", 100, "a browser fills one core"),
    Limit("scalability", "mulisa_cpu", "", 100, "Mulisa fills one core"),
    Limit("scalability", "server_cpu", "", 100, "the server fills its one core"),
    Limit("bandwidth", "upload_on_wire", SPEECH, 10_000, "an uplink of 10 Mb/s is full"),
)

TOO_FEW: Final = "too few sizes without a full machine to say"
"""Of a limit without a law."""
_CURVES: Final = ("constant", "straight line", "parabola")


def limit_of(metric: Metric, condition: str) -> Limit | None:
    """None for a metric that nothing limits."""
    key = (metric.row, metric.name, condition)
    return next((each for each in LIMITS if (each.row, each.metric, each.condition) == key), None)


def law_of(
    measured: Measured, metric: Metric, topology: Topology, condition: str = ""
) -> Law | None:
    """Through the sizes at which the machine was not at its limit; None if they are too few."""
    degree = degree_of(metric, topology)
    if degree is None:
        return None
    return fit(*_points(measured, metric, topology, condition), degree)


def _points(
    measured: Measured, metric: Metric, topology: Topology, condition: str
) -> tuple[list[int], list[float]]:
    """Sizes with room, and the medians there."""
    series = measured.series(metric, topology, condition)
    sound = [figure for figure in series if not figure.saturated]
    return [f.participants for f in sound], [measured.spread(f).median for f in sound]


def breaks_of(measured: Measured) -> tuple[Break, ...]:
    """Of every limit in every topology, as far as enough sizes were measured."""
    return tuple(
        _break(measured, limit, topology, law)
        for limit in LIMITS
        for topology in TOPOLOGIES
        if (law := law_of(measured, _metric(limit), topology, limit.condition))
    )


def _break(measured: Measured, limit: Limit, topology: Topology, law: Law) -> Break:
    smallest, largest = law.measured
    degree = len(law.coefficients) - 1
    off = amount(law.residual, _metric(limit).unit)
    fitted = f"A {_CURVES[degree]} through {smallest} to {largest} people, off by {off}"
    people = law.breaks_at(limit.value)
    sought = "" if people else f", followed up to {HORIZON:,} people"
    points = _points(measured, _metric(limit), topology, limit.condition)
    others = [each.breaks_at(limit.value) for each in without_one(*points, degree)]
    return Break(topology, limit.what, people, f"{fitted}{sought}{_between(people, others)}.")


def _between(people: int | None, others: list[int | None]) -> str:
    """How much it depends on one size."""
    found = [each for each in others if each]
    if not found or set(others) == {people}:
        return ""
    last = str(max(found)) if len(found) == len(others) else f"more than {HORIZON:,}"
    return f"; with one size left out {min(found)} to {last} people"


def _metric(limit: Limit) -> Metric:
    return METRIC_OF[limit.row, limit.metric]
