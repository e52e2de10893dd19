"""What a comparison has found so far: a whole result at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from mulisa.compare.machine import machine, stacks
from mulisa.compare.measure import Book
from mulisa.compare.metrics import ROWS, RowName, Topology
from mulisa.compare.result import SCHEMA, Figure, Note, Options, Result

_STOPPED: Final = "It was stopped before its end: not everything that was asked for is here."
_MOST_CHARS: Final = 400
_ORDER: Final = {row.name: place for place, row in enumerate(ROWS)}


class Ledger:
    """Figures and notes of all calls and rows, told to `keep` whenever there are more."""

    def __init__(self, command: str, sizes: Sequence[int], full: bool, versions: dict[str, str]):
        self.versions = versions
        self.is_whole = False
        """Everything was measured."""
        self._began = asyncio.get_running_loop().time()
        self._options = Options(command, tuple(sorted(set(sizes))), full, 0.0)
        self._machine = machine()
        self._created_at = datetime.now(UTC)
        self._books: list[Book] = []
        self._figures: list[Figure] = []
        self._notes: list[Note] = []

    def open(self, topology: Topology, participants: int) -> Book:
        """A book for one more call."""
        book = Book(topology, participants)
        self._books.append(book)
        return book

    def add(self, figures: Iterable[Figure]) -> None:
        """Of a row that makes its own calls."""
        self._figures += figures

    def remark(self, row: RowName | None, text: str) -> None:
        """What a reader must know about a row, or about all."""
        self._notes.append(Note(row, text[:_MOST_CHARS]))

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All so far, in the order of the report."""
        found = [*self._figures, *(figure for book in self._books for figure in book.figures())]
        return tuple(sorted(found, key=_place))

    def result(self) -> Result:
        """Everything so far; it says so if that is not everything."""
        notes = [*self._notes, *(note for book in self._books for note in book.notes)]
        if not self.is_whole:
            notes.append(Note(None, _STOPPED))
        seconds = asyncio.get_running_loop().time() - self._began
        return Result(
            schema=SCHEMA,
            created_at=self._created_at,
            options=replace(self._options, seconds=round(seconds, 1)),
            machine=self._machine,
            versions=self.versions,
            stacks=stacks(self._books, self.versions),
            figures=self.figures,
            notes=tuple(dict.fromkeys(notes)),
        )


Keep = Callable[[Result], None]


def _place(figure: Figure) -> tuple[int, str, int, str]:
    return _ORDER[figure.row], figure.metric, figure.participants, figure.topology
