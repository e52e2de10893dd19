"""Voices of plugins, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from mulisa.core.account import Account, working_for
from mulisa.core.audio import Samples
from mulisa.core.errors import BudgetSpent, ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.providers.livekit_agents import LiveKitTTS
from tests.providers.livekit_agents.conftest import Loaded

pytestmark = pytest.mark.unit

WAYS = pytest.mark.parametrize("streaming", ["true", "false"])


async def speak(tts: LiveKitTTS, text: str = "Hello there.") -> Samples:
    return np.concatenate([samples async for samples in tts.synthesize(text)])


@WAYS
async def test_a_sentence(streaming: str, fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitTTS, f"fake?streaming={streaming}&sample_rate=16000") as tts:
        assert tts.sample_rate_hz == 16_000
        samples = await speak(tts)
    assert samples.dtype == np.int16
    assert np.count_nonzero(samples) == 12 * 160


@WAYS
async def test_sound_comes_before_the_sentence_is_complete(
    streaming: str, fake: Any, loaded: Loaded
) -> None:
    gate = asyncio.Event()

    async def begin(stream: Any, text: str, emitter: Any) -> None:
        fake.begin(stream, emitter)
        emitter.push(bytes(24_000))
        emitter.flush()
        await gate.wait()

    async with loaded(LiveKitTTS, f"fake?streaming={streaming}") as tts:
        fake.speak = begin
        sounds = tts.synthesize("Hello there.")
        async with asyncio.timeout(1):
            assert len(await anext(sounds)) > 0
        await sounds.aclose()
    assert fake.streams[-1].main.done()


async def test_two_channels_become_one(fake: Any, loaded: Loaded) -> None:
    async def stereo(stream: Any, text: str, emitter: Any) -> None:
        fake.begin(stream, emitter)
        emitter.push(np.tile(np.array([100, 300], dtype="<i2"), 2_400).tobytes())

    async with loaded(LiveKitTTS, "fake?num_channels=2") as tts:
        fake.speak = stereo
        samples = await speak(tts)
    assert samples.tolist() == [200] * 2_400


async def test_a_rate_that_was_not_announced(fake: Any, loaded: Loaded) -> None:
    async def other(stream: Any, text: str, emitter: Any) -> None:
        fake.begin(stream, emitter, sample_rate=8_000)
        emitter.push(bytes(8_000))

    async with loaded(LiveKitTTS, "fake") as tts:
        fake.speak = other
        with pytest.raises(ProviderError, match="8000 Hz instead of 24000 Hz"):
            await speak(tts)


@WAYS
async def test_one_that_breaks_off(streaming: str, fake: Any, loaded: Loaded) -> None:
    from livekit.agents import APIConnectionError

    tries = []

    async def break_off(stream: Any, text: str, emitter: Any) -> None:
        tries.append(text)
        fake.begin(stream, emitter)
        emitter.push(bytes(24_000))
        emitter.flush()
        await asyncio.sleep(0.1)
        raise APIConnectionError("reset")

    heard: list[Samples] = []
    async with loaded(LiveKitTTS, f"fake?streaming={streaming}") as tts:
        fake.speak = break_off
        with pytest.raises(ProviderUnavailable, match="cannot reach fake") as caught:
            async for samples in tts.synthesize("Hello there."):
                heard.append(samples)
    assert caught.value.retryable and heard and tries == ["Hello there."]


@WAYS
async def test_one_that_says_nothing(streaming: str, fake: Any, loaded: Loaded) -> None:
    async def say_nothing(stream: Any, text: str, emitter: Any) -> None:
        fake.begin(stream, emitter)

    async with loaded(LiveKitTTS, f"fake?streaming={streaming}") as tts:
        fake.speak = say_nothing
        with pytest.raises(ProviderError, match="no audio"):
            await speak(tts)


@WAYS
async def test_one_that_falls_silent(streaming: str, fake: Any, loaded: Loaded) -> None:
    async def wait(stream: Any, text: str, emitter: Any) -> None:
        await asyncio.Event().wait()

    async with loaded(LiveKitTTS, f"fake?streaming={streaming}") as tts:
        fake.speak = wait
        with pytest.raises(ProviderTimeout):
            await speak(tts)


@WAYS
async def test_cancelling_ends_it(streaming: str, fake: Any, loaded: Loaded) -> None:
    started = asyncio.Event()

    async def wait(stream: Any, text: str, emitter: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    async with loaded(LiveKitTTS, f"fake?streaming={streaming}") as tts:
        tone, fake.speak = fake.speak, wait
        speaking = asyncio.create_task(speak(tts))
        await started.wait()
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        assert speaking.cancelled() and fake.streams[-1].main.done()
        fake.speak = tone
        assert np.count_nonzero(await speak(tts, "Ok")) == 480


async def test_characters_are_counted_and_the_budget_holds(fake: Any, loaded: Loaded) -> None:
    account = Account({"characters": 10})
    async with loaded(LiveKitTTS, "fake") as tts:
        with working_for(account):
            await speak(tts)
            assert account.spent["characters"] == 12
            with pytest.raises(BudgetSpent):
                await speak(tts)
