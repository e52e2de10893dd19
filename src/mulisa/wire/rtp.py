"""RTP headers read in place, and their extensions (RFC 3550, 5.1; RFC 8285). Pure.

One `RtpHeader` serves all packets of a connection, so that reading a packet makes no object.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

FIXED_BYTES: Final = 12
"""Of a header without contributing sources and extension."""
MAX_EXTENSION_ID: Final = 14
"""Of the one-byte form, the only one we write."""

SEQUENCES: Final = 1 << 16
TIMESTAMPS: Final = 1 << 32

_FIXED = Struct("!BBHLL")
_EXTENSION = Struct("!HH")
_ONE_BYTE: Final = 0xBEDE
_TWO_BYTES: Final = 0x1000
_STOP: Final = 15
_MAX_SHORT: Final = 16
"""Bytes of an element of the one-byte form."""


def extension_block(number: int, value: bytes) -> bytes:
    """A header's block of one extension element, of 0 to 255 bytes, with an id of the short form.

    In that form if it fits, as it must if the receiver does not take both (RFC 8285, 4.1.2).
    """
    if 0 < len(value) <= _MAX_SHORT:
        profile, element = _ONE_BYTE, bytes((number << 4 | len(value) - 1,)) + value
    else:
        profile, element = _TWO_BYTES, bytes((number, len(value))) + value
    words = -(-len(element) // 4)
    return _EXTENSION.pack(profile, words) + element.ljust(4 * words, b"\0")


def sequence_delta(later: int, earlier: int) -> int:
    """How far `later` is ahead of `earlier` (modulo 2^16): -32768 to 32767."""
    return ((later - earlier + 0x8000) & 0xFFFF) - 0x8000


def timestamp_delta(later: int, earlier: int) -> int:
    """How far `later` is ahead of `earlier` (modulo 2^32): -2^31 to 2^31 - 1."""
    return ((later - earlier + 0x80000000) & 0xFFFFFFFF) - 0x80000000


class RtpHeader:
    """What the last `read` found; of no meaning after a `read` that failed."""

    __slots__ = (
        "_extension_end",
        "_extension_start",
        "_profile",
        "is_marked",
        "payload_end",
        "payload_start",
        "payload_type",
        "sequence",
        "ssrc",
        "timestamp",
    )

    def __init__(self) -> None:
        self.is_marked = False
        self.payload_type = self.sequence = self.timestamp = self.ssrc = 0
        self.payload_start = self.payload_end = 0
        self._profile = self._extension_start = self._extension_end = 0

    def read(self, buffer: Buffer, length: int) -> bool:
        """Read the packet in the first `length` bytes; False if they are none.

        The payload is ``buffer[payload_start:payload_end]``, without padding.
        """
        if length < FIXED_BYTES or length > len(buffer):
            return False
        bits, kind, self.sequence, self.timestamp, self.ssrc = _FIXED.unpack_from(buffer)
        if bits >> 6 != 2:
            return False
        self.is_marked = kind > 127
        self.payload_type = kind & 127
        start = FIXED_BYTES + 4 * (bits & 15)
        self._profile = 0
        if bits & 0x10:
            if start + 4 > length:
                return False
            self._profile, words = _EXTENSION.unpack_from(buffer, start)
            self._extension_start = start + 4
            start = self._extension_end = start + 4 + 4 * words
        padding = buffer[length - 1] if bits & 0x20 else 0
        self.payload_start = start
        self.payload_end = length - padding
        return start <= self.payload_end and (padding > 0 or not bits & 0x20)

    def first_byte(self, buffer: Buffer, extension: int) -> int:
        """First byte of a header extension element of the packet, -1 if it has none."""
        if self._profile == _ONE_BYTE:
            at, end = self._extension_start, self._extension_end
            while at < end:
                head = buffer[at]
                if head >> 4 == extension:
                    return buffer[at + 1] if at + 1 < end else -1
                at += 2 + (head & 15) if head else 1
            return -1
        element = self.elements(buffer).get(extension)
        return element[0] if element else -1

    def elements(self, buffer: Buffer) -> dict[int, bytes]:
        """All header extension elements of the packet by their id, up to the first broken one."""
        if self._profile == _ONE_BYTE:
            return self._short_elements(buffer)
        if self._profile & 0xFFF0 == _TWO_BYTES:
            return self._long_elements(buffer)
        return {}

    def _short_elements(self, buffer: Buffer) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        at, end = self._extension_start, self._extension_end
        while at < end:
            head = buffer[at]
            size = (head & 15) + 1
            if head == 0:
                at += 1
                continue
            if head >> 4 == _STOP or at + 1 + size > end:
                break
            if head >> 4:
                found.setdefault(head >> 4, bytes(buffer[at + 1 : at + 1 + size]))
            at += 1 + size
        return found

    def _long_elements(self, buffer: Buffer) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        at, end = self._extension_start, self._extension_end
        while at < end:
            if buffer[at] == 0:
                at += 1
                continue
            if at + 2 > end or at + 2 + buffer[at + 1] > end:
                break
            found.setdefault(buffer[at], bytes(buffer[at + 2 : at + 2 + buffer[at + 1]]))
            at += 2 + buffer[at + 1]
        return found
