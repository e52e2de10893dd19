from __future__ import annotations

import asyncio
from itertools import pairwise

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import HEARING_RATE_HZ, SAMPLE_RATE_HZ, Samples, silence
from mulisa.core.errors import ProviderError
from mulisa.core.provider import (
    LLM,
    STT,
    TTS,
    VAD,
    AudioDelta,
    ChatRequest,
    Engines,
    Message,
    Realtime,
    RealtimeRequest,
    TextDelta,
    ToolCall,
    Transcription,
)
from mulisa.providers.scripted import (
    SMALL_TALK,
    Rule,
    ScriptedLLM,
    ScriptedRealtime,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedVAD,
)
from mulisa.providers.tones import recognise
from tests.speech import say

pytestmark = pytest.mark.unit


def at_hearing_rate(samples: Samples) -> Samples:
    heard: Samples = soxr.resample(samples, SAMPLE_RATE_HZ, HEARING_RATE_HZ, "LQ")
    return heard


def now() -> float:
    return asyncio.get_running_loop().time()


def test_they_are_engines() -> None:
    vad: VAD = ScriptedVAD()
    stt: STT = ScriptedSTT()
    llm: LLM = ScriptedLLM()
    tts: TTS = ScriptedTTS()
    realtime: Realtime = ScriptedRealtime()
    assert {engine.label for engine in (vad, stt, llm, tts, realtime)} == {"scripted"}
    Engines(vad, stt, llm, tts, realtime)


async def test_the_vad_hears_energy() -> None:
    stream = ScriptedVAD(latency=0.002).stream()
    began = now()
    assert await stream.probability(silence(512)) == 0.0
    assert await stream.probability(at_hearing_rate(say(1))[1000:1512]) == 1.0
    assert now() - began == pytest.approx(0.004)
    stream.close()


async def test_the_recogniser_follows_its_script_and_takes_its_time() -> None:
    stt = ScriptedSTT(["hello Mulisa", "what is the time"], latency=0.3, confidence=0.7)
    stream = stt.stream(["Mulisa"])
    assert await stream.flush() == Transcription("", 0.7)
    for word, text in ((0, "hello Mulisa"), (1, "hello Mulisa what is the time")):
        stream.push(at_hearing_rate(say(word)))
        began = now()
        assert (await stream.flush()).text == text
        assert now() - began == pytest.approx(0.3)
    stream.push(at_hearing_rate(say(7)))
    assert (await stream.flush()).text.endswith("word 7")
    await stream.aclose()
    await stream.aclose()
    assert stt.open_streams == 0


async def test_interims_grow_and_end() -> None:
    stream = ScriptedSTT(str, interim_interval=0.35).stream()
    for word in range(4):
        stream.push(at_hearing_rate(say(word)))
    await stream.aclose()
    assert [text async for text in stream.interims()] == ["0", "0 1", "0 1 2", "0 1 2 3"]


async def test_failures_come_when_the_script_says() -> None:
    stream = ScriptedSTT(failures={1}).stream()
    await stream.flush()
    with pytest.raises(ProviderError):
        await stream.flush()
    await stream.flush()
    await stream.aclose()


def request(content: str, role: str = "user") -> ChatRequest:
    if role == "tool":
        return ChatRequest((Message("tool", content, call_id="1"),))
    return ChatRequest((Message("user", content, name="Alice"),))


async def test_the_llm_answers_by_rule_in_deltas() -> None:
    call = ToolCall("1", "people_here", {})
    llm = ScriptedLLM(
        [
            Rule("who is here", call),
            Rule("", lambda request: f"{request.messages[-1].content} are here.", role="tool"),
            Rule("time", "It is ten  past two."),
        ],
        first_token=0.2,
        pace=0.05,
    )
    began = now()
    deltas = [(delta, now() - began) async for delta in llm.chat(request("What TIME is it?"))]
    text = "".join(delta.text for delta, _ in deltas if isinstance(delta, TextDelta))
    assert text == "It is ten  past two."
    assert deltas[0][1] == pytest.approx(0.2)
    assert all(b - a == pytest.approx(0.05) for (_, a), (_, b) in pairwise(deltas))
    assert [delta async for delta in llm.chat(request("Who is here?"))] == [call]
    told = [delta async for delta in llm.chat(request("Alice and Bob", "tool"))]
    assert told == [TextDelta(" ".join(("", word)).strip()) for word in ("Alice",)] + [
        TextDelta(f" {word}") for word in ("and", "Bob", "are", "here.")
    ]
    default = [delta async for delta in llm.chat(request("something"))]
    assert "".join(d.text for d in default if isinstance(d, TextDelta)) == SMALL_TALK
    assert len(llm.requests) == 4


async def test_the_tts_speaks_a_tone_per_word() -> None:
    tts = ScriptedTTS(first_audio=0.1, pace=0.02)
    began = now()
    pieces = [(piece, now() - began) async for piece in tts.synthesize("one two three")]
    assert [at for _, at in pieces] == pytest.approx([0.1, 0.12, 0.14])
    audio = np.concatenate([piece for piece, _ in pieces])
    assert len(audio) == round(3 * 0.26 * tts.sample_rate_hz)
    assert recognise(soxr.resample(audio, tts.sample_rate_hz, HEARING_RATE_HZ)) == [0, 1, 2]
    assert tts.texts == ["one two three"]


async def test_the_realtime_engine_answers_by_rule_in_words_and_tones() -> None:
    realtime = ScriptedRealtime([Rule("who", "Bob is here.")], first_audio=0.3, pace=0.1)
    session = realtime.session()
    request = RealtimeRequest((Message("system", ""), Message("user", "Who is here?")))
    before = asyncio.get_running_loop().time()
    deltas = [delta async for delta in session.respond(request)]
    assert asyncio.get_running_loop().time() - before == pytest.approx(0.3 + 2 * 0.1)
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == "Bob is here."
    pieces = [d.samples for d in deltas if isinstance(d, AudioDelta)]
    speech = soxr.resample(np.concatenate(pieces), session.sample_rate_hz, HEARING_RATE_HZ)
    assert recognise(speech) == [0, 1, 2]
    assert session.requests == [request] and session.stopped == 0


async def test_the_realtime_engine_breaks_and_stalls_when_the_script_says() -> None:
    realtime = ScriptedRealtime(failures=[0], breaks={1: 2}, stalls={2: 1})
    session = realtime.session()
    request = RealtimeRequest((Message("system", ""),))
    for expected in (0, 4):
        got = []
        with pytest.raises(ProviderError):
            async for delta in session.respond(request):
                got.append(delta)
        assert len(got) == expected
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60.0):
            async for _ in session.respond(request):
                pass
    assert session.stopped == 1
