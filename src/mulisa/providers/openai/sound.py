"""Speech as services send it: raw samples, or what compatible servers send in their place."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable

RATE_HZ: Final = 24_000
ENOUGH_BYTES: Final = 12
"""To know what it is."""
LONGEST_HEADER_BYTES: Final = 4096
_RATES_HZ: Final = range(8_000, 96_001)
_COMPRESSED: Final = (b"ID3", b"OggS", b"fLaC")
_PCM: Final = (1, 0xFFFE)
"""Formats of a WAV file: plain samples, and those that say so elsewhere."""


class Sound:
    """Samples at 24 kHz of bytes that were cut anywhere. Pure.

    A WAV header is read and left out. Raises ProviderError for what is no mono int16 sound, and
    ProviderUnavailable for a compressed one, which the next sentence would be, too.
    """

    def __init__(self, where: str, content_type: str = "") -> None:
        """`where` is for people; `content_type` is what the answer calls itself."""
        self._where = where
        self._is_mpeg = "mpeg" in content_type or "mp3" in content_type
        self._rest = b""
        self._is_begun = False
        self._resampler: soxr.ResampleStream | None = None

    def push(self, piece: bytes) -> Samples:
        """What is whole by now; may be empty."""
        self._rest += piece
        if not self._is_begun and not self._begin():
            return np.zeros(0, np.int16)
        return self._samples(is_last=False)

    def end(self) -> Samples:
        """What is left; a half sample is not."""
        if not self._is_begun and self._rest.startswith(b"RIFF"):
            raise ProviderError(f"{self._where} sent no sound")
        return self._samples(is_last=True)

    def _begin(self) -> bool:
        """Look at the first bytes; False while they are too few."""
        head = self._rest
        if len(head) < ENOUGH_BYTES:
            return False
        if head.startswith(_COMPRESSED) or (self._is_mpeg and _is_mpeg_frame(head)):
            raise ProviderUnavailable(
                f"{self._where} sent compressed sound; take a server or a model that knows"
                " response_format=pcm"
            )
        if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
            found = wav_header(head, self._where)
            if found is None:
                return False
            start, rate_hz = found
            self._rest = head[start:]
            if rate_hz != RATE_HZ:
                self._resampler = soxr.ResampleStream(rate_hz, RATE_HZ, 1, dtype="int16")
        self._is_begun = True
        return True

    def _samples(self, is_last: bool) -> Samples:
        whole = len(self._rest) // 2 * 2
        samples = np.frombuffer(self._rest[:whole], dtype="<i2").astype(np.int16)
        self._rest = self._rest[whole:]
        if self._resampler is None:
            return samples
        out: Samples = self._resampler.resample_chunk(samples, last=is_last)
        return out


def wav_header(head: bytes, where: str) -> tuple[int, int] | None:
    """Where the samples begin and their rate in Hz, or None if the header goes on.

    Lengths of the whole are not read: who streams does not know them. Raises ProviderError.
    """
    at, rate_hz = 12, 0
    while at + 8 <= len(head):
        name, size = struct.unpack_from("<4sI", head, at)
        at += 8
        if name == b"data":
            if not rate_hz:
                raise ProviderError(f"{where} sent a WAV file without its format")
            return at, rate_hz
        if name == b"fmt " and size >= 16 and at + 16 <= len(head):
            rate_hz = _rate_hz(head, at, where)
        at += size + size % 2
    if at > LONGEST_HEADER_BYTES:
        raise ProviderError(f"{where} sent a WAV file without samples")
    return None


def _rate_hz(head: bytes, at: int, where: str) -> int:
    kind, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", head, at)
    if kind not in _PCM or channels != 1 or bits != 16 or rate_hz not in _RATES_HZ:
        raise ProviderError(
            f"{where} sent {channels} channels of {bits} bits; mono of 16 bits was asked for"
        )
    return int(rate_hz)


def _is_mpeg_frame(head: bytes) -> bool:
    """Of layer III; quiet samples, which are called MPEG by some servers, do not look like it."""
    return head[0] == 0xFF and head[1] & 0xE6 == 0xE2
