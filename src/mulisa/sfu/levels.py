"""How loud a track was since somebody last asked. Pure."""

from __future__ import annotations

from typing import Final

from mulisa.wire.rtp import timestamp_delta

ACTIVE_LEVEL: Final = 35
"""Minus dBov: what is louder counts as speech, as in LiveKit's server."""
SILENCE: Final = 127
_LONGEST_PACKET = 0.12
"""Seconds of sound of one packet (RFC 6716, 2.1.4)."""
_USUAL_PACKET = 0.02


class LevelMeter:
    """Sums up the packets of one audio track."""

    __slots__ = ("_clock_rate", "_loudest", "_since", "_spoken", "_timestamp")

    def __init__(self, clock_rate: int, now: float) -> None:
        self._clock_rate = clock_rate
        self._since = now
        self._timestamp = 0
        self._spoken = 0.0
        self._loudest = SILENCE

    def hear(self, level: int, timestamp: int) -> None:
        """Count a packet; `level` is minus dBov, 0 to 127."""
        if level <= ACTIVE_LEVEL:  # for as long as since the one before, unless there was a silence
            seconds = timestamp_delta(timestamp, self._timestamp) / self._clock_rate
            self._spoken += seconds if 0 < seconds <= _LONGEST_PACKET else _USUAL_PACKET
        if level < self._loudest:
            self._loudest = level
        self._timestamp = timestamp

    def drain(self, now: float) -> tuple[float, float]:
        """Share of the time since the last call that was loud (0 to 1), the loudest level in dBov.

        The level is that of speech as far as there was any.
        """
        interval = now - self._since
        share = min(self._spoken / interval, 1.0) if interval > 0 else 0.0
        loudest = -float(self._loudest)
        self._since, self._spoken, self._loudest = now, 0.0, SILENCE
        return share, loudest
