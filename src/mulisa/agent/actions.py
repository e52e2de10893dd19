"""What the floor decides, for the session to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from mulisa.agent.endpointing import Utterance
from mulisa.agent.gate import Judgement, Turn


@dataclass(frozen=True, slots=True)
class CommitTurn:
    """A turn is over: write it down. `judgement` says whether it was meant for her, and why.

    If it calls her, her name is written as it should be, whatever was recognised for it.
    """

    turn: Turn
    utterances: tuple[Utterance, ...]
    """What it was made of."""
    judgement: Judgement


@dataclass(frozen=True, slots=True)
class StartReply:
    """Answer this turn."""

    reply_id: int
    turn: Turn


@dataclass(frozen=True, slots=True)
class PauseReply:
    """Hold the voice back from the next frame on; thinking may go on."""


@dataclass(frozen=True, slots=True)
class ResumeReply:
    """Go on at the very sample where the voice was paused."""


@dataclass(frozen=True, slots=True)
class CutReply:
    """Stop for good; what was not heard was not said."""

    reply_id: int


Action: TypeAlias = CommitTurn | StartReply | PauseReply | ResumeReply | CutReply
