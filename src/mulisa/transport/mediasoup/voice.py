"""One voice of ours as a producer at the server: encoded once, whoever consumes it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from struct import Struct
from typing import Final

import numpy as np

from mulisa.core.audio import FRAME_SAMPLES, Samples
from mulisa.transport.mediasoup.parameters import OpusParameters
from mulisa.transport.rtp.spurts import SpeechClock, TalkSpurts, VoicePacket
from mulisa.wire.rtp import extension_block

SILENT: Final = 127
"""Audio level of digital silence (RFC 6464, 3): minus the dBov."""
_VOICE_FLAG: Final = 0x80
_FULL_SCALE: Final = 32_768.0
_VERSION: Final = 0x80
_EXTENSION: Final = 0x10
_MARKER: Final = 0x80

_header = Struct("!BBHLL")


class Voice:
    """Frames in, RTP packets out: with the loudness that the server's observers go by."""

    def __init__(self, opus: OpusParameters, send: Callable[[bytes], object]) -> None:
        """`send` takes RTP packets, before encryption; it never blocks."""
        self.ssrc = 1 + secrets.randbelow(0xFFFFFFFE)
        self.producer = ""
        """The server's name for it, once it has one."""
        self._send = send
        self._payload_type = opus.payload_type
        self._level_id = opus.level_id
        self._level = SILENT
        self._sequence = secrets.randbelow(1 << 15)
        self._offset = secrets.randbits(32)
        self._next_pts: int | None = None
        self._spurts = TalkSpurts(SpeechClock(), self._emit)

    def speak(self, samples: Samples) -> None:
        """Encode 20 ms (int16, shape (960,), 48 kHz) and send them now."""
        self._level = level_of(samples)
        try:
            self._spurts.speak(samples)
        finally:
            self._level = SILENT  # of the silence that ends a talk spurt

    def end(self) -> None:
        """End the talk spurt now. Idempotent."""
        self._spurts.end()

    def close(self) -> None:
        """Send no more. Idempotent."""
        self._spurts.close()

    def _emit(self, packet: VoicePacket) -> None:
        pts = packet.pts or 0
        begins = pts != self._next_pts  # a talk spurt (RFC 3551, 4.1)
        self._next_pts = pts + FRAME_SAMPLES
        block = b""
        if self._level_id is not None:
            voiced = _VOICE_FLAG if self._level < SILENT else 0
            block = extension_block(self._level_id, bytes((voiced | self._level,)))
        header = _header.pack(
            _VERSION | (_EXTENSION if block else 0),
            self._payload_type | (_MARKER if begins else 0),
            self._sequence,
            (self._offset + pts) & 0xFFFFFFFF,
            self.ssrc,
        )
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._send(header + block + bytes(packet))


def level_of(samples: Samples) -> int:
    """How far below overload (dBov) the RMS is: 0 to 127, 127 for silence (RFC 6464, 3)."""
    rms = float(np.sqrt(np.mean(np.square(samples.astype(np.float64)))))
    if rms < 1.0:
        return SILENT
    return min(SILENT, max(0, round(-20 * math.log10(rms / _FULL_SCALE))))
