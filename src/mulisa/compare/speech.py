"""What people say in a comparison, spoken by the local voice in several pitches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from mulisa.compare.scenario import INTERRUPTION, QUESTION, Voice
from mulisa.core.audio import SAMPLE_RATE_HZ, Samples
from mulisa.core.errors import ConfigError

MONOLOGUE: Final = "monologue"
ASKS: Final = "question"
INTERRUPTS: Final = "interruption"
_AUDIBLE: Final = 600
"""Amplitude (int16), about -35 dBFS."""


async def speeches(voices: Sequence[Voice]) -> dict[str, dict[str, Samples]]:
    """By name, what each says by its key: 48 kHz, without silence at its ends.

    Raises ConfigError if the local engines are not installed.
    """
    try:
        import soxr  # type: ignore[import-untyped]

        from mulisa.providers.piper import PiperTTS
    except ImportError as error:
        raise ConfigError("this needs the extra: pip install 'mulisa[compare,local]'") from error
    tts = PiperTTS()
    try:
        await tts.load(lambda doing, fraction: None)

        async def speak(voice: Voice, text: str) -> Samples:
            pieces = [piece async for piece in tts.synthesize(text)]
            rate = tts.sample_rate_hz * voice.pitch
            return _trimmed(soxr.resample(np.concatenate(pieces), rate, SAMPLE_RATE_HZ))

        return {
            voice.name: {
                MONOLOGUE: await speak(voice, voice.monologue),
                ASKS: await speak(voice, QUESTION),
                INTERRUPTS: await speak(voice, INTERRUPTION),
            }
            for voice in voices
        }
    finally:
        await tts.aclose()


def _trimmed(speech: Samples) -> Samples:
    (loud,) = np.nonzero(np.abs(speech.astype(np.int32)) > _AUDIBLE)
    trimmed: Samples = speech[loud[0] : loud[-1] + 1]
    return trimmed
