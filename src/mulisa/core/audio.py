"""PCM as it travels through the agent.

At every transport boundary audio is 48 kHz mono int16 in frames of 20 ms, shape ``(960,)``.
The ear resamples once to 16 kHz, the mouth resamples once to 48 kHz, nobody else does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Samples: TypeAlias = npt.NDArray[np.int16]
"""Mono PCM, oldest sample first: int16, shape ``(n,)``."""

SAMPLE_RATE_HZ: Final = 48_000
FRAME_DURATION: Final = 0.020
FRAME_SAMPLES: Final = 960
HEARING_RATE_HZ: Final = 16_000
"""What VAD and speech recognition hear."""


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """20 ms of one participant's voice as it crosses a transport boundary."""

    samples: Samples
    """int16, shape ``(960,)``, 48 kHz mono."""
    received_at: float
    """Seconds on the event loop's clock at which the last sample was available."""


def silence(n_samples: int = FRAME_SAMPLES) -> Samples:
    """``n_samples`` of digital silence."""
    return np.zeros(n_samples, dtype=np.int16)
