"""Recognisers that stand in for each other; what nobody can recognise now is kept for later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from mulisa.core.audio import Samples
from mulisa.core.errors import BudgetSpent, ProviderError
from mulisa.core.provider import STT, Progress, STTStream, Transcription
from mulisa.providers.chain.llm import NO_TEXT
from mulisa.providers.chain.rota import ChainConfig, Member, Rota, pauses

log = logging.getLogger(__name__)

CLOSING_TIME: Final = 1.0
"""Seconds that the stream of an engine that failed may take to close."""


class STTChain:
    """Gives the next recogniser the whole utterance when one fails or does not answer in time."""

    def __init__(self, engines: Sequence[STT], config: ChainConfig | None = None) -> None:
        """`engines`: the favourite first."""
        self.config = config or ChainConfig()
        self.rota: Rota[STT] = Rota("stt", engines, self.config)
        self.late: Final = asyncio.Lock()
        """Of what is tried again: one utterance at a time asks engines that are in trouble."""

    @property
    def label(self) -> str:
        """All recognisers, in order."""
        return self.rota.label

    async def load(self, progress: Progress) -> None:
        """Load all. Raises ProviderUnavailable if none can be had."""
        await self.rota.load(progress)

    async def aclose(self) -> None:
        """Free all. Idempotent."""
        await self.rota.aclose()

    def stream(self, names: Sequence[str] = ()) -> ChainedSTTStream:
        """Begin one utterance."""
        return ChainedSTTStream(self, names)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One engine's stream; it was given all audio so far."""

    member: Member[STT]
    stream: STTStream


class ChainedSTTStream:
    """One utterance: all its audio, and the engine that hears it now."""

    def __init__(self, chain: STTChain, names: Sequence[str]) -> None:
        self._chain = chain
        self._rota = chain.rota
        self._names = names
        self._audio: list[Samples] = []
        self._part: _Part | None = None
        """None while no engine hears it: the next `flush` finds one."""
        self._closing: set[asyncio.Task[None]] = set()
        """Of the streams of engines that failed; each ends soon, and `aclose` waits for them."""
        self._changed = asyncio.Event()
        self._is_late = False
        """Nobody could tell, so far."""
        self._is_closed = False
        self._open_any(self._rota.opener())

    def push(self, samples: Samples) -> None:
        """Append audio; it is kept whatever becomes of the engine."""
        self._audio.append(samples)
        if (part := self._part) is not None:
            try:
                part.stream.push(samples)
            except Exception as error:  # an engine of somebody else may raise anything
                self._replace(part, error)

    async def interims(self) -> AsyncIterator[str]:
        """Text so far, of the engine that hears it; a successor goes on."""
        while not self._is_closed:
            self._changed.clear()
            if (part := self._part) is not None:
                try:
                    async for text in part.stream.interims():
                        yield text
                except Exception as error:  # an engine of somebody else may raise anything
                    self._replace(part, error)
            if self._part is part and not self._is_closed:
                await self._changed.wait()

    async def flush(self) -> Transcription:
        """Text of everything pushed so far.

        While no engine can tell, they are asked again and again, for up to
        `ChainConfig.max_late` seconds; then ProviderError is raised.
        """
        config = self._chain.config
        give_up_at = _now() + config.max_late

        def is_too_late(state: RetryCallState) -> bool:
            return _now() >= give_up_at

        return await AsyncRetrying(
            stop=is_too_late,
            wait=pauses(config.backoff, config.max_late_backoff),
            retry=retry_if_exception(_may_pass),
            sleep=self._wait,
            reraise=True,
        )(self._ask)

    async def aclose(self) -> None:
        """End the utterance. Idempotent."""
        self._is_closed = True
        self._lose(self._part)
        if self._closing:
            await asyncio.wait(self._closing)

    async def _ask(self) -> Transcription:
        """One round."""
        if not self._is_late:
            return await self._ask_now()
        async with self._chain.late:
            return await self._ask_now()

    async def _ask_now(self) -> Transcription:
        first = self._part.member if self._part is not None else None
        member, transcription = await self._rota.ask(self._recognise, first=first)
        self._rota.worked(member)
        self._is_late = False
        return transcription

    async def _recognise(self, member: Member[STT], limit: float) -> Transcription:
        part = self._part
        if part is None or part.member is not member:
            self._lose(part)
            part = self._open(member)
        try:
            async with asyncio.timeout(limit):
                return _checked(await part.stream.flush())
        except Exception:
            self._lose(part)
            raise

    async def _wait(self, seconds: float) -> None:
        """Until it may work again: for so long, or until an engine worked for anybody."""
        self._is_late = True
        await self._rota.wait_for_work(seconds)

    # Streams of engines

    def _open_any(self, members: Sequence[Member[STT]]) -> None:
        for member in members:
            try:
                self._open(member)
                return
            except Exception as error:  # an engine of somebody else may raise anything
                self._rota.failed(member, error, self._rota.successor(member))

    def _open(self, member: Member[STT]) -> _Part:
        """A stream that has heard everything. Raises what the engine raises."""
        part = _Part(member, member.engine.stream(self._names))
        try:
            for samples in self._audio:
                part.stream.push(samples)
        except Exception:
            self._close_soon(part)
            raise
        self._part = part
        self._changed.set()
        return part

    def _replace(self, part: _Part, error: Exception) -> None:
        """An engine failed while it heard; the next one hears it all."""
        if self._part is not part or self._is_closed:
            return
        self._lose(part)
        successor = self._rota.successor(part.member)
        self._rota.failed(part.member, error, successor)
        if successor is not None:
            self._open_any([successor])

    def _lose(self, part: _Part | None) -> None:
        if part is not None and self._part is part:
            self._part = None
            self._close_soon(part)
        self._changed.set()

    def _close_soon(self, part: _Part) -> None:
        closing = asyncio.create_task(_close(part))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close(part: _Part) -> None:
    try:
        async with asyncio.timeout(CLOSING_TIME):
            await part.stream.aclose()
    except Exception as error:  # it has failed already, or is of no use any more
        log.debug("a stream of %s did not close: %s", part.member.label, type(error).__name__)


def _checked(transcription: Any) -> Transcription:
    """Raises ProviderError for what is none."""
    match transcription:
        case Transcription(text=str(text)) if not NO_TEXT.search(text):
            return transcription
        case _:
            raise ProviderError("the recogniser sent what is no text")


def _may_pass(error: BaseException) -> bool:
    """An engine may be back in time, also one that refuses us: somebody mends that."""
    return isinstance(error, ProviderError) and not isinstance(error, BudgetSpent)


def _now() -> float:
    return asyncio.get_running_loop().time()
