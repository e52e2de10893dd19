"""Who says what, and when: the same calls in both topologies. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from mulisa.compare.metrics import COMPARED, Topology
from mulisa.core.errors import InputError

MULISA: Final = "mulisa"
"""Her identity."""
DEFAULT_SIZES: Final = (2, 4)
FULL_SIZES: Final = (2, 3, 4, 6)


@dataclass(frozen=True, slots=True)
class Voice:
    """A person, and how they sound: the bundled voice, faster and higher or slower and lower."""

    name: str
    pitch: float
    monologue: str
    """A few seconds that mean nothing to Mulisa: no name, no question."""


VOICES: Final = (
    Voice(
        "Alice",
        1.16,
        "I looked at the numbers again this morning, and they are better than last week, "
        "so we can send them to everybody before lunch.",
    ),
    Voice(
        "Bob",
        1.0,
        "The train was late again, and then it rained all the way to the office, "
        "but at least the coffee machine has been repaired.",
    ),
    Voice(
        "Carol",
        0.9,
        "We moved the workshop to the larger room on the second floor, "
        "because more people have signed up than we expected.",
    ),
    Voice(
        "Dave",
        1.08,
        "My sister has planted tomatoes on the balcony this year, "
        "and now there are more of them than the whole family can eat.",
    ),
    Voice(
        "Erin",
        1.22,
        "The new release went out on Tuesday evening without any trouble, "
        "and the first reports that came back were very friendly.",
    ),
    Voice(
        "Frank",
        0.94,
        "They are building a bridge for bicycles across the river, "
        "and it will be open to the public at the end of the summer.",
    ),
)
FEWEST_PEOPLE: Final = 2
"""Alone nobody could hear a difference."""
MOST_PEOPLE: Final = len(VOICES)


def parse_sizes(text: str | None, *, full: bool) -> tuple[int, ...]:
    """Numbers of people: ``"2,4"``, or the usual ones. Raises InputError."""
    if text is None:
        return FULL_SIZES if full else DEFAULT_SIZES
    try:
        sizes = {int(size) for size in text.split(",")}
    except ValueError:
        sizes = set()
    if not sizes or not FEWEST_PEOPLE <= min(sizes) <= max(sizes) <= MOST_PEOPLE:
        raise InputError(
            f"--participants are numbers from {FEWEST_PEOPLE} to {MOST_PEOPLE}, such as 2,4; "
            f"not {text!r}"
        )
    return tuple(sorted(sizes))


QUESTION: Final = "Mulisa, what can you do for us here?"
TYPED: Final = "Mulisa, who is in the call?"
"""Has a short answer."""
TYPED_FOR_LONG: Final = "Mulisa, what can you do for us here?"
"""Has an answer of several sentences."""
INTERRUPTION: Final = "Wait, please stop there for a moment."


@dataclass(frozen=True, slots=True)
class Plan:
    """One call that is measured. Times are seconds."""

    topology: Topology
    participants: int
    """People; Mulisa comes on top."""
    speech: float = 6.0
    """All people speak for so long, at the same time."""
    silence: float = 4.0
    sentences: int = 2
    """How often she is asked in writing and heard by all."""
    turns: int = 3
    """How often she is asked aloud, and interrupted."""
    changes: int = 3
    """How often each kind of routing is changed."""
    visits: int = 1
    """How often somebody joins and leaves."""

    @property
    def people(self) -> tuple[Voice, ...]:
        """Those in the call."""
        return VOICES[: self.participants]


SHORT: Final = Plan("mesh", 2, speech=5.0, silence=3.0, sentences=2, turns=2, changes=2)
LONG: Final = Plan("mesh", 2, speech=10.0, silence=6.0, sentences=5, turns=10, changes=10, visits=3)


def plans(
    sizes: Sequence[int], topologies: Sequence[Topology] = COMPARED, *, full: bool = False
) -> tuple[Plan, ...]:
    """All calls of a comparison, the small ones first, so that each topology is seen early."""
    plan = LONG if full else SHORT
    return tuple(
        replace(plan, topology=topology, participants=size)
        for size in sorted(set(sizes))
        for topology in topologies
    )
