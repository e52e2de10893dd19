"""Vendors' own plugins: made through the adapter, and against services on this machine."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from aiohttp import WSMsgType, web

from mulisa.core.account import Account, working_for
from mulisa.core.audio import Samples
from mulisa.core.errors import ConfigError, ProviderError, ProviderUnavailable
from mulisa.core.provider import (
    ChatRequest,
    Delta,
    Message,
    STTStream,
    TextDelta,
    ToolCall,
    ToolSpec,
)
from mulisa.providers.chain.stt import STTChain
from mulisa.providers.livekit_agents import LiveKitLLM, LiveKitSTT, LiveKitTTS
from mulisa.providers.livekit_agents.spec import PluginSpec, arguments
from mulisa.providers.scripted import ScriptedSTT
from mulisa.providers.tones import tone
from tests.providers.livekit_agents.conftest import Loaded
from tests.services.faults import Fault, Faults
from tests.services.openai_service import KEY, OpenAIService, serving

pytestmark = [pytest.mark.network, pytest.mark.usefixtures("plugins")]

NOBODY = "http://127.0.0.1:9"
VENDORS_KEYS = ("DEEPGRAM_API_KEY", "CARTESIA_API_KEY", "ELEVEN_API_KEY", "OPENAI_API_KEY")
TOOL = ToolSpec("who_is_here", "People", {"type": "object", "properties": {}})
CALL = ToolCall("call_1", "who_is_here", {"room": "é"})


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VENDORS_KEYS:
        monkeypatch.setenv(name, KEY)


def sound(seconds: float) -> Samples:
    return np.full(round(16_000 * seconds), 1000, dtype=np.int16)


# Made through the adapter


@pytest.mark.parametrize(
    ("kind", "text", "label"),
    [
        (LiveKitSTT, "deepgram", "deepgram nova-3"),
        (
            LiveKitSTT,
            "deepgram/nova-2?punctuate=false&keywords=%5B%5B%22Mulisa%22,2%5D%5D",
            "nova-2",
        ),
        (LiveKitSTT, "deepgram.STTv2/flux-general-en", "deepgram flux-general-en"),
        (LiveKitTTS, "deepgram/aura-2-andromeda-en", "deepgram aura-2-andromeda-en"),
        (LiveKitSTT, "cartesia/ink-whisper", "cartesia ink-whisper"),
        (LiveKitTTS, "cartesia/sonic-3?voice=v&speed=1.1&volume=0.9", "cartesia sonic-3"),
        (LiveKitSTT, "elevenlabs/scribe_v2_realtime", "elevenlabs scribe_v2_realtime"),
        (LiveKitTTS, "elevenlabs/eleven_flash_v2_5?voice_id=v", "elevenlabs eleven_flash_v2_5"),
        (LiveKitSTT, "openai", "openai gpt-4o-mini-transcribe"),
        (LiveKitTTS, "openai/tts-1?voice=nova&speed=1.2", "openai tts-1"),
        (LiveKitLLM, "openai/gpt-4.1-mini?temperature=0.2", "openai gpt-4.1-mini"),
        (LiveKitLLM, "openai.responses/gpt-4.1-mini", "openai gpt-4.1-mini"),
    ],
)
async def test_it_is_made_and_waits_for_its_service(
    kind: Any, text: str, label: str, loaded: Loaded, caplog: pytest.LogCaptureFixture
) -> None:
    address = f"{text}{'&' if '?' in text else '?'}base_url={quote(NOBODY)}"
    language = {} if kind is LiveKitLLM else {"language": "en"}
    async with loaded(kind, address, **language) as engine:
        assert label in engine.label and engine.label.endswith(" (LiveKit plugin)")
    assert "asked again when" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("kind", "name", "variable"),
    [
        (LiveKitSTT, "deepgram", "DEEPGRAM_API_KEY"),
        (LiveKitTTS, "cartesia", "CARTESIA_API_KEY"),
        (LiveKitTTS, "elevenlabs", "ELEVEN_API_KEY"),
        (LiveKitLLM, "openai", "OPENAI_API_KEY"),
    ],
)
async def test_the_key_that_is_missing_is_named(
    kind: Any, name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable)
    with pytest.raises(ProviderUnavailable, match=variable):
        await kind(name).load(lambda *_: None)


async def test_what_a_plugin_does_not_have() -> None:
    with pytest.raises(ConfigError, match="no LLM engine"):
        await LiveKitLLM("deepgram").load(lambda *_: None)
    with pytest.raises(ConfigError, match="no option 'loudness'.*speed"):
        await LiveKitTTS("cartesia?loudness=1").load(lambda *_: None)


@pytest.mark.parametrize(("option", "value"), [("sample_rate", 8_000), ("turn_end_threshold", 0.5)])
def test_numbers_of_a_plugin_whose_hints_are_for_type_checkers(option: str, value: float) -> None:
    cartesia = importlib.import_module("livekit.plugins.cartesia")
    spec = PluginSpec.parse(f"cartesia?{option}={value}")
    assert arguments(cartesia.STT, spec, {}) == {option: value}


async def refuse(_: web.Request) -> web.StreamResponse:
    raise web.HTTPUnauthorized


@pytest.mark.parametrize(
    ("kind", "text", "variable"),
    [
        (LiveKitSTT, "deepgram", "DEEPGRAM_API_KEY"),
        (LiveKitTTS, "deepgram", "DEEPGRAM_API_KEY"),
        (LiveKitSTT, "cartesia", "CARTESIA_API_KEY"),
        (LiveKitTTS, "cartesia/sonic-3", "CARTESIA_API_KEY"),
        (LiveKitSTT, "elevenlabs/scribe_v2_realtime", "ELEVEN_API_KEY"),
        (LiveKitTTS, "elevenlabs", "ELEVEN_API_KEY"),
        (LiveKitLLM, "openai", "OPENAI_API_KEY"),
    ],
)
async def test_a_key_that_its_vendor_refuses(
    kind: Any, text: str, variable: str, loaded: Loaded
) -> None:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", refuse)
    async with serving(app) as url:
        with pytest.raises(ProviderUnavailable, match=f"refuses the key.*{variable}") as caught:
            async with loaded(kind, f"{text}?base_url={quote(url)}"):
                pass
    assert not caught.value.retryable and KEY not in str(caught.value)


# OpenAI's plugin, from end to end


@asynccontextmanager
async def asking(
    kind: Any, model: str, service: OpenAIService, loaded: Loaded, options: str = ""
) -> AsyncIterator[Any]:
    async with (
        service.serving() as url,
        loaded(kind, f"openai/{model}?base_url={quote(url)}{options}") as engine,
    ):
        service.asked.clear()
        yield engine


async def reply(llm: LiveKitLLM, *messages: Message) -> list[Delta]:
    talk = messages or (Message("user", "Who is here?", name="Zoë"),)
    return [delta async for delta in llm.chat(ChatRequest(talk, (TOOL,)))]


async def speak(tts: LiveKitTTS, text: str) -> Samples:
    return np.concatenate([samples async for samples in tts.synthesize(text)])


async def test_openai_thinks(loaded: Loaded) -> None:
    service = OpenAIService(lambda body: ["Let me ", "look.", CALL])
    account = Account()
    async with asking(LiveKitLLM, "gpt-4.1-mini", service, loaded) as llm:
        with working_for(account):
            assert await reply(llm) == [TextDelta("Let me "), TextDelta("look."), CALL]
    (asked,) = service.bodies("chat")
    assert asked["model"] == "gpt-4.1-mini"
    assert asked["messages"] == [{"role": "user", "content": "Zoë: Who is here?"}]
    assert asked["tools"][0]["function"]["name"] == "who_is_here"
    assert account.spent["tokens"] > 0


async def test_openai_knows_the_results_of_tools(loaded: Loaded) -> None:
    service = OpenAIService()
    talk = (
        Message("system", "be brief"),
        Message("user", "Who is here?", name="Zoë"),
        Message("assistant", "", tool_calls=(CALL,)),
        Message("tool", '{"people": 2}', name="who_is_here", call_id="call_1"),
    )
    async with asking(LiveKitLLM, "gpt-4.1-mini", service, loaded) as llm:
        assert await reply(llm, *talk) == [TextDelta('{"people": '), TextDelta("2} ")]
    roles = [message["role"] for message in service.bodies("chat")[0]["messages"]]
    assert roles == ["system", "user", "assistant", "tool"]


async def test_openai_speaks(loaded: Loaded) -> None:
    service = OpenAIService()
    account = Account()
    options = "&response_format=pcm&voice=nova"
    async with asking(LiveKitTTS, "tts-1", service, loaded, options) as tts:
        with working_for(account):
            samples = await speak(tts, "Good morning.")
        assert tts.sample_rate_hz == 24_000
    assert len(samples) == pytest.approx(13 * 1_200, abs=480)
    assert np.abs(samples).max() > 7_000
    assert service.bodies("speech")[0]["voice"] == "nova"
    assert account.spent["characters"] == 13


async def test_openai_hears(loaded: Loaded) -> None:
    service = OpenAIService()
    account = Account()
    async with asking(LiveKitSTT, "gpt-4o-mini-transcribe", service, loaded) as stt:
        with working_for(account):
            stream = stt.stream()
            stream.push(sound(1.0))
            assert (await stream.flush()).text == "1.0 seconds"
            stream.push(sound(0.5))
            assert (await stream.flush()).text == "1.5 seconds"
            await stream.aclose()
    assert account.spent["seconds"] == pytest.approx(2.5)


ENDPOINTS = {LiveKitLLM: "chat", LiveKitTTS: "speech", LiveKitSTT: "transcriptions"}
MODELS = {LiveKitLLM: "gpt-4.1-mini", LiveKitTTS: "tts-1", LiveKitSTT: "whisper-1"}


async def use(engine: Any) -> None:
    """Whatever it is for, once."""
    if isinstance(engine, LiveKitLLM):
        await reply(engine)
    elif isinstance(engine, LiveKitTTS):
        await speak(engine, "Good morning.")
    else:
        stream = engine.stream()
        try:
            stream.push(sound(0.5))
            await stream.flush()
        finally:
            await stream.aclose()


@pytest.mark.parametrize("kind", ENDPOINTS)
@pytest.mark.parametrize(
    ("fault", "words", "retryable"),
    [
        (Fault("status", status=401, code="invalid_api_key"), "OPENAI_API_KEY", False),
        (Fault("status", status=404, message="no such thing"), "no such model", False),
        (Fault("status", status=429, message="exceeded your current quota"), "billing", False),
        (Fault("status", status=429, message="slow down"), "later", True),
        (Fault("status", status=503), "answered 503", True),
        (Fault("cut"), "openai", True),
        (Fault("garbage"), "openai", True),
    ],
    ids=lambda value: f"{value.kind} {value.status}" if isinstance(value, Fault) else "",
)
async def test_faults_and_then_it_works_again(
    kind: Any, fault: Fault, words: str, retryable: bool, loaded: Loaded
) -> None:
    if kind is LiveKitTTS and fault.kind == "garbage":
        pytest.skip("two bytes of garbage are a sample")
    service = OpenAIService()
    options = "&response_format=pcm" if kind is LiveKitTTS else ""
    async with asking(kind, MODELS[kind], service, loaded, options) as engine:
        service.faults.next(ENDPOINTS[kind], fault)
        async with asyncio.timeout(10):
            with pytest.raises(ProviderError, match=words) as caught:
                await use(engine)
        assert caught.value.retryable is retryable
        assert KEY not in str(caught.value)
        assert len(service.asked) == 1, "the plugin does not try again by itself"
        await use(engine)


async def test_a_refused_key_is_found_while_it_loads(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-0123456789")
    for kind in ENDPOINTS:
        with pytest.raises(ProviderUnavailable, match="refuses the key") as caught:
            async with asking(kind, MODELS[kind], OpenAIService(), loaded):
                pass
        assert "OPENAI_API_KEY" in str(caught.value)


@pytest.mark.parametrize("kind", [LiveKitLLM, LiveKitTTS])
async def test_cancelling_ends_the_request(kind: Any, loaded: Loaded) -> None:
    service = OpenAIService()
    async with asking(kind, MODELS[kind], service, loaded, "") as engine:
        service.cancelled.clear()
        service.faults.next(ENDPOINTS[kind], Fault("silence"))
        using = asyncio.create_task(use(engine))
        async with asyncio.timeout(10):
            while not service.faults.happened:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            using.cancel()
            await asyncio.gather(using, return_exceptions=True)
            await service.cancelled.wait()
        assert using.cancelled()


# Deepgram's plugin, which streams


class Deepgram:
    """Deepgram's live transcription (``/v1/listen``): words are as long as the sound was."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.queries: list[dict[str, str]] = []
        self.said: list[str] = []
        """Types of the messages that came, without audio."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/v1/listen", self._listen)
        async with serving(app) as url:
            yield f"{url}/v1/listen"

    async def _listen(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Token {KEY}":
            raise web.HTTPUnauthorized
        fault = self.faults.take("realtime")
        if fault and fault.kind == "status":
            raise type("Refusal", (web.HTTPException,), {"status_code": fault.status})
        self.queries.append(dict(request.query))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        heard = told = 0
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                heard += len(message.data)
                if fault and heard >= fault.after:
                    return await self._break(request, socket, fault)
                if heard - told >= 9_600:
                    told = heard
                    await socket.send_json(result(heard, is_final=False))
                continue
            kind = json.loads(message.data)["type"]
            self.said.append(kind)
            if kind in ("Finalize", "CloseStream") and heard:
                await socket.send_json(result(heard, is_final=True))
                heard = told = 0
            if kind == "CloseStream":
                await socket.send_json({"type": "Metadata", "request_id": "1"})
                await socket.close()
        return socket

    async def _break(
        self, request: web.Request, socket: web.WebSocketResponse, fault: Fault
    ) -> web.StreamResponse:
        if fault.kind == "silence":
            async for _ in socket:
                pass
        elif fault.kind == "garbage":
            await socket.send_str("{nonsense")
            await socket.close()
        elif request.transport is not None:
            request.transport.abort()
        return socket


def result(heard_bytes: int, *, is_final: bool) -> dict[str, Any]:
    """What was heard, in tenths of seconds."""
    text = f"{heard_bytes / 32_000:.1f}"
    word = {"word": text, "start": 0.0, "end": heard_bytes / 32_000, "confidence": 0.9}
    best = {"transcript": text, "confidence": 0.9, "words": [word]}
    return {
        "type": "Results",
        "channel_index": [0, 1],
        "duration": heard_bytes / 32_000,
        "start": 0.0,
        "is_final": is_final,
        "speech_final": False,
        "from_finalize": is_final,
        "channel": {"alternatives": [best]},
        "metadata": {"request_id": "1", "model_info": {}, "model_uuid": "1"},
    }


@asynccontextmanager
async def listening(service: Deepgram, loaded: Loaded) -> AsyncIterator[LiveKitSTT]:
    async with (
        service.serving() as url,
        loaded(
            LiveKitSTT, f"deepgram/nova-3?base_url={quote(url)}&keyterm=Mulisa", language="en"
        ) as stt,
    ):
        yield stt


async def say(stream: STTStream, seconds: float) -> None:
    """In pieces, as an ear does."""
    for _ in range(round(seconds / 0.1)):
        stream.push(sound(0.1))
        await asyncio.sleep(0.01)


async def test_deepgram_streams(loaded: Loaded) -> None:
    service = Deepgram()
    account = Account()
    async with listening(service, loaded) as stt:
        with working_for(account):
            stream = stt.stream()
            interims: list[str] = []

            async def read() -> None:
                interims.extend([text async for text in stream.interims()])

            reading = asyncio.create_task(read())
            await say(stream, 1.0)
            first = await stream.flush()
            await say(stream, 0.5)
            second = await stream.flush()
            await stream.aclose()
            await reading
    assert first.text == "1.5" and second.text == "1.5 1.0", "each with half a second of silence"
    assert first.confidence == pytest.approx(0.9)
    assert interims[0] == "0.3"
    assert service.queries[-1]["model"] == "nova-3" and service.queries[-1]["language"] == "en"
    assert service.queries[-1]["keyterm"] == "Mulisa"
    assert "CloseStream" in service.said
    assert account.spent["seconds"] == pytest.approx(1.5)


async def test_deepgram_refuses_a_key(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPGRAM_API_KEY", "dg-another-0123456789")
    with pytest.raises(ProviderUnavailable, match="refuses the key: .*check DEEPGRAM_API_KEY"):
        async with listening(Deepgram(), loaded):
            pass


@pytest.mark.parametrize(
    "fault",
    [Fault("status", status=500), Fault("cut", after=20_000), Fault("garbage", after=20_000)],
    ids=lambda fault: fault.kind,
)
async def test_deepgram_breaks_off(fault: Fault, loaded: Loaded) -> None:
    service = Deepgram()
    async with listening(service, loaded) as stt:
        service.faults.next("realtime", fault)
        stream = stt.stream()
        async with asyncio.timeout(10):
            with pytest.raises(ProviderError) as caught:
                await say(stream, 1.0)
                await stream.flush()
        assert caught.value.retryable
        await stream.aclose()
        another = stt.stream()
        await say(another, 0.5)
        assert (await another.flush()).text == "1.0"
        await another.aclose()


async def test_what_deepgram_does_not_tell_the_next_engine_does(loaded: Loaded) -> None:
    """As in a call, where a chain is asked: no word is lost when it falls silent in the middle."""
    service = Deepgram()
    async with listening(service, loaded) as stt:
        chain = STTChain([stt, ScriptedSTT(["one", "two", "three"])])
        service.faults.always("realtime", Fault("silence", after=10_000))
        stream = chain.stream()
        for word in range(3):
            stream.push(tone(word, 0.3, 16_000))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            assert (await stream.flush()).text == "one two three"
        await stream.aclose()
