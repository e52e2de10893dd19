"""The rows of the report: what is drawn, what is tabled, and why something is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mulisa.compare.charts import Chart, charts_of
from mulisa.compare.limits import Break, breaks_of
from mulisa.compare.measured import (
    SAME,
    Measured,
    amount,
    beside_theory,
    difference,
    extent,
    number,
)
from mulisa.compare.metrics import (
    METRIC_OF,
    NAMES,
    ROWS,
    Metric,
    Row,
    RowName,
    Topology,
    metrics_of,
)
from mulisa.compare.result import Figure, Result


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure as text."""

    median: str
    extent: str
    """Empty where all samples are equal."""
    samples: int
    theory: str
    """What it says, and how far from it this is; empty where it says nothing."""
    saturated: bool
    note: str


@dataclass(frozen=True, slots=True)
class TableLine:
    """One size under one condition."""

    people: int
    condition: str
    cells: tuple[Cell | None, ...]
    """In the order of the table's topologies."""


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that was measured of one metric."""

    title: str
    unit: str
    each: str
    topologies: tuple[Topology, ...]
    lines: tuple[TableLine, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One row of the report."""

    name: RowName
    title: str
    plain: str
    see: str
    how: str
    missing: str
    """Why there is nothing; empty if there is something."""
    agreement: str = ""
    """How far it all is from theory; empty where theory says nothing."""
    notes: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    breaks: tuple[Break, ...] = ()


def sections_of(result: Result, measured: Measured) -> tuple[Section, ...]:
    """All rows in their order, those that were not measured included."""
    return tuple(_section(result, measured, row) for row in ROWS)


def _section(result: Result, measured: Measured, row: Row) -> Section:
    notes = tuple(note.text for note in result.notes if note.row == row.name)
    if not measured.has_row(row.name):
        reason = " ".join(notes) or "it was not measured."
        return Section(row.name, row.title, row.plain, row.see, row.how, reason)
    foretells = result.options.full and row.name == "scalability"
    return Section(
        name=row.name,
        title=row.title,
        plain=row.plain,
        see=row.see,
        how=row.how,
        missing="",
        agreement=_agreement(measured, row.name),
        notes=notes,
        charts=tuple(
            chart
            for name in row.charts
            for chart in charts_of(measured, METRIC_OF[row.name, name], extrapolate=foretells)
        ),
        tables=_tables(measured, row.name),
        breaks=breaks_of(measured) if foretells else (),
    )


def _agreement(measured: Measured, row: RowName) -> str:
    """The largest distance of a median from theory in this row."""
    found = [
        (difference(median, figure.theory), median, figure)
        for figure in measured.row(row)
        if figure.theory is not None and not figure.saturated
        for median in [measured.spread(figure).median]
    ]
    if not found:
        return ""
    apart = [each for each in found if each[0] != SAME]
    if not apart:
        return "Every figure that theory speaks of is as it says."
    off, median, figure = max(apart, key=_distance)
    told = f"{amount(median, figure.unit)} instead of {amount(figure.theory or 0, figure.unit)}"
    condition = f", {figure.condition}" if figure.condition else ""
    title = METRIC_OF[figure.row, figure.metric].title
    what = f"{title}{condition}, {NAMES[figure.topology]}, {figure.participants} people"
    return f"Furthest from theory: {told} ({off}; {what})."


def _distance(found: tuple[str, float, Figure]) -> float:
    _, median, figure = found
    theory = figure.theory or 0
    return abs(median - theory) / (abs(theory) or 1)


def _tables(measured: Measured, row: RowName) -> tuple[Table, ...]:
    tables = (_table(measured, metric) for metric in metrics_of(row))
    return tuple(table for table in tables if table.lines)


def _table(measured: Measured, metric: Metric) -> Table:
    topologies = measured.topologies([metric])
    lines = (
        TableLine(people, condition, cells)
        for condition in measured.conditions(metric)
        for people in measured.sizes(metric)
        if any(cells := _cells(measured, metric, topologies, people, condition))
    )
    return Table(metric.title, metric.unit_beside, metric.each, topologies, tuple(lines))


def _cells(
    measured: Measured,
    metric: Metric,
    topologies: Iterable[Topology],
    people: int,
    condition: str,
) -> tuple[Cell | None, ...]:
    found = (measured.figure(metric, each, people, condition) for each in topologies)
    return tuple(_cell(measured, figure) for figure in found)


def _cell(measured: Measured, figure: Figure | None) -> Cell | None:
    if figure is None:
        return None
    spread, theory = measured.spread(figure), figure.theory
    return Cell(
        median=number(spread.median),
        extent=extent(spread),
        samples=spread.count,
        theory="" if theory is None else beside_theory(spread.median, theory),
        saturated=figure.saturated,
        note=figure.note,
    )
