"""Pure: was she addressed? Every judgement comes with its reasons, in plain English.

With one person in the room she answers everything that has words; with several only when she is
called by name or somebody follows up on their exchange with her. In doubt she is silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from mulisa.agent.names import NameMatch, NameMatcher, Respelling, find_person
from mulisa.agent.persona import Persona
from mulisa.agent.phrases import (
    asks_or_continues,
    has_words,
    is_backchannel,
    is_greeting,
    is_quiet_order,
    is_request,
    is_stop,
    is_to_everybody,
)
from mulisa.core.room import Identity

Command = Literal["stop", "quiet"]
"""Stop speaking; stay quiet until called."""


@dataclass(frozen=True, slots=True)
class GateConfig:
    """When an unnamed turn counts as addressed, and how sure a name must be."""

    follow_up: float = 8.0
    """Seconds after her reply in which the same person needs no name."""
    sure_score: float = 0.8
    """A name at least so sure calls her, whatever else is said."""
    guess_score: float = 0.65
    """A name at least so sure calls her if the rest asks for something."""
    apart_score: float = 0.55
    """As `guess_score`, where commas or full stops set the name off from the rest."""
    least_confidence: float = 0.4
    """Of the recogniser, for a turn that follows up without her name among several people."""


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
    respelling: Respelling | None = None
    """For a spoken turn that calls her: what was recognised for her name, and how it is written."""


class Gate:
    """Judges turns. Holds no state: what it must know of the room is in the context."""

    def __init__(self, config: GateConfig, persona: Persona) -> None:
        self._config = config
        self._name = persona.name
        self._matcher = NameMatcher(persona.name, persona.aliases)

    def judge(self, turn: Turn, context: GateContext) -> Judgement:
        """Is `turn` said to her?"""
        others = [person for person in context.people if person.identity != turn.identity]
        match = self._matcher.find(turn.text, [person.name for person in context.people])
        score = match.score if match else 0.0
        if not has_words(turn.text):
            return Judgement(False, ("no words",), score)
        if match and self._is_call(match, turn.text):
            called = self._addressed(turn, f"called by name: {match.words}", score)
            is_spoken = turn.source == "voice"
            return (
                replace(called, respelling=self._matcher.respelling(match)) if is_spoken else called
            )
        if context.quiet:
            return Judgement(False, ("asked to stay quiet until called",), score)
        if not others:
            return self._alone(turn, context, score)
        if match and match.score >= self._config.sure_score:
            return Judgement(False, (f"talk about her, not to her: {match.words}",), score)
        return self._follow_up(turn, context, others, score)

    def _alone(self, turn: Turn, context: GateContext, score: float) -> Judgement:
        if is_backchannel(turn.text) and not _answers_her(turn, context):
            return Judgement(False, ("alone with her, but only a backchannel",), score)
        return self._addressed(turn, "you are alone with her", score)

    def _follow_up(
        self, turn: Turn, context: GateContext, others: Sequence[Person], score: float
    ) -> Judgement:
        exchange = context.exchange
        if exchange is None or exchange.identity != turn.identity:
            return Judgement(False, ("several people here, and she was not called",), score)
        waited = turn.started_at - exchange.ended_at
        if waited > self._config.follow_up:
            reason = f"her last answer to them was {waited:.0f} s ago, and she was not called"
            return Judgement(False, (reason,), score)
        if person := find_person(turn.text, [person.name for person in others]):
            return Judgement(False, (f"said to {person}",), score)
        if is_to_everybody(turn.text):
            return Judgement(False, ("said to everybody",), score)
        if turn.source == "voice" and turn.confidence < self._config.least_confidence:
            return Judgement(False, ("not called, and too unsure of the words",), score)
        if context.others_spoke_since:
            return Judgement(False, ("somebody else spoke since her last answer",), score)
        if not exchange.asked and not asks_or_continues(turn.text):
            return Judgement(False, ("after an exchange with her, but asks for nothing",), score)
        name = next((p.name for p in context.people if p.identity == turn.identity), "the speaker")
        reason = f"follow-up of {name}'s exchange {max(waited, 0.0):.1f} s ago"
        return self._addressed(turn, reason, score)

    def _addressed(self, turn: Turn, reason: str, score: float) -> Judgement:
        return Judgement(True, (reason,), score, self._command(turn.text))

    def _command(self, text: str) -> Command | None:
        words = self._matcher.without(text)
        if is_quiet_order(words):
            return "quiet"
        return "stop" if is_stop(words, self._name) else None

    def _is_call(self, match: NameMatch, text: str) -> bool:
        if match.position == "within":
            return False
        if match.score >= self._config.sure_score:
            return True
        rest = f"{text[: match.start]} {text[match.end :]}"
        if not has_words(rest):
            return match.score >= self._config.guess_score
        least = self._config.apart_score if match.apart else self._config.guess_score
        return match.score >= least and (is_request(rest) or is_greeting(rest))


def _answers_her(turn: Turn, context: GateContext) -> bool:
    exchange = context.exchange
    return exchange is not None and exchange.asked and exchange.identity == turn.identity
