"""One call that is measured: who is in it, and where what is found is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import aiohttp
import psutil  # type: ignore[import-untyped]
from playwright.async_api import Browser

from mulisa.compare.browser import Person, person_in
from mulisa.compare.capture import Capture
from mulisa.compare.metrics import METRIC_OF, RowName, Topology
from mulisa.compare.result import Figure, Note, figure_of
from mulisa.compare.scenario import Plan
from mulisa.compare.server import Program
from mulisa.compare.signalling import Signalling
from mulisa.compare.speech import MONOLOGUE
from mulisa.compare.theory import Stream, expected
from mulisa.core.audio import Samples

MULISA: Final = "mulisa"
"""Her identity."""
SATURATED: Final = 85.0
"""% of all cores from which the machine itself is what is measured."""


def now() -> float:
    """Seconds since 1970: what pages, kernel and this process all read."""
    return datetime.now(UTC).timestamp()


class Book:
    """Samples by metric and condition, for one topology and size."""

    def __init__(self, topology: Topology, participants: int) -> None:
        self.notes: list[Note] = []
        self.streams: dict[str, Stream] = {}
        """What one voice cost under a condition: theory is calculated from it."""
        self._topology: Topology = topology
        self._participants = participants
        self._samples: dict[tuple[RowName, str, str], list[float]] = {}
        self._remarks: dict[tuple[RowName, str, str], str] = {}
        self._saturated: set[tuple[RowName, str, str]] = set()
        self._load: list[float] = []
        psutil.cpu_percent()

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

    def end_stage(self, rows: Sequence[RowName]) -> float:
        """What was measured since the last stage is marked if the machine was at its limit.

        Returns how busy it was, in % of all cores.
        """
        busy = float(psutil.cpu_percent())
        if busy > SATURATED:
            self._saturated |= {key for key in self._samples if key[0] in rows}
        return busy

    def figures(self) -> tuple[Figure, ...]:
        """Everything, with what theory says of it."""
        return tuple(
            self._figure(key, tuple(samples)) for key, samples in self._samples.items() if samples
        )

    def _figure(self, key: tuple[RowName, str, str], samples: tuple[float, ...]) -> Figure:
        row, name, condition = key
        metric = METRIC_OF[row, name]
        stream = self.streams.get(condition or "speech")
        return figure_of(
            metric,
            self._topology,
            self._participants,
            tuple(round(sample, 3) for sample in samples),
            condition=condition,
            theory=expected(metric, self._topology, self._participants, condition, stream),
            saturated=key in self._saturated,
            note=self._remarks.get(key, ""),
        )


@dataclass
class Call:
    """A call that runs, with everything that a measurement may want to touch."""

    plan: Plan
    browser: Browser
    speech: dict[str, dict[str, Samples]]
    url: str
    """Where people go: through the proxy that counts signalling."""
    direct_url: str
    """The server itself."""
    signalling: Signalling
    capture: Capture | None
    server: Program
    browser_pid: int
    http: aiohttp.ClientSession
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
        await person.enter(self.url, self.room, f"&topology={self.plan.topology}")
        return person

    async def connected(self, people: Sequence[Person]) -> None:
        """Wait until each of these hears each other one."""
        await asyncio.gather(
            *(one.hears(other.identity) for one in people for other in people if one is not other)
        )

    async def route(self, **change: object) -> float:
        """`PUT .../routing` as the operator; how many seconds it took until it holds."""
        begin = now()
        path = f"{self.direct_url}/api/rooms/{self.room}/routing"
        async with self.http.put(path, json=change) as response:
            response.raise_for_status()
            await response.read()
        return now() - begin

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
