"""What answers in a speech-to-speech service of the tests."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import HEARING_RATE_HZ, Samples, silence
from mulisa.core.provider import (
    LLM,
    STT,
    TTS,
    ChatRequest,
    Message,
    TextDelta,
    ToolCall,
    ToolSpec,
)
from mulisa.providers.tones import recognise, tone
from tests.services.openai_voice import RATE_HZ, Event, Item, Session, Spoken

_SPEAKER = re.compile(r"(.+) says:")
_QUOTE = re.compile(r"([^:]{1,64}): (.*)", re.DOTALL)
_CLAUSE = re.compile(r"[^.?!,;:]+[.?!,;:]*\s*")


class ScriptedBrain:
    """Hears tones and speaks tones: a function of the last item gives the answer."""

    def __init__(self, script: Callable[[str], str | ToolCall]) -> None:
        """`script` is given what is written, ``<3 4>`` for tones, ``=...`` for a tool's result."""
        self._script = script
        self.heard: list[str] = []

    async def answer(self, session: Session, *, may_call: bool) -> AsyncIterator[Spoken | ToolCall]:
        """One part per word."""
        self.heard.append(_described(session.items[-1]))
        answer = self._script(self.heard[-1])
        if isinstance(answer, ToolCall):
            yield answer
            return
        for number, word in enumerate(answer.split()):
            samples = np.concatenate((tone(number, 0.2, RATE_HZ), silence(RATE_HZ // 16)))
            yield Spoken(word, samples)


def _described(item: Item) -> str:
    if item.wire["type"] == "function_call_output":
        return f"={item.wire['output']}"
    if item.audio is not None:
        return f"<{' '.join(map(str, recognise(_at_16_khz(item.audio))))}>"
    return item.text


class RealBrain:
    """Understands, thinks and speaks with real engines, which are loaded."""

    def __init__(self, stt: STT, llm: LLM, tts: TTS) -> None:
        self._stt = stt
        self._llm = llm
        self._tts = tts
        self._understood: dict[str, str] = {}
        self.understood: list[str] = []
        """The words of all speech that it was sent."""

    async def answer(self, session: Session, *, may_call: bool) -> AsyncIterator[Spoken | ToolCall]:
        """Clause by clause, or tool calls."""
        tools = tuple(map(_tool, session.tools)) if may_call else ()
        messages = (Message("system", session.instructions), *await self._messages(session))
        text = ""
        async for delta in self._llm.chat(ChatRequest(messages, tools)):
            if isinstance(delta, TextDelta):
                text += delta.text
            else:
                yield delta
        for clause in _CLAUSE.findall(text):
            yield Spoken(clause.strip(), await self._say(clause))

    async def _messages(self, session: Session) -> list[Message]:
        messages: list[Message] = []
        speaker = ""
        for item in session.items:
            kind = item.wire["type"]
            if kind == "function_call":
                arguments = json.loads(item.wire["arguments"])
                call = ToolCall(item.wire["call_id"], item.wire["name"], arguments)
                messages.append(Message("assistant", "", tool_calls=(call,)))
            elif kind == "function_call_output":
                output, call_id = item.wire["output"], item.wire["call_id"]
                messages.append(Message("tool", output, name=_name(messages), call_id=call_id))
            elif found := _SPEAKER.fullmatch(item.text):
                speaker = found[1]
            elif item.wire["role"] == "user" and item.audio is not None:
                messages.append(Message("user", await self._hear(item), name=speaker))
            else:
                messages.append(self._written(item))
        return messages

    def _written(self, item: Item) -> Message:
        parts = item.wire.get("content") or [{}]
        text = item.text or str(parts[0].get("transcript") or "")
        quote = _QUOTE.fullmatch(text) if item.wire["role"] == "user" else None
        name, text = (quote[1], quote[2]) if quote else ("", text)
        return Message(item.wire["role"], text, name=name)

    async def _hear(self, item: Item) -> str:
        if item.item_id not in self._understood:
            assert item.audio is not None
            stream = self._stt.stream(("Mulisa",))
            stream.push(_at_16_khz(item.audio))
            self._understood[item.item_id] = (await stream.flush()).text
            self.understood.append(self._understood[item.item_id])
            await stream.aclose()
        return self._understood[item.item_id]

    async def _say(self, text: str) -> Samples:
        pieces = [samples async for samples in self._tts.synthesize(text)]
        speech = np.concatenate([silence(0), *pieces])
        out: Samples = soxr.resample(speech, self._tts.sample_rate_hz, RATE_HZ)
        return out


def _name(messages: list[Message]) -> str:
    return messages[-1].tool_calls[-1].name if messages and messages[-1].tool_calls else ""


def _tool(described: Event) -> ToolSpec:
    parameters: dict[str, Any] = described["parameters"]
    return ToolSpec(described["name"], described["description"], parameters)


def _at_16_khz(samples: Samples) -> Samples:
    out: Samples = soxr.resample(samples, RATE_HZ, HEARING_RATE_HZ)
    return out
