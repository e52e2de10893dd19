"""A result's figures as Markdown tables, for documents that show them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mulisa.compare.limits import LIMITS, TOO_FEW, Break, breaks_of
from mulisa.compare.measured import (
    NO_BREAK,
    SAME,
    Measured,
    amount,
    difference,
    extent,
    number,
)
from mulisa.compare.metrics import (
    METRIC_OF,
    NAMES,
    ROW_OF,
    SPEECH,
    Metric,
    RowName,
    Topology,
    metrics_of,
)
from mulisa.compare.result import Figure, Result
from mulisa.compare.story import SummaryLine, story_of, telling_size

_NOTHING: Final = "–"
FULL: Final = "†"
"""Stands with what was measured while the machine was full."""
_GROWTH: Final[tuple[tuple[RowName, str, str], ...]] = (
    ("connections", "connections_in_total", ""),
    ("bandwidth", "upload_on_wire", SPEECH),
    ("bandwidth", "download_on_wire", SPEECH),
    ("scalability", "packets_forwarded", ""),
    ("scalability", "browser_cpu", ""),
    ("scalability", "mulisa_cpu", ""),
    ("scalability", "server_cpu", ""),
)
_BLOCK: Final = re.compile(r"(<!-- measured: ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, result: Result, source: str) -> str:
    """A document with what stands between its markers made anew.

    A block is ``<!-- measured: NAME -->`` to ``<!-- end -->``, where NAME is "summary", "growth",
    "limits", "source" or a row. `source` is the link to the result.
    """

    def block(found: re.Match[str]) -> str:
        return f"{found[1]}{_content(found[2], result, source)}{found[3]}"

    return _BLOCK.sub(block, text)


def _content(name: str, result: Result, source: str) -> str:
    """Empty for a row that was not measured."""
    measured = Measured(result)
    makers: dict[str, Callable[[], str]] = {
        "summary": lambda: summary(measured),
        "growth": lambda: growth(measured),
        "limits": lambda: limits(measured),
        "source": lambda: origin(result, source),
    }
    text = makers[name]() if name in makers else row_table(measured, _row(name))
    return f"\n{text}\n\n" if text else ""


def _row(name: str) -> RowName:
    """Raises KeyError."""
    return ROW_OF[name].name  # type: ignore[index]


def summary(measured: Measured) -> str:
    """The report's headline, and its table."""
    story = story_of(measured)
    people = _people(story.people)
    lines = [_summary_line(line, story.people) for line in story.lines]
    names = [NAMES[each] for each in story.topologies]
    table = _table((f"{people} and Mulisa", *names, "mesh : SFU"), lines)
    return f"**{_text(story.headline)}.**\n\n{table}{_footnote(table, story.caveat)}"


def _summary_line(line: SummaryLine, people: int) -> tuple[str, ...]:
    condition = f", {line.condition}" if line.condition else ""
    size = "" if line.people == people else f" ({_people(line.people)})"
    full = FULL if line.saturated else ""
    what = f"{line.title}{condition}{_unit(METRIC_OF[line.row, line.metric])}{size}"
    medians = (f"{each}{full}" if each else _NOTHING for each in line.medians)
    return what, *medians, line.ratio


def growth(measured: Measured) -> str:
    """All sizes, all topologies in each cell."""
    chosen = [(METRIC_OF[row, name], condition) for row, name, condition in _GROWTH]
    known = [(metric, condition) for metric, condition in chosen if measured.sizes(metric)]
    sizes = sorted({size for metric, _ in known for size in measured.sizes(metric)})
    if not sizes:
        return ""
    head = ["", *(_head(measured, metric) for metric, _ in known)]
    lines = [[_people(size), *(_all(measured, size, *each) for each in known)] for size in sizes]
    table = _table(head, lines)
    return f"{table}{_footnote(table)}"


def _head(measured: Measured, metric: Metric) -> str:
    names = ", ".join(NAMES[each] for each in measured.topologies([metric]))
    return f"{metric.title}{_unit(metric)}: {names}"


def _all(measured: Measured, size: int, metric: Metric, condition: str) -> str:
    """What each cell has; nothing where the question is not answered."""
    if measured.both(metric, size, condition) is None:
        return _NOTHING
    topologies = measured.topologies([metric])
    found = (measured.figure(metric, each, size, condition) for each in topologies)
    return ", ".join(_median(measured, figure) if figure else _NOTHING for figure in found)


def limits(measured: Measured) -> str:
    """Where each breaks, extrapolated."""
    breaks = breaks_of(measured)
    whats = dict.fromkeys(each.what for each in breaks)
    topologies = measured.topologies(METRIC_OF[each.row, each.metric] for each in LIMITS)
    lines = [(what, *(_limit(breaks, what, topology) for topology in topologies)) for what in whats]
    head = ("extrapolated, not measured", *(NAMES[each] for each in topologies))
    return _table(head, lines) if lines else ""


def _limit(breaks: Iterable[Break], what: str, topology: Topology) -> str:
    for each in breaks:
        if (each.what, each.topology) == (what, topology):
            where = f"at {_people(each.people)}" if each.people else "not in sight"
            return f"**{where}**. {each.law}"
    return TOO_FEW


def row_table(measured: Measured, row: RowName) -> str:
    """Every metric of a row: over its conditions where these are free, else next to theory."""
    metrics = [metric for metric in metrics_of(row) if measured.sizes(metric)]
    if not metrics:
        return ""
    is_free = not any(metric.conditions for metric in metrics)
    table = _over_conditions(measured, metrics) if is_free else _next_to_theory(measured, metrics)
    return f"{table}{_footnote(table)}"


def _over_conditions(measured: Measured, metrics: Sequence[Metric]) -> str:
    """All topologies in each cell."""
    conditions = dict.fromkeys(c for each in metrics for c in measured.conditions(each))
    cases = [
        (condition, size)
        for condition in conditions
        for size in sorted({n for each in metrics for n in measured.sizes(each, condition)})
    ]
    head = ["", *(_head(measured, metric) for metric in metrics)]
    lines = [
        (f"{condition}, {_people(size)}", *(_all(measured, size, m, condition) for m in metrics))
        for condition, size in cases
    ]
    return _table(head, lines)


def _next_to_theory(measured: Measured, metrics: Sequence[Metric]) -> str:
    """Medians, ranges, and how far they are from theory."""
    people, topologies = telling_size(measured), measured.topologies(metrics)
    lines = [
        (
            f"{_named(metric, condition)}{'' if size == people else f' ({_people(size)})'}",
            *(_cell(measured, metric, topology, size, condition) for topology in topologies),
            _theory(measured, metric, topologies, size, condition),
        )
        for metric in metrics
        for condition in measured.conditions(metric)
        if (size := measured.telling_size(metric, condition, people))
    ]
    names = [NAMES[each] for each in topologies]
    head = (f"{_people(people)} and Mulisa", *names, f"theory: {', '.join(names)}")
    return _table(head, lines)


def _named(metric: Metric, condition: str) -> str:
    return f"{metric.title}{f', {condition}' if condition else ''}{_unit(metric)}"


def _unit(metric: Metric) -> str:
    return f", {metric.unit_beside}" if metric.unit_beside else ""


def _cell(measured: Measured, metric: Metric, topology: Topology, size: int, condition: str) -> str:
    figure = measured.figure(metric, topology, size, condition)
    if figure is None:
        return _NOTHING
    spread = extent(measured.spread(figure))
    return f"{_median(measured, figure)}{f' ({spread})' if spread else ''}"


def _theory(
    measured: Measured,
    metric: Metric,
    topologies: Sequence[Topology],
    size: int,
    condition: str,
) -> str:
    """What it says, and how far off the measured median is."""
    told = []
    for topology in topologies:
        figure = measured.figure(metric, topology, size, condition)
        if figure is None or figure.theory is None:
            told.append(_NOTHING)
            continue
        off = difference(measured.spread(figure).median, figure.theory)
        told.append(f"{number(figure.theory)}{'' if off == SAME else f' ({off})'}")
    return "" if set(told) == {_NOTHING} else ", ".join(told)


def origin(result: Result, source: str) -> str:
    """On what machine, with what command and which versions."""
    machine, options = result.machine, result.options
    versions = ", ".join(f"{name} {version}" for name, version in sorted(result.versions.items()))
    return _text(
        f"Medians, with their spread in brackets; `{options.command}` on {machine.processor}, "
        f"{machine.cores} cores, {amount(round(machine.memory_mib / 1024), 'GiB')}, "
        f"{machine.system}, {result.created_at:%-d %B %Y}, "
        f"{number(round(options.seconds / 60))} minutes ({versions}). All samples:"
    ) + (f" [{source.rpartition('/')[2]}]({source}).")


def _median(measured: Measured, figure: Figure) -> str:
    return f"{number(measured.spread(figure).median)}{FULL if figure.saturated else ''}"


def _footnote(table: str, caveat: str = "") -> str:
    mark = f"{FULL} The machine itself was full then." if FULL in table else ""
    notes = " ".join(filter(None, (mark, caveat)))
    return f"\n\n{_text(notes)}" if notes else ""


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---", *(["---:"] * (len(head) - 1))], *lines]
    return "\n".join(f"| {' | '.join(map(_text, row))} |" for row in rows)


def _text(text: str) -> str:
    """Text that ends no cell and no line, and is no element."""
    plain = text.replace(NO_BREAK, " ").replace("|", "\\|").replace("<", "&lt;")
    return " ".join(plain.split())


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"
