"""What the report draws: one chart per metric and condition, as data. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from mulisa.compare.limits import law_of, limit_of
from mulisa.compare.measured import Measured
from mulisa.compare.metrics import TOPOLOGIES, Metric, Topology
from mulisa.compare.result import Figure

FURTHER: Final = 20
"""People up to whom a law is drawn, as far as it stays below its limit."""

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
    """At the largest size that was measured."""
    people = measured.sizes(metric)[-1]
    found = [
        (figure, condition)
        for topology in TOPOLOGIES
        for condition in conditions
        if (figure := measured.figure(metric, topology, people, condition))
    ]
    title = f"{metric.title}, {people} people"
    return replace(_chart(measured, metric, found), title=title, over="conditions")


def _chart(measured: Measured, metric: Metric, found: Iterable[tuple[Figure, Place]]) -> Chart:
    found = list(found)
    marks = tuple(_mark(measured, figure, place) for figure, place in found)
    theory = tuple(
        Point(figure.topology, place, figure.theory)
        for figure, place in found
        if figure.theory is not None
    )
    return Chart(metric.title, metric.unit, "", "people", 0, marks, theory, ())


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
