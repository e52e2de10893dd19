"""Spread of samples, and the law that measured sizes follow, as far as it can be said. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

PERCENTILE_SAMPLES: Final = 20
"""Fewer samples have a range, but no 5th and 95th percentile worth the name."""
HORIZON: Final = 1000
"""People; whatever holds out this long has no limit in sight."""

SpreadKind = Literal["range", "percentiles"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of samples, and how far they scatter."""

    median: float
    low: float
    high: float
    kind: SpreadKind
    """"range": smallest to largest; "percentiles": 5th to 95th."""
    count: int


def spread(samples: Sequence[float], *, percentiles: bool = False) -> Spread:
    """Of at least one sample; percentiles only if asked for and there are enough samples."""
    values = np.asarray(samples, dtype=np.float64)
    median = float(np.median(values))
    if percentiles and len(values) >= PERCENTILE_SAMPLES:
        low, high = np.percentile(values, (5, 95))
        return Spread(median, float(low), float(high), "percentiles", len(values))
    return Spread(median, float(values.min()), float(values.max()), "range", len(values))


@dataclass(frozen=True, slots=True)
class Law:
    """A polynomial in N through measured sizes: an extrapolation is marked as one."""

    coefficients: tuple[float, ...]
    """The constant first."""
    residual: float
    """Root of the mean squared distance of the measured values from it, in their unit."""
    measured: tuple[int, int]
    """Smallest and largest N that it rests on; beyond it is extrapolated."""

    def at(self, participants: float) -> float:
        """Its value at N; never below 0, because nothing that is measured can be."""
        value = sum(c * participants**power for power, c in enumerate(self.coefficients))
        return max(0.0, float(value))

    def breaks_at(self, limit: float) -> int | None:
        """The smallest N whose value is above `limit`; None if none is up to `HORIZON`."""
        sizes = range(1, HORIZON + 1)
        return next((n for n in sizes if self.at(n) > limit), None)


def fit(sizes: Sequence[int], values: Sequence[float], degree: int) -> Law | None:
    """Least squares of the degree that theory names (numpy.polyfit), or of a lower one.

    Nothing that is measured grows less with more people: a curve that bends or falls downwards
    in the end shows the spread of the measurements, and one of a lower degree is taken.
    None if there are not more sizes than a curve of this degree goes through anyway: such a curve
    would be no evidence for it.
    """
    if len(set(sizes)) <= degree + 1:
        return None
    return _through(sizes, values, degree)


def without_one(sizes: Sequence[int], values: Sequence[float], degree: int) -> tuple[Law, ...]:
    """The same law as often as there are sizes, each time without one of them.

    How far these lie apart is how much an extrapolation depends on a single measurement.
    """
    places = range(len(sizes))
    rests = [[place for place in places if place != left_out] for left_out in places]
    return tuple(
        _through([sizes[i] for i in rest], [values[i] for i in rest], degree)
        for rest in rests
        if len(rest) > degree
    )


def _through(sizes: Sequence[int], values: Sequence[float], degree: int) -> Law:
    n = np.asarray(sizes, dtype=np.float64)
    measured = np.asarray(values, dtype=np.float64)
    highest_first: npt.NDArray[np.float64] = np.polyfit(n, measured, degree)
    if degree and highest_first[0] < 0:
        return _through(sizes, values, degree - 1)
    distances = np.polyval(highest_first, n) - measured
    residual = float(np.sqrt(np.mean(distances**2)))
    coefficients = tuple(float(c) for c in highest_first[::-1])
    return Law(coefficients, residual, (min(sizes), max(sizes)))
