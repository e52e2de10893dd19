"""Where speech begins and ends, from the probabilities of a VAD. Pure.

`now` and all `at` are seconds on one monotonic clock. Onset and offset have different thresholds
(hysteresis), so a word that fades does not flutter, and both are backdated: what is reported is
when the speech began or ended, not when that became certain.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class SpeechConfig:
    """How sure to be; times are seconds."""

    onset_threshold: float = 0.5
    """A window of at least this probability counts for an onset."""
    onset_windows: int = 2
    """So many of the last `onset_span` windows make an onset."""
    onset_span: int = 3
    offset_threshold: float = 0.35
    """While somebody speaks, a window of at least this probability is speech."""
    min_silence: float = 0.2
    """So much silence ends speech; rounded to whole windows."""
    max_gap: float = 0.3
    """If nothing arrives (lost, muted), speech ends so long after the last of it."""
    min_speech: float = 0.1
    """Shorter speech is a click: ended like any other, but not worth recognising."""
    max_utterance: float = 25.0
    """From here on an utterance is split at the next weak window."""
    split_patience: float = 2.0
    """The longest search for a weak window; after it any window will do."""


@dataclass(frozen=True, slots=True)
class Onset:
    """Speech began."""

    at: float
    """Begin of the first window that counted."""


@dataclass(frozen=True, slots=True)
class Offset:
    """Speech ended."""

    at: float
    """End of the last window that was speech."""
    click: bool
    """It was shorter than `min_speech`."""


Boundary: TypeAlias = Onset | Offset


class SpeechDetector:
    """Speech or silence of one participant, window by window."""

    def __init__(self, config: SpeechConfig, window: float) -> None:
        """`window` is the length of a window in seconds."""
        self._config = config
        self._window = window
        self._hits: deque[float | None] = deque(maxlen=config.onset_span)
        self._onset_at: float | None = None
        self._last_speech_at = 0.0
        self._silent_windows = 0

    @property
    def speaking(self) -> bool:
        """Between an onset and its offset."""
        return self._onset_at is not None

    def deadline(self) -> float | None:
        """When to call `tick` if no window comes until then; None while there is silence."""
        if self._onset_at is None:
            return None
        return self._last_speech_at + self._config.max_gap

    def hear(self, probability: float, ended_at: float) -> Boundary | None:
        """The next window; `ended_at` is the time of its last sample."""
        if self._onset_at is None:
            return self._hear_in_silence(probability, ended_at)
        if probability >= self._config.offset_threshold:
            self._last_speech_at = max(self._last_speech_at, ended_at)
            self._silent_windows = 0
            return None
        self._silent_windows += 1
        # Windows that arrive in a burst bear nearly one time, so they are counted, too.
        silence = max(ended_at - self._last_speech_at, self._silent_windows * self._window)
        return self._end() if silence + self._window / 2 >= self._config.min_silence else None

    def tick(self, now: float) -> Offset | None:
        """No window came: what does not arrive is silence."""
        deadline = self.deadline()
        return self._end() if deadline is not None and now >= deadline else None

    def end(self) -> Offset | None:
        """No window will come any more."""
        return self._end() if self._onset_at is not None else None

    def _hear_in_silence(self, probability: float, ended_at: float) -> Onset | None:
        hit = probability >= self._config.onset_threshold
        self._hits.append(ended_at if hit else None)
        hits = [at for at in self._hits if at is not None]
        if len(hits) < self._config.onset_windows:
            return None
        self._hits.clear()
        self._onset_at = hits[0] - self._window
        self._last_speech_at = ended_at
        self._silent_windows = 0
        return Onset(self._onset_at)

    def _end(self) -> Offset:
        assert self._onset_at is not None
        click = self._last_speech_at - self._onset_at < self._config.min_speech
        self._onset_at = None
        self._hits.clear()
        return Offset(self._last_speech_at, click)


def may_split(config: SpeechConfig, age: float, probability: float) -> bool:
    """Whether an utterance of `age` seconds may be split at a window of `probability`.

    From `max_utterance` on the demand falls from a silent window to any window at all.
    """
    overdue = age - config.max_utterance
    if overdue < 0:
        return False
    impatience = min(overdue / config.split_patience, 1.0)
    threshold = config.offset_threshold
    return probability <= threshold + (1.0 - threshold) * impatience
