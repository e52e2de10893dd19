"""A result for tests: made up from theory and a seed, and measured by nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Final

from mulisa.compare.impairments import IMPAIRMENTS
from mulisa.compare.metrics import COMPARED, METRICS, Metric, Topology
from mulisa.compare.result import (
    SCHEMA,
    Figure,
    Machine,
    Note,
    Options,
    Result,
    Stack,
    figure_of,
)
from mulisa.compare.theory import Stream, expected
from mulisa.compare.ways import CALLS

STREAM: Final = Stream(payload_kbps=31.0, rtp_header_bytes=20)
QUIET_STREAM: Final = Stream(payload_kbps=9.5, rtp_header_bytes=20)

_ABOUT: Final = {
    # metric: (mesh, SFU), each base and what one more person adds
    "time_until_everybody_hears_her": ((700, 190), (620, 35)),
    "time_until_she_hears_everybody": ((650, 160), (600, 40)),
    "gap_for_the_others": ((20, 0), (20, 0)),
    "text_to_ear": ((240, 4), (262, 2)),
    "spread_between_listeners": ((6, 1.5), (4, 1)),
    "time_until_it_holds": ((60, 6), (45, 1)),
    "packets_per_sentence": ((0, 110), (110, 0)),
    "state_entries": ((0, 3), (2, 0)),
    "lines_of_own_code": ((412, 0), (236, 0)),
    "browser_cpu": ((9, 4.6), (9, 2.1)),
    "mulisa_cpu": ((8, 2.4), (8, 2.2)),
    "server_cpu": ((0.6, 0.05), (1.2, 1.1)),
    "signalling_messages": ((2, 6), (9, 2)),
    "concealed_samples": ((2.1, 0.1), (2.3, 0.1)),
    "mouth_to_ear_delay": ((120, 1), (140, 1)),
    "word_error_rate": ((6, 0.2), (7, 0.2)),
    "response_latency": ((815, 3), (824, 2)),
    "pause_latency": ((228, 1), (219, 1)),
}
_EXACT: Final = frozenset({"state_entries", "lines_of_own_code", "signalling_messages"})
_FREE: Final = {
    "nats": tuple(CALLS),
    "impairment": tuple(each.name for each in IMPAIRMENTS),
}
_THREE: Final = range(3)
"""People on bad networks."""
_FULL_STAGES: Final = ("bandwidth", "scalability", "injection")


def sample_result(
    sizes: tuple[int, ...] = (2, 3, 4, 6),
    *,
    full: bool = True,
    topologies: Sequence[Topology] = COMPARED,
) -> Result:
    """All rows if it is `full`, else all but the two that need root and time.

    Only mesh and SFU have rows with networks of their own.

    With six people the machine is full.
    """
    random = Random(7)
    figures = [
        figure
        for metric in METRICS
        for condition in _conditions(metric, full)
        for size in (sizes if metric.conditions else (len(CALLS.get(condition, _THREE)),))
        for topology in (topologies if metric.conditions else COMPARED)
        for figure in _figures(metric, topology, size, condition, random)
    ]
    return Result(
        schema=SCHEMA,
        created_at=datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
        options=Options("mulisa compare --full", sizes, full, 1520.0),
        machine=Machine("Linux 6.18", "Example CPU at 3 GHz", 2, 7972),
        versions={"mulisa": "0.1.0", "Chromium": "152.0", "livekit": "1.2.1", "aiortc": "1.16.0"},
        stacks=(
            Stack("mesh", "browser", "Chromium's WebRTC", "Opus, VBR, no DTX", 20, "NetEq"),
            Stack("sfu", "browser", "Chromium's WebRTC", "Opus, VBR, no DTX", 20, "NetEq"),
            Stack("mesh", "Mulisa", "aiortc", "Opus, 32 kb/s", 20, "her own"),
            Stack("sfu", "Mulisa", "LiveKit's Python SDK", "Opus, 32 kb/s", 20, "NetEq"),
        ),
        figures=tuple(figures),
        notes=(
            *(() if full else _MISSING),
            Note("injection", "In both topologies she encodes once."),
            Note(None, "This result is made up, for tests."),
        ),
    )


_MISSING: Final = (
    Note("nats", "it needs root, for network namespaces: run it with sudo."),
    Note("impairment", "it is part of a full comparison only."),
)


def _conditions(metric: Metric, full: bool) -> tuple[str, ...]:
    return metric.conditions or (_FREE[metric.row] if full else ())


def _figures(
    metric: Metric, topology: Topology, size: int, condition: str, random: Random
) -> Iterator[Figure]:
    stream = QUIET_STREAM if condition == "silence" else STREAM
    theory = expected(metric, topology, size, condition, stream)
    middle = theory if theory is not None else _about(metric, topology, size)
    if middle is None:
        return
    is_exact = (
        metric.row != "bandwidth"
        and theory is not None
        or metric.name in _EXACT
        or metric.row == "nats"
    )
    spread = 0.0 if is_exact else 0.012 if theory is not None else 0.06
    count = size if metric.each in ("person", "listener") else 5
    samples = tuple(round(random.gauss(middle, abs(middle) * spread), 3) for _ in range(count))
    saturated = size == 6 and metric.row in _FULL_STAGES
    yield figure_of(
        metric,
        topology,
        size,
        samples,
        condition=condition,
        theory=theory,
        saturated=saturated,
    )


def _about(metric: Metric, topology: Topology, size: int) -> float | None:
    both = _ABOUT.get(metric.name)
    if both is None:
        return None
    base, each = both[0 if topology == "mesh" else 1]
    return base + each * size
