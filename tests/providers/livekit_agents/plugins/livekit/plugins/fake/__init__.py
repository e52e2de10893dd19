"""A plugin of LiveKit Agents without a service: its engines do what `hear`, `speak`, `think` do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

import aiohttp
from livekit import rtc
from livekit.agents import APIConnectOptions, Plugin, llm, stt, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr

KEY = "FAKE_API_KEY"


def check_key() -> None:
    if not os.environ.get("FAKE_API_KEY"):
        raise ValueError("a key is required, set FAKE_API_KEY environment variable")


async def words(stream: SpeechStream) -> None:
    """A service that says how many milliseconds it heard until its input ended."""
    heard = 0.0
    async for data in stream.input:
        if isinstance(data, rtc.AudioFrame):
            heard += data.duration
    stream.say("final_transcript", f"{1000 * heard:.0f} ms")


async def tone(stream: Any, text: str, emitter: tts.AudioEmitter) -> None:
    """10 ms of sound for each character."""
    begin(stream, emitter)
    for _ in text:
        emitter.push(b"\x01\x00" * (stream.engine.sample_rate // 100))
        await asyncio.sleep(0)
    emitter.flush()


async def echo(stream: ThoughtStream) -> None:
    """Says what was said last."""
    last = stream.chat_ctx.items[-1]
    for word in (last.output if last.type == "function_call_output" else last.text_content).split():
        stream.send(word + " ")
    stream.send(tokens=42)


def begin(stream: Any, emitter: tts.AudioEmitter, **changes: Any) -> None:
    engine = stream.engine
    is_stream = isinstance(stream, SynthesizeStream)
    sound = {"sample_rate": engine.sample_rate, "num_channels": engine.num_channels} | changes
    emitter.initialize(request_id="1", mime_type="audio/pcm", stream=is_stream, **sound)
    if is_stream:
        emitter.start_segment(segment_id="1")


Hear: TypeAlias = Callable[["SpeechStream"], Awaitable[None]]
Speak: TypeAlias = Callable[[Any, str, tts.AudioEmitter], Awaitable[None]]
Think: TypeAlias = Callable[["ThoughtStream"], Awaitable[None]]

hear: Hear = words
speak: Speak = tone
think: Think = echo
made: list[Any] = []
"""The engines, the latest last."""
streams: list[Any] = []


class STT(stt.STT):
    def __init__(
        self,
        *,
        model: str = "ears",
        language: str = "en",
        streaming: bool = True,
        threshold: NotGivenOr[float] = NOT_GIVEN,
        keyterm: NotGivenOr[str | list[str]] = NOT_GIVEN,
        terms: list[str] | None = None,
        extra: dict[str, int] | None = None,
        mode: Literal["fast", "good"] = "fast",
        api_key: str | None = None,
        http_session: aiohttp.ClientSession | None = None,
    ) -> None:
        check_key()
        capabilities = stt.STTCapabilities(streaming=streaming, interim_results=True)
        super().__init__(capabilities=capabilities)
        self.given = {name: value for name, value in locals().items() if name != "self"}
        self.session = utils.http_context.http_session()
        self.closed = 0
        made.append(self)

    @property
    def model(self) -> str:
        return str(self.given["model"])

    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        said: list[stt.SpeechEvent] = []
        whole = _Whole(buffer, said)
        await hear(whole)  # type: ignore[arg-type]
        return said[-1]

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> SpeechStream:
        utils.http_context.http_session()
        return SpeechStream(stt=self, conn_options=conn_options)

    async def aclose(self) -> None:
        self.closed += 1


def event(kind: str, text: Any, confidence: float = 0.0, end: float = 0.0) -> stt.SpeechEvent:
    data = stt.SpeechData(language="en", text=text, confidence=confidence, end_time=end)
    return stt.SpeechEvent(type=stt.SpeechEventType(kind), alternatives=[data])


class _Whole:
    """An utterance that is asked for at once, as if it were a stream."""

    def __init__(self, buffer: Any, said: list[stt.SpeechEvent]) -> None:
        frames = buffer if isinstance(buffer, list) else [buffer]
        self.input = _iterate(frames)
        self._said = said

    def say(self, kind: str, text: Any, confidence: float = 0.0) -> None:
        self._said.append(event(kind, text, confidence))


async def _iterate(items: list[Any]) -> Any:
    for item in items:
        yield item


class SpeechStream(stt.RecognizeStream):
    def __init__(self, *, stt: STT, conn_options: APIConnectOptions) -> None:
        super().__init__(stt=stt, conn_options=conn_options)
        self.runs = 0
        streams.append(self)

    @property
    def input(self) -> Any:
        return self._input_ch

    @property
    def main(self) -> Any:
        return self._task

    def say(self, kind: str, text: Any, confidence: float = 0.0, end: float = 0.0) -> None:
        self._event_ch.send_nowait(event(kind, text, confidence, end))

    def report(self, seconds: float) -> None:
        usage = stt.RecognitionUsage(audio_duration=seconds)
        kind = stt.SpeechEventType.RECOGNITION_USAGE
        self._event_ch.send_nowait(stt.SpeechEvent(type=kind, recognition_usage=usage))

    async def _run(self) -> None:
        self.runs += 1
        await hear(self)


class TTS(tts.TTS):
    def __init__(
        self,
        *,
        voice: str = "anna",
        streaming: bool = True,
        sample_rate: int = 24_000,
        num_channels: int = 1,
        api_key: str | None = None,
    ) -> None:
        check_key()
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=streaming),
            sample_rate=sample_rate,
            num_channels=num_channels,
        )
        self.voice = voice
        made.append(self)

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> ChunkedStream:
        return ChunkedStream(tts=self, input_text=text, conn_options=conn_options)

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> SynthesizeStream:
        return SynthesizeStream(tts=self, conn_options=conn_options)


class ChunkedStream(tts.ChunkedStream):
    @property
    def engine(self) -> tts.TTS:
        return self._tts

    @property
    def main(self) -> Any:
        return self._synthesize_task

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        streams.append(self)
        await speak(self, self.input_text, output_emitter)


class SynthesizeStream(tts.SynthesizeStream):
    @property
    def engine(self) -> tts.TTS:
        return self._tts

    @property
    def main(self) -> Any:
        return self._task

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        streams.append(self)
        text = ""
        async for data in self._input_ch:
            text += data if isinstance(data, str) else ""
        await speak(self, text, output_emitter)


class LLM(llm.LLM):
    def __init__(self, *, model: str = "brain", temperature: NotGivenOr[float] = NOT_GIVEN) -> None:
        check_key()
        super().__init__()
        self.temperature = temperature
        made.append(self)

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> ThoughtStream:
        return ThoughtStream(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class ThoughtStream(llm.LLMStream):
    @property
    def main(self) -> Any:
        return self._task

    def send(self, text: str = "", *calls: llm.FunctionToolCall, tokens: int = 0) -> None:
        usage = (
            llm.CompletionUsage(completion_tokens=1, prompt_tokens=tokens - 1, total_tokens=tokens)
            if tokens
            else None
        )
        delta = llm.ChoiceDelta(content=text or None, tool_calls=list(calls))
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta, usage=usage))

    async def _run(self) -> None:
        streams.append(self)
        await think(self)


class FakePlugin(Plugin):
    def __init__(self) -> None:
        super().__init__(__name__, "1", __package__ or "")


Plugin.register_plugin(FakePlugin())
