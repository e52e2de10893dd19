"""How the latest utterances sounded, for an engine that answers what it hears. Pure, bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

import numpy as np

from mulisa.agent.events import UtteranceId
from mulisa.agent.gate import Turn
from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.room import Identity

MAX_TURN: Final = 120.0
"""Seconds kept of one turn: the last ones."""
MAX_KEPT: Final = 600.0
"""Seconds kept of all that is not answered yet; the oldest utterances are dropped."""

_TurnKey: TypeAlias = tuple[Identity, float]
"""Who said it and when it ended, which stays when a turn is joined to the one before."""


class Recordings:
    """From the ears to the replies: of each utterance until it is judged, then of turns to her."""

    def __init__(self) -> None:
        self._utterances: dict[UtteranceId, list[Samples]] = {}
        self._turns: dict[_TurnKey, Samples] = {}
        self._kept = 0

    def push(self, utterance_id: UtteranceId, samples: Samples) -> None:
        """An ear heard more of an utterance: 16 kHz."""
        self._utterances.setdefault(utterance_id, []).append(samples)
        self._kept += len(samples)
        while self._kept > MAX_KEPT * HEARING_RATE_HZ and len(self._utterances) > 1:
            self._pop(next(iter(self._utterances)))

    def commit(self, turn: Turn, utterances: Iterable[UtteranceId], *, addressed: bool) -> None:
        """These utterances are a turn; it is kept if it was said to her, until it is taken."""
        pieces = [samples for which in utterances for samples in self._pop(which)]
        if addressed and pieces:
            speech = np.concatenate(pieces)[-round(MAX_TURN * HEARING_RATE_HZ) :]
            self._turns[_key(turn)] = speech
        while len(self._turns) > 8:
            del self._turns[next(iter(self._turns))]

    def take(self, turn: Turn) -> Samples | None:
        """How a turn sounded: int16, 16 kHz; None if it was written or is not kept."""
        return self._turns.pop(_key(turn), None)

    def _pop(self, utterance_id: UtteranceId) -> list[Samples]:
        pieces = self._utterances.pop(utterance_id, [])
        self._kept -= sum(map(len, pieces))
        return pieces


def _key(turn: Turn) -> _TurnKey:
    return (turn.identity, turn.ended_at)
