"""One call that is measured: who is in it, and where what is found is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from playwright.async_api import Browser
from playwright.async_api import Error as PlaywrightError

from mulisa.compare.browser import Person, person_in
from mulisa.compare.capture import Capture
from mulisa.compare.load import Load, Loads
from mulisa.compare.metrics import METRIC_OF, SPEECH, RowName, Topology
from mulisa.compare.result import Figure, Note, figure_of
from mulisa.compare.scenario import Plan
from mulisa.compare.server import Program
from mulisa.compare.speech import MONOLOGUE
from mulisa.compare.theory import Stream, expected
from mulisa.compare.venue import Venue
from mulisa.core.audio import Samples
from mulisa.core.errors import MulisaError

FAILURES: Final = (MulisaError, PlaywrightError, aiohttp.ClientError, TimeoutError)
"""What keeps something from being measured, and is told with its row."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a row is given that makes networks, servers and browsers of its own."""

    sizes: tuple[int, ...]
    """Numbers of people of the whole comparison; a row may take some of them."""
    full: bool
    speech: Mapping[str, Mapping[str, Samples]]
    """By the names of `scenario.VOICES`, what each says by its key."""
    say: Callable[[str], None]
    """What is being done now."""
    remark: Callable[[str], None]
    """What a reader must know about this row."""


RowRunner = Callable[[Bench], Awaitable[list[Figure]]]
"""Measures one row in all topologies. A MulisaError says why nothing came of it ("needs root")."""


class Book:
    """Samples by metric and condition, for one topology and size."""

    def __init__(self, topology: Topology, participants: int) -> None:
        self.notes: list[Note] = []
        self.streams: dict[str, Stream] = {}
        """What one voice cost under a condition: theory is calculated from it."""
        self.hers: dict[str, Stream] = {}
        """What Mulisa's track cost meanwhile, while she was silent."""
        self.topology: Topology = topology
        self.participants = participants
        self._samples: dict[tuple[RowName, str, str], list[float]] = {}
        self._remarks: dict[tuple[RowName, str, str], str] = {}
        self._saturated: set[tuple[RowName, str, str]] = set()
        self.codec = ""
        """On which the browsers agreed."""
        self.clients: dict[str, str] = {}
        """Libraries that came to the server, with their versions."""

    def add(
        self,
        row: RowName,
        metric: str,
        samples: Iterable[float],
        condition: str = "",
        note: str = "",
    ) -> None:
        """Keep samples; more of the same are added to them."""
        key = (row, metric, condition)
        self._samples.setdefault(key, []).extend(float(sample) for sample in samples)
        if note:
            self._remarks[key] = note

    def remark(self, row: RowName | None, text: str) -> None:
        """What a reader must know, once for all calls."""
        self.notes.append(Note(row, text))

    def end_stage(self, rows: Sequence[RowName], load: Load) -> None:
        """What these rows found is marked if the machine was at its limit; counts are not."""
        if load.is_at_limit:
            found = {key for key in self._samples if key[0] in rows}
            self._saturated |= {key for key in found if not METRIC_OF[key[:2]].is_counted}

    def figures(self) -> tuple[Figure, ...]:
        """Everything, with what theory says of it."""
        return tuple(
            self._figure(key, tuple(samples)) for key, samples in self._samples.items() if samples
        )

    def _figure(self, key: tuple[RowName, str, str], samples: tuple[float, ...]) -> Figure:
        row, name, condition = key
        metric = METRIC_OF[row, name]
        under = condition or SPEECH
        stream, hers = self.streams.get(under), self.hers.get(under)
        return figure_of(
            metric,
            self.topology,
            self.participants,
            tuple(round(sample, 3) for sample in samples),
            condition=condition,
            theory=expected(metric, self.topology, self.participants, condition, stream, hers),
            saturated=key in self._saturated,
            note=self._remarks.get(key, ""),
        )


@dataclass
class Call:
    """A call that runs, with everything that a measurement may want to touch."""

    plan: Plan
    browser: Browser
    browser_pid: int
    speech: dict[str, dict[str, Samples]]
    venue: Venue
    capture: Capture | None
    loads: Loads
    book: Book
    people: list[Person] = field(default_factory=list)
    mulisa: Program | None = None
    """Her process, once she was asked to come."""

    @property
    def room(self) -> str:
        """Its name."""
        return f"{self.plan.topology}-{self.plan.participants}"

    async def enter(self, name: str) -> Person:
        """One more person, with a microphone, in the room."""
        person = await person_in(self.browser, name)
        await person.enter(self.venue.url, self.room, self.venue.link_options(self.plan.topology))
        return person

    async def connected(self, people: Sequence[Person]) -> None:
        """Wait until each of these hears each other one."""
        await asyncio.gather(
            *(one.hears(other.identity) for one in people for other in people if one is not other)
        )

    @asynccontextmanager
    async def all_speaking(self) -> AsyncIterator[None]:
        """Everybody speaks without an end while the block runs."""
        tasks = [asyncio.create_task(_speak_on(person)) for person in self.people]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(person.hush() for person in self.people))


async def _speak_on(person: Person) -> None:
    while True:
        await person.say(MONOLOGUE)
