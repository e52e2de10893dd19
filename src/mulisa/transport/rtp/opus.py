"""Opus decoding with what a loss needs: concealment and in-band FEC (RFC 6716, 4.4; 2.1.7).

FFmpeg's wrapper of libopus, which is what PyAV offers, knows neither, so this calls the library
itself: the very one that PyAV brings along and has loaded, so there is nothing to install. Where
PyAV was built against the system's libopus, that one is taken.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from ctypes import POINTER, c_char_p, c_int, c_int16, c_int32, c_void_p
from functools import cache
from pathlib import Path
from typing import Final

import av
import numpy as np

from mulisa.core.audio import SAMPLE_RATE_HZ, Samples
from mulisa.core.errors import TransportError

MAX_PACKET_SAMPLES: Final = 5_760
"""120 ms, the longest packet (RFC 6716, 2.1.4)."""
GRAIN_SAMPLES: Final = 120
"""2.5 ms, the shortest frame; concealment comes in multiples of it."""

_Pcm = POINTER(c_int16)


class OpusDecoder:
    """One stream: each call continues where the last one ended. Stereo is mixed to mono.

    Decoding 20 ms of speech takes about 35 us and gives up the interpreter's lock meanwhile;
    handing it to a thread costs more.
    """

    def __init__(self) -> None:
        """Raises TransportError if there is no libopus."""
        self._opus = _libopus()
        self._state = ctypes.create_string_buffer(self._opus.opus_decoder_get_size(1))
        if self._opus.opus_decoder_init(self._state, SAMPLE_RATE_HZ, 1) != 0:
            raise TransportError("libopus makes no decoder", retryable=False)
        self._scratch = np.empty(MAX_PACKET_SAMPLES, dtype=np.int16)
        self._pcm = self._scratch.ctypes.data_as(_Pcm)

    def decode(self, payload: bytes) -> Samples:
        """What a packet holds: int16, shape (n,), 48 kHz. Raises ValueError if it is not Opus."""
        if not payload:
            raise ValueError("an empty packet")  # libopus would take it for a lost one
        return self._run(payload, MAX_PACKET_SAMPLES, fec=False)

    def conceal(self, n_samples: int) -> Samples:
        """What may have been there: `n_samples` (a multiple of 120, at most 5,760)."""
        return self._run(None, n_samples, fec=False)

    def recover(self, payload: bytes, n_samples: int) -> Samples:
        """The `n_samples` before a packet, by the copy in it of its predecessor.

        They are as many as `copied` says. Raises ValueError if the packet is not Opus.
        """
        return self._run(payload, n_samples, fec=True)

    def copied(self, payload: bytes) -> int:
        """Samples before a packet of which it carries a copy; 0 for a libopus before 1.5."""
        look = getattr(self._opus, "opus_packet_has_lbrr", None)
        if look is None or look(payload, len(payload)) != 1:
            return 0
        n_samples: int = self._opus.opus_packet_get_samples_per_frame(payload, SAMPLE_RATE_HZ)
        return n_samples

    def duration(self, payload: bytes) -> int:
        """Samples of a packet. Raises ValueError if it is not Opus."""
        n_samples: int = self._opus.opus_packet_get_nb_samples(
            payload, len(payload), SAMPLE_RATE_HZ
        )
        if n_samples <= 0:
            raise ValueError(f"not an Opus packet: {payload[:8].hex()}")
        return n_samples

    def _run(self, payload: bytes | None, n_samples: int, *, fec: bool) -> Samples:
        size = len(payload) if payload else 0
        n_decoded = self._opus.opus_decode(self._state, payload, size, self._pcm, n_samples, fec)
        if n_decoded < 0:
            raise ValueError(f"libopus does not decode {size} bytes (error {n_decoded})")
        return self._scratch[:n_decoded].copy()


@cache
def _libopus() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(str(_path()))
    except OSError as error:
        raise TransportError(f"cannot load libopus: {error}", retryable=False) from error
    library.opus_decoder_get_size.argtypes = [c_int]
    library.opus_decoder_init.argtypes = [c_void_p, c_int32, c_int]
    library.opus_decode.argtypes = [c_void_p, c_char_p, c_int32, _Pcm, c_int, c_int]
    library.opus_packet_get_samples_per_frame.argtypes = [c_char_p, c_int32]
    library.opus_packet_get_nb_samples.argtypes = [c_char_p, c_int32, c_int32]
    return library


def _path() -> str | Path:
    """Where wheels keep the libraries that they bring along (Linux and Windows, macOS)."""
    package = Path(av.__file__).parent
    for folder, pattern in ((package.with_name("av.libs"), "*opus*"), (package, ".dylibs/*opus*")):
        if found := sorted(folder.glob(pattern)):
            return found[0]
    if name := ctypes.util.find_library("opus"):
        return name
    raise TransportError("there is no libopus: install PyAV's wheel, or libopus", retryable=False)
