"""Voices that stand in for each other: what is heard, word by word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from mulisa.core.audio import HEARING_RATE_HZ, Samples, silence
from mulisa.core.errors import ProviderError
from mulisa.providers.chain.tts import TTSChain
from mulisa.providers.scripted import ScriptedTTS
from mulisa.providers.tones import recognise, tone
from tests.faulty_engines import ERROR, GARBAGE, SILENCE, WRONG_KEY, FaultyTTS
from tests.services.faults import Fault

pytestmark = pytest.mark.unit

TEXT = "zero one two three four five"


class Reader(FaultyTTS):
    """Speaks tone `n` for the n-th word of the text above, wherever it is asked to begin."""

    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        words = iter([TEXT.split().index(word) for word in text.split()])
        async for _ in super().synthesize(text):
            if _.dtype != np.int16:
                yield _
                continue
            spoken = tone(next(words), self.word_seconds, self.sample_rate_hz)
            yield np.concatenate((spoken, silence(round(0.1 * self.sample_rate_hz))))


async def heard(tts: TTSChain, text: str = TEXT) -> list[int]:
    import soxr  # type: ignore[import-untyped]

    pieces = [piece async for piece in tts.synthesize(text)]
    audio = np.concatenate(pieces)
    return recognise(soxr.resample(audio, tts.sample_rate_hz, HEARING_RATE_HZ))


def now() -> float:
    return asyncio.get_running_loop().time()


def a_chain(cloud_hz: int = 24_000, local_hz: int = 24_000) -> tuple[TTSChain, Reader, Reader]:
    cloud = Reader("Cloud", sample_rate_hz=cloud_hz)
    local = Reader("Local", sample_rate_hz=local_hz)
    return TTSChain([cloud, local]), cloud, local


@pytest.mark.parametrize("fault", [ERROR, WRONG_KEY, SILENCE, GARBAGE])
async def test_the_next_one_speaks_at_once(fault: Fault) -> None:
    tts, cloud, _ = a_chain()
    cloud.vendor.faults.next("tts", fault)
    asked_at = now()
    assert await heard(tts) == list(range(6))
    assert now() - asked_at <= 1.3


@pytest.mark.parametrize("after", range(1, 6))
@pytest.mark.parametrize("kind", ["cut", "silence", "garbage"])
async def test_a_sentence_is_finished_by_the_next(kind: str, after: int) -> None:
    tts, cloud, local = a_chain()
    assert await heard(tts) == list(range(6)), "so its pace is known"
    cloud.vendor.faults.next("tts", Fault(kind, after=after))  # type: ignore[arg-type]
    asked_at = now()
    words = await heard(tts)
    assert now() - asked_at <= 1.3
    assert sorted(set(words)) == list(range(6)), "no word is lost"
    assert len(words) <= 8, "and hardly one is said twice"
    assert len(local.texts) == 1 and (local.texts[0] != TEXT or after == 1)


async def test_engines_of_different_rates_sound_alike() -> None:
    tts, cloud, _ = a_chain(24_000, 22_050)
    assert tts.sample_rate_hz == 24_000
    cloud.vendor.faults.next("tts", ERROR)
    assert await heard(tts) == list(range(6))
    cloud.vendor.faults.next("tts", Fault("cut", after=3))
    assert sorted(set(await heard(tts))) == list(range(6))


async def test_the_rate_is_the_highest_and_stays() -> None:
    tts, _, _ = a_chain(16_000, 48_000)
    assert tts.sample_rate_hz == 48_000
    assert await heard(tts) == list(range(6))


class Mute(ScriptedTTS):
    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        for _ in range(100):
            yield silence(2400)


class Empty(ScriptedTTS):
    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        yield silence(0)


class Short(ScriptedTTS):
    """Ends in the middle as if that were all."""

    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        yield tone(0, 0.3, 24_000)


@pytest.mark.parametrize("broken", [Mute, Empty, Short])
async def test_a_voice_without_words_is_replaced(broken: type[ScriptedTTS]) -> None:
    local = Reader("Local")
    words = await heard(TTSChain([broken(), local]), f"{TEXT} zero one")
    assert words[-8:] == [0, 1, 2, 3, 4, 5, 0, 1]


async def test_a_text_without_words_needs_no_sound() -> None:
    assert [piece async for piece in TTSChain([Empty()]).synthesize("...")] == []


async def test_nobody_can_speak() -> None:
    tts, cloud, local = a_chain()
    cloud.vendor.faults.always("tts", ERROR)
    local.vendor.faults.always("tts", Fault("cut"))
    with pytest.raises(ProviderError, match="answered 500"):
        await heard(tts)
