"""Streaming recognition over real sockets, by the official SDK, with everything that goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

import mulisa.providers.openai.stt as openai_stt
from mulisa.core.account import Account, working_for
from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import STTStream
from mulisa.providers.openai.connection import openai_service
from mulisa.providers.openai.stt import OpenAISTT
from mulisa.providers.tones import recognise, tone
from tests.services.faults import Fault
from tests.services.openai_realtime import OpenAIRealtimeService
from tests.services.openai_service import KEY, RATE_HZ, OpenAIService

pytestmark = pytest.mark.network

SPEECH_RATE_HZ = 16_000
FRAME = 512


async def digits(samples: Samples) -> str:
    """What is said in tones."""
    import soxr  # type: ignore[import-untyped]

    heard = soxr.resample(samples, RATE_HZ, SPEECH_RATE_HZ)
    return " ".join(f"word{number}" for number in recognise(heard))


def said(*numbers: int) -> Samples:
    """Tones of 0.3 s with pauses."""
    pause = np.zeros(SPEECH_RATE_HZ // 5, dtype=np.int16)
    return np.concatenate([x for n in numbers for x in (tone(n, 0.3, SPEECH_RATE_HZ), pause)])


@asynccontextmanager
async def hearing(
    service: OpenAIRealtimeService, model: str = "", key: str = KEY, language: str = ""
) -> AsyncIterator[OpenAISTT]:
    async with service.serving() as url, asyncio.timeout(30):
        stt = OpenAISTT(model, base_url=url, api_key=key, language=language)
        try:
            await stt.load(lambda *_: None)
            yield stt
        finally:
            await stt.aclose()


def push(stream: STTStream, speech: Samples) -> None:
    for start in range(0, len(speech), FRAME):
        stream.push(speech[start : start + FRAME])


async def understood(stt: OpenAISTT, *turns: Sequence[int]) -> list[str]:
    """One utterance with a flush after each of `turns`."""
    stream = stt.stream(("Mulisa", "Bob"))
    texts = []
    try:
        for turn in turns:
            push(stream, said(*turn))
            texts.append((await stream.flush()).text)
    finally:
        await stream.aclose()
    return texts


async def test_a_pause_gives_the_words_and_going_on_adds_to_them() -> None:
    service = OpenAIRealtimeService(digits)
    async with hearing(service, language="en-GB") as stt:
        texts = await understood(stt, [1, 2], [3])
    assert texts == ["word1 word2", "word1 word2 word3"]
    (session,) = service.sessions
    heard = session.settings["audio"]["input"]
    assert heard["turn_detection"] is None, "our endpointing commits"
    assert heard["format"] == {"type": "audio/pcm", "rate": RATE_HZ}
    assert heard["transcription"] == {
        "model": "gpt-4o-mini-transcribe",
        "language": "en",
        "prompt": "A conversation with Mulisa, Bob.",
    }
    assert session.invalid == []
    assert len(session.committed) == 2
    await session.ended.wait()


@pytest.mark.parametrize("interface", ["sessions", "plain/"])
async def test_when_the_default_is_gone_its_successor_hears(interface: str) -> None:
    plain = OpenAIService(transcribe=digits, models=("gpt-transcribe", "gpt-live-transcribe"))
    service = OpenAIRealtimeService(digits, plain)
    model = interface.removeprefix("sessions")
    async with hearing(service, model, language="en-GB") as stt:
        assert stt.label.startswith("gpt-transcribe (")
        stream = stt.stream(("Mulisa", "Bob <b>"))
        push(stream, said(1, 2))
        assert (await stream.flush()).text == "word1 word2"
        await stream.aclose()
    if model:
        (asked,) = plain.bodies("transcriptions")
        assert asked["model"] == "gpt-transcribe"
        return
    (session,) = service.sessions
    assert session.settings["audio"]["input"]["transcription"] == {
        "model": "gpt-transcribe",
        "languages": ["en"],
        "keywords": ["Mulisa", "Bob b"],
    }
    assert session.invalid == []


@pytest.mark.parametrize(
    ("model", "models"),
    [
        ("", ("gpt-4o-mini-transcribe", "gpt-transcribe")),
        ("", ("whisper-large-v3",)),
        ("", ()),
        ("gpt-4o-mini-transcribe", ("gpt-transcribe",)),
    ],
)
async def test_nobody_else_has_a_successor(model: str, models: tuple[str, ...]) -> None:
    plain = OpenAIService(transcribe=digits, models=models)
    async with hearing(OpenAIRealtimeService(digits, plain), model) as stt:
        assert stt.label.startswith("gpt-4o-mini-transcribe (")


@pytest.mark.parametrize("interface", ["transcriptions", "realtime"])
async def test_a_model_that_is_gone_is_told_with_the_setting(interface: str) -> None:
    service = OpenAIRealtimeService(digits)
    service.faults.always("realtime", Fault("status", status=404, code="model_not_found"))
    service.faults.always("transcriptions", Fault("status", status=404, code="model_not_found"))
    async with hearing(service, "plain/" * (interface == "transcriptions")) as stt:
        with pytest.raises(ProviderUnavailable, match="name another, as in --stt openai:MODEL"):
            await understood(stt, [1])


async def test_a_flush_without_more_speech_is_the_same_text() -> None:
    async with hearing(OpenAIRealtimeService(digits)) as stt:
        stream = stt.stream()
        assert (await stream.flush()).text == ""
        push(stream, said(4))
        assert (await stream.flush()).text == "word4"
        assert (await stream.flush()).text == "word4"
        stream.push(np.zeros(10, dtype=np.int16))
        assert (await stream.flush()).text == "word4", "less than a service takes"
        await stream.aclose()
        await stream.aclose()


async def test_words_are_shown_while_they_come() -> None:
    async with hearing(OpenAIRealtimeService(digits)) as stt:
        stream = stt.stream()
        push(stream, said(1))
        await stream.flush()
        push(stream, said(2, 3))
        await stream.flush()
        await stream.aclose()
        interims = [text async for text in stream.interims()]
    assert interims[:2] == ["word1", "word1"]
    assert "word1 word2" in interims
    assert interims[-1] == "word1 word2 word3"


async def test_several_people_at_once() -> None:
    async with hearing(OpenAIRealtimeService(digits)) as stt:
        results = await asyncio.gather(*(understood(stt, [n], [n + 1]) for n in range(6)))
    assert results == [[f"word{n}", f"word{n} word{n + 1}"] for n in range(6)]


@pytest.mark.parametrize("kind", ["cut", "garbage", "silence"])
@pytest.mark.parametrize("after", [0, 2, 3, 5])
async def test_a_session_that_breaks_loses_no_word(
    kind: Any, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_stt, "ANSWER_TIMEOUT", 2.0)
    service = OpenAIRealtimeService(digits)
    service.faults.next("realtime", Fault(kind, after=after))
    async with hearing(service) as stt:
        assert await understood(stt, [1, 2], [3]) == ["word1 word2", "word1 word2 word3"]
    assert len(service.sessions) == 2


async def test_two_broken_sessions_and_it_is_asked_plainly() -> None:
    service = OpenAIRealtimeService(digits)
    service.plain._transcribe = digits
    service.faults.always("realtime", Fault("cut", after=2))
    async with hearing(service) as stt:
        assert await understood(stt, [1, 2]) == ["word1 word2"]
    assert [name for name, _ in service.plain.asked if name == "transcriptions"]


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_a_server_without_sessions_is_asked_plainly_from_then_on(status: int) -> None:
    service = OpenAIRealtimeService(digits)
    service.plain._transcribe = digits
    service.faults.always("realtime", Fault("status", status=status))
    async with hearing(service) as stt:
        assert await understood(stt, [1, 2], [3]) == ["word1 word2", "word1 word2 word3"]
        assert await understood(stt, [5]) == ["word5"]
    assert len(service.faults.happened) == 1, "it is not tried again"
    assert len(service.plain.bodies("transcriptions")) == 3


async def test_a_server_that_refuses_both_is_quoted_on_the_plain_one() -> None:
    service = OpenAIRealtimeService(digits)
    service.faults.always("realtime", Fault("status", status=403, message="Forbidden"))
    service.faults.always("transcriptions", Fault("status", status=403, message="no such licence"))
    async with hearing(service) as stt:
        with pytest.raises(ProviderUnavailable, match="no such licence; check OPENAI_API_KEY"):
            await understood(stt, [1])


@pytest.mark.parametrize(
    ("base_url", "is_compatible"),
    [
        ("", False),
        ("https://api.openai.com/v1", False),
        ("https://eu.api.openai.com/v1", False),
        ("https://api.openai.com.example.org/v1", True),
        ("http://localhost:8000/v1", True),
        ("http://[", True),
    ],
)
def test_which_addresses_are_openais_own(base_url: str, is_compatible: bool) -> None:
    assert openai_service(base_url, "").is_compatible is is_compatible


async def test_openai_itself_has_sessions_so_403_is_about_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = OpenAIRealtimeService(digits)
    service.faults.always("realtime", Fault("status", status=403))
    async with hearing(service) as stt:
        monkeypatch.setattr(stt, "_service", openai_service("https://api.openai.com/v1", ""))
        with pytest.raises(ProviderUnavailable, match=r"^https://api\S* refuses the key"):
            await understood(stt, [1])
    assert not service.plain.bodies("transcriptions")


@pytest.mark.parametrize("model", ["whisper-1", "plain/some-model"])
async def test_models_of_the_plain_interface(model: str) -> None:
    service = OpenAIRealtimeService(digits)
    service.plain._transcribe = digits
    async with hearing(service, model) as stt:
        assert await understood(stt, [1, 2], [3]) == ["word1 word2", "word1 word2 word3"]
    assert service.sessions == []
    first = service.plain.bodies("transcriptions")[0]
    assert first["model"] == model.removeprefix("plain/")
    assert "Bob" in first["prompt"]


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(401, "invalid_api_key", "OPENAI_API_KEY"), (429, "insufficient_quota", "billing")],
)
async def test_refusals_are_final(status: int, code: str, words: str) -> None:
    service = OpenAIRealtimeService(digits)
    service.faults.always("realtime", Fault("status", status=status, code=code, message=code))
    async with hearing(service) as stt:
        with pytest.raises(ProviderUnavailable, match=words) as caught:
            await understood(stt, [1])
    assert not caught.value.retryable
    assert len(service.faults.happened) == 1, "another try would meet the same"


async def test_everything_is_down_and_comes_back() -> None:
    service = OpenAIRealtimeService(digits)
    service.faults.always("realtime", Fault("status", status=503))
    service.faults.always("transcriptions", Fault("status", status=503))
    async with hearing(service) as stt:
        stream = stt.stream()
        push(stream, said(1, 2))
        with pytest.raises(ProviderError, match="503") as caught:
            await stream.flush()
        assert caught.value.retryable
        service.faults.always("realtime", None)
        push(stream, said(3))
        assert (await stream.flush()).text == "word1 word2 word3", "what was said is kept"
        await stream.aclose()


async def test_sessions_that_say_nothing_are_not_waited_for_again_and_again() -> None:
    service = OpenAIRealtimeService(digits)
    service.plain._transcribe = digits
    service.faults.always("realtime", Fault("silence"))
    async with hearing(service) as stt:
        stream = stt.stream()
        push(stream, said(1, 2))
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):  # as a chain does
                    await stream.flush()
        assert (await stream.flush()).text == "word1 word2", "it is asked plainly"
        await stream.aclose()


async def test_who_goes_away_while_it_is_connected() -> None:
    service = OpenAIRealtimeService(digits)
    service.faults.always("realtime", Fault("silence"))
    async with hearing(service) as stt:
        stream = stt.stream()
        push(stream, said(1))
        flushing = asyncio.create_task(stream.flush())
        await asyncio.sleep(0.1)
        flushing.cancel()
        await asyncio.wait({flushing})
        await stream.aclose()


async def test_seconds_are_counted_and_the_budget_holds() -> None:
    account = Account(budget={"seconds": 0.9})
    async with hearing(OpenAIRealtimeService(digits)) as stt:
        with working_for(account):
            assert await understood(stt, [1, 2]) == ["word1 word2"]
            assert account.spent["seconds"] == pytest.approx(1.0)
            with pytest.raises(ProviderUnavailable, match="--budget"):
                await understood(stt, [3])
