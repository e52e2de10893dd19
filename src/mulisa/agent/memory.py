"""What was said and heard in a call, by whom and when; bounded for calls of any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mulisa.core.provider import Message
from mulisa.core.room import Identity, Participant


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """Budgets."""

    history_chars: int = 12_000
    """Most characters of conversation given to an LLM, the system message not counted."""
    verbatim_chars: int = 6_000
    """Of these, what is kept word for word; older turns are summarised into the rest."""
    max_entries: int = 5_000
    """Turns kept for questions about the call; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One turn of a person, or one reply of the agent as far as it was heard."""

    identity: Identity
    name: str
    """Distinguishable: of two people called Alice the later one is ``Alice 2``."""
    text: str
    started_at: float
    ended_at: float
    kind: Literal["person", "agent"] = "person"
    source: Literal["voice", "chat"] = "voice"
    addressed: bool = False
    """A person's turn was said to the agent."""
    unspoken: str = ""
    """What a reply that was cut would have said further."""
    to: Identity | None = None
    """Whom a reply answers."""


@dataclass(frozen=True, slots=True)
class Stay:
    """Somebody's presence in the call."""

    identity: Identity
    name: str
    joined_at: float
    left_at: float | None = None


class Memory:
    """What one agent knows of one call. All times are loop seconds that never go backwards.

    `now` and `wall` are one instant on the loop's clock and on the wall clock (with a time
    zone), so that times can be told to people. `agent` is the agent's own name.
    """

    def __init__(self, config: MemoryConfig, *, agent: str, now: float, wall: datetime) -> None: ...

    @property
    def started_at(self) -> float:
        """Loop seconds at which the agent's knowledge of this call begins."""
        raise NotImplementedError

    def wall(self, at: float) -> datetime:
        """The wall-clock time of a loop time, in the time zone given at the beginning."""
        raise NotImplementedError

    def joined(self, participant: Participant, now: float) -> None:
        """Somebody came in. Agents are ignored; a second call renews the name."""
        raise NotImplementedError

    def left(self, participant: Participant, now: float) -> None:
        """Somebody is gone; what they said stays."""
        raise NotImplementedError

    def said(
        self,
        identity: Identity,
        name: str,
        text: str,
        started_at: float,
        ended_at: float,
        addressed: bool,
        source: Literal["voice", "chat"] = "voice",
    ) -> None:
        """A person said or wrote something. Text without words is not kept."""
        raise NotImplementedError

    def replied(
        self, text: str, unspoken: str, to: Identity | None, started_at: float, ended_at: float
    ) -> None:
        """The agent said `text` (as far as it was heard); `unspoken` was cut off."""
        raise NotImplementedError

    def messages(self, system: str, asker: Identity | None = None) -> tuple[Message, ...]:
        """History for an LLM within the budget, the system message first.

        People are role ``user`` with their name, the agent is ``assistant``; old turns are
        summarised in a second system message; a reply that was cut says so. With `asker` given
        the last message is that person's latest addressed turn, whatever was said after it.
        """
        raise NotImplementedError

    def stays(self) -> Sequence[Stay]:
        """Everybody who was here, in order of coming; those present have no `left_at`."""
        raise NotImplementedError

    def entries(
        self,
        since: float | None = None,
        by: Identity | None = None,
        about: str = "",
    ) -> Sequence[Entry]:
        """What was said, oldest first: after `since`, by one person, about a topic.

        `about` keeps turns that share a content word with it, tolerant of inflection.
        """
        raise NotImplementedError

    def last_reply(self, to: Identity | None = None) -> Entry | None:
        """Her latest reply (to somebody); None if there was none."""
        raise NotImplementedError

    def find_people(self, name: str) -> Sequence[Stay]:
        """Those who are or were here whose name is or sounds like `name`, the likeliest first."""
        raise NotImplementedError
