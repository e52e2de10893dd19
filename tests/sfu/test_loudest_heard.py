"""Loudest N, as it is heard: the beginning of a word in a room with more voices than places."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Self

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]
from livekit import rtc

from mulisa.core.audio import HEARING_RATE_HZ, SAMPLE_RATE_HZ, Samples
from mulisa.sfu.loudest import LoudestConfig
from tests.providers.speech import needs_local, speech
from tests.sfu.hosting import PATIENCE, Hosting, Person, hosting, pitch

pytestmark = [pytest.mark.network, pytest.mark.slow]

LOUDEST = LoudestConfig(count=2, min_publishers=2)
FRAME = SAMPLE_RATE_HZ // 100
PIECE = SAMPLE_RATE_HZ * 6 // 100
"""60 ms: the shortest piece of a word that is recognised again."""
BEGINNING = 5
"""Pieces of a word that must be there: 300 ms from its first sound on."""
DRIFT = SAMPLE_RATE_HZ * 15 // 100
"""By which a jitter buffer may play a piece earlier or later than the rest."""
ALIKE = 0.7
"""Correlation of a piece with what is left of it after Opus; half of it, or another: below 0.5."""
AUDIBLE = 400
MOST = 0.7
"""Of what is loud of a word: so much comes even if its beginning is cut off."""
HUM = 4_000.0
"""Amplitude, -21 dBov: 6 dB more take a place."""
RISE = SAMPLE_RATE_HZ * 14 // 100
"""In which the word grows louder: its first piece is too soft to take a place."""


class Microphone:
    """Sends a hum, and a word when there is one."""

    def __init__(self, person: Person, frequency: float, amplitude: float) -> None:
        self._person = person
        self._hum = (frequency, amplitude)
        self._word: Samples = np.zeros(0, np.int16)
        self._source = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=100)
        self._sample = 0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self._person.sdk.local_participant.publish_track(track, options)
        self._task = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._source.aclose()

    def say(self, word: Samples) -> None:
        self._word = word

    async def _send(self) -> None:
        while True:
            frequency, amplitude = self._hum
            at = (self._sample + np.arange(FRAME)) / SAMPLE_RATE_HZ
            samples = (np.sin(2 * np.pi * frequency * at) * amplitude).astype(np.int16)
            said, self._word = self._word[:FRAME], self._word[FRAME:]
            samples[: len(said)] += said
            self._sample += FRAME
            frame = rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE_HZ, 1, FRAME)
            await self._source.capture_frame(frame)


class Recorder:
    """Keeps what is heard of somebody."""

    def __init__(self, track: rtc.Track) -> None:
        self._stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE_HZ, num_channels=1)
        self._parts: list[Samples] = []
        self._task = asyncio.create_task(self._listen())

    @property
    def heard(self) -> Samples:
        return np.concatenate([np.zeros(0, np.int16), *self._parts])

    async def until_heard(self, seconds: float) -> Samples:
        """All, when so much of it is loud."""
        async with asyncio.timeout(PATIENCE):
            while np.sum(loud(self.heard)) * FRAME < seconds * SAMPLE_RATE_HZ:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return self.heard

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._stream.aclose()

    async def _listen(self) -> None:
        async for event in self._stream:
            self._parts.append(np.frombuffer(event.frame.data, np.int16))


@pytest.fixture(scope="module")
def word() -> Samples:
    """Real speech with a soft beginning, from its first sound on."""
    spoken = speech("No, not yet.")
    samples: Samples = soxr.resample(spoken, HEARING_RATE_HZ, SAMPLE_RATE_HZ)
    samples = samples[int(np.argmax(loud(samples))) * FRAME :]
    samples[:RISE] = (samples[:RISE] * np.linspace(0.03, 1.0, RISE)).astype(np.int16)
    return samples[int(np.argmax(loud(samples))) * FRAME :]


@needs_local
async def test_a_word_that_takes_a_place_is_heard_from_its_beginning(word: Samples) -> None:
    async with hosting(loudest=LOUDEST) as here, AsyncExitStack() as stack:
        listener = await stack.enter_async_context(Person(here.url, "listener"))
        agent = await stack.enter_async_context(Person(here.url, "agent", kind="agent"))
        speaker = await _room(here, stack)
        for each in (listener, agent):
            await each.until(lambda each=each: len(each.tracks) == 4)  # type: ignore[misc]
        recorders = [Recorder(each.tracks["carol"]) for each in (listener, agent)]
        for recorder in recorders:
            stack.push_async_callback(recorder.aclose)
        await listener.hear("alice", 0.5)
        assert pitch(await agent.hear("dave", 0.5)) == pytest.approx(900.0, abs=20.0)
        assert not loud(recorders[0].heard).any(), "carol had a place before she spoke"
        speaker.say(word)
        for recorder in recorders:
            heard = await recorder.until_heard(MOST * float(np.sum(loud(word))) / 100)
            found = alike(word, heard)
            assert min(found[:BEGINNING]) > ALIKE, found


async def _room(here: Hosting, stack: AsyncExitStack) -> Microphone:
    """Two who hum and have the places, one who is as loud and has none, and one who is silent."""
    speaker = None
    for identity, frequency, amplitude in (
        ("alice", 300.0, HUM),
        ("bob", 500.0, HUM),
        ("dave", 900.0, HUM),
        ("carol", 0.0, 0.0),
    ):
        person = await stack.enter_async_context(Person(here.url, identity))
        speaker = await stack.enter_async_context(Microphone(person, frequency, amplitude))
    assert speaker is not None
    return speaker


def loud(samples: Samples) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """By pieces of 10 ms."""
    whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    found: np.ndarray[Any, np.dtype[np.bool_]] = np.abs(whole).max(axis=1, initial=0) > AUDIBLE
    return found


def alike(sent: Samples, heard: Samples) -> list[float]:
    """How well each piece of what was sent is found again where it should be."""
    whole = np.correlate(_float(heard)[::8], _float(sent)[::8], "full")
    begin = int(np.argmax(np.abs(whole))) * 8 - len(sent)
    found = []
    for at in range(0, len(sent) - PIECE, PIECE):
        piece = _float(sent[at : at + PIECE])
        near = _float(heard[max(0, begin + at - DRIFT) : max(0, begin + at + PIECE + DRIFT)])
        found.append(_best(piece, near))
    return found


def _best(piece: np.ndarray[Any, Any], near: np.ndarray[Any, Any]) -> float:
    if len(near) < len(piece):
        return 0.0
    products = np.correlate(near, piece, "valid")
    energies = np.convolve(near**2, np.ones(len(piece)), "valid")
    return float(np.max(np.abs(products) / np.sqrt(energies * np.sum(piece**2) + 1.0)))


def _float(samples: Samples) -> np.ndarray[Any, np.dtype[np.float64]]:
    return samples.astype(np.float64)
