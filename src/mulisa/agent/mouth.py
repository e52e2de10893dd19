"""Speaks: paces what was synthesised, one frame per 20 ms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mulisa.core.audio import Samples


@dataclass(frozen=True, slots=True)
class MouthConfig:
    """Pacing; seconds."""


@dataclass(frozen=True, slots=True)
class PlayoutPosition:
    """How much of a reply was really sent."""

    samples_sent: int
    """At 48 kHz."""
    heard_text: str
    unspoken_text: str


class Playout:
    """One reply on its way out. Made by `Mouth.begin`."""

    @property
    def first_frame_sent_at(self) -> float | None:
        """Seconds on the loop's clock; None before."""
        raise NotImplementedError

    def segment(self, text: str) -> None:
        """What is written from now on speaks `text`."""
        raise NotImplementedError

    async def write(self, samples: Samples, rate_hz: int) -> None:
        """Queue synthesised audio (int16 mono, any length); waits while more than enough is queued.

        Does nothing after `Mouth.flush`.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """All is written. Idempotent."""
        raise NotImplementedError

    async def wait_started(self) -> float:
        """Wait for the first frame; when it was sent. Never returns if flushed before that."""
        raise NotImplementedError

    async def wait_drained(self) -> PlayoutPosition:
        """Wait until the last frame was sent after `finish`, or the reply was flushed."""
        raise NotImplementedError


class Mouth:
    """The playout queue of one room and its pacing."""

    def __init__(self, send: Callable[[Samples], None], config: MouthConfig) -> None:
        raise NotImplementedError

    async def play(self) -> None:
        """Pace for ever; the session's speak task."""
        raise NotImplementedError

    def begin(self) -> Playout:
        """Begin a reply. Raises RuntimeError while another one is neither drained nor flushed."""
        raise NotImplementedError

    def pause(self) -> None:
        """Send one frame that fades out, then nothing. Idempotent; nothing without a reply."""
        raise NotImplementedError

    def resume(self) -> None:
        """Go on at the very sample. Idempotent."""
        raise NotImplementedError

    def flush(self) -> PlayoutPosition | None:
        """Cut the reply; what was heard of it. None if there is none."""
        raise NotImplementedError
