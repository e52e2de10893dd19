import asyncio
from typing import Any

import numpy as np
import pytest

import mulisa.providers.silero as silero
from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import VADStream
from mulisa.providers.silero import MAX_BATCH, SileroVAD
from tests.providers.speech import needs_local, noise, speech

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
