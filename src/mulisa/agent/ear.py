"""Hears one participant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from mulisa.agent.events import EarEvent, UtteranceId
from mulisa.core.audio import AudioFrame
from mulisa.core.provider import STT, VAD
from mulisa.core.room import Identity


@dataclass(frozen=True, slots=True)
class EarConfig:
    """How speech is cut into utterances; seconds."""


class Ear:
    """Turns one participant's frames into `EarEvent`s."""

    def __init__(
        self,
        identity: Identity,
        vad: VAD,
        stt: STT,
        emit: Callable[[EarEvent], None],
        config: EarConfig,
        names: Sequence[str],
        utterance_ids: Callable[[], UtteranceId],
    ) -> None:
        self.identity = identity
        self.names = names
        """Likely words, read when an utterance opens; replace it when people come and go."""

    async def run(self, frames: AsyncIterator[AudioFrame]) -> None:
        """Hear one subscription; ends with the frames, after what was said is transcribed."""
        raise NotImplementedError

    def commit(self, utterance_id: UtteranceId) -> None:
        """The turn is over: close the utterance; later speech opens a new one. Idempotent."""
        raise NotImplementedError
