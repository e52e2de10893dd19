"""SRTP in place (RFC 3711, RFC 7714), over libsrtp as pylibsrtp carries it.

pylibsrtp copies each packet three times; the forwarding path cannot afford that, so this module,
and no other, calls libsrtp through the package's own binding. A test notices if that changes.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from sys import byteorder
from typing import Any, Final

from pylibsrtp import Error, Policy, Session
from pylibsrtp._binding import ffi, lib  # type: ignore[import-not-found]

__all__ = [
    "AES_128_CM",
    "AES_128_GCM",
    "AES_256_GCM",
    "PACKET_BYTES",
    "PROFILES",
    "TRAILER",
    "PacketBuffer",
    "SrtpContexts",
    "SrtpKeys",
    "SrtpProfile",
    "ffi",
    "protect_in_place",
]

PACKET_BYTES: Final = 2048
"""Room for a packet: whatever arrives in one datagram of WebRTC, and its trailer when sent."""
TRAILER: Final = 16 + 128
"""Bytes that libsrtp may write behind a packet that it protects, as its header says."""
REPLAY_WINDOW: Final = 1024
"""Packets; one that is older than this cannot be received or sent again."""
MAX_INBOUND_STREAMS: Final = 256
"""Of one peer at once; beyond it the stream that has been silent longest is forgotten."""

protect_in_place: Final[Any] = lib.srtp_protect
"""``protect_in_place(contexts.outbound, pointer, length)``: 0 if the RTP packet at `pointer` was
protected; the pointers are `ffi`'s, `length` is in and out; `TRAILER` must be free."""

_RTP_HEADER_BYTES: Final = 12
_RTCP_HEADER_BYTES: Final = 8
_unprotect: Final[Any] = lib.srtp_unprotect
_length: Final[Any] = ffi.new("int *")


@dataclass(frozen=True, slots=True)
class SrtpProfile:
    """A cipher as DTLS names it (RFC 5764, RFC 7714) and as libsrtp does."""

    name: bytes
    number: int
    key_bytes: int
    salt_bytes: int


AES_128_GCM: Final = SrtpProfile(
    b"SRTP_AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12
)
AES_256_GCM: Final = SrtpProfile(
    b"SRTP_AEAD_AES_256_GCM", Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12
)
AES_128_CM: Final = SrtpProfile(
    b"SRTP_AES128_CM_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14
)
PROFILES: Final = (AES_128_GCM, AES_256_GCM, AES_128_CM)
"""What we agree to, the preferred one first: GCM costs a third of CM with HMAC-SHA1."""


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """Master key and salt of each direction."""

    profile: SrtpProfile
    local: bytes
    remote: bytes


class PacketBuffer:
    """Memory for one packet, which libsrtp works on in place and which is used again."""

    __slots__ = ("data", "pointer", "view", "words")

    def __init__(self, size: int = PACKET_BYTES) -> None:
        self.data = bytearray(size)
        self.pointer = ffi.from_buffer(self.data)
        self.view = memoryview(self.data)
        self.words = self.view.cast("I")
        """The packet as 32-bit words in this machine's order: cheap keys, not numbers."""


class SrtpContexts:
    """Both directions of one peer's SRTP and SRTCP.

    A packet that is forged, a replay or too old is dropped, and counted in `rejected`.
    """

    __slots__ = (
        "_heard",
        "_inbound",
        "_inbound_session",
        "_outbound_session",
        "_received",
        "outbound",
        "rejected",
    )

    def __init__(self, keys: SrtpKeys) -> None:
        self._inbound_session = _session(keys.profile, keys.remote, Policy.SSRC_ANY_INBOUND)
        self._outbound_session = _session(keys.profile, keys.local, Policy.SSRC_ANY_OUTBOUND)
        self._inbound = self._inbound_session._srtp[0]
        self.outbound: Any = self._outbound_session._srtp[0]
        """libsrtp's session, for `protect_in_place`; valid as long as this object."""
        self._heard: dict[int, int] = {}
        self._received = 0
        self.rejected = 0

    def unprotect_rtp(self, buffer: PacketBuffer, length: int) -> int:
        """Decrypt in place; the length of the RTP packet, or 0 if it is dropped."""
        if length < _RTP_HEADER_BYTES:
            self.rejected += 1
            return 0
        _length[0] = length
        if _unprotect(self._inbound, buffer.pointer, _length):
            self.rejected += 1
            return 0
        self._received += 1
        self._heard[buffer.words[2]] = self._received
        if len(self._heard) > MAX_INBOUND_STREAMS:
            self._forget_the_quietest()
        return int(_length[0])

    def unprotect_rtcp(self, buffer: PacketBuffer, length: int) -> bytes:
        """The compound RTCP packet in the buffer, decrypted; empty if it is dropped."""
        if length < _RTCP_HEADER_BYTES:
            self.rejected += 1
            return b""
        _length[0] = length
        if lib.srtp_unprotect_rtcp(self._inbound, buffer.pointer, _length):
            self.rejected += 1
            return b""
        self._received += 1
        self._heard[buffer.words[1]] = self._received
        if len(self._heard) > MAX_INBOUND_STREAMS:
            self._forget_the_quietest()
        return bytes(buffer.view[: _length[0]])

    def protect_rtp(self, buffer: PacketBuffer, length: int) -> int:
        """Encrypt in place; the length of the SRTP packet, or 0 if libsrtp refuses it."""
        if length > len(buffer.data) - TRAILER:
            return 0
        _length[0] = length
        if protect_in_place(self.outbound, buffer.pointer, _length):
            return 0
        return int(_length[0])

    def protect_rtcp(self, packet: bytes) -> bytes:
        """The SRTCP packet for a compound RTCP packet; empty if libsrtp refuses it."""
        length = len(packet)
        if not _RTCP_HEADER_BYTES <= length <= PACKET_BYTES - TRAILER:
            return b""
        _scratch.data[:length] = packet
        _length[0] = length
        if lib.srtp_protect_rtcp(self.outbound, _scratch.pointer, _length):
            return b""
        return bytes(_scratch.view[: _length[0]])

    def remove_outbound(self, ssrc: int) -> None:
        """Free what was kept for a stream that we send no more.

        Its SSRC must not be used again: the same key and index would encrypt two packets.
        """
        _remove(self._outbound_session, ssrc)

    def remove_inbound(self, ssrc: int) -> None:
        """Free what was kept for a stream that the peer sends no more."""
        self._heard.pop(_swap(ssrc), None)
        _remove(self._inbound_session, ssrc)

    def _forget_the_quietest(self) -> None:
        self.remove_inbound(_swap(min(self._heard, key=self._heard.__getitem__)))


def _session(profile: SrtpProfile, key: bytes, direction: int) -> Session:
    policy = Policy(key=key, ssrc_type=direction, srtp_profile=profile.number)
    policy.window_size = REPLAY_WINDOW
    policy.allow_repeat_tx = direction == Policy.SSRC_ANY_OUTBOUND  # answers to NACKs
    return Session(policy)


def _remove(session: Session, ssrc: int) -> None:
    with suppress(Error):  # it never had a packet
        session.remove_stream(ssrc)


def _swap(ssrc: int) -> int:
    """Network order, as in `PacketBuffer.words`, and back."""
    return int.from_bytes(ssrc.to_bytes(4, "big"), byteorder)


_scratch: Final = PacketBuffer()
