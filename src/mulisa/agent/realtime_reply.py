"""One answer spoken by a speech-to-speech engine, straight into the mouth.

It has the same interface as `Reply`, and is one when the engine fails: what is missing then is
thought and said by LLM and TTS, from the first word on or from where the engine stopped.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from mulisa.agent.gate import Turn
from mulisa.agent.memory import reply_message
from mulisa.agent.mouth import Playout, PlayoutPosition
from mulisa.agent.reply import Reply, ReplyConfig, as_provider_error
from mulisa.agent.tools import Toolbox
from mulisa.core.account import Trouble, report
from mulisa.core.audio import SAMPLE_RATE_HZ, Samples
from mulisa.core.errors import ProviderError, ProviderTimeout
from mulisa.core.metrics import TurnMetrics
from mulisa.core.provider import (
    LLM,
    TTS,
    AudioDelta,
    Message,
    RealtimeRequest,
    RealtimeSession,
    TextDelta,
    ToolCall,
)
from mulisa.core.room import Identity

logger = logging.getLogger(__name__)

_GO_ON: Final = (
    "Your answer was cut off by a fault right after these words. Say only what was still missing,"
    " beginning in the middle of the sentence if need be. Repeat nothing and do not apologise."
)
_FINISHED = re.compile(r"[.?!\u2026][\"')\u201d]*\s*$")


@dataclass(frozen=True, slots=True)
class RealtimeConfig:
    """When an engine is given up; seconds."""

    first_audio: float = 1.5
    """In which an engine that is well begins to speak, after a turn or a tool's result."""
    patience: float = 1.0
    """Longer than that it is waited for."""
    max_gap: float = 0.6
    """Silence between two pieces of audio when nothing is left to be played."""
    head_start: float = 1.0
    """So long before the rest is played out the next engine takes over."""
    rest: float = 20.0
    """An engine that did not answer in time is left alone for so long."""


class RealtimeVoice:
    """A room's session with the engine, and whether it is well."""

    def __init__(self, session: RealtimeSession, config: RealtimeConfig | None = None) -> None:
        self.session = session
        self.config = config or RealtimeConfig()
        self._is_well = True
        self._rests_until = float("-inf")

    @property
    def rests(self) -> bool:
        """It was too slow lately and is not asked now."""
        return asyncio.get_running_loop().time() < self._rests_until

    def failed(self, error: ProviderError, successor: str) -> None:
        """It could not make a reply; who does it instead."""
        self._is_well = False
        if isinstance(error, ProviderTimeout):
            self._rests_until = asyncio.get_running_loop().time() + self.config.rest
        report(Trouble("realtime", self.session.engine, str(error), successor))

    def works(self) -> None:
        """It made a reply."""
        if not self._is_well:
            self._is_well = True
            report(Trouble("realtime", self.session.engine, ""))


class RealtimeReply(Reply):
    """Speaks the answer to one turn into one `Playout`."""

    def __init__(
        self,
        turn: Turn,
        messages: tuple[Message, ...],
        playout: Playout,
        metrics: TurnMetrics,
        *,
        voice: RealtimeVoice,
        speech: Samples | None,
        llm: LLM,
        tts: TTS,
        toolbox: Toolbox,
        config: ReplyConfig,
        listener: Identity | None = None,
    ) -> None:
        """`speech` is how the turn sounded, at 16 kHz; None if it was written."""
        super().__init__(
            turn,
            messages,
            playout,
            metrics,
            llm=llm,
            tts=tts,
            toolbox=toolbox,
            config=config,
            listener=listener,
        )
        self._voice = voice
        self._speech = speech
        self._is_whole = True
        """The engine said all of it."""
        self._text = ""
        self._has_audio = False

    async def run(self) -> None:
        """Listen to the engine until all is queued in the mouth; go on without it if it fails.

        Raises ProviderError if nothing could be said, not even that it failed.
        """
        try:
            await self._answer()
        except Exception as error:  # an engine of somebody else may raise anything
            failure = as_provider_error(error)
            logger.warning("speech-to-speech failed: %s", failure)
            self._voice.failed(failure, self._llm.label)
            self._is_whole = False
            await self._go_on()
        else:
            self._voice.works()
            self.playout.finish()

    async def say(self, text: str) -> None:
        """Say this instead of an answer. Raises ProviderError."""
        self._is_whole = False
        await super().say(text)

    def ended(self, position: PlayoutPosition) -> None:
        """Tell the engine what people heard of it."""
        words = None
        if self._is_whole and position.heard_text:
            words = reply_message(position.heard_text, position.unspoken_text)
        self._voice.session.heard(words, position.samples_sent / SAMPLE_RATE_HZ)

    async def _answer(self) -> None:
        """Steps of the engine with tools between them. Raises ProviderError."""
        for step in range(self._config.max_tool_rounds + 1):
            final = step == self._config.max_tool_rounds
            request = RealtimeRequest(
                tuple(self._messages), self._toolbox.specs, self._speech, final
            )
            self.playout.segment("")
            calls: list[ToolCall] = []
            async with aclosing(self._voice.session.respond(request)) as deltas:
                async for delta in self._bounded(deltas):
                    if isinstance(delta, ToolCall):
                        calls.append(delta)
                    else:
                        await self._utter(delta)
            if not calls:
                break
            self._messages.append(Message("assistant", "", tool_calls=tuple(calls)))
            for call in calls:
                self._messages.append(await self._use_tool(call))
        if not self._has_audio:
            raise ProviderError(f"{self._voice.session.engine} said nothing")

    async def _utter(self, delta: TextDelta | AudioDelta) -> None:
        now = asyncio.get_running_loop().time()
        if self.metrics.first_token_at is None:
            self.metrics.first_token_at = now
        if isinstance(delta, TextDelta):
            self._text += delta.text
            self.playout.extend(delta.text)
            return
        if self.metrics.first_audio_at is None:
            self.metrics.first_audio_at = now
        self._has_audio = self._has_audio or len(delta.samples) > 0
        await self.playout.write(delta.samples, self._voice.session.sample_rate_hz)

    async def _bounded(
        self, deltas: AsyncIterator[TextDelta | AudioDelta | ToolCall]
    ) -> AsyncIterator[TextDelta | AudioDelta | ToolCall]:
        """The same deltas; ProviderTimeout when the voice is late or stops in mid-speech."""
        config, loop = self._voice.config, asyncio.get_running_loop()
        deadline = loop.time() + config.first_audio + config.patience
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    delta = await anext(deltas)
            except StopAsyncIteration:
                return
            except TimeoutError as error:
                late = "stopped speaking" if self._has_audio else "did not begin to speak in time"
                raise ProviderTimeout(f"{self._voice.session.engine} {late}") from error
            yield delta
            if isinstance(delta, AudioDelta):
                left = self.playout.queued - config.head_start
                deadline = loop.time() + max(config.max_gap, left)

    async def _go_on(self) -> None:
        """Say with LLM and TTS what the engine did not say. Raises ProviderError."""
        if not self._has_audio:
            self.metrics.first_token_at = self.metrics.first_audio_at = None
            self.playout.cut_text()
            await super().run()
            return
        if missing := self.playout.cut_text().strip():
            try:
                await self._speak(missing)
            except Exception as error:  # an engine of somebody else may raise anything
                raise as_provider_error(error) from error
        if _FINISHED.search(self._text):
            self.playout.finish()
            return
        self._messages += [Message("assistant", self._text), Message("system", _GO_ON)]
        await super().run()
