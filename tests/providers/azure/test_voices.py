"""Real speech through Azure's SDK and REST interface: Piper and Whisper are the service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]
from rapidfuzz.distance import Levenshtein

from mulisa.core.audio import Samples
from mulisa.providers.azure.stt import AzureSTT
from mulisa.providers.azure.tts import AzureTTS
from mulisa.providers.piper import PiperTTS
from mulisa.providers.plausible import spoken_words
from mulisa.providers.whisper import WhisperSTT
from tests.providers.azure.people import needs_sdk, quiet
from tests.providers.speech import SENTENCES, needs_local, speech, to_hearing
from tests.services.azure_speech import KEY, SPEAKING_RATE_HZ, AzureSpeechService
from tests.services.faults import Fault

pytestmark = [pytest.mark.provider("whisper"), pytest.mark.slow, needs_local, needs_sdk]


def word_error_rate(said: Sequence[str], heard: Sequence[str]) -> float:
    pairs = [(spoken_words(a), spoken_words(b)) for a, b in zip(said, heard, strict=True)]
    return sum(Levenshtein.distance(a, b) for a, b in pairs) / sum(len(a) for a, _ in pairs)


class Engines:
    """Those behind the service."""

    def __init__(self) -> None:
        self.whisper = WhisperSTT()
        self.piper = PiperTTS()

    async def load(self) -> None:
        await self.whisper.load(lambda *_: None)
        await self.piper.load(lambda *_: None)

    async def hear(self, samples: Samples) -> str:
        stream = self.whisper.stream()
        stream.push(samples)
        try:
            return (await stream.flush()).text
        finally:
            await stream.aclose()

    async def speak(self, text: str) -> Samples:
        pieces = [piece async for piece in self.piper.synthesize(text)]
        rate_hz = self.piper.sample_rate_hz
        spoken: Samples = soxr.resample(np.concatenate(pieces), rate_hz, SPEAKING_RATE_HZ)
        return spoken

    async def aclose(self) -> None:
        await self.whisper.aclose()
        await self.piper.aclose()


async def hear_all(stt: AzureSTT, sentences: Sequence[str]) -> list[str]:
    """Two people at a time, each sentence in frames as a microphone gives them."""

    async def hear(sentence: str) -> str:
        async with talking:
            stream = stt.stream(["Alice", "Mulisa"])
            samples = np.concatenate([speech(sentence), quiet(0.3)])
            for start in range(0, len(samples), 512):
                stream.push(samples[start : start + 512])
                await asyncio.sleep(0)
            try:
                return (await stream.flush()).text
            finally:
                await stream.aclose()

    talking = asyncio.Semaphore(2)
    return list(await asyncio.gather(*map(hear, sentences)))


async def test_what_people_say_and_what_mulisa_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mulisa.providers.azure.stt.FINAL_TIMEOUT", 20.0)
    engines = Engines()
    await engines.load()
    service = AzureSpeechService(engines.hear, engines.speak, interim=1.0)
    service.faults.next("stt", Fault("cut", after=2), Fault("status", status=503))
    async with service.serving() as url:
        stt = AzureSTT(endpoint=url, api_key=KEY)
        tts = AzureTTS(endpoint=url, api_key=KEY)
        await stt.load(lambda *_: None)
        await tts.load(lambda *_: None)
        heard = await hear_all(stt, SENTENCES)
        assert word_error_rate(SENTENCES, heard) < 0.15
        assert len(service.faults.happened) == 2
        said = []
        for sentence in SENTENCES[:4]:
            pieces = [piece async for piece in tts.synthesize(sentence)]
            said.append(await engines.hear(to_hearing(np.concatenate(pieces), tts.sample_rate_hz)))
        assert word_error_rate(SENTENCES[:4], said) < 0.25
        await tts.aclose()
        await stt.aclose()
    await engines.aclose()
