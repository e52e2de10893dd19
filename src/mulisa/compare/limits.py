"""Where a topology comes to a limit: extrapolated from measured sizes, and marked as that. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mulisa.compare.measured import Measured, amount
from mulisa.compare.metrics import METRIC_OF, SPEECH, TOPOLOGIES, Metric, RowName, Topology
from mulisa.compare.statistics import HORIZON, Law, fit
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
    series = measured.series(metric, topology, condition)
    sound = [figure for figure in series if not figure.saturated]
    if degree is None:
        return None
    sizes = [figure.participants for figure in sound]
    return fit(sizes, [measured.spread(figure).median for figure in sound], degree)


def breaks_of(measured: Measured) -> tuple[Break, ...]:
    """Of every limit in every topology, as far as enough sizes were measured."""
    return tuple(
        _break(limit, topology, law)
        for limit in LIMITS
        for topology in TOPOLOGIES
        if (law := law_of(measured, _metric(limit), topology, limit.condition))
    )


def _break(limit: Limit, topology: Topology, law: Law) -> Break:
    smallest, largest = law.measured
    curve = _CURVES[len(law.coefficients) - 1]
    off = amount(law.residual, _metric(limit).unit)
    fitted = f"A {curve} through {smallest} to {largest} people, off by {off}"
    people = law.breaks_at(limit.value)
    sought = "" if people else f", followed up to {HORIZON:,} people"
    return Break(topology, limit.what, people, f"{fitted}{sought}.")


def _metric(limit: Limit) -> Metric:
    return METRIC_OF[limit.row, limit.metric]
