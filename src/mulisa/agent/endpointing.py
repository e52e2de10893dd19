"""When does a pause end somebody's turn? Pure: `now` is given.

::

    speech      ████████████      ██████████
    reports     |start    |end    |start   |end   |transcribed
                               ^ pause inside the turn      ^ deadline: end + required silence

The silence that is required depends on what was said: a finished sentence needs little, a
sentence that hangs in the air ("and then we...") needs more. While the words are not known yet,
the turn stays open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mulisa.agent.events import UtteranceId
from mulisa.agent.names import Respelling

_HANGING = re.compile(
    r"(?:\b(?:and|or|but|so|because|if|when|that|which|who|the|a|an|of|to|for|with|in|on|at|from"
    r"|about|is|are|was|my|your|our|their|uh|um|er|like|well)|[,;:\u2014-]|\.\.\.|\u2026)\s*$",
    re.IGNORECASE,
)
_HANGING_IN_SPITE_OF_A_STOP = re.compile(
    r"\b(?:and|or|but|because|if|the|a|an|my|your|our|their|uh|um|er)\.\s*$", re.IGNORECASE
)
"""A recogniser ends whatever it is given with a full stop."""
_FINISHED = re.compile(r"[.?!][\"')\u201d]*\s*$")


@dataclass(frozen=True, slots=True)
class EndpointingConfig:
    """How long a pause must be."""

    min_silence: float = 0.5
    """Seconds of silence that end a turn whose last sentence is finished."""
    plain_silence: float = 0.7
    """... whose last sentence has no mark at its end."""
    hanging_silence: float = 1.2
    """... whose last sentence hangs: a comma, "and", "um"."""
    max_transcription: float = 5.0
    """Seconds to wait for the words before the turn ends with what is known."""

    def required_silence(self, text: str) -> float:
        """Seconds of silence after which a turn with these words is over."""
        if _HANGING.search(text) or _HANGING_IN_SPITE_OF_A_STOP.search(text):
            return self.hanging_silence
        return self.min_silence if _FINISHED.search(text) else self.plain_silence


@dataclass(slots=True)
class Utterance:
    """One stretch of a turn that was recognised as a whole."""

    utterance_id: UtteranceId
    started_at: float
    ended_at: float
    """Last audible sample so far."""
    text: str | None = None
    """None while the words up to `ended_at` are not known."""


@dataclass(slots=True)
class OpenTurn:
    """One person's turn while it lasts: utterances, their words, and the silence after them."""

    started_at: float
    """Seconds; the first word."""
    utterances: dict[UtteranceId, Utterance] = field(default_factory=dict)
    """In the order in which they were begun."""
    confidence: float = 1.0
    """The lowest of its utterances."""
    speaking: bool = True

    def speech_started(self, utterance_id: UtteranceId, at: float) -> None:
        """Speech goes on, in this utterance or a new one."""
        self.speaking = True
        utterance = self.utterances.setdefault(utterance_id, Utterance(utterance_id, at, at))
        utterance.text = None

    def speech_ended(self, utterance_id: UtteranceId, at: float) -> None:
        """A pause; the words of `utterance_id` are still to come."""
        if utterance := self.utterances.get(utterance_id):
            utterance.text = None
            utterance.ended_at = max(utterance.ended_at, at)
            self.speaking = False

    def transcribed(self, utterance_id: UtteranceId, text: str, confidence: float = 1.0) -> None:
        """The words of an utterance so far; ignored for utterances of another turn."""
        if utterance := self.utterances.get(utterance_id):
            utterance.text = text.strip()
            self.confidence = min(self.confidence, confidence)

    def abandoned(self, now: float) -> None:
        """The person is gone; only words that are on their way may still come."""
        self.speaking = False
        for utterance in self.utterances.values():
            if utterance.text is None:
                utterance.ended_at = max(utterance.ended_at, now)

    @property
    def ended_at(self) -> float:
        """Last audible sample so far."""
        return max((u.ended_at for u in self.utterances.values()), default=self.started_at)

    @property
    def text(self) -> str:
        """All words known so far."""
        return " ".join(u.text for u in self.utterances.values() if u.text)

    @property
    def is_transcribed(self) -> bool:
        """True when nothing that was said is still unknown."""
        return all(u.text is not None for u in self.utterances.values())

    def deadline(self, config: EndpointingConfig) -> float | None:
        """When the turn is over if nothing else happens; None while somebody speaks.

        A turn without words (a cough) is over as soon as that is known.
        """
        if self.speaking:
            return None
        if not self.is_transcribed:
            return self.ended_at + config.max_transcription
        if not self.text:
            return self.ended_at
        return self.ended_at + config.required_silence(self.text)


def respelled(utterances: Iterable[Utterance], respelling: Respelling) -> tuple[Utterance, ...]:
    """The utterances of a turn with a name corrected that was found in the turn's `text`."""
    corrected: list[Utterance] = []
    offset = 0
    for utterance in utterances:
        if text := utterance.text:
            utterance = replace(utterance, text=respelling.apply(text, offset))
            offset += len(text) + 1
        corrected.append(utterance)
    return tuple(corrected)
