"""Streamed speech over real sockets, by the official SDK."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

import mulisa.providers.openai.connection as connection
from mulisa.core.account import Account, working_for
from mulisa.core.audio import Samples
from mulisa.core.errors import ConfigError, ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.providers.openai.tts import OpenAITTS
from tests.services.faults import Fault
from tests.services.openai_service import KEY, OpenAIService, beep

pytestmark = pytest.mark.network

WORDS = "Hello there, everybody."


@asynccontextmanager
async def speaking(service: OpenAIService, key: str = KEY) -> AsyncIterator[OpenAITTS]:
    async with service.serving() as url:
        tts = OpenAITTS("tts-1/nova", base_url=url, api_key=key)
        try:
            await tts.load(lambda *_: None)
            yield tts
        finally:
            await tts.aclose()


async def spoken(tts: OpenAITTS, text: str = WORDS) -> Samples:
    return np.concatenate([samples async for samples in tts.synthesize(text)])


async def test_what_was_synthesised_arrives_whole() -> None:
    service = OpenAIService()
    async with speaking(service) as tts:
        assert np.array_equal(await spoken(tts), await beep(WORDS))
        assert tts.sample_rate_hz == 24_000
    (asked,) = service.bodies("speech")
    assert asked == {
        "model": "tts-1",
        "voice": "nova",
        "input": WORDS,
        "response_format": "pcm",
    }


async def test_a_voice_that_is_gone_is_told_with_the_setting() -> None:
    service = OpenAIService()
    gone = Fault("status", status=404, code="model_not_found", message="no gpt-4o-mini-tts")
    service.faults.always("speech", gone)
    async with speaking(service) as tts:
        with pytest.raises(ProviderUnavailable, match="no gpt-4o-mini-tts; name another, as in"):
            await spoken(tts)
        with pytest.raises(ProviderUnavailable, match="--tts local, --tts azure or --tts openai:"):
            await spoken(tts)


@pytest.mark.parametrize(
    ("base_url", "models", "is_warned"),
    [
        ("https://api.openai.com/v1", {"gpt-4.1-mini"}, True),
        ("https://api.openai.com/v1", {"gpt-4.1-mini", "gpt-4o-mini-tts"}, False),
        ("https://api.openai.com/v1", set(), False),
        ("http://localhost:8000/v1", {"kokoro"}, False),
    ],
)
def test_openai_no_longer_lists_a_model(
    base_url: str, models: set[str], is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    service = connection.openai_service(base_url, "--tts local")
    connection.warn_if_gone("gpt-4o-mini-tts", models, service)
    told = f"{base_url} has no gpt-4o-mini-tts any more; name another: --tts local"
    assert caplog.messages == [told] * is_warned


async def test_sound_comes_before_all_is_synthesised() -> None:
    service = OpenAIService()
    service.faults.next("speech", Fault("silence", after=2))
    async with speaking(service) as tts:
        pieces = tts.synthesize(WORDS)
        async with asyncio.timeout(10):
            assert len(await anext(pieces)) > 0
            await pieces.aclose()  # type: ignore[attr-defined]
            await service.cancelled.wait()


@pytest.mark.parametrize("after", [0, 2])
async def test_a_service_that_falls_silent(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_TIMEOUT", 0.3)
    monkeypatch.setattr("mulisa.providers.openai.tts.ANSWER_TIMEOUT", 0.3)
    service = OpenAIService()
    service.faults.next("speech", Fault("silence", after=after))
    async with speaking(service) as tts, asyncio.timeout(10):
        with pytest.raises(ProviderTimeout):
            await spoken(tts)


async def test_a_connection_that_breaks() -> None:
    service = OpenAIService()
    service.faults.next("speech", Fault("cut", after=2))
    async with speaking(service) as tts:
        with pytest.raises(ProviderError):
            await spoken(tts)
        assert len(await spoken(tts)) == len(await beep(WORDS)), "the next sentence is whole"


@pytest.mark.parametrize(
    ("status", "code", "words", "retryable"),
    [
        (401, "invalid_api_key", "OPENAI_API_KEY", False),
        (429, "insufficient_quota", "billing", False),
        (429, "rate_limit_exceeded", "later", True),
        (503, "", "503", True),
    ],
)
async def test_refusals(status: int, code: str, words: str, retryable: bool) -> None:
    service = OpenAIService()
    service.faults.next("speech", Fault("status", status=status, code=code, delay=7))
    account = Account()
    async with speaking(service) as tts:
        with working_for(account), pytest.raises(ProviderError, match=words) as caught:
            await spoken(tts)
    assert account.spent["characters"] == 0, "nobody pays for a refusal"
    assert caught.value.retryable is retryable
    assert caught.value.retry_after == (7 if status == 429 else None)


async def test_a_wrong_key_is_known_before_anybody_speaks() -> None:
    with pytest.raises(ProviderUnavailable, match="OPENAI_API_KEY") as caught:
        async with speaking(OpenAIService(), key="sk-wrong-and-secret"):
            pass
    assert "wrong-and-secret" not in str(caught.value)


async def test_a_service_out_of_reach_is_no_error_yet() -> None:
    tts = OpenAITTS(base_url="http://127.0.0.1:1/v1", api_key=KEY)
    await tts.load(lambda *_: None)
    with pytest.raises(ProviderUnavailable) as caught:
        await spoken(tts)
    assert caught.value.retryable
    await tts.aclose()


async def test_characters_are_counted_and_the_budget_holds() -> None:
    account = Account(budget={"characters": 30})
    async with speaking(OpenAIService()) as tts:
        with working_for(account):
            await spoken(tts)
            await spoken(tts)
            with pytest.raises(ProviderUnavailable, match="--budget"):
                await spoken(tts)
    assert account.spent["characters"] == 2 * len(WORDS)


def test_a_voice_that_cannot_be_meant() -> None:
    with pytest.raises(ConfigError, match="MODEL/VOICE"):
        OpenAITTS("tts-1/nova/2")
    assert OpenAITTS("/ash").label == "gpt-4o-mini-tts, ash (OpenAI)"
