"""Real speech over OpenAI's protocol: said by Piper, understood by Whisper, through the SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.providers.openai.stt import OpenAISTT
from mulisa.providers.openai.tts import OpenAITTS
from mulisa.providers.piper import PiperTTS
from mulisa.providers.whisper import WhisperSTT
from tests.browser.speech import word_error_rate
from tests.providers.speech import needs_local
from tests.services.faults import Fault
from tests.services.openai_realtime import OpenAIRealtimeService
from tests.services.openai_service import KEY, RATE_HZ, OpenAIService

pytestmark = [pytest.mark.provider("whisper"), needs_local]

FIRST = "We should move the meeting to Thursday."
SECOND = "The new office is near the river, behind the old station."
FRAME = 512


@pytest.fixture
async def service() -> AsyncIterator[OpenAIRealtimeService]:
    stt, tts = WhisperSTT(), PiperTTS()
    await stt.load(lambda *_: None)
    await tts.load(lambda *_: None)

    async def transcribe(samples: Samples) -> str:
        stream = stt.stream()
        stream.push(soxr.resample(samples, RATE_HZ, HEARING_RATE_HZ))
        try:
            return (await stream.flush()).text
        finally:
            await stream.aclose()

    async def speak(text: str) -> Samples:
        pieces = [piece async for piece in tts.synthesize(text)]
        sound: Samples = soxr.resample(np.concatenate(pieces), tts.sample_rate_hz, RATE_HZ)
        return sound

    yield OpenAIRealtimeService(transcribe, OpenAIService(speak=speak, transcribe=transcribe))
    await stt.aclose()
    await tts.aclose()


@pytest.mark.parametrize("fault", [None, Fault("cut", after=2), Fault("status", status=404)])
async def test_what_is_said_is_understood(
    service: OpenAIRealtimeService, fault: Fault | None
) -> None:
    async with service.serving() as url:
        tts = OpenAITTS(base_url=url, api_key=KEY)
        stt = OpenAISTT(base_url=url, api_key=KEY)
        await tts.load(lambda *_: None)
        await stt.load(lambda *_: None)
        if fault is not None:
            service.faults.next("realtime", fault)
        stream = stt.stream()
        for text, whole in ((FIRST, FIRST), (SECOND, f"{FIRST} {SECOND}")):
            sound = np.concatenate([piece async for piece in tts.synthesize(text)])
            heard = soxr.resample(sound, tts.sample_rate_hz, HEARING_RATE_HZ)
            for start in range(0, len(heard), FRAME):
                stream.push(heard[start : start + FRAME])
            understood = (await stream.flush()).text
            assert word_error_rate(whole, understood) <= 0.2, understood
        await stream.aclose()
        await stt.aclose()
        await tts.aclose()
