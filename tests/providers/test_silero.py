import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]

import mulisa.agent.ear as ear_module
import mulisa.providers.silero as silero
from mulisa.agent.ear import Ear, EarConfig
from mulisa.agent.events import EarEvent, SpeechStarted, UtteranceId
from mulisa.core.audio import AudioFrame, Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import VADStream
from mulisa.core.room import Identity
from mulisa.providers.scripted import ScriptedSTT
from mulisa.providers.silero import MAX_BATCH, SileroVAD
from tests.providers.speech import SENTENCES, needs_local, noise, speech
from tests.speech import frames_of

pytestmark = [pytest.mark.provider("silero"), needs_local]

WINDOW = 512


async def loaded() -> SileroVAD:
    vad = SileroVAD()
    await vad.load(lambda *_: None)
    return vad


def windows(samples: Samples) -> list[Samples]:
    return list(samples[: samples.size // WINDOW * WINDOW].reshape(-1, WINDOW))


async def hear(stream: VADStream, samples: Samples) -> list[float]:
    return [await stream.probability(window) for window in windows(samples)]


async def test_speech_is_speech_and_noise_is_not() -> None:
    vad = await loaded()
    assert vad.window_samples == WINDOW
    spoken = await hear(vad.stream(), speech("We should move the meeting to Thursday."))
    assert np.median(spoken) > 0.9
    for quiet in (np.zeros(32_000, np.int16), noise(2, 0.1), noise(2, 0.3, colour=1)):
        assert max(await hear(vad.stream(), quiet)) < 0.5
    await vad.aclose()


async def test_a_batch_says_what_each_says_alone() -> None:
    vad = await loaded()
    voices = [
        speech("We should move the meeting to Thursday."),
        noise(2, 0.2),
        np.zeros(32_000, np.int16),
        speech("The release is in two weeks and the tests are green."),
    ] * 5
    assert len(voices) > MAX_BATCH
    alone = [await hear(vad.stream(), voice) for voice in voices]
    together = await asyncio.gather(*(hear(vad.stream(), voice) for voice in voices))
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    await vad.aclose()


async def test_streams_that_wait_together_are_one_run() -> None:
    vad = await loaded()
    session: Any = vad._session
    sizes: list[int] = []

    class Counting:
        def run(self, outputs: None, inputs: dict[str, Samples]) -> object:
            sizes.append(len(inputs["input"]))
            return session.run(outputs, inputs)

    vad._session = Counting()
    window = np.zeros(WINDOW, np.int16)
    await vad.stream().probability(window)
    await asyncio.gather(*(vad.stream().probability(window) for _ in range(20)))
    assert sizes == [1, MAX_BATCH, 20 - MAX_BATCH]
    await vad.aclose()


async def test_a_cancelled_window_disturbs_nobody() -> None:
    vad = await loaded()
    voice = speech("We should move the meeting to Thursday.")
    expected = await hear(vad.stream(), voice)
    stream, other = vad.stream(), vad.stream()
    first, *rest = windows(voice)
    cancelled = asyncio.create_task(stream.probability(first))
    heard = asyncio.create_task(other.probability(first))
    await asyncio.sleep(0)
    cancelled.cancel()
    assert await heard == pytest.approx(expected[0], abs=1e-4)
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    went_on = [await stream.probability(window) for window in rest]
    assert went_on == pytest.approx(expected[1:], abs=1e-4)
    await vad.aclose()


async def test_before_loading_and_after_closing() -> None:
    vad = SileroVAD()
    with pytest.raises(ProviderError):
        await vad.stream().probability(np.zeros(WINDOW, np.int16))
    await vad.load(lambda *_: None)
    stream = vad.stream()
    stream.close()
    stream.close()
    await vad.aclose()
    await vad.aclose()
    with pytest.raises(ProviderError):
        await stream.probability(np.zeros(WINDOW, np.int16))


async def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero, "MODEL_SHA256", "0" * 64)
    with pytest.raises(ProviderUnavailable, match="sha256"):
        await SileroVAD().load(lambda *_: None)


async def onsets(vad: SileroVAD, samples: Samples) -> list[float]:
    """When an ear hears speech begin in 48 kHz audio; seconds from its beginning."""
    heard: list[EarEvent] = []
    numbers = count()
    ear = Ear(
        Identity("alice"),
        vad,
        ScriptedSTT(),
        heard.append,
        EarConfig(),
        (),
        lambda: UtteranceId(str(next(numbers))),
    )
    loop = asyncio.get_running_loop()
    began = loop.time() + 1000.0  # no frame is late

    async def frames() -> AsyncIterator[AudioFrame]:
        for frame in frames_of(samples, began):
            yield frame

    await ear.run(frames())
    return [event.at - began for event in heard if isinstance(event, SpeechStarted)]


@pytest.mark.parametrize("peak_dbfs", [-20.0, -46.0])
async def test_an_ear_that_spares_silence_hears_each_word_as_early(
    peak_dbfs: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room at -76 dBFS; what the ear spares the VAD there must not make it late or deaf."""
    vad = await loaded()
    spoken = [speech(sentence).astype(np.float64) for sentence in SENTENCES[:6]]
    parts = [np.zeros(24_000)]
    for voice in spoken:
        parts += [voice * (32_767 * 10 ** (peak_dbfs / 20) / np.abs(voice).max()), np.zeros(24_000)]
    audio = soxr.resample(np.concatenate(parts), 16_000, 48_000)
    audio += np.random.default_rng(3).normal(0, 32_768 * 10 ** (-76 / 20), audio.size)
    samples = np.round(audio).clip(-32_768, 32_767).astype(np.int16)
    with_gate = await onsets(vad, samples)
    monkeypatch.setattr(ear_module, "FAINT", -1)
    without = await onsets(vad, samples)
    assert len(without) >= len(spoken)
    for at in without:
        assert min(abs(at - other) for other in with_gate) < 0.07, f"{at}: {with_gate}"
    await vad.aclose()
