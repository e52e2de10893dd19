"""One utterance on its way through the recogniser."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from mulisa.agent.events import (
    EarEvent,
    InterimTranscribed,
    Transcribed,
    TranscriptionFailed,
    UtteranceId,
)
from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.errors import ProviderError
from mulisa.core.provider import STTStream, Transcription
from mulisa.core.room import Identity

log = logging.getLogger(__name__)

_ANNOTATION = re.compile(r"\[[^\]]*\]|\([^)]*\)|\*[^*]*\*|♪[^♪]*♪?")
_WORD = re.compile(r"\w")


class Utterance:
    """Owns the recogniser's stream; its tasks belong to the given group.

    Results are reported only if they cover all that was said when they come.
    """

    def __init__(
        self,
        identity: Identity,
        utterance_id: UtteranceId,
        started_at: float,
        stream: STTStream,
        emit: Callable[[EarEvent], None],
        tasks: asyncio.TaskGroup,
        timeout: float,
        record: Callable[[UtteranceId, Samples], None] | None = None,
    ) -> None:
        """`record` is given what the recogniser is given."""
        self.identity = identity
        self.utterance_id = utterance_id
        self.started_at = started_at
        self._is_only_clicks = True
        self._stream = stream
        self._emit = emit
        self._tasks = tasks
        self._timeout = timeout
        self._record = record
        self._is_speaking = True
        self._interims = tasks.create_task(self._report_interims())
        self._flush: asyncio.Task[None] | None = None
        self._complete = asyncio.Event()
        self._samples = 0
        self.closed = False
        """The stream is free."""
        tasks.create_task(self._live())

    def push(self, samples: Samples) -> None:
        """Append 16 kHz audio."""
        self._samples += len(samples)
        self._stream.push(samples)
        if self._record is not None:
            self._record(self.utterance_id, samples)

    @property
    def seconds(self) -> float:
        """Of audio that the recogniser was given."""
        return self._samples / HEARING_RATE_HZ

    def pause(self, ended_at: float, *, click: bool) -> None:
        """Speech ended: report the words of everything up to here.

        If nothing longer than a click was said so far, there are none and nobody is asked.
        """
        self._is_speaking = False
        self._is_only_clicks = self._is_only_clicks and click
        if self._is_only_clicks:
            self._emit(self._transcribed(Transcription(""), ended_at))
        else:
            self._flush = self._tasks.create_task(self._report(self._flush, ended_at))

    def go_on(self) -> None:
        """Speech goes on: a result that is under way is out of date."""
        self._is_speaking = True
        if self._flush is not None:
            self._flush.cancel()

    def close(self) -> None:
        """Nothing more will be said; frees the stream after a flush that is under way.

        Idempotent.
        """
        self._interims.cancel()
        self._complete.set()

    def give_up(self, reason: str) -> None:
        """Wait for its words no longer, if they are not there; nothing more will be said."""
        if self._flush is not None and not self._flush.done():
            self._flush.cancel()
            self._fail(reason)

    async def aclose(self) -> None:
        """Free the stream now. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._interims.cancel()
        try:
            await self._stream.aclose()
        except Exception as error:
            log.warning("a recogniser's stream did not close: %s", error)

    async def _live(self) -> None:
        await self._complete.wait()
        if self._flush is not None:
            await asyncio.wait({self._flush})
        await self.aclose()

    async def _report_interims(self) -> None:
        # The flush meets the same failure and reports it; and an engine of somebody else may
        # raise anything.
        with suppress(Exception):
            async for text in self._stream.interims():
                # After the pause comes the result; an interim that is late must not undo it.
                if self._is_speaking and (words := words_only(text)):
                    self._emit(InterimTranscribed(self.identity, self.utterance_id, words))

    async def _report(self, former: asyncio.Task[None] | None, ended_at: float) -> None:
        if former is not None:
            await asyncio.wait({former})
        try:
            async with asyncio.timeout(self._timeout):
                transcription = await self._stream.flush()
        except ProviderError as error:
            self._fail(str(error))
        except TimeoutError:
            self._fail(f"no transcription after {self._timeout:g} s")
        except Exception as error:  # the ear goes on
            log.exception("a recogniser failed")
            self._fail(f"{type(error).__name__}: {error}")
        else:
            text = words_only(transcription.text)
            self._emit(self._transcribed(replace(transcription, text=text), ended_at))

    def _transcribed(self, transcription: Transcription, ended_at: float) -> Transcribed:
        return Transcribed(
            self.identity, self.utterance_id, transcription, self.started_at, ended_at
        )

    def _fail(self, reason: str) -> None:
        self._emit(TranscriptionFailed(self.identity, self.utterance_id, reason))


def words_only(text: str) -> str:
    """`text` without a recogniser's annotations such as ``[BLANK_AUDIO]`` or ``(coughs)``.

    Empty if no word is left.
    """
    words = " ".join(_ANNOTATION.sub(" ", text).split())
    return words if _WORD.search(words) else ""
