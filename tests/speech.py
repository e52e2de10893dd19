"""Speech-like audio for loopback conversations: tone bursts that scripted engines understand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

import numpy as np

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, AudioFrame, Samples, silence
from mulisa.core.transport import Transport
from mulisa.providers.tones import tone


def say(*words: int, seconds: float = 0.3, pause: float = 0.1) -> Samples:
    """An utterance: each word as a tone at -20 dBFS with a pause after it, in whole frames."""
    parts = [part for word in words for part in (tone(word, seconds), quiet(pause))]
    return whole_frames(np.concatenate(parts))


def voice(n_samples: int, seed: int = 0) -> Samples:
    """Loud and nowhere repeated, so that a lost or doubled sample is seen."""
    return np.random.default_rng(seed).integers(1000, 20_000, n_samples, dtype=np.int16)


def joined(parts: Iterable[Samples]) -> Samples:
    return np.concatenate([silence(0), *parts])


def quiet(seconds: float) -> Samples:
    return silence(round(seconds * 48_000))


def whole_frames(samples: Samples) -> Samples:
    return np.concatenate((samples, silence(-len(samples) % FRAME_SAMPLES)))


def frames_of(samples: Samples, start: float) -> list[AudioFrame]:
    """As they arrive without jitter: the first is complete 20 ms after `start`."""
    parts = whole_frames(samples).reshape(-1, FRAME_SAMPLES)
    return [
        AudioFrame(part, start + (number + 1) * FRAME_DURATION) for number, part in enumerate(parts)
    ]


async def paced(frames: Sequence[AudioFrame]) -> AsyncIterator[AudioFrame]:
    """Each frame at its time."""
    loop = asyncio.get_running_loop()
    for frame in frames:
        await asyncio.sleep(frame.received_at - loop.time())
        yield frame


async def speak(transport: Transport, samples: Samples) -> None:
    """Send audio in real time, as a microphone does; returns with its last sample."""
    loop = asyncio.get_running_loop()
    for frame in frames_of(samples, loop.time()):
        await asyncio.sleep(frame.received_at - loop.time())
        transport.send_frame(frame.samples)
