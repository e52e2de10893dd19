"""One spoken answer: LLM deltas -> speakable segments -> synthesised speech -> the mouth.

The three run at the same time: while the first clause is heard, the second is synthesised and the
LLM still writes the third. A reply is one task; cancelling it ends LLM and TTS with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from mulisa.agent.gate import Turn
from mulisa.agent.mouth import Playout, PlayoutPosition
from mulisa.agent.sentences import SentenceSplitter
from mulisa.agent.tools import Toolbox
from mulisa.core.account import budget_is_spent, is_first_to_tell
from mulisa.core.errors import ProviderError, ProviderTimeout
from mulisa.core.metrics import TurnMetrics
from mulisa.core.provider import LLM, TTS, ChatRequest, Message, TextDelta, ToolCall
from mulisa.core.room import Identity

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReplyConfig:
    """Limits of one reply."""

    max_tool_rounds: int = 4
    """Times the LLM may ask for tools before it must answer."""
    delta_timeout: float = 15.0
    """Seconds of silence of the LLM after which it is given up."""
    max_chars: int = 2_000
    """Longest spoken answer; the rest is not said."""
    apology: str = "Sorry, I cannot think right now. Please try again in a moment."
    """Said when the LLM fails before it said anything."""
    budget_spent: str = "Sorry, the budget of this room is used up, so I cannot go on."
    """Said instead when nothing may be spent any more; once."""
    broken_off: str = "Sorry, I lost my thread. Please ask me again."
    """Said when it fails in the middle of its answer."""
    too_late: str = "Sorry, I understood you too late. If you still need it, please ask me again."
    """Written when the words of a question came so late that an answer would surprise people."""


class Reply:
    """Speaks the answer to one turn into one `Playout`."""

    def __init__(
        self,
        turn: Turn,
        messages: tuple[Message, ...],
        playout: Playout,
        metrics: TurnMetrics,
        *,
        llm: LLM,
        tts: TTS,
        toolbox: Toolbox,
        config: ReplyConfig,
        listener: Identity | None = None,
    ) -> None:
        """`listener` is who alone hears it; None is everybody."""
        self.turn = turn
        self.playout = playout
        self.metrics = metrics
        self.failed = False
        """An engine failed, so that it ended early or is an apology."""
        self.voiceless: list[str] = []
        """Segments that could not be spoken, because the voice failed."""
        self._messages = list(messages)
        self._llm = llm
        self._tts = tts
        self._toolbox = toolbox
        self._config = config
        self._listener = listener

    async def run(self) -> None:
        """Think and synthesise until all is queued in the mouth.

        Raises ProviderError if nothing could be said, not even that it failed.
        """
        segments: asyncio.Queue[str | None] = asyncio.Queue()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._think(segments))
                tasks.create_task(self._synthesize(segments))
        except ExceptionGroup as group:
            self.failed = True
            raise as_provider_error(group.exceptions[0]) from group
        self.playout.finish()

    def ended(self, position: PlayoutPosition) -> None:
        """It was spoken to its end, or cut: what was heard of it. Called once."""

    async def say(self, text: str) -> None:
        """Say this instead of an answer. Raises ProviderError."""
        try:
            await self._speak(text)
        except Exception as error:  # an engine of somebody else may raise anything
            raise as_provider_error(error) from error
        self.playout.finish()

    async def _think(self, segments: asyncio.Queue[str | None]) -> None:
        splitter = SentenceSplitter()
        apology = ""
        try:
            said = await self._converse(splitter, segments)
            if not said:
                logger.warning("the LLM had nothing to say")
        except Exception as error:  # an engine of somebody else may raise anything
            logger.warning("no answer from %s: %s", self._llm.label, as_provider_error(error))
            self.failed = True
            apology = self._apology()
        for segment in (*splitter.flush(), apology, None):
            if segment != "":
                segments.put_nowait(segment)

    def _apology(self) -> str:
        """Empty when it would only be said again."""
        if not budget_is_spent():
            has_begun = self.metrics.first_token_at is not None
            return self._config.broken_off if has_begun else self._config.apology
        return self._config.budget_spent if is_first_to_tell() else ""

    async def _converse(
        self, splitter: SentenceSplitter, segments: asyncio.Queue[str | None]
    ) -> int:
        """Steps of the LLM with tools between them; the number of characters said."""
        said = 0
        for step in range(self._config.max_tool_rounds + 1):
            tools = self._toolbox.specs if step < self._config.max_tool_rounds else ()
            calls: list[ToolCall] = []
            text = ""
            deltas = self._llm.chat(ChatRequest(tuple(self._messages), tools))
            async with aclosing(_bounded(deltas, self._config.delta_timeout)) as bounded:
                async for delta in bounded:
                    if isinstance(delta, ToolCall):
                        calls.append(delta)
                        continue
                    text += delta.text
                    said += len(delta.text)
                    if self.metrics.first_token_at is None and delta.text.strip():
                        self.metrics.first_token_at = asyncio.get_running_loop().time()
                    for segment in splitter.push(delta.text):
                        segments.put_nowait(segment)
                    if said > self._config.max_chars:
                        return said
            if not calls:
                return said
            self._messages.append(Message("assistant", text, tool_calls=tuple(calls)))
            for call in calls:
                self._messages.append(await self._use_tool(call))
        return said

    async def _use_tool(self, call: ToolCall) -> Message:
        now = asyncio.get_running_loop().time()
        result: Mapping[str, Any] = await self._toolbox.call(
            call.name, call.arguments, self.turn.identity, now, listener=self._listener
        )
        content = json.dumps(result, ensure_ascii=False, default=str)
        return Message("tool", content, name=call.name, call_id=call.call_id)

    async def _synthesize(self, segments: asyncio.Queue[str | None]) -> None:
        """Once the voice has failed, the rest is collected, so that it can be written."""
        failure: Exception | None = None
        while (segment := await segments.get()) is not None:
            try:
                if failure is None:
                    await self._speak(segment)
                    continue
            except Exception as error:  # an engine of somebody else may raise anything
                failure = error
            self.voiceless.append(segment)
        if failure is not None:
            raise failure

    async def _speak(self, segment: str) -> None:
        self.playout.segment(segment)
        async with _closed_after(self._tts.synthesize(segment)) as pieces:
            async for samples in pieces:
                if self.metrics.first_audio_at is None:
                    self.metrics.first_audio_at = asyncio.get_running_loop().time()
                await self.playout.write(samples, self._tts.sample_rate_hz)


def as_provider_error(error: Exception) -> ProviderError:
    """What an engine raised, as ours: a failed reply is no failed session."""
    if isinstance(error, ProviderError):
        return error
    return ProviderError(f"an engine failed: {type(error).__name__}: {error}")


async def _bounded(
    deltas: AsyncIterator[TextDelta | ToolCall], limit: float
) -> AsyncGenerator[TextDelta | ToolCall]:
    """The same deltas; ProviderTimeout when the next one takes longer than `limit` seconds."""
    async with _closed_after(deltas):
        while True:
            try:
                async with asyncio.timeout(limit):
                    delta = await anext(deltas)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                raise ProviderTimeout(f"no answer within {limit:g} s") from error
            yield delta


@asynccontextmanager
async def _closed_after(items: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Whoever yields them is told at once that no more are wanted."""
    try:
        yield items
    finally:
        if (close := getattr(items, "aclose", None)) is not None:
            await close()
