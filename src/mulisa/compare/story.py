"""What a comparison found, in a headline, a paragraph and a table. Pure.

Every sentence is made of measured figures, and left out where they are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from mulisa.compare.measured import Measured, amount, number, ratio
from mulisa.compare.metrics import (
    JOIN,
    METRIC_OF,
    METRICS,
    SPEECH,
    STOP_HEARING,
    TOPOLOGIES,
    Metric,
    RowName,
)

_SUMMARY: Final[tuple[tuple[RowName, str, str | None], ...]] = (
    # Row, metric, condition; None: all that were measured.
    ("connections", "peer_connections", ""),
    ("connections", "connections_in_total", ""),
    ("bandwidth", "upload_on_wire", SPEECH),
    ("bandwidth", "download_on_wire", SPEECH),
    ("joining", "connections_made", ""),
    ("joining", "time_until_everybody_hears_her", ""),
    ("injection", "packets_per_frame", ""),
    ("injection", "text_to_ear", ""),
    ("control", "time_until_it_holds", STOP_HEARING),
    ("routing", "lines_of_own_code", ""),
    ("scalability", "browser_cpu", ""),
    ("scalability", "server_cpu", ""),
    ("churn", "renegotiations", JOIN),
    ("nats", "pairs_that_need_a_relay", None),
    ("impairment", "word_error_rate", None),
    ("response", "response_latency", ""),
    ("response", "pause_latency", ""),
)
_ALIKE: Final = 1.15
"""Times whose ratio is smaller are called the same."""


@dataclass(frozen=True, slots=True)
class SummaryLine:
    """One metric at one size: mesh, SFU, ratio."""

    row: RowName
    title: str
    condition: str
    unit: str
    mesh: str
    sfu: str
    ratio: str
    saturated: bool


@dataclass(frozen=True, slots=True)
class Story:
    """The top of the report."""

    people: int
    headline: str
    paragraph: str
    lines: tuple[SummaryLine, ...]


def story_of(measured: Measured) -> Story:
    """Told for the largest size at which the machine was not at its limit."""
    people = telling_size(measured)
    sentences = [sentence(measured, people) for sentence in _SENTENCES]
    paragraph = " ".join(filter(None, sentences))
    return Story(people, _headline(measured, people), paragraph, _summary(measured, people))


def telling_size(measured: Measured) -> int:
    """The largest size that all rows can be compared at; the smallest if all are saturated."""
    sizes = {size for metric in METRICS for size in measured.sizes(metric)}
    whole = [size for size in sizes if _is_whole(measured, size)]
    return max(whole) if whole else min(sizes, default=0)


def _is_whole(measured: Measured, size: int) -> bool:
    """Something was compared at this size, and nothing that was is saturated."""
    pairs = [
        [measured.figure(metric, topology, size, condition) for topology in TOPOLOGIES]
        for metric, condition in _summarised(measured)
    ]
    is_sound = not any(figure.saturated for pair in pairs for figure in pair if figure)
    return is_sound and any(all(pair) for pair in pairs)


def _summary(measured: Measured, people: int) -> tuple[SummaryLine, ...]:
    lines = (_line(measured, metric, people, each) for metric, each in _summarised(measured))
    return tuple(line for line in lines if line)


def _summarised(measured: Measured) -> Iterator[tuple[Metric, str]]:
    """Metrics of the summary with their conditions."""
    for row, name, condition in _SUMMARY:
        metric = METRIC_OF[row, name]
        if condition is not None:
            yield metric, condition
        else:
            yield from ((metric, each) for each in measured.conditions(metric))


def _line(measured: Measured, metric: Metric, people: int, condition: str) -> SummaryLine | None:
    mesh, sfu = (measured.figure(metric, each, people, condition) for each in TOPOLOGIES)
    if mesh is None or sfu is None:
        return None
    of_mesh, of_sfu = (measured.spread(figure).median for figure in (mesh, sfu))
    return SummaryLine(
        row=metric.row,
        title=metric.title,
        condition=condition,
        unit=metric.unit,
        mesh=number(of_mesh),
        sfu=number(of_sfu),
        ratio=ratio(of_mesh, of_sfu),
        saturated=mesh.saturated or sfu.saturated,
    )


def _headline(measured: Measured, people: int) -> str:
    call = f"a call of {_people(people)} and Mulisa"
    upload = _both(measured, "bandwidth", "upload_on_wire", people, SPEECH)
    connections = _both(measured, "connections", "peer_connections", people)
    if connections is None:
        return f"What a mesh and an SFU ask of {call}"
    made = f"{amount(connections[0], 'connections')} instead of {number(connections[1])}"
    if upload is None or upload[1] <= 0:
        return f"In {call}, a mesh asks each person for {made}"
    times = number(round(upload[0] / upload[1], 1))
    return f"In {call}, a mesh asks each person for {made}, and {times} times the upload"


def _who_copies(_: Measured, __: int) -> str:
    return (
        "In a mesh every browser talks to every other one directly; an SFU is a server that each "
        "browser talks to, and that passes every voice on. Everybody hears the same in both. What "
        "differs is who makes the copies: the speaker's own browser, or the server."
    )


def _of_upload(measured: Measured, people: int) -> str:
    both = _both(measured, "bandwidth", "upload_on_wire", people, SPEECH)
    if both is None:
        return ""
    mesh, sfu = (amount(each, "kb/s") for each in both)
    return f"Who speaks sends {mesh} in the mesh, and {sfu} to the SFU."


def _of_joining(measured: Measured, people: int) -> str:
    made = _both(measured, "joining", "connections_made", people)
    time = _both(measured, "joining", "time_until_everybody_hears_her", people)
    if made is None or time is None:
        return ""
    mesh, sfu = (amount(each, "connections") for each in made)
    return (
        f"When Mulisa comes into the running call, that is {mesh} in the mesh, and everybody hears "
        f"her after {_time(time[0])}; on the SFU it is {sfu}, and {_time(time[1])}."
    )


def _of_her_voice(measured: Measured, people: int) -> str:
    both = _both(measured, "injection", "packets_per_frame", people)
    if both is None:
        return ""
    mesh, sfu = (amount(each, "packets") for each in both)
    return f"Each 20 ms of her voice leave her as {mesh} in the mesh, and as {sfu} on the SFU."


def _of_response(measured: Measured, people: int) -> str:
    both = _both(measured, "response", "response_latency", people)
    if both is None:
        return ""
    mesh, sfu = (_time(each) for each in both)
    if max(both) < _ALIKE * min(both):
        return f"She answers as fast in both ({mesh} and {sfu})."
    if both[0] < both[1]:
        return f"She answers faster in the mesh: after {mesh}, and on the SFU after {sfu}."
    return f"She answers faster on the SFU: after {sfu}, and in the mesh after {mesh}."


def _of_price(measured: Measured, people: int) -> str:
    browser = _both(measured, "scalability", "browser_cpu", people)
    server = _both(measured, "scalability", "server_cpu", people)
    if browser is None or server is None:
        return ""
    return (
        f"What the SFU asks for it is a server: {_share(server[1])} of a core here. A "
        f"browser takes {_share(browser[0])} in the mesh, and {_share(browser[1])} with the SFU."
    )


def _of_choice(_: Measured, __: int) -> str:
    return (
        "So: a mesh for two or three people who want no server in between; an SFU as soon as more "
        "come, uplinks are thin, or it changes often who hears whom."
    )


_SENTENCES: Final[tuple[Callable[[Measured, int], str], ...]] = (
    _who_copies,
    _of_upload,
    _of_joining,
    _of_her_voice,
    _of_response,
    _of_price,
    _of_choice,
)


def _both(
    measured: Measured, row: RowName, name: str, people: int, condition: str = ""
) -> tuple[float, float] | None:
    return measured.both(METRIC_OF[row, name], people, condition)


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _time(milliseconds: float) -> str:
    """ "820 ms", "1.24 s"."""
    if milliseconds < 1000:
        return amount(round(milliseconds), "ms")
    return amount(milliseconds / 1000, "s")


def _share(percent: float) -> str:
    return amount(percent, "%")
