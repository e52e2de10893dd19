"""Speech of several people, made with the local engines."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import HEARING_RATE_HZ, SAMPLE_RATE_HZ, Samples
from mulisa.providers.piper import PiperTTS
from mulisa.providers.whisper import WhisperSTT


@dataclass(frozen=True, slots=True)
class Voice:
    """One person's voice: the bundled one, spoken faster and higher or slower and lower."""

    name: str
    pitch: float


ALICE = Voice("Alice", 1.16)
BOB = Voice("Bob", 1.0)
CAROL = Voice("Carol", 0.88)


class Studio:
    """Records and transcribes; takes are kept, so each line is spoken once per voice."""

    def __init__(self) -> None:
        self._takes: dict[tuple[Voice, str], Samples] = {}

    async def speak(self, voice: Voice, *lines: str) -> list[Samples]:
        """Each line as 48 kHz samples, with 0.1 s of silence at both ends."""
        missing = [line for line in lines if (voice, line) not in self._takes]
        if missing:
            tts = PiperTTS()
            await tts.load(lambda doing, fraction: None)
            try:
                for line in missing:
                    pieces = [piece async for piece in tts.synthesize(line)]
                    rate = tts.sample_rate_hz * voice.pitch
                    speech = soxr.resample(np.concatenate(pieces), rate, SAMPLE_RATE_HZ)
                    self._takes[voice, line] = np.pad(speech, SAMPLE_RATE_HZ // 10)
            finally:
                await tts.aclose()
        return [self._takes[voice, line] for line in lines]

    async def understand(self, *recordings: Samples) -> list[str]:
        """What the recogniser makes of 48 kHz recordings."""
        stt = WhisperSTT()
        await stt.load(lambda doing, fraction: None)
        try:
            texts = []
            for recording in recordings:
                stream = stt.stream()
                stream.push(soxr.resample(recording, SAMPLE_RATE_HZ, HEARING_RATE_HZ))
                texts.append((await stream.flush()).text)
                await stream.aclose()
            return texts
        finally:
            await stt.aclose()


def words(text: str) -> list[str]:
    """Lower-case words."""
    return re.findall(r"[a-z0-9']+", text.lower())


def word_error_rate(said: str, heard: str) -> float:
    """Levenshtein distance in words, per word said."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(words(said), words(heard)) / max(1, len(words(said)))
