"""A result's figures, found by what they are of, and its numbers as people read them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from mulisa.compare.metrics import (
    COMPARED,
    METRIC_OF,
    METRICS,
    TOPOLOGIES,
    Metric,
    RowName,
    Topology,
)
from mulisa.compare.result import Figure, Result
from mulisa.compare.statistics import Spread, spread

NO_BREAK: Final = "\N{NO-BREAK SPACE}"
SAME: Final = "the same"
_NEGLIGIBLE: Final = 0.005
"""Differences below half a percent are none."""


class Measured:
    """Figures of one result by metric, topology, size and condition."""

    def __init__(self, result: Result) -> None:
        self._percentiles = result.options.full
        self._figures = {
            (f.row, f.metric, f.topology, f.participants, f.condition): _judged(f)
            for f in result.figures
        }

    def topologies(self, metrics: Iterable[Metric] = METRICS) -> tuple[Topology, ...]:
        """Those that are compared, and what else one of these metrics was measured of."""
        keys = {(metric.row, metric.name) for metric in metrics}
        found = {
            each.topology for each in self._figures.values() if (each.row, each.metric) in keys
        }
        return tuple(each for each in TOPOLOGIES if each in COMPARED or each in found)

    def figure(
        self, metric: Metric, topology: Topology, participants: int, condition: str = ""
    ) -> Figure | None:
        """None if it was not measured."""
        return self._figures.get((metric.row, metric.name, topology, participants, condition))

    def series(self, metric: Metric, topology: Topology, condition: str = "") -> list[Figure]:
        """All sizes of one metric, the smallest first."""
        found = (
            figure
            for figure in self._of(metric)
            if (figure.topology, figure.condition) == (topology, condition)
        )
        return sorted(found, key=lambda figure: figure.participants)

    def sizes(self, metric: Metric, condition: str | None = None) -> list[int]:
        """Numbers of people for which it was measured (under it), the smallest first."""
        found = (f for f in self._of(metric) if condition is None or f.condition == condition)
        return sorted({figure.participants for figure in found})

    def conditions(self, metric: Metric) -> list[str]:
        """In the order of the table, else in that of measuring."""
        found = list(dict.fromkeys(figure.condition for figure in self._of(metric)))
        known = [condition for condition in metric.conditions if condition in found]
        return known or found

    def telling_size(
        self, metric: Metric, condition: str = "", wanted: int | None = None
    ) -> int | None:
        """People in the call by which both topologies are compared; None if in none of them.

        `wanted` or the largest one at which the machine was not full, or the smallest where it
        always was.
        """
        sound = self.sound_size(metric, condition, wanted)
        compared = (size for size in self.sizes(metric) if self._pair(metric, size, condition))
        return min(compared, default=None) if sound is None else sound

    def sound_size(
        self, metric: Metric, condition: str = "", wanted: int | None = None
    ) -> int | None:
        """As `telling_size`, but None where the machine was always full."""
        pairs = {size: self._pair(metric, size, condition) for size in self.sizes(metric)}
        sound = [
            size for size, pair in pairs.items() if pair and not any(f.saturated for f in pair)
        ]
        return wanted if wanted in sound else max(sound, default=None)

    def full_sizes(self) -> list[int]:
        """At which something was measured while the machine was full, the smallest first."""
        return sorted({each.participants for each in self._figures.values() if each.saturated})

    def row(self, row: RowName) -> list[Figure]:
        """All figures of it."""
        return [figure for figure in self._figures.values() if figure.row == row]

    def has_row(self, row: RowName) -> bool:
        """Whether anything of it was measured."""
        return any(figure.row == row for figure in self._figures.values())

    def spread(self, figure: Figure) -> Spread:
        """Range by default, percentiles of a full comparison."""
        return spread(figure.samples, percentiles=self._percentiles)

    def median(
        self, metric: Metric, topology: Topology, participants: int, condition: str = ""
    ) -> float | None:
        """None if it was not measured."""
        figure = self.figure(metric, topology, participants, condition)
        return None if figure is None else self.spread(figure).median

    def both(
        self, metric: Metric, participants: int, condition: str = ""
    ) -> tuple[float, float] | None:
        """Medians of mesh and SFU; None if one of them was not measured."""
        mesh, sfu = (self.median(metric, each, participants, condition) for each in COMPARED)
        return None if mesh is None or sfu is None else (mesh, sfu)

    def _pair(self, metric: Metric, size: int, condition: str) -> list[Figure]:
        """Mesh and SFU; empty if one of them was not measured."""
        both = [self.figure(metric, topology, size, condition) for topology in COMPARED]
        found = [figure for figure in both if figure]
        return found if len(found) == len(COMPARED) else []

    def _of(self, metric: Metric) -> Iterable[Figure]:
        key = (metric.row, metric.name)
        return (figure for figure in self._figures.values() if (figure.row, figure.metric) == key)


def _judged(figure: Figure) -> Figure:
    """A busy machine is slow, but does not miscount."""
    is_counted = METRIC_OF[figure.row, figure.metric].is_counted
    return replace(figure, saturated=False) if is_counted and figure.saturated else figure


def number(value: float) -> str:
    """With sensible digits: "4", "0.54", "53.2", "1,234"."""
    size = abs(value)
    digits = 0 if value == round(value) or size >= 100 else 1 if size >= 1 else 2
    return f"{value:,.{digits}f}"


def amount(value: float, unit: str) -> str:
    """A number with its unit, never torn apart: "53.2 kb/s", "1 connection"."""
    is_one = value == 1 and unit.endswith("s") and "/" not in unit and unit != "ms"
    return f"{number(value)}{NO_BREAK}{unit[:-1] if is_one else unit}"


def ratio(mesh: float, sfu: float) -> str:
    """Mesh to SFU, the smaller one as 1: "4 : 1", "1 : 1.2"; empty where it would say nothing."""
    if min(mesh, sfu) <= 0:
        return ""
    if mesh > sfu:
        return f"{_times(mesh / sfu)} : 1"
    return f"1 : {_times(sfu / mesh)}"


def difference(measured: float, theory: float) -> str:
    """How far the measured value is from theory: "the same", "+1.2 %", "+3" where that is 0."""
    if abs(measured - theory) <= _NEGLIGIBLE * abs(theory):
        return SAME
    if theory == 0:
        return f"{measured:+.3g}"
    return f"{(measured / theory - 1) * 100:+.1f}{NO_BREAK}%".replace("-", "\N{MINUS SIGN}")


def beside_theory(measured: float, theory: float) -> str:
    """ "as theory says", "theory 39, +1.2 %"."""
    off = difference(measured, theory)
    return "as theory says" if off == SAME else f"theory {number(theory)}, {off}"


def extent(spread: Spread) -> str:
    """ "3.9 to 4.2"; empty where all samples are equal."""
    if spread.low == spread.high:
        return ""
    return f"{number(spread.low)} to {number(spread.high)}"


def _times(factor: float) -> str:
    return number(round(factor, 0 if factor >= 10 else 1))
