"""Pure: was she addressed? Every judgement comes with its reasons, in plain English.

With one person in the room she answers everything that has words; with several only when she is
called by name or somebody follows up on their exchange with her. In doubt she is silent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from mulisa.agent.names import NameMatch, NameMatcher, find_person
from mulisa.agent.persona import Persona
from mulisa.core.room import Identity

Command = Literal["stop", "quiet"]
"""Stop speaking; stay quiet until called."""

_POLITE = (
    r"(?:ok(?:ay)?|alright|right|thanks|thank you|please|no|yes|yeah|hey|now|just|got it|sorry|uh"
    r"|um|oh|can you|could you|you can|i said|very much|so much|good|great)"
)
_STOP = re.compile(
    rf"(?:{_POLITE} )*"
    r"(?:stop(?: it| that| this| there| here| talking| speaking| now)*|be (?:quiet|quite|silent)"
    r"|quiet|silence|shush|hush|sh+|shut up|enough|(?:that's|that is|thats|it's) (?:enough|all|it)"
    r"|that(?:'ll| will) do|(?:wait|hold on|hang on)(?: (?:a|one) (?:minute|second|moment|sec))?"
    r"|(?:one|just a) (?:moment|second|minute)|never ?mind|cancel(?: that)?|pause|forget it)"
    rf"(?: {_POLITE}| enough| stop| wait)*"
)
_QUIET = re.compile(
    r"\b(?:stay|be|keep|remain) (?:\w+ )?(?:quiet|quite|silent|muted?)\b"
    r"(?=.*\b(?:until|till|unless|before|for now|from now)\b)"
    r"|\b(?:stay|keep|remain) (?:quiet|quite|silent|muted)\b"
    r"|\b(?:don't|do not|no) (?:talk|speak|talking|speaking|say anything|answer)\b"
    r".*\b(?:until|till|unless|anymore|any more|for now)\b"
    r"|\bspeak only when (?:called|spoken|you)|\bonly (?:talk|speak|answer) (?:when|if)\b"
    r"|\bmute yourself\b|\bgo to sleep\b"
)
_BACKCHANNEL = re.compile(
    r"(?:(?:m+|h+m+|m+ ?h+m*|mhm|u+h+|u+m+|er+m?|a+h+|o+h+|uh ?huh|ok(?:ay)?|kay"
    r"|yeah|yep|yup|yes|aha|right|sure|alright|all right|cool|nice|great|wow|true|exactly"
    r"|of course|indeed|good|fine"
    r"|i see|got it|really|huh|well|so|and|ha|hehe|haha|perfect|wonderful|interesting)(?: |$))*"
)
_REQUEST = re.compile(
    r"(?:(?:and|but|so|ok(?:ay)?|well|then|now|uh|um|oh|hm+|also|please|yes|yeah|no|hey|hi|hello"
    r"|alright|thanks|thank you|great|sorry) )*"
    r"(?:who|who's|what|what's|whats|when|when's|where|where's|why|how|how's|which|whose"
    r"|(?:can|could|will|would|do|did|does|are|is|was|were|have|has|should|may) "
    r"(?:you|i|we|it|he|she|they|there|that|this|anyone|anybody|everyone|everybody|the|any)"
    r"|tell|say|repeat|give|show|explain|summari[sz]e|sum|stop|be quiet|stay|help|list|read|remind"
    r"|please|let me know|let us know|introduce|describe|answer|note|remember|speak|start|define"
    r"|translate|go on|continue|any|anything|anyone)\b"
)
_THANKS = re.compile(r"(?:(?:ok(?:ay)?|well|great|good|hey) )*(?:thanks|thank you|hello|hi|bye)\b")
_CONTINUATION = re.compile(
    r"(?:and|or|but|what about|how about|no|yes|more|again|the other|not|since|from|about|in|at|for"
    r"|with|only|why|once more|one more|i mean|i meant|sorry)\b"
)
_EVERYBODY = re.compile(
    r"\b(?:everyone|everybody|guys|folks|all of you|you all|you two|y'all|any of you|team)$"
    r"|^(?:\w+ )?(?:everyone|everybody|guys|folks|you guys|team)\b"
)


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
            return self._addressed(turn, f"called by name: {match.words}", score)
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
        if _EVERYBODY.search(_plain(turn.text)):
            return Judgement(False, ("said to everybody",), score)
        if turn.source == "voice" and turn.confidence < self._config.least_confidence:
            return Judgement(False, ("not called, and too unsure of the words",), score)
        if context.others_spoke_since:
            return Judgement(False, ("somebody else spoke since her last answer",), score)
        if not exchange.asked and not _asks_or_continues(turn.text):
            return Judgement(False, ("after an exchange with her, but asks for nothing",), score)
        name = next((p.name for p in context.people if p.identity == turn.identity), "the speaker")
        reason = f"follow-up of {name}'s exchange {max(waited, 0.0):.1f} s ago"
        return self._addressed(turn, reason, score)

    def _addressed(self, turn: Turn, reason: str, score: float) -> Judgement:
        return Judgement(True, (reason,), score, self._command(turn.text))

    def _command(self, text: str) -> Command | None:
        words = self._matcher.without(text)
        if _QUIET.search(_plain(words)):
            return "quiet"
        return "stop" if _STOP.fullmatch(_plain(words)) else None

    def _is_call(self, match: NameMatch, text: str) -> bool:
        if match.position == "within":
            return False
        if match.score >= self._config.sure_score:
            return True
        rest = f"{text[: match.start]} {text[match.end :]}"
        least = self._config.apart_score if match.apart else self._config.guess_score
        return match.score >= least and (
            is_request(rest) or _THANKS.match(_plain(rest)) is not None
        )


def is_stop(text: str, name: str = "Mulisa") -> bool:
    """True for orders to stop speaking: "stop", "Mulisa, stop", "okay thank you that's enough"."""
    return bool(
        _STOP.fullmatch(_plain(text)) or _STOP.fullmatch(_plain(_matcher(name).without(text)))
    )


def is_backchannel(text: str) -> bool:
    """True if the text only signals listening ("mm-hm", "okay", "uh huh") or holds no word."""
    return bool(_BACKCHANNEL.fullmatch(_plain(text)))


def is_request(text: str) -> bool:
    """True if some sentence of the text is a question or an order, as far as its form tells."""
    return any(
        part.endswith("?") or _REQUEST.match(_plain(part))
        for part in re.split(r"(?<=[.?!])\s+", text.strip(" ,.;:!"))
    )


def has_words(text: str) -> bool:
    """False for silence, and for sounds as recognisers write them: ``(coughs)``, ``[MUSIC]``."""
    return bool(_plain(text))


def _answers_her(turn: Turn, context: GateContext) -> bool:
    exchange = context.exchange
    return exchange is not None and exchange.asked and exchange.identity == turn.identity


def _asks_or_continues(text: str) -> bool:
    plain = _plain(text)
    if is_request(text):
        return True
    return len(plain.split()) <= 5 and bool(_CONTINUATION.match(plain)) and not is_backchannel(text)


def _plain(text: str) -> str:
    """Lower-case words with single spaces, without marks and without described sounds."""
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|\*[^*]*\*", " ", text.lower().replace("’", "'"))
    return " ".join(re.findall(r"\w+(?:'\w+)*", text))


@lru_cache(maxsize=16)
def _matcher(name: str) -> NameMatcher:
    return NameMatcher(name)
