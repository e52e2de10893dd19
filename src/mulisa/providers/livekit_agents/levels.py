"""How loud an utterance is, so that nobody waits for the words of its silent end."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from mulisa.core.audio import HEARING_RATE_HZ, Samples

STEP_SAMPLES: Final = HEARING_RATE_HZ // 50
QUIET: Final = 0.2
"""Of the loudest 20 ms: less is no speech of the same person."""
WORD_SAMPLES: Final = HEARING_RATE_HZ // 10
"""What is loud for less is a click, and no word."""
FADE_SAMPLES: Final = HEARING_RATE_HZ // 10
"""So long a word may go on after the time at which a recogniser says that it ended."""


class _Step(NamedTuple):
    end: int
    length: int
    level: float
    """RMS."""


class Levels:
    """Of 20 ms each."""

    def __init__(self) -> None:
        self.samples = 0
        """Pushed so far, at 16 kHz."""
        self._steps: list[_Step] = []

    def push(self, samples: Samples) -> None:
        """Append audio."""
        for step in np.array_split(samples, max(1, len(samples) // STEP_SAMPLES)):
            self.samples += len(step)
            level = float(np.sqrt(np.mean(np.square(step, dtype=np.float64)))) if len(step) else 0.0
            self._steps.append(_Step(self.samples, len(step), level))

    def is_quiet_since(self, start: int) -> bool:
        """Nothing like a word came after so many samples."""
        loud = QUIET * max((step.level for step in self._steps), default=0.0)
        later = (step for step in self._steps if step.end > start + FADE_SAMPLES)
        return sum(step.length for step in later if step.level > loud) < WORD_SAMPLES
