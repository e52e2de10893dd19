"""What a comparison found, in a headline, a paragraph and a table. Pure.

Every sentence is made of measured figures, and left out where they are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from mulisa.compare.impairments import GOOD
from mulisa.compare.measured import Measured, amount, number, ratio
from mulisa.compare.metrics import (
    JOIN,
    METRIC_OF,
    METRICS,
    SPEECH,
    STOP_HEARING,
    Metric,
    RowName,
    Topology,
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


_FEW: Final = 3
"""People up to whom a mesh is as good a choice."""


@dataclass(frozen=True, slots=True)
class SummaryLine:
    """One metric at one size."""

    row: RowName
    metric: str
    title: str
    condition: str
    unit: str
    people: int
    medians: tuple[str, ...]
    """In the order of the story's topologies; empty for what was not measured."""
    ratio: str
    """Mesh to SFU."""
    saturated: bool


@dataclass(frozen=True, slots=True)
class Story:
    """The top of the report."""

    people: int
    headline: str
    paragraph: str
    caveat: str
    """At which sizes the machine was full, and what that means; empty if at none."""
    topologies: tuple[Topology, ...]
    lines: tuple[SummaryLine, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """Medians of mesh and SFU at one size."""

    mesh: float
    sfu: float
    people: int


def story_of(measured: Measured) -> Story:
    """Told for the largest size at which the machine was not full.

    What was not measured then is told of the size that comes next to it, and says so.
    """
    people = telling_size(measured)
    sentences = [sentence(measured, people) for sentence in _SENTENCES]
    paragraph = " ".join(filter(None, sentences))
    lines = _summary(measured, people)
    return Story(
        people,
        _headline(measured, people),
        paragraph,
        _caveat(measured, lines),
        measured.topologies(),
        lines,
    )


def telling_size(measured: Measured) -> int:
    """Of upload, else of connections; the smallest measured one if neither was compared."""
    metrics = [
        (METRIC_OF["bandwidth", "upload_on_wire"], SPEECH),
        (METRIC_OF["bandwidth", "upload"], SPEECH),
        (METRIC_OF["connections", "peer_connections"], ""),
    ]
    for metric, condition in metrics:
        if size := measured.sound_size(metric, condition):
            return size
    return min((size for metric in METRICS for size in measured.sizes(metric)), default=0)


def _summary(measured: Measured, people: int) -> tuple[SummaryLine, ...]:
    lines = (_line(measured, metric, people, each) for metric, each in _summarised(measured))
    return tuple(line for line in lines if line)


def _summarised(measured: Measured) -> Iterator[tuple[Metric, str]]:
    """Metrics of the summary, each under its condition."""
    for row, name, condition in _SUMMARY:
        metric = METRIC_OF[row, name]
        told = _worst(measured, metric) if condition is None else condition
        if told is not None:
            yield metric, told


def _worst(measured: Measured, metric: Metric) -> str | None:
    """The bad condition under which both topologies together come to the largest value."""
    values = {
        condition: sum(both)
        for condition in measured.conditions(metric)
        if condition != GOOD.name
        and (size := measured.telling_size(metric, condition))
        and (both := measured.both(metric, size, condition))
    }
    return max(values, key=lambda condition: values[condition], default=None)


def _line(measured: Measured, metric: Metric, people: int, condition: str) -> SummaryLine | None:
    size = measured.telling_size(metric, condition, people) or 0
    both = measured.both(metric, size, condition)
    if both is None:
        return None
    found = [measured.figure(metric, each, size, condition) for each in measured.topologies()]
    return SummaryLine(
        row=metric.row,
        metric=metric.name,
        title=metric.title,
        condition=condition,
        unit=metric.unit_beside,
        people=size,
        medians=tuple(number(measured.spread(each).median) if each else "" for each in found),
        ratio=ratio(*both),
        saturated=any(each.saturated for each in found if each),
    )


def _caveat(measured: Measured, lines: tuple[SummaryLine, ...]) -> str:
    sizes = measured.full_sizes()
    if not sizes:
        return ""
    when = f"With {_listed(sizes)} people this machine was full at times"
    if any(line.saturated for line in lines):
        return (
            f"{when}. Figures from then are marked: they say more about the machine than about "
            "mesh and SFU, and the verdict leaves them out. Measure again when nothing else runs."
        )
    return f"{when}. Figures from then are marked, and neither verdict nor fits rest on them."


def _listed(sizes: list[int]) -> str:
    *others, last = map(str, sizes)
    return f"{', '.join(others)} and {last}" if others else last


def _headline(measured: Measured, people: int) -> str:
    call = f"{_people(people)} and Mulisa"
    connections = _both(measured, "connections", "peer_connections", people)
    if connections is None:
        return f"What a mesh and an SFU ask of {call}"
    verdict = "either will do" if people <= _FEW else "take an SFU"
    made = (
        f"{amount(connections.mesh, 'connections')} instead of {number(round(connections.sfu, 1))}"
    )
    upload = _upload(measured, people)
    costs = f"For {call} {verdict}: a mesh asks each person for {made}"
    if upload is None or upload.sfu <= 0:
        return costs
    times = number(round(upload.mesh / upload.sfu, 1))
    return f"{costs}, and {times} times the upload"


def _who_copies(_: Measured, __: int) -> str:
    return (
        "In a mesh every browser talks to every other one directly; an SFU is a server that each "
        "browser talks to, and that passes every voice on. Everybody hears the same in both. What "
        "differs is who makes the copies: the speaker's own browser, or the server."
    )


def _of_upload(measured: Measured, people: int) -> str:
    both = _upload(measured, people)
    if both is None:
        return ""
    mesh, sfu = (amount(each, "kb/s") for each in (both.mesh, both.sfu))
    return f"Who speaks sends {mesh} in the mesh, and {sfu} to the SFU{_at(both, people)}."


def _of_joining(measured: Measured, people: int) -> str:
    made = _both(measured, "joining", "connections_made", people)
    time = _both(measured, "joining", "time_until_everybody_hears_her", people)
    if made is None:
        return ""
    mesh, sfu = (amount(each, "connections") for each in (made.mesh, made.sfu))
    comes = "When Mulisa, an AI who listens and speaks, comes into the running call,"
    if time is None:
        return f"{comes} that is {mesh} in the mesh, and {sfu} on the SFU."
    return (
        f"{comes} that is {mesh} in the mesh, and everybody hears her after {_time(time.mesh)}; on "
        f"the SFU it is {sfu}, and {_time(time.sfu)}{_at(time, people)}."
    )


def _of_response(measured: Measured, people: int) -> str:
    both = _both(measured, "response", "response_latency", people)
    if both is None:
        return ""
    mesh, sfu = _time(both.mesh), _time(both.sfu)
    at = _at(both, people)
    if max(both.mesh, both.sfu) < _ALIKE * min(both.mesh, both.sfu):
        return f"She answers as fast in both ({mesh} and {sfu}{at})."
    if both.mesh < both.sfu:
        return f"She answers faster in the mesh: after {mesh}, and on the SFU after {sfu}{at}."
    return f"She answers faster on the SFU: after {sfu}, and in the mesh after {mesh}{at}."


def _of_price(measured: Measured, people: int) -> str:
    browser = _both(measured, "scalability", "browser_cpu", people)
    server = _both(measured, "scalability", "server_cpu", people)
    if browser is None or server is None:
        return ""
    return (
        f"What the SFU asks for it is a server: {_share(server.sfu)} of a core here. A browser "
        f"takes {_share(browser.mesh)} in the mesh, and {_share(browser.sfu)} with the "
        f"SFU{_at(browser, people)}."
    )


def _of_nats(measured: Measured, people: int) -> str:
    metric = METRIC_OF["nats", "pairs_that_need_a_relay"]
    condition = _worst(measured, metric)
    both = condition and _both(measured, "nats", metric.name, people, condition)
    if not both:
        return ""
    return (
        f"Behind routers that let no stranger in ({condition}), {number(both.mesh)} pairs need a "
        f"relay in the mesh, and {number(both.sfu)} on the SFU{_at(both, people)}."
    )


def _of_bad_networks(measured: Measured, people: int) -> str:
    metric = METRIC_OF["impairment", "word_error_rate"]
    condition = _worst(measured, metric)
    both = condition and _both(measured, "impairment", metric.name, people, condition)
    if not both:
        return ""
    return (
        f"On a bad network ({condition}) she gets {_share(both.mesh)} of the words wrong in the "
        f"mesh, and {_share(both.sfu)} on the SFU{_at(both, people)}."
    )


def _of_a_further_sfu(measured: Measured, people: int) -> str:
    connections = METRIC_OF["connections", "peer_connections"]
    each = measured.median(connections, "mediasoup", people)
    if each is None:
        return ""
    told = f"mediasoup, a further SFU, takes {amount(each, 'connections')} of each person"
    time = measured.median(METRIC_OF["response", "response_latency"], "mediasoup", people)
    answers = f", and she answers after {_time(time)}" if time else ""
    return f"{told}, one for each direction{answers}."


def _of_choice(_: Measured, __: int) -> str:
    return (
        "So: a mesh for two or three people who want no server in between; an SFU as soon as more "
        "come, uplinks are thin, or it often changes who hears whom."
    )


_SENTENCES: Final[tuple[Callable[[Measured, int], str], ...]] = (
    _who_copies,
    _of_upload,
    _of_joining,
    _of_response,
    _of_nats,
    _of_bad_networks,
    _of_price,
    _of_a_further_sfu,
    _of_choice,
)


def _upload(measured: Measured, people: int) -> Pair | None:
    """On the wire, else as the browser counts it."""
    return _both(measured, "bandwidth", "upload_on_wire", people, SPEECH) or _both(
        measured, "bandwidth", "upload", people, SPEECH
    )


def _both(
    measured: Measured, row: RowName, name: str, people: int, condition: str = ""
) -> Pair | None:
    """At this size or the nearest thing to it; None if the machine was full at all of them."""
    metric = METRIC_OF[row, name]
    size = measured.sound_size(metric, condition, people)
    both = size and measured.both(metric, size, condition)
    return Pair(*both, size) if size and both else None


def _at(pair: Pair, people: int) -> str:
    """The size, where it is not that of the story."""
    return "" if pair.people == people else f", with {_people(pair.people)}"


def _people(count: int) -> str:
    return "1 person" if count == 1 else f"{count} people"


def _time(milliseconds: float) -> str:
    """ "820 ms", "1.24 s"."""
    if milliseconds < 1000:
        return amount(round(milliseconds), "ms")
    return amount(milliseconds / 1000, "s")


def _share(percent: float) -> str:
    return amount(percent, "%")
