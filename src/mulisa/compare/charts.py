"""What the report draws: one chart per metric and condition, as data. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from mulisa.compare.limits import law_of, limit_of
from mulisa.compare.measured import SAME, Measured, difference
from mulisa.compare.metrics import NAMES, TOPOLOGIES, Metric, Topology
from mulisa.compare.result import Figure

FURTHER: Final = 20
"""People up to whom a law is drawn, as far as it stays below its limit."""

AS_IT_SAYS: Final = "as it says"
Place = int | str
"""On the x axis: people in the call, or a condition."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What was measured at one place."""

    topology: Topology
    x: Place
    median: float
    low: float
    high: float
    saturated: bool


@dataclass(frozen=True, slots=True)
class Point:
    """What theory says at one place, or what a law foretells."""

    topology: Topology
    x: Place
    y: float


@dataclass(frozen=True, slots=True)
class Chart:
    """One metric under one condition over people, or at one size over conditions."""

    title: str
    unit: str
    condition: str
    over: Literal["people", "conditions"]
    beside: str
    """How far from theory; empty where it says nothing."""
    ceiling: float
    """The largest value in all charts of this metric, so that they share a scale."""
    marks: tuple[Mark, ...]
    theory: tuple[Point, ...]
    beyond: tuple[Point, ...]
    """Extrapolated."""


def charts_of(measured: Measured, metric: Metric, *, extrapolate: bool) -> tuple[Chart, ...]:
    """A chart per condition that the table names; one over all conditions if it names none."""
    conditions = measured.conditions(metric)
    if not conditions:
        return ()
    if metric.conditions:
        charts = [_over_people(measured, metric, each, extrapolate) for each in conditions]
    else:
        charts = [_over_conditions(measured, metric, conditions)]
    ceiling = max(_highest(chart) for chart in charts) or 1
    return tuple(replace(chart, ceiling=ceiling) for chart in charts)


def _over_people(measured: Measured, metric: Metric, condition: str, extrapolate: bool) -> Chart:
    found = [
        (figure, figure.participants)
        for each in TOPOLOGIES
        for figure in measured.series(metric, each, condition)
    ]
    beyond = _beyond(measured, metric, condition) if extrapolate else ()
    return replace(_chart(measured, metric, found), condition=condition, beyond=beyond)


def _over_conditions(measured: Measured, metric: Metric, conditions: list[str]) -> Chart:
    """Each condition at each size; the title has that if it is the same one for all."""
    cases = [(each, people) for each in conditions for people in measured.sizes(metric, each)]
    is_one = len({people for _, people in cases}) == 1
    found = [
        (figure, condition if is_one else f"{condition}, {people} people")
        for topology in TOPOLOGIES
        for condition, people in cases
        if (figure := measured.figure(metric, topology, people, condition))
    ]
    people = f", {cases[0][1]} people" if is_one else ""
    chart = _chart(measured, metric, found)
    return replace(chart, title=f"{metric.title}{people}", over="conditions")


def _chart(measured: Measured, metric: Metric, found: Iterable[tuple[Figure, Place]]) -> Chart:
    found = list(found)
    marks = tuple(_mark(measured, figure, place) for figure, place in found)
    theory = tuple(
        Point(figure.topology, place, figure.theory)
        for figure, place in found
        if figure.theory is not None
    )
    beside = _beside(measured, [figure for figure, _ in found])
    return Chart(metric.title, metric.unit_beside, "", "people", beside, 0, marks, theory, ())


def _beside(measured: Measured, figures: Iterable[Figure]) -> str:
    """For each topology what is furthest from theory, where the machine was not full."""
    told = []
    for topology in TOPOLOGIES:
        pairs = [
            (measured.spread(figure).median, figure.theory)
            for figure in figures
            if figure.topology == topology and figure.theory is not None and not figure.saturated
        ]
        if pairs:
            told.append(f"{NAMES[topology]} {_furthest(pairs)}")
    if told and all(each.endswith(AS_IT_SAYS) for each in told):
        return "Measured as theory says."
    return f"Measured against theory: {', '.join(told)}." if told else ""


def _furthest(pairs: Sequence[tuple[float, float]]) -> str:
    found = [difference(median, theory) for median, theory in pairs]
    apart = [abs(median - theory) / (abs(theory) or 1) for median, theory in pairs]
    worst = found[apart.index(max(apart))]
    if worst == SAME:
        return AS_IT_SAYS
    return worst if len(pairs) == 1 else f"at most {worst}"


def _mark(measured: Measured, figure: Figure, x: Place) -> Mark:
    spread = measured.spread(figure)
    return Mark(figure.topology, x, spread.median, spread.low, spread.high, figure.saturated)


def _beyond(measured: Measured, metric: Metric, condition: str) -> tuple[Point, ...]:
    limit = limit_of(metric, condition)
    if limit is None:
        return ()
    return tuple(
        Point(topology, people, law.at(people))
        for topology in TOPOLOGIES
        if (law := law_of(measured, metric, topology, condition))
        for people in range(law.measured[1], FURTHER + 1)
        if law.at(people) <= limit.value
    )


def _highest(chart: Chart) -> float:
    values = [mark.high for mark in chart.marks]
    return max(values + [point.y for point in (*chart.theory, *chart.beyond)])
