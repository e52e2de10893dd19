"""When silence must fill the gap between two frames of a voice. Pure.

libwebrtc's RTP timestamps advance only with captured audio. Whatever is left out makes all that
follows late for every listener, so between words somebody has to send silence, on time.
"""

from __future__ import annotations

from typing import Final

from mulisa.core.audio import FRAME_DURATION

GAP: Final = 3 * FRAME_DURATION
"""A frame of speech may be later than this before silence takes its place; less is jitter."""
RESTART: Final = 0.25
"""Later than this nothing is made up for: we were stopped, and so was the listeners' time."""


class Pacing:
    """The time line of what is captured: one frame for every 20 ms that pass."""

    def __init__(self, now: float) -> None:
        self._due_at = now
        self._is_speech = False

    def silence_at(self) -> float:
        """When a frame of silence has to be sent unless speech comes before."""
        return self._due_at + (GAP if self._is_speech else 0.0)

    def sent(self, now: float, *, is_speech: bool) -> None:
        """A frame is sent now."""
        self._is_speech = is_speech
        if now - self._due_at > RESTART:
            self._due_at = now
        self._due_at += FRAME_DURATION
