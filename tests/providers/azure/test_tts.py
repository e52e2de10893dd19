import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]

import mulisa.providers.azure.resource as azure_resource
from mulisa.core.account import Account, working_for
from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.providers.azure.tts import AzureTTS
from mulisa.providers.tones import recognise
from tests.services.azure_speech import KEY, AzureSpeechService, Spoken, speak_tones
from tests.services.faults import Fault

pytestmark = pytest.mark.network

AVA = "en-US-AvaMultilingualNeural"


@pytest.fixture(autouse=True)
def _no_key_in_logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    assert KEY not in caplog.text


@asynccontextmanager
async def speaking(
    service: AzureSpeechService, voice: str = "", language: str = ""
) -> AsyncIterator[AzureTTS]:
    async with service.serving() as url:
        tts = AzureTTS(voice, endpoint=url, api_key=KEY, language=language)
        try:
            await tts.load(lambda *_: None)
            yield tts
        finally:
            await tts.aclose()


async def spoken(tts: AzureTTS, text: str = "one two three") -> Samples:
    return np.concatenate([samples async for samples in tts.synthesize(text)])


async def test_speech_arrives_whole_in_samples() -> None:
    service = AzureSpeechService()
    async with speaking(service) as tts:
        heard = await spoken(tts)
        assert heard.dtype == np.int16
        assert np.array_equal(heard, await speak_tones("one two three"))
        assert recognise(soxr.resample(heard, tts.sample_rate_hz, 16_000)) == [0, 1, 2]
    assert service.spoken == [Spoken("one two three", AVA, "en-US", "raw-24khz-16bit-mono-pcm")]


async def test_the_first_sound_comes_before_the_last() -> None:
    service = AzureSpeechService()
    service.faults.next("tts", Fault("silence", after=1))
    async with speaking(service) as tts, asyncio.timeout(10):
        stream = aiter(tts.synthesize("one two three"))
        assert len(await anext(stream)) == 750
        await stream.aclose()  # type: ignore[attr-defined]
        await service.cancelled.wait()
        assert len(await spoken(tts)) == 7200


async def test_text_is_text_whatever_is_in_it() -> None:
    service = AzureSpeechService()
    text = "</voice><voice name='x'>a & b\x00\x1b\ud800\ufffe]]> \N{SNOWMAN} \N{OX}"
    async with speaking(service) as tts:
        await spoken(tts, text)
        assert [samples async for samples in tts.synthesize(" \x00 ")] == []
    (said,) = service.spoken
    assert said.text == "</voice><voice name='x'>a & b    ]]> \N{SNOWMAN} \N{OX}"
    assert said.voice == AVA


@pytest.mark.parametrize(
    ("voice", "language", "chosen", "locale"),
    [
        ("", "", AVA, "en-US"),
        ("", "de", "de-DE-KatjaNeural", "de-DE"),
        ("", "fi", AVA, "en-US"),
        ("de-DE-KatjaNeural", "", "de-DE-KatjaNeural", "de-DE"),
        ("en-US-GuyNeural", "de", "en-US-GuyNeural", "en-US"),
    ],
)
async def test_which_voice(voice: str, language: str, chosen: str, locale: str) -> None:
    service = AzureSpeechService()
    async with speaking(service, voice, language) as tts:
        await spoken(tts)
        assert tts.label.startswith(f"{chosen} (Azure Speech (http://")
    assert (service.spoken[0].voice, service.spoken[0].language) == (chosen, locale)


@pytest.mark.parametrize("voice", ["en-US-AvaMultilingual", "Ava'/>", "x" * 200])
async def test_a_voice_that_does_not_exist(voice: str) -> None:
    with pytest.raises(ProviderUnavailable, match="--tts azure:en-US-Ava"):
        async with speaking(AzureSpeechService(), voice):
            pass


@pytest.mark.parametrize("voices", [{}, [1, None, {"ShortName": 7}], [], "x"])
async def test_an_odd_list_of_voices_is_no_reason_to_be_silent(voices: object) -> None:
    service = AzureSpeechService()
    service.voices = voices
    async with speaking(service, language="de") as tts:
        assert len(await spoken(tts)) == 7200


@pytest.mark.parametrize(
    ("fault", "said", "retryable"),
    [
        (Fault("status", status=401), "AZURE_SPEECH_KEY", False),
        (Fault("status", status=403, message="Out of call volume quota"), "tier", False),
        (Fault("status", status=404), "AZURE_SPEECH_ENDPOINT", False),
        (Fault("status", status=429), "later", True),
        (Fault("status", status=400, message="bad\nSSML"), "answered 400: bad SSML", False),
        (Fault("status", status=502), "answered 502", True),
        (Fault("cut"), "Azure Speech", True),
        (Fault("cut", after=2), "Azure Speech", True),
        (Fault("garbage", after=2), "Azure Speech", True),
    ],
)
async def test_failures(fault: Fault, said: str, retryable: bool) -> None:
    service = AzureSpeechService()
    service.faults.next("tts", fault)
    async with speaking(service) as tts:
        async with asyncio.timeout(10):
            with pytest.raises(ProviderError, match=said) as caught:
                await spoken(tts)
        assert caught.value.retryable is retryable
        assert KEY not in str(caught.value)
        assert len(await spoken(tts)) == 7200


@pytest.mark.parametrize("after", [0, 2])
async def test_a_service_that_falls_silent(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_resource, "ANSWER_TIMEOUT", 0.3)
    service = AzureSpeechService()
    service.faults.next("tts", Fault("silence", after=after))
    async with speaking(service) as tts:
        async with asyncio.timeout(10):
            with pytest.raises(ProviderTimeout):
                await spoken(tts)
        assert len(await spoken(tts)) == 7200


async def test_an_answer_without_sound() -> None:
    service = AzureSpeechService()

    async def nothing(_: str) -> Samples:
        return np.zeros(0, np.int16)

    service.speak = nothing
    async with speaking(service) as tts:
        with pytest.raises(ProviderError, match="said nothing"):
            await spoken(tts)


async def test_a_wrong_key_is_found_while_loading() -> None:
    async with AzureSpeechService().serving() as url:
        tts = AzureTTS(endpoint=url, api_key="another-key")
        with pytest.raises(ProviderUnavailable, match="AZURE_SPEECH_KEY") as caught:
            await tts.load(lambda *_: None)
        assert "another-key" not in str(caught.value)
        await tts.aclose()


async def test_a_service_out_of_reach_is_asked_again_when_it_is_needed() -> None:
    tts = AzureTTS(endpoint="http://127.0.0.1:9", api_key=KEY)
    await tts.load(lambda *_: None)
    with pytest.raises(ProviderUnavailable, match="cannot reach") as caught:
        await spoken(tts)
    assert caught.value.retryable
    await tts.aclose()
    await tts.aclose()
    with pytest.raises(ProviderUnavailable, match="not loaded"):
        await spoken(tts)


async def test_characters_are_counted_and_the_budget_ends_it() -> None:
    account = Account({"characters": 10})
    service = AzureSpeechService()
    async with speaking(service) as tts:
        with working_for(account):
            await spoken(tts, "one two <three>")
            assert account.spent["characters"] == 15
            with pytest.raises(ProviderUnavailable, match="--budget"):
                await spoken(tts)
    assert len(service.spoken) == 1
