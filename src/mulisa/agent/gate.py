"""Pure: was she addressed? Every judgement comes with its reasons, in plain English.

With one person in the room she answers everything that has words; with several only when she is
called by name or somebody follows up on their exchange with her. In doubt she is silent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from mulisa.agent.persona import Persona
from mulisa.core.room import Identity

Command = Literal["stop", "quiet"]
"""Stop speaking; stay quiet until called."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """When an unnamed turn counts as addressed, and how sure a name must be."""

    follow_up: float = 8.0
    """Seconds after her reply in which the same person needs no name."""
    opening_score: float = 0.5
    """Least score of a name that opens or closes a turn, or is all of it."""
    within_score: float = 0.85
    """Least score of a name within a turn."""


class Person(NamedTuple):
    """Somebody present, not an agent."""

    identity: Identity
    name: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What one person said until the floor passed, or one chat message."""

    identity: Identity
    text: str
    started_at: float
    ended_at: float
    """Loop seconds of the first and last word; for chat both are its arrival."""
    confidence: float = 1.0
    """The recogniser's, 0..1."""
    source: Literal["voice", "chat"] = "voice"


@dataclass(frozen=True, slots=True)
class Exchange:
    """The last time she answered somebody."""

    identity: Identity
    """Whom."""
    ended_at: float
    """Loop seconds at which her reply was played out, or was cut."""
    asked: bool = False
    """Her reply ended with a question."""


@dataclass(frozen=True, slots=True)
class GateContext:
    """The room at the time of the turn."""

    people: tuple[Person, ...]
    """Everybody present but agents, the speaker included."""
    now: float
    exchange: Exchange | None = None
    quiet: bool = False
    """She was told to stay quiet until called."""
    others_spoke_since: bool = False
    """Somebody else spoke between the end of her last reply and this turn."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Is a turn for her, and why."""

    addressed: bool
    reasons: tuple[str, ...]
    """In plain English: ``called by name: Melissa``, ``said to Bob``. Hold names and words of
    people: personal in logs."""
    name_score: float = 0.0
    """0..1: how sure her name was in it."""
    command: Command | None = None
    """What an addressed turn orders that needs no reply (stop) or a short one (quiet)."""


class Gate:
    """Judges turns. Holds no state: what it must know of the room is in the context."""

    def __init__(self, config: GateConfig, persona: Persona) -> None: ...

    def judge(self, turn: Turn, context: GateContext) -> Judgement:
        """Is `turn` said to her?"""
        raise NotImplementedError


def is_stop(text: str) -> bool:
    """True for orders to stop speaking: "stop", "Mulisa, stop", "okay thank you that's enough"."""
    raise NotImplementedError


def is_backchannel(text: str) -> bool:
    """True if the text only signals listening ("mm-hm", "okay", "uh huh") or holds no word."""
    raise NotImplementedError
