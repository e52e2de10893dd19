"""`report.html`: a result told, drawn and tabled in one file that needs no network. Pure.

The page is built from `web/report.html` into one file with a placeholder. What fills it is data,
not markup: the page makes text of it, and nothing in it can end the element that it stands in.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Final

from mulisa.compare.measured import Measured, number
from mulisa.compare.result import Result, Stack, to_csv, to_json
from mulisa.compare.sections import Section, sections_of
from mulisa.compare.statistics import PERCENTILE_SAMPLES
from mulisa.compare.story import Story, story_of
from mulisa.core.errors import ConfigError

PLACEHOLDER: Final = '"The report is put here."'

_SCENE: Final = (
    "One machine runs everything: for each person a page of a real Chromium, which shows the "
    "talking room and has recorded speech as its microphone, and Mulisa with her own engines. Both "
    "topologies use the same page and the same Opus settings."
)
_FURTHER: Final = (
    " mediasoup is an application of its own, with a page on mediasoup-client that shows less."
)
_METHOD: Final = (
    "Bandwidth is counted twice: by the browser (getStats), and on the wire with UDP and IP "
    "headers. Moments at different ears are compared on one clock, that of the machine.",
    "Theory is arithmetic: the number of participants, and what Opus, RTP, SRTP, UDP and IP put "
    "into each packet. Where it has nothing to say, as about times and CPU, none is shown.",
)


@dataclass(frozen=True, slots=True)
class File:
    """Raw data that the reader can save."""

    name: str
    type: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows; web/src/report/model.ts reads it."""

    story: Story
    facts: tuple[str, ...]
    remarks: tuple[str, ...]
    """What a reader must know about all rows."""
    sections: tuple[Section, ...]
    method: tuple[str, ...]
    machine: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    stacks: tuple[Stack, ...]
    files: tuple[File, ...]


def report_of(result: Result) -> Report:
    """What a result says."""
    measured = Measured(result)
    return Report(
        story=story_of(measured),
        facts=_facts(result),
        remarks=tuple(note.text for note in result.notes if note.row is None),
        sections=sections_of(result, measured),
        method=(_scene(measured), *_METHOD, _spread(result)),
        machine=_machine(result),
        versions=tuple(sorted(result.versions.items())),
        stacks=result.stacks,
        files=_files(result),
    )


def to_html(result: Result) -> str:
    """The file itself. Raises ConfigError if the page was not built."""
    return fill(template(), report_of(result))


def template() -> str:
    """The page with its placeholder, as the package carries it."""
    try:
        return resources.files("mulisa.compare").joinpath("page/report.html").read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError("The report's page is not built: run `make run` once.") from error


def fill(page: str, report: Report) -> str:
    """Put a report into the page."""
    if page.count(PLACEHOLDER) != 1:
        raise ConfigError("The report's page has no place for a report; build it again.")
    return page.replace(PLACEHOLDER, _in_script(asdict(report)))


def _in_script(value: object) -> str:
    """JSON that is safe within a script element, whatever its strings hold."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _scene(measured: Measured) -> str:
    return _SCENE + (_FURTHER if "mediasoup" in measured.topologies() else "")


def _facts(result: Result) -> tuple[str, ...]:
    sizes = ", ".join(map(str, result.options.participants))
    return (
        f"{result.created_at:%-d %B %Y}",
        f"{sizes} people and Mulisa",
        f"{result.machine.cores} cores",
        f"measured in {number(round(result.options.seconds / 60, 1))} min",
    )


def _spread(result: Result) -> str:
    whole = "Each figure is the median of its samples; the bar is their range"
    if not result.options.full:
        return f"{whole}, smallest to largest."
    return f"{whole}, or the 5th to 95th percentile of {PERCENTILE_SAMPLES} samples and more."


def _machine(result: Result) -> tuple[tuple[str, str], ...]:
    machine = result.machine
    return (
        ("Command", result.options.command),
        ("System", machine.system),
        ("Processor", machine.processor),
        ("Cores", str(machine.cores)),
        ("Memory", f"{machine.memory_mib:,} MiB"),
    )


def _files(result: Result) -> tuple[File, ...]:
    return (
        File("result.json", "application/json", to_json(result)),
        File("figures.csv", "text/csv", to_csv(result)),
    )
