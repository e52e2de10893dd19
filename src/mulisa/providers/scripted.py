"""Engines that follow a script: for tests, demos and benchmarks.

They need no model and take exactly the time they are told to, on the event loop's clock. People
"speak" in tones (`mulisa.providers.tones`): word `n` of the tones is entry `n` of the recogniser's
script, also after Opus and packet loss. The agent speaks tones, too, one per word of its text.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from mulisa.core.audio import HEARING_RATE_HZ, Samples, silence
from mulisa.core.errors import ProviderError
from mulisa.core.provider import (
    AudioDelta,
    ChatRequest,
    Delta,
    Message,
    Progress,
    RealtimeRequest,
    TextDelta,
    ToolCall,
    Transcription,
)
from mulisa.providers.tones import recognise, tone

WINDOW_SAMPLES: Final = 512
AUDIBLE: Final = 1000
"""Amplitude (int16): -30 dBFS."""

SMALL_TALK: Final = "I hear you, and I go on for a while, so that somebody can interrupt me."

Script: TypeAlias = Sequence[str] | Callable[[int], str]
"""What tone `n` says; a sequence says "word n" for what it does not have."""
Answer: TypeAlias = str | ToolCall | Callable[[ChatRequest], str | ToolCall]


class _Scripted:
    """Always ready. Calls are counted from 0; those in `failures` raise ProviderError."""

    label = "scripted"

    def __init__(self, failures: Collection[int]) -> None:
        self.failures = failures
        self.calls = 0

    async def load(self, progress: Progress) -> None:
        """Nothing to load."""

    async def aclose(self) -> None:
        """Nothing to free."""

    async def take(self, seconds: float) -> None:
        """Spend one call's time; fail if it is its turn."""
        call, self.calls = self.calls, self.calls + 1
        if seconds > 0:
            await asyncio.sleep(seconds)
        if call in self.failures:
            raise ProviderError(f"call {call} fails, as the script says")


class ScriptedVAD(_Scripted):
    """Hears speech in every window with a sample above a threshold."""

    def __init__(
        self, threshold: int = AUDIBLE, *, latency: float = 0.0, failures: Collection[int] = ()
    ) -> None:
        """`latency` is the time per window."""
        super().__init__(failures)
        self.threshold = threshold
        self.latency = latency
        self.open_streams = 0

    @property
    def window_samples(self) -> int:
        """As Silero's: 512, which is 32 ms."""
        return WINDOW_SAMPLES

    def stream(self) -> ScriptedVADStream:
        """Begin hearing one participant."""
        return ScriptedVADStream(self)


class ScriptedVADStream:
    """One participant."""

    def __init__(self, vad: ScriptedVAD) -> None:
        self._vad = vad
        self._is_open = True
        vad.open_streams += 1

    async def probability(self, window: Samples) -> float:
        """1.0 if any sample is above the threshold, else 0.0."""
        await self._vad.take(self._vad.latency)
        return 1.0 if int(window.max()) > self._vad.threshold else 0.0

    def close(self) -> None:
        """Forget the participant. Idempotent."""
        self._vad.open_streams -= self._is_open
        self._is_open = False


class ScriptedSTT(_Scripted):
    """Recognises tones; says for each what its script says."""

    def __init__(
        self,
        script: Script = (),
        *,
        latency: float = 0.0,
        confidence: float = 1.0,
        interim_interval: float | None = None,
        failures: Collection[int] = (),
    ) -> None:
        """`latency` is the time per flush; an interim comes per `interim_interval` of audio."""
        super().__init__(failures)
        self.script = script
        self.latency = latency
        self.confidence = confidence
        self.interim_interval = interim_interval
        self.open_streams = 0

    def stream(self, names: Sequence[str] = ()) -> ScriptedSTTStream:
        """Begin one utterance."""
        return ScriptedSTTStream(self, names)

    def text_of(self, word: int) -> str:
        """What a tone says."""
        if callable(self.script):
            return self.script(word)
        return self.script[word] if word < len(self.script) else f"word {word}"


class ScriptedSTTStream:
    """One utterance."""

    def __init__(self, stt: ScriptedSTT, names: Sequence[str]) -> None:
        self.names = names
        self._stt = stt
        self._pushed: list[Samples] = []
        self._n_samples = 0
        self._interims: asyncio.Queue[str | None] = asyncio.Queue()
        self._interim_at = stt.interim_interval
        self._is_open = True
        stt.open_streams += 1

    def push(self, samples: Samples) -> None:
        """Append audio."""
        self._pushed.append(samples)
        self._n_samples += len(samples)
        if self._interim_at is not None and self._n_samples / HEARING_RATE_HZ >= self._interim_at:
            self._interim_at += self._stt.interim_interval or 0.0
            self._interims.put_nowait(self._text())

    async def interims(self) -> AsyncIterator[str]:
        """The words so far, in the script's interval."""
        while (text := await self._interims.get()) is not None:
            yield text

    async def flush(self) -> Transcription:
        """What the tones say, in order. Raises ProviderError as the script says."""
        text = self._text()
        await self._stt.take(self._stt.latency)
        return Transcription(text, self._stt.confidence)

    async def aclose(self) -> None:
        """End the utterance. Idempotent."""
        self._stt.open_streams -= self._is_open
        self._is_open = False
        self._interims.put_nowait(None)

    def _text(self) -> str:
        audio = np.concatenate(self._pushed) if self._pushed else silence(0)
        return " ".join(self._stt.text_of(word) for word in recognise(audio))


@dataclass(frozen=True, slots=True)
class Rule:
    """What a scripted LLM answers."""

    pattern: str
    """Regular expression, searched in the last message, upper or lower case."""
    answer: Answer
    role: str = "user"
    """Of that message; `tool` answers a tool's result."""


class ScriptedLLM(_Scripted):
    """Answers by the first rule that fits, word by word."""

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        default: Answer = SMALL_TALK,
        first_token: float = 0.0,
        pace: float = 0.0,
        failures: Collection[int] = (),
    ) -> None:
        """`first_token` is the time to the first delta, `pace` that between two."""
        super().__init__(failures)
        self.rules = rules
        self.default = default
        self.first_token = first_token
        self.pace = pace
        self.requests: list[ChatRequest] = []

    async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Stream the answer. Raises ProviderError as the script says."""
        self.requests.append(request)
        await self.take(self.first_token)
        answer = self._answer(request)
        if isinstance(answer, ToolCall):
            yield answer
            return
        for number, word in enumerate(re.findall(r"\s*\S+", answer)):
            if number and self.pace > 0:
                await asyncio.sleep(self.pace)
            yield TextDelta(word)

    def _answer(self, request: ChatRequest) -> str | ToolCall:
        answer = matching(self.rules, request.messages[-1], self.default)
        return answer(request) if callable(answer) else answer


def matching(rules: Sequence[Rule], last: Message, default: Answer) -> Answer:
    """The answer of the first rule that fits the last message."""
    for rule in rules:
        if rule.role == last.role and re.search(rule.pattern, last.content, re.IGNORECASE):
            return rule.answer
    return default


class ScriptedTTS(_Scripted):
    """Speaks each word of a text as the next tone: word `n` of the text is tone `n`."""

    def __init__(
        self,
        *,
        first_audio: float = 0.0,
        pace: float = 0.0,
        word_seconds: float = 0.2,
        pause_seconds: float = 0.06,
        sample_rate_hz: int = 24_000,
        failures: Collection[int] = (),
    ) -> None:
        """`first_audio` is the time to the first word, `pace` that between two of them."""
        super().__init__(failures)
        self.first_audio = first_audio
        self.pace = pace
        self.word_seconds = word_seconds
        self.pause_seconds = pause_seconds
        self.texts: list[str] = []
        self._rate_hz = sample_rate_hz

    @property
    def sample_rate_hz(self) -> int:
        """Rate of what `synthesize` yields."""
        return self._rate_hz

    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        """One piece per word: a tone and a pause. Raises ProviderError as the script says."""
        self.texts.append(text)
        await self.take(self.first_audio)
        for number in range(len(text.split())):
            if number and self.pace > 0:
                await asyncio.sleep(self.pace)
            pause = silence(round(self.pause_seconds * self._rate_hz))
            yield np.concatenate((tone(number, self.word_seconds, self._rate_hz), pause))


class ScriptedRealtime(_Scripted):
    """Answers in speech by the first rule that fits the words of the last message."""

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        *,
        default: Answer = SMALL_TALK,
        first_audio: float = 0.3,
        pace: float = 0.05,
        word_seconds: float = 0.2,
        pause_seconds: float = 0.06,
        failures: Collection[int] = (),
        breaks: Mapping[int, int] | None = None,
        stalls: Mapping[int, int] | None = None,
    ) -> None:
        """`first_audio` is the time to the first word, `pace` that between two of them.

        Calls in `breaks` fail after so many words, those in `stalls` say nothing more then.
        """
        super().__init__(failures)
        self.rules = rules
        self.default = default
        self.first_audio = first_audio
        self.pace = pace
        self.word_seconds = word_seconds
        self.pause_seconds = pause_seconds
        self.breaks = breaks or {}
        self.stalls = stalls or {}
        self.sessions: list[ScriptedRealtimeSession] = []

    def session(self) -> ScriptedRealtimeSession:
        """For one room."""
        self.sessions.append(ScriptedRealtimeSession(self))
        return self.sessions[-1]


class ScriptedRealtimeSession:
    """One room. Remembers what it was asked and what was heard of its answers."""

    engine = "scripted"
    sample_rate_hz = 24_000

    def __init__(self, realtime: ScriptedRealtime) -> None:
        self._realtime = realtime
        self.requests: list[RealtimeRequest] = []
        self.settled: list[tuple[Message | None, float]] = []
        """What `heard` was told."""
        self.stopped = 0
        """Steps of replies that were closed in the middle."""

    async def run(self) -> None:
        """Nothing to keep."""
        await asyncio.Event().wait()

    async def respond(
        self, request: RealtimeRequest
    ) -> AsyncGenerator[TextDelta | AudioDelta | ToolCall, None]:
        """Stream the answer word by word. Raises ProviderError as the script says."""
        realtime = self._realtime
        self.requests.append(request)
        call = realtime.calls
        try:
            await realtime.take(realtime.first_audio)
            answer = matching(realtime.rules, request.messages[-1], realtime.default)
            if callable(answer):
                answer = answer(ChatRequest(request.messages, request.tools))
            if isinstance(answer, ToolCall):
                yield answer
                return
            for number, word in enumerate(re.findall(r"\s*\S+", answer)):
                await self._before(call, number)
                yield TextDelta(word)
                yield AudioDelta(self._word(number))
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped += 1
            raise

    def heard(self, words: Message | None, seconds: float) -> None:
        """Remember it."""
        self.settled.append((words, seconds))

    async def _before(self, call: int, number: int) -> None:
        if number == self._realtime.stalls.get(call):
            await asyncio.Event().wait()
        if number == self._realtime.breaks.get(call):
            raise ProviderError(f"call {call} breaks, as the script says")
        if number and self._realtime.pace > 0:
            await asyncio.sleep(self._realtime.pace)

    def _word(self, number: int) -> Samples:
        rate_hz = self.sample_rate_hz
        pause = silence(round(self._realtime.pause_seconds * rate_hz))
        return np.concatenate((tone(number, self._realtime.word_seconds, rate_hz), pause))
