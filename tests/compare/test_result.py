"""`result.json`: whatever was measured is read back as it was, and nothing else is read."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.compare.metrics import METRIC_OF, METRICS, ROWS, TOPOLOGIES, Metric, metrics_of
from mulisa.compare.result import (
    COLUMNS,
    SCHEMA,
    Figure,
    Machine,
    Note,
    Options,
    Result,
    Stack,
    figure_of,
    read,
    to_csv,
    to_json,
)
from mulisa.core.errors import ConfigError
from tests.compare.sample import sample_result

pytestmark = pytest.mark.unit

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.floats(-1e12, 1e12)


@st.composite
def figures(draw: st.DrawFn, metric: Metric) -> Figure:
    condition = draw(st.sampled_from(metric.conditions) if metric.conditions else TEXT)
    return figure_of(
        metric,
        draw(st.sampled_from(TOPOLOGIES)),
        draw(st.integers(1, 1000)),
        tuple(draw(st.lists(NUMBERS, min_size=1, max_size=4))),
        condition=condition,
        theory=draw(st.none() | NUMBERS),
        saturated=draw(st.booleans()),
        note=draw(TEXT),
    )


@st.composite
def results(draw: st.DrawFn) -> Result:
    measured = draw(st.lists(st.sampled_from(METRICS), max_size=4, unique=True))
    rows = st.none() | st.sampled_from([row.name for row in ROWS])
    sizes = st.lists(st.integers(1, 1000), min_size=1, max_size=4).map(tuple)
    stacks = st.builds(
        Stack, st.sampled_from(TOPOLOGIES), TEXT, TEXT, TEXT, NUMBERS.filter(bool), TEXT
    )
    return Result(
        schema=SCHEMA,
        created_at=draw(st.datetimes(timezones=st.just(UTC))),
        options=draw(st.builds(Options, TEXT, sizes, st.booleans(), NUMBERS)),
        machine=Machine(draw(TEXT), draw(TEXT), draw(st.integers(1, 512)), 1),
        versions=draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        stacks=tuple(draw(st.lists(stacks, max_size=2))),
        figures=tuple(draw(figures(metric)) for metric in measured),
        notes=tuple(draw(st.lists(st.builds(Note, rows, TEXT), max_size=2))),
    )


def check(result: Result) -> None:
    """It is read back as it was, and its CSV has every sample."""
    assert read(to_json(result)) == result
    header, *lines = csv.reader(io.StringIO(to_csv(result)))
    assert tuple(header) == COLUMNS
    values = [float(line[COLUMNS.index("value")]) for line in lines]
    assert values == [sample for figure in result.figures for sample in figure.samples]


@settings(max_examples=25, deadline=None)
@given(results())
def test_what_is_written_is_read_back(result: Result) -> None:
    check(result)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(results())
def test_what_is_written_is_read_back_at_length(result: Result) -> None:
    check(result)


def changed(change: dict[str, Any], *, figure: dict[str, Any] | None = None) -> str:
    """A valid result, and what was done to it."""
    whole = json.loads(to_json(sample_result((2,), full=False)))
    whole["figures"][0].update(figure or {})
    return json.dumps(whole | change)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        changed({"schema": SCHEMA + 1}),
        changed({"schema": "1"}),
        changed({"more": 1}),
        changed({"created_at": "2026-11-23T09:30:00"}),
        changed({"notes": [{"row": "weather", "text": ""}]}),
        changed({"notes": [{"row": None, "text": "x" * 401}]}),
        changed({}, figure={"metric": "beauty"}),
        changed({}, figure={"unit": "km"}),
        changed({}, figure={"topology": "star"}),
        changed({}, figure={"condition": "in the rain"}),
        changed({}, figure={"samples": []}),
        changed({}, figure={"samples": ["2"]}),
        changed({}, figure={"participants": 0}),
        changed({}, figure={"samples": [1e999]}),
        changed({}, figure={"samples": [1e300]}),
        changed({}, figure={"theory": -1e300}),
        "[" * 10_000,
    ],
)
def test_what_is_no_result_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no result of `mulisa compare`"):
        read(text)


def test_the_error_says_where() -> None:
    with pytest.raises(ConfigError, match=r"figures\.0\.participants"):
        read(changed({}, figure={"participants": 0}))


def test_a_figure_is_there_once() -> None:
    whole = json.loads(to_json(sample_result((2,), full=False)))
    whole["figures"].append(whole["figures"][0])
    with pytest.raises(ConfigError, match="two figures"):
        read(json.dumps(whole))


def test_no_spreadsheet_takes_text_for_a_formula() -> None:
    metric = METRIC_OF["nats", "pairs"]
    figure = figure_of(metric, "mesh", 2, (3.0,), condition="=1+1", note="@SUM(A1)")
    base = sample_result((2,), full=False)
    result = Result(SCHEMA, base.created_at, base.options, base.machine, {}, (), figures=(figure,))
    _, line = csv.reader(io.StringIO(to_csv(result)))
    assert (line[COLUMNS.index("condition")], line[COLUMNS.index("note")]) == (
        "'=1+1",
        "'@SUM(A1)",
    )


def test_every_row_draws_metrics_that_it_has() -> None:
    for row in ROWS:
        assert row.charts
        assert set(row.charts) <= {metric.name for metric in metrics_of(row.name)}
    assert len(METRIC_OF) == len(METRICS)
