"""Voices that stand in for each other."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import numpy as np
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError
from mulisa.core.provider import TTS, Progress
from mulisa.providers.chain.results import Pieces
from mulisa.providers.chain.rota import ChainConfig, Member, Rota, retries

AUDIBLE: Final = 100
"""Amplitude (int16) from which a sample is speech."""
MAX_SILENCE: Final = 1.2
"""Seconds of silence at the beginning of speech; with more the engine is mute."""
SECONDS_PER_CHARACTER: Final = 1 / 15
"""Of ordinary speech, until an engine has spoken."""
WEIGHT: Final = 0.3
"""Of the latest speech in an engine's pace."""
MIN_SHARE: Final = 0.3
"""Speech with less than this of its expected length was cut off without a word."""
MIN_CHARACTERS: Final = 30
"""... which cannot be told of shorter texts."""

_WORD = re.compile(r"\S+")
_LETTER = re.compile(r"\w")


class TTSChain:
    """Lets the next voice speak when one does not begin in time, or from where one broke off.

    All speak at one sample rate, the highest of those that are loaded.
    """

    def __init__(self, engines: Sequence[TTS], config: ChainConfig | None = None) -> None:
        """`engines`: the favourite first."""
        self._config = config or ChainConfig()
        self.rota: Rota[TTS] = Rota("tts", engines, self._config)
        self._rate_hz = 0
        self._paces: dict[Member[TTS], float] = {}

    @property
    def label(self) -> str:
        """All voices, in order."""
        return self.rota.label

    @property
    def sample_rate_hz(self) -> int:
        """Rate of what `synthesize` yields; the same for ever once loaded."""
        if not self._rate_hz:
            self._rate_hz = max(engine.sample_rate_hz for engine in self.rota.engines)
        return self._rate_hz

    async def load(self, progress: Progress) -> None:
        """Load all. Raises ProviderUnavailable if none can be had."""
        self._rate_hz = 0
        await self.rota.load(progress)

    async def aclose(self) -> None:
        """Free all. Idempotent."""
        await self.rota.aclose()

    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        """Speak one clause or sentence. Raises ProviderError if nobody can begin or finish it."""
        failed: Member[TTS] | None = None
        for takeovers in range(self._config.max_takeovers + 1):
            member, pieces = await self._begin(text, failed)
            speech = _Speech(text, self._pace(member))
            converted = _Converted(member.engine.sample_rate_hz, self.sample_rate_hz)
            try:
                while (piece := await pieces.next(self.rota.gap(takeovers))) is not None:
                    speech.hear(piece, converted.from_hz)
                    if len(samples := converted.push(piece)):
                        yield samples
                speech.check_complete()
            except Exception as error:  # an engine of somebody else may raise anything
                failed = member
                failure = self.rota.failed(member, error, self.rota.successor(member))
                text = speech.rest()
                if text and takeovers == self._config.max_takeovers:
                    raise failure from error
            else:
                self._paces[member] = speech.new_pace()
                self.rota.worked(member)
                text = ""
            finally:
                await pieces.aclose()
            if len(held_back := converted.end()):
                yield held_back
            if not text:
                return

    def _pace(self, member: Member[TTS]) -> float:
        return self._paces.get(member, SECONDS_PER_CHARACTER)

    async def _begin(
        self, text: str, failed: Member[TTS] | None
    ) -> tuple[Member[TTS], Pieces[Samples]]:
        async def attempt(member: Member[TTS], limit: float) -> Pieces[Samples]:
            pieces = await Pieces.begin(member.engine.synthesize(text), _checked, limit)
            if pieces.is_empty and _LETTER.search(text):
                raise ProviderError("the voice said nothing")
            return pieces

        async def ask() -> tuple[Member[TTS], Pieces[Samples]]:
            return await self.rota.ask(attempt, last=failed)

        return await retries(self._config)(ask)


class _Speech:
    """How far an engine came with a text. Pure."""

    def __init__(self, text: str, pace: float) -> None:
        """`pace`: seconds per character that this engine usually needs."""
        self._text = text
        self._pace = pace
        self._heard = 0.0
        self._begin: float | None = None
        self._end = 0.0

    def hear(self, samples: Samples, rate_hz: int) -> None:
        """Append. Raises ProviderError for a mute voice."""
        audible = np.flatnonzero((samples > AUDIBLE) | (samples < -AUDIBLE))
        if len(audible):
            if self._begin is None:
                self._begin = self._heard + int(audible[0]) / rate_hz
            self._end = self._heard + (int(audible[-1]) + 1) / rate_hz
        self._heard += len(samples) / rate_hz
        if self._begin is None and self._heard > MAX_SILENCE:
            raise ProviderError("the voice is silent")

    def check_complete(self) -> None:
        """Raises ProviderError if this cannot be all of the text."""
        if self._begin is None and _LETTER.search(self._text):
            raise ProviderError("the voice said nothing")
        expected = len(self._text) * self._pace
        if len(self._text) >= MIN_CHARACTERS and self._audible < MIN_SHARE * expected:
            raise ProviderError("the voice broke off")

    def rest(self) -> str:
        """The words that were not spoken to their end; a word too many rather than one too few."""
        reached = self._audible / self._pace
        ends = (word.end() for word in _WORD.finditer(self._text))
        rest = self._text[max((end for end in ends if end <= reached), default=0) :].strip()
        return rest if _LETTER.search(rest) else ""

    def new_pace(self) -> float:
        """The engine's pace with what was learned from this text."""
        pace = self._audible / max(1, len(self._text))
        return self._pace + WEIGHT * (pace - self._pace)

    @property
    def _audible(self) -> float:
        return self._end - self._begin if self._begin is not None else 0.0


class _Converted:
    """To the chain's rate; one engine's part of a text."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self.from_hz = from_hz
        self._stream = (
            soxr.ResampleStream(from_hz, to_hz, 1, dtype="int16") if from_hz != to_hz else None
        )

    def push(self, samples: Samples) -> Samples:
        """What comes out now."""
        if self._stream is None:
            return samples
        out: Samples = self._stream.resample_chunk(samples)
        return out

    def end(self) -> Samples:
        """What was held back."""
        empty: Samples = np.empty(0, dtype=np.int16)
        if self._stream is None:
            return empty
        out: Samples = self._stream.resample_chunk(empty, last=True)
        return out


def _checked(samples: Any) -> Samples | None:
    """Raises ProviderError for what is no audio."""
    if not isinstance(samples, np.ndarray) or samples.dtype != np.int16 or samples.ndim != 1:
        raise ProviderError("the voice sent what is no audio")
    return samples if len(samples) else None
