"""What the floor is told: by the ears, by the room, by the reply that is going on.

All times are seconds on the event loop's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType, TypeAlias

from mulisa.core.provider import Transcription
from mulisa.core.room import Identity

UtteranceId = NewType("UtteranceId", str)
"""Unique in its room; also the segment id of captions and transcript entries."""


def typed_id(identity: Identity, message_id: str) -> UtteranceId:
    """Of a chat message (docs/protocol.md): nobody's is taken for another's, nor for speech."""
    return UtteranceId(f"chat:{identity}:{message_id}")


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody began to speak, or went on after a pause in the same utterance."""

    identity: Identity
    utterance_id: UtteranceId
    at: float
    """First sample taken for speech; a little earlier than the report."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """Somebody paused; a `Transcribed` (or `TranscriptionFailed`) of the utterance follows,

    unless speech goes on before that.
    """

    identity: Identity
    utterance_id: UtteranceId
    at: float
    """Last sample taken for speech; the report comes a short silence later."""


@dataclass(frozen=True, slots=True)
class InterimTranscribed:
    """Words of an utterance that is still going on; they may change."""

    identity: Identity
    utterance_id: UtteranceId
    text: str


@dataclass(frozen=True, slots=True)
class Transcribed:
    """The words of an utterance up to its latest `SpeechEnded`."""

    identity: Identity
    utterance_id: UtteranceId
    transcription: Transcription
    speech_started_at: float
    """Of the utterance's first word."""
    speech_ended_at: float
    """As in that `SpeechEnded`."""


@dataclass(frozen=True, slots=True)
class TranscriptionFailed:
    """The recogniser gave up on an utterance; what was said is not known."""

    identity: Identity
    utterance_id: UtteranceId
    reason: str


EarEvent: TypeAlias = (
    SpeechStarted | SpeechEnded | InterimTranscribed | Transcribed | TranscriptionFailed
)


@dataclass(frozen=True, slots=True)
class PersonEntered:
    """Somebody who may speak is in the room."""

    identity: Identity
    name: str


@dataclass(frozen=True, slots=True)
class PersonGone:
    """Somebody is no longer in the room; what they were saying ends here.

    Its last words may still be on their way from the ear, so the turn stays open for them.
    """

    identity: Identity


@dataclass(frozen=True, slots=True)
class Typed:
    """Somebody wrote a chat message: a turn without a pause."""

    identity: Identity
    utterance_id: UtteranceId
    text: str


@dataclass(frozen=True, slots=True)
class QuietRequested:
    """Somebody wants her to speak only when she is called by name, or takes that back."""

    until_called: bool = True


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """The first frame of a reply was sent."""

    reply_id: int


@dataclass(frozen=True, slots=True)
class ReplyFinished:
    """A reply was spoken to its end."""

    reply_id: int
    asked_back: bool = False
    """Its last sentence was a question."""


@dataclass(frozen=True, slots=True)
class ReplyFailed:
    """A reply ended before anything of it was heard."""

    reply_id: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened but time."""


Event: TypeAlias = (
    EarEvent
    | PersonEntered
    | PersonGone
    | Typed
    | QuietRequested
    | ReplyStarted
    | ReplyFinished
    | ReplyFailed
    | Tick
)
