"""A comparison's result: `result.json`, validated when it is read, and its figures as CSV. Pure.

Whoever measures builds a `Result` and writes it; the report is drawn from nothing else. `schema`
grows when the meaning of a field changes; files of older schemas stay readable.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar, Final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from mulisa.compare.metrics import METRIC_OF, Metric, RowName, Topology
from mulisa.core.errors import ConfigError

SCHEMA: Final = 1

_STRICT: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

Line = Annotated[str, Field(max_length=400)]
Number = Annotated[float, Field(ge=-1e12, le=1e12)]
"""Nothing that is measured is larger, and sums of these are numbers still."""
Count = Annotated[int, Field(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric, measured under one condition in one topology with N people and Mulisa.

    Raises ValueError for a metric, a unit or a condition that `metrics.METRICS` does not know.
    """

    row: RowName
    metric: Annotated[str, Field(max_length=60)]
    topology: Topology
    participants: Count
    """People in the call; Mulisa comes on top."""
    condition: Annotated[str, Field(max_length=60)]
    unit: Annotated[str, Field(max_length=20)]
    samples: Annotated[tuple[Number, ...], Field(min_length=1)]
    """As measured, in the order of measuring; what one is of says `Metric.each`."""
    theory: Number | None
    """What `theory.expected` gave; None where theory says nothing."""
    saturated: bool = False
    """The machine itself was at its limit: not to be blamed on the topology."""
    note: Line = ""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        metric = METRIC_OF.get((self.row, self.metric))
        if metric is None:
            raise ValueError(f"{self.row} has no metric {self.metric!r}")
        if self.unit != metric.unit:
            raise ValueError(f"{self.metric} is in {metric.unit}, not in {self.unit!r}")
        if metric.conditions and self.condition not in metric.conditions:
            raise ValueError(f"{self.metric} is measured under {metric.conditions}")
        if not self.samples or not all(map(math.isfinite, self.samples)):
            raise ValueError(f"{self.metric} has no samples, or some that are no numbers")


@dataclass(frozen=True, slots=True)
class Note:
    """What a reader must know about a row; about all of them where `row` is None.

    The note of a row without figures says why there are none ("needs root").
    """

    row: RowName | None
    text: Line

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True, slots=True)
class Stack:
    """Whose code carries the media on one side of one topology."""

    topology: Topology
    side: Annotated[str, Field(max_length=40)]
    """"browser", "Mulisa" or "server"."""
    software: Line
    codec: Line
    packet_ms: Number
    jitter_buffer: Line

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True, slots=True)
class Options:
    """How the comparison was asked for, and how long it took."""

    command: Line
    participants: Annotated[tuple[Count, ...], Field(min_length=1)]
    full: bool
    seconds: Number

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True, slots=True)
class Machine:
    """The one machine on which everything ran."""

    system: Line
    processor: Line
    cores: Annotated[int, Field(ge=1)]
    memory_mib: Annotated[int, Field(ge=1)]

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that one comparison found, and all that is needed to repeat it."""

    schema: Annotated[int, Field(ge=1)]
    created_at: datetime
    """With its zone."""
    options: Options
    machine: Machine
    versions: Mapping[str, str]
    """Of mulisa, its commit, the browser, and the libraries that carry media."""
    stacks: tuple[Stack, ...]
    figures: tuple[Figure, ...]
    notes: tuple[Note, ...] = ()

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema {self.schema} is not {SCHEMA}: a newer Mulisa wrote this")
        if self.created_at.tzinfo is None:
            raise ValueError("created_at has no time zone")
        seen = [(f.row, f.metric, f.topology, f.participants, f.condition) for f in self.figures]
        if len(set(seen)) != len(seen):
            raise ValueError("two figures of one metric, topology, size and condition")


_RESULT: Final = TypeAdapter(Result)


def figure_of(
    metric: Metric,
    topology: Topology,
    participants: int,
    samples: tuple[float, ...],
    *,
    condition: str = "",
    theory: float | None = None,
    saturated: bool = False,
    note: str = "",
) -> Figure:
    """A figure of a metric of the table, in its unit."""
    row, name, unit = metric.row, metric.name, metric.unit
    return Figure(
        row, name, topology, participants, condition, unit, samples, theory, saturated, note
    )


def to_json(result: Result) -> str:
    """The text of `result.json`; `read` gives the same result back."""
    return _RESULT.dump_json(result, indent=2).decode() + "\n"


def read(text: str | bytes) -> Result:
    """The result in `result.json`. Raises ConfigError that says what is wrong with the file."""
    try:
        return _RESULT.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            f"This is no result of `mulisa compare`: {where}: {first['msg']}."
        ) from error


COLUMNS: Final = (
    "row",
    "metric",
    "unit",
    "topology",
    "participants",
    "condition",
    "sample",
    "value",
    "theory",
    "saturated",
    "note",
)


def to_csv(result: Result) -> str:
    """One line per sample (RFC 4180), with `COLUMNS` as its first line."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for figure in result.figures:
        writer.writerows(_lines(figure))
    return text.getvalue()


def _lines(figure: Figure) -> list[tuple[str | int | float, ...]]:
    theory = "" if figure.theory is None else figure.theory
    condition, note = _cell(figure.condition), _cell(figure.note)
    who = (figure.row, figure.metric, figure.unit, figure.topology, figure.participants, condition)
    last = (theory, "yes" if figure.saturated else "no", note)
    return [(*who, index, value, *last) for index, value in enumerate(figure.samples, start=1)]


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
