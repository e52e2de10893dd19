"""A person of a benchmark, in a room of either topology: a microphone, and ears for agents."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from mulisa.core.audio import (
    FRAME_DURATION,
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    AudioFrame,
    Samples,
    silence,
)
from mulisa.core.events import TrackSubscribed
from mulisa.core.room import Identity, Topology

if TYPE_CHECKING:
    from livekit import rtc

AUDIBLE = 600
"""Amplitude (int16), about -35 dBFS."""
PATIENCE = 30.0
SDK_FRAME_SAMPLES = SAMPLE_RATE_HZ // 100
"""An `rtc.AudioSource` without a queue takes 10 ms at a time."""

QUESTIONS = (
    "Mulisa, who is in the call?",
    "Mulisa, what can you do for us here?",
    "Since when are we talking, Mulisa?",
    "Mulisa, what time is it now?",
    "Mulisa, can you help me, please?",
    "Mulisa, how am I connected?",
)

Doing: TypeAlias = Literal["idle", "muted", "open", "talking"]
"""What a person does in a room: without a track, or with a microphone."""
Frames: TypeAlias = AsyncIterator[AudioFrame]
"""Of any length; `received_at` is when the last sample was there."""


class Person:
    """Somebody in a room."""

    def __init__(self, send: Callable[[Samples], None], heard: Mapping[Identity, Frames]) -> None:
        self.send = send
        """Sends 20 ms (int16, shape (960,), 48 kHz); never blocks."""
        self.heard = heard
        """What came of each of those whom the person was to hear."""


@asynccontextmanager
async def person_in(
    topology: Topology, url: str, token: str, hears: Collection[Identity]
) -> AsyncIterator[Person]:
    """Somebody in the room until the block ends; it begins when all of `hears` can be heard."""
    join = _join_mesh if topology == "mesh" else _join_sfu
    async with join(url, token, hears) as person:
        yield person


class Ear:
    """When what was heard of one participant was audible."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = 0.0
        self._heard = asyncio.Event()

    def reset(self) -> None:
        """Forget the past."""
        self.first = None
        self._heard.clear()

    async def listen(self, frames: Frames) -> None:
        """Note the first and the last audible sample."""
        async for frame in frames:
            (loud,) = np.nonzero(np.abs(frame.samples.astype(np.int32)) > AUDIBLE)
            if not loud.size:
                continue
            begin = frame.received_at - len(frame.samples) / SAMPLE_RATE_HZ
            if self.first is None:
                self.first = begin + float(loud[0]) / SAMPLE_RATE_HZ
                self._heard.set()
            self.last = begin + float(loud[-1]) / SAMPLE_RATE_HZ

    async def heard(self) -> float:
        """When the first sample since `reset` was audible."""
        await self._heard.wait()
        assert self.first is not None
        return self.first


class Microphone:
    """Sends 20 ms when they are over, silence included, as a browser's does."""

    def __init__(self, send: Callable[[Samples], None]) -> None:
        self._send = send
        self._frames: deque[Samples] = deque()
        self._spoken = asyncio.Event()
        self._begun_at = 0.0

    async def run(self) -> None:
        """Send for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += FRAME_DURATION
            await asyncio.sleep(due - loop.time())
            self._send(self._frames.popleft() if self._frames else silence())
            self._begun_at = due
            if not self._frames:
                self._spoken.set()

    async def speak(self, speech: Samples) -> tuple[float, float]:
        """Speak; the instants of the first and the last audible sample, once all is sent."""
        (loud,) = np.nonzero(np.abs(speech.astype(np.int32)) > AUDIBLE)
        whole = np.pad(speech, (0, -len(speech) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        start = self._begun_at
        self._frames.extend(whole)
        self._spoken.clear()
        await self._spoken.wait()
        return start + loud[0] / SAMPLE_RATE_HZ, start + loud[-1] / SAMPLE_RATE_HZ


async def questions() -> Sequence[Samples]:
    """Real speech for real engines, 48 kHz, without silence at its ends."""
    import soxr  # type: ignore[import-untyped]

    from mulisa.providers.piper import PiperTTS

    tts = PiperTTS()
    await tts.load(lambda doing, fraction: None)
    try:
        speeches = []
        for text in QUESTIONS:
            pieces = [piece async for piece in tts.synthesize(text)]
            speech = soxr.resample(np.concatenate(pieces), tts.sample_rate_hz, SAMPLE_RATE_HZ)
            (loud,) = np.nonzero(np.abs(speech.astype(np.int32)) > AUDIBLE)
            speeches.append(speech[loud[0] : loud[-1] + 1])
        return speeches
    finally:
        await tts.aclose()


@asynccontextmanager
async def _join_mesh(url: str, token: str, hears: Collection[Identity]) -> AsyncIterator[Person]:
    from mulisa.transport.mesh.transport import MeshTransport

    async with MeshTransport(url, token) as transport:
        heard: dict[Identity, Frames] = {}
        async with asyncio.timeout(PATIENCE):
            async for event in transport.events():
                if isinstance(event, TrackSubscribed) and event.identity in hears:
                    heard[event.identity] = transport.frames(event.identity)
                if len(heard) == len(hears):
                    break
        yield Person(transport.send_frame, heard)


@asynccontextmanager
async def _join_sfu(url: str, token: str, hears: Collection[Identity]) -> AsyncIterator[Person]:
    """As any program on the SDK: Mulisa's own transport hears no agents."""
    from livekit import rtc

    room = rtc.Room()
    tracks: asyncio.Queue[tuple[Identity, rtc.Track]] = asyncio.Queue()

    def note(
        track: rtc.Track, publication: rtc.TrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        if publication.source == rtc.TrackSource.SOURCE_MICROPHONE:
            tracks.put_nowait((Identity(participant.identity), track))

    room.on("track_subscribed", note)
    await room.connect(url, token)
    source = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=0)
    outbox: asyncio.Queue[Samples] = asyncio.Queue()
    pump = asyncio.create_task(_pump(outbox, source))
    try:
        await publish_microphone(room, source)
        heard: dict[Identity, Frames] = {}
        async with asyncio.timeout(PATIENCE):
            while len(heard) < len(hears):
                identity, track = await tracks.get()
                if identity in hears:
                    heard[identity] = _frames(track)
        yield Person(outbox.put_nowait, heard)
    finally:
        pump.cancel()
        await room.disconnect()


async def publish_microphone(room: rtc.Room, source: rtc.AudioSource) -> rtc.LocalAudioTrack:
    """Publish what `source` gives as a microphone, as browsers do."""
    from livekit import rtc

    track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await room.local_participant.publish_track(track, options)
    return track


async def _pump(outbox: asyncio.Queue[Samples], source: rtc.AudioSource) -> None:
    from livekit import rtc

    while True:
        frame = await outbox.get()
        for half in frame.reshape(-1, SDK_FRAME_SAMPLES):
            audio = rtc.AudioFrame(half.tobytes(), SAMPLE_RATE_HZ, 1, SDK_FRAME_SAMPLES)
            await source.capture_frame(audio)


async def _frames(track: rtc.Track) -> Frames:
    from livekit import rtc

    loop = asyncio.get_running_loop()
    stream = rtc.AudioStream.from_track(track=track, sample_rate=SAMPLE_RATE_HZ, num_channels=1)
    try:
        async for event in stream:
            yield AudioFrame(np.frombuffer(event.frame.data, dtype=np.int16), loop.time())
    finally:
        await stream.aclose()
