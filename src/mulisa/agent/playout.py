"""What waits to be spoken, and which words were heard of it. Pure.

Positions are samples at 48 kHz from the beginning of the reply.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass

import numpy as np

from mulisa.core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence

FADE_SAMPLES = SAMPLE_RATE_HZ * 5 // 1000
"""5 ms: short enough for "at once", long enough not to click."""
AUDIBLE = 100
"""Amplitude (int16) from which a sample is speech; synthesised silence is far below."""
SAMPLES_PER_CHARACTER = SAMPLE_RATE_HZ // 15
"""Of ordinary speech; used until a segment is written to its end."""

_FADE_IN = np.linspace(0.0, 1.0, FADE_SAMPLES, endpoint=False, dtype=np.float32)
_FADE_OUT = _FADE_IN[::-1]
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class PlayoutPosition:
    """How much of a reply was really sent."""

    samples_sent: int
    """At 48 kHz, gaps left out."""
    heard_text: str
    """Whole words, as they were given to `segment`."""
    unspoken_text: str


@dataclass(slots=True)
class _Segment:
    text: str
    begin: int
    """Its first audible sample; where its first sample is while it has none."""
    end: int
    """After its last audible sample so far."""
    audible: bool = False
    complete: bool = False

    def hear(self, samples: Samples, offset: int) -> None:
        """Note where in the reply it is audible; `samples` begin at `offset`."""
        audible = np.flatnonzero((samples > AUDIBLE) | (samples < -AUDIBLE))
        if len(audible):
            self.begin = self.begin if self.audible else offset + int(audible[0])
            self.end = offset + int(audible[-1]) + 1
            self.audible = True

    def heard_text(self, position: int, end: int) -> str:
        """Its words up to `position`, in proportion, if it ends at `end`."""
        if position >= end:
            return self.text
        if position <= self.begin:
            return ""
        limit = (position - self.begin) / (end - self.begin) * len(self.text)
        ends = [word.end() for word in _WORD.finditer(self.text)]
        return self.text[: max((at for at in ends if at <= limit), default=0)]


class PlayoutQueue:
    """The audio of one reply with the text that it speaks."""

    def __init__(self) -> None:
        self._pieces: deque[Samples] = deque()
        self._segments: list[_Segment] = []
        self._written = 0
        self._taken = 0
        self._finished = False
        self._fade_in = False

    @property
    def queued_samples(self) -> int:
        """Written and not taken yet."""
        return self._written - self._taken

    @property
    def has_frame(self) -> bool:
        """A whole frame is there, or the last one."""
        return self.queued_samples >= (1 if self._finished else FRAME_SAMPLES)

    @property
    def drained(self) -> bool:
        """Finished, and everything was taken."""
        return self._finished and self.queued_samples == 0

    def segment(self, text: str) -> None:
        """What is written from now on speaks `text`."""
        self._end_segment()
        self._segments.append(_Segment(text, self._written, self._written))

    def extend(self, text: str) -> None:
        """What is written from now on, and since the last `segment`, speaks this, too."""
        if not self._segments or self._segments[-1].complete:
            self.segment("")
        self._segments[-1].text += text

    def cut_text(self) -> str:
        """Take away from the last segment what its audio does not say yet; give it back."""
        if not self._segments:
            return ""
        segment = self._segments[-1]
        said = segment.heard_text(self._written, self._expected_end(segment))
        missing, segment.text = segment.text[len(said) :], said
        return missing

    def write(self, samples: Samples) -> None:
        """Append 48 kHz audio."""
        if len(samples):
            if self._segments:
                self._segments[-1].hear(samples, self._written)
            self._pieces.append(samples)
            self._written += len(samples)

    def finish(self) -> None:
        """Nothing more comes. Idempotent."""
        self._end_segment()
        self._finished = True

    def take_frame(self) -> Samples:
        """The next frame; only the last one is filled up with silence."""
        frame = self._peek_frame()
        self._drop(min(FRAME_SAMPLES, self.queued_samples))
        if self._fade_in:
            self._fade_in = False
            frame[:FADE_SAMPLES] = frame[:FADE_SAMPLES] * _FADE_IN
        return frame

    def fade_out_frame(self) -> Samples:
        """The next frame fading to silence; it is not taken and next time it fades in."""
        frame = self._peek_frame()
        frame[:FADE_SAMPLES] = frame[:FADE_SAMPLES] * _FADE_OUT
        frame[FADE_SAMPLES:] = 0
        self._fade_in = True
        return frame

    def forget_fade(self) -> None:
        """The frame of `fade_out_frame` was not sent after all."""
        self._fade_in = False

    def position(self) -> PlayoutPosition:
        """Where the listener is; a word counts as heard when all of it was sent."""
        heard: list[str] = []
        unspoken: list[str] = []
        for segment in self._segments:
            text = segment.heard_text(self._taken, self._expected_end(segment))
            heard.append(text.strip())
            unspoken.append(segment.text[len(text) :].strip())
        return PlayoutPosition(self._taken, _joined(heard), _joined(unspoken))

    def _expected_end(self, segment: _Segment) -> int:
        if segment.complete:
            return segment.end
        usual = segment.begin + len(segment.text) * SAMPLES_PER_CHARACTER
        return max(usual, self._written + 1)

    def _end_segment(self) -> None:
        if self._segments:
            self._segments[-1].complete = True

    def _peek_frame(self) -> Samples:
        frame = silence()
        filled = 0
        for piece in self._pieces:
            part = piece[: FRAME_SAMPLES - filled]
            frame[filled : filled + len(part)] = part
            filled += len(part)
            if filled == FRAME_SAMPLES:
                break
        return frame

    def _drop(self, n_samples: int) -> None:
        self._taken += n_samples
        while n_samples:
            piece = self._pieces.popleft()
            if len(piece) > n_samples:
                self._pieces.appendleft(piece[n_samples:])
                return
            n_samples -= len(piece)


def _joined(texts: list[str]) -> str:
    return " ".join(text for text in texts if text)
