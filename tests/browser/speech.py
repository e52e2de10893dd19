"""Speech of several people, made with the local engines and kept in ``tests/golden/speech``."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
import soxr  # type: ignore[import-untyped]

from mulisa.agent.names import NameMatcher
from mulisa.core.audio import HEARING_RATE_HZ, SAMPLE_RATE_HZ, Samples
from mulisa.core.provider import Provider
from mulisa.providers.piper import PiperTTS
from mulisa.providers.whisper import WhisperSTT


@dataclass(frozen=True, slots=True)
class Voice:
    """One person's voice: the bundled one, spoken faster and higher or slower and lower."""

    name: str
    pitch: float


AGENT = "Mulisa"
MAX_TAKES = 10
KEPT = Path(__file__).parent.parent / "golden" / "speech"
KEEPS_TAKES = "MULISA_KEEP_TAKES" in os.environ
"""New takes are written to `KEPT`, to be committed."""
OPUS_BIT_RATE = 48_000
EngineT = TypeVar("EngineT", bound=Provider)

ALICE = Voice("Alice", 1.16)
BOB = Voice("Bob", 1.0)
CAROL = Voice("Carol", 0.88)


class Studio:
    """Records and transcribes; a take that is kept is spoken again as it was, others are made.

    The voice speaks no line twice in the same way, and not always so that one understands it; a
    person would repeat it then. Such takes are thrown away here, so that tests measure Mulisa.
    """

    def __init__(self) -> None:
        self._takes: dict[tuple[Voice, str], Samples] = {}

    async def speak(self, voice: Voice, *lines: str) -> list[Samples]:
        """Each line as 48 kHz samples, with 0.1 s of silence at both ends."""
        missing = [line for line in lines if (voice, line) not in self._takes]
        missing = [line for line in missing if not self._has_kept(voice, line)]
        if missing:
            async with _loaded(PiperTTS()) as tts, _loaded(WhisperSTT()) as stt:
                for line in missing:
                    self._takes[voice, line] = await _record(tts, stt, voice, line)
                    if KEEPS_TAKES:
                        _keep(_file_of(voice, line), self._takes[voice, line])
        return [self._takes[voice, line] for line in lines]

    def _has_kept(self, voice: Voice, line: str) -> bool:
        file = _file_of(voice, line)
        if is_kept := file.exists():
            self._takes[voice, line] = _kept(file)
        return is_kept

    async def understand(self, *recordings: Samples) -> list[str]:
        """What the recogniser makes of 48 kHz recordings."""
        async with _loaded(WhisperSTT()) as stt:
            return [await _transcribe(stt, recording) for recording in recordings]


def _file_of(voice: Voice, line: str) -> Path:
    return KEPT / (f"{voice.name}-{'-'.join(words(line))}".lower()[:120] + ".ogg")


def _keep(file: Path, take: Samples) -> None:
    file.parent.mkdir(exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = OPUS_BIT_RATE
        frame = av.AudioFrame.from_ndarray(take[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def _kept(file: Path) -> Samples:
    to_int16 = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
    with av.open(str(file)) as container:
        decoded = [each for frame in container.decode(audio=0) for each in to_int16.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in decoded])


@asynccontextmanager
async def _loaded(engine: EngineT) -> AsyncIterator[EngineT]:
    try:
        await engine.load(lambda doing, fraction: None)
        yield engine
    finally:
        await engine.aclose()


async def _record(tts: PiperTTS, stt: WhisperSTT, voice: Voice, line: str) -> Samples:
    """The first take that is understood."""
    heard = []
    for _ in range(MAX_TAKES):
        pieces = [piece async for piece in tts.synthesize(line)]
        rate = tts.sample_rate_hz * voice.pitch
        speech = soxr.resample(np.concatenate(pieces), rate, SAMPLE_RATE_HZ)
        take: Samples = np.pad(speech, SAMPLE_RATE_HZ // 10)
        heard.append(await _transcribe(stt, take, names=(AGENT,)))
        if _is_understood(line, heard[-1]):
            return take
    raise AssertionError(f"{voice.name} cannot say {line!r}; understood: {heard}")


def _is_understood(line: str, heard: str) -> bool:
    """Her name as she knows it, misheard or not, and most of the other words."""
    matcher = NameMatcher(AGENT)
    calls = AGENT in line
    return calls == (matcher.find(heard) is not None) and (
        word_error_rate(matcher.without(line), matcher.without(heard)) <= 0.25
    )


async def _transcribe(stt: WhisperSTT, recording: Samples, names: Sequence[str] = ()) -> str:
    stream = stt.stream(names)
    stream.push(soxr.resample(recording, SAMPLE_RATE_HZ, HEARING_RATE_HZ))
    try:
        return (await stream.flush()).text
    finally:
        await stream.aclose()


def words(text: str) -> list[str]:
    """Lower-case words."""
    return re.findall(r"[a-z0-9']+", text.lower())


def word_error_rate(said: str, heard: str) -> float:
    """Levenshtein distance in words, per word said."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(words(said), words(heard)) / max(1, len(words(said)))
