"""STUN as an ICE-lite agent needs it: reading connectivity checks, writing their answers.

Pure: bytes go in, bytes come out. Whose check it is stands in the clear (`local_ufrag`), so that a
packet for nobody costs a dictionary look-up and no cryptography; `read_check` then proves that its
sender knows our password. RFC 8489 is STUN, RFC 8445 section 7.3 what a check is.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from struct import Struct
from typing import Final
from zlib import crc32

HEADER_BYTES: Final = 20
COOKIE: Final = 0x2112A442
BINDING_REQUEST: Final = 0x0001
BINDING_SUCCESS: Final = 0x0101
BINDING_ERROR: Final = 0x0111

USERNAME: Final = 0x0006
MESSAGE_INTEGRITY: Final = 0x0008
ERROR_CODE: Final = 0x0009
UNKNOWN_ATTRIBUTES: Final = 0x000A
XOR_MAPPED_ADDRESS: Final = 0x0020
PRIORITY: Final = 0x0024
USE_CANDIDATE: Final = 0x0025
FINGERPRINT: Final = 0x8028
ICE_CONTROLLED: Final = 0x8029

ROLE_CONFLICT: Final = (487, "Role Conflict")
UNKNOWN_ATTRIBUTE: Final = (420, "Unknown Attribute")

_KNOWN: Final = frozenset({USERNAME, MESSAGE_INTEGRITY, PRIORITY, USE_CANDIDATE})
_OPTIONAL: Final = 0x8000
"""Attribute types from here on may be ignored (RFC 8489, 14)."""
_INTEGRITY_BYTES: Final = 24
_FINGERPRINT_BYTES: Final = 8
_FINGERPRINT_XOR: Final = 0x5354554E
_MAX_UNKNOWN: Final = 16
_MAX_BEFORE_USERNAME: Final = 16
"""A stranger's packet of hundreds of attributes is not read to its end."""

_header = Struct("!HHI12s")
_start = Struct("!HHI")
_attribute = Struct("!HH")
_length = Struct("!H")
_word = Struct("!I")


class StunError(Exception):
    """A packet is no check of ours, or not one that its sender was entitled to send."""


@dataclass(frozen=True, slots=True)
class Check:
    """A connectivity check whose sender knows our password (RFC 8445, 7.3)."""

    transaction: bytes
    """12 bytes, to be repeated in the answer."""
    priority: int
    nominates: bool
    """USE-CANDIDATE: the controlling side wants this pair."""
    claims_controlled: bool
    """The sender takes itself for the controlled side, which we always are."""
    unknown: tuple[int, ...]
    """Comprehension-required attributes that we do not know: answer with 420."""


def is_stun(data: bytes | bytearray | memoryview) -> bool:
    """Whether the datagram is a STUN message and nothing else (RFC 8489, 5)."""
    if len(data) < HEADER_BYTES:
        return False
    kind, length, cookie = _start.unpack_from(data)
    is_message: bool = kind < 0x4000 and cookie == COOKIE and length % 4 == 0
    return is_message and len(data) == HEADER_BYTES + length


def local_ufrag(data: bytes | bytearray | memoryview) -> bytes | None:
    """Whom the binding request is for: USERNAME up to its colon; None if it is no such request."""
    if not is_stun(data) or _length.unpack_from(data)[0] != BINDING_REQUEST:
        return None
    try:
        for kind, start, end in islice(_attributes(data), _MAX_BEFORE_USERNAME):
            if kind == USERNAME:
                ufrag, colon, _ = bytes(data[start:end]).partition(b":")
                return ufrag if colon else None
    except StunError:
        pass
    return None


def read_check(data: bytes, pwd: bytes) -> Check:
    """The check in a datagram that `local_ufrag` recognised, proven with our password.

    Raises:
        StunError: MESSAGE-INTEGRITY or FINGERPRINT is missing or wrong, or PRIORITY is.
    """
    priority = -1
    nominates = claims_controlled = is_proven = False
    unknown: list[int] = []
    for kind, start, end in _attributes(data):
        if kind == FINGERPRINT:
            _verify_fingerprint(data, start, end)
            break
        if is_proven:
            continue  # what follows MESSAGE-INTEGRITY is anybody's (RFC 8489, 14.5)
        if kind == MESSAGE_INTEGRITY:
            _verify_integrity(data, start, end, pwd)
            is_proven = True
        elif kind == PRIORITY and end - start == 4:
            priority = _word.unpack_from(data, start)[0]
        elif kind == USE_CANDIDATE:
            nominates = True
        elif kind == ICE_CONTROLLED:
            claims_controlled = True
        elif kind < _OPTIONAL and kind not in _KNOWN:
            unknown.append(kind)
    else:
        raise StunError("a check without FINGERPRINT")
    if not is_proven:
        raise StunError("a check without MESSAGE-INTEGRITY")
    if priority < 0 and not unknown:
        raise StunError("a check without PRIORITY")
    listed = tuple(unknown[:_MAX_UNKNOWN])
    return Check(bytes(data[8:20]), priority, nominates, claims_controlled, listed)


def success(transaction: bytes, host: str, port: int, pwd: bytes) -> bytes:
    """The answer to a check that came from this address."""
    address = ip_address(host.partition("%")[0])
    pad = _word.pack(COOKIE) + transaction
    family = 1 if address.version == 4 else 2
    masked = _xor(_length.pack(port), pad) + _xor(address.packed, pad)
    mapped = _pack(XOR_MAPPED_ADDRESS, bytes((0, family)) + masked)
    return _sign(BINDING_SUCCESS, transaction, mapped, pwd)


def error(
    transaction: bytes, code: int, reason: str, pwd: bytes, unknown: tuple[int, ...] = ()
) -> bytes:
    """An error answer; `unknown` are the types that a 420 lists (RFC 8489, 6.3.1)."""
    body = _pack(ERROR_CODE, bytes((0, 0, code // 100, code % 100)) + reason.encode())
    if unknown:
        body += _pack(UNKNOWN_ATTRIBUTES, b"".join(_length.pack(kind) for kind in unknown))
    return _sign(BINDING_ERROR, transaction, body, pwd)


def request(transaction: bytes, username: str, pwd: bytes, *, priority: int, tie: int) -> bytes:
    """A nominating check of a controlling agent, for those who test or measure us."""
    body = _pack(USERNAME, username.encode()) + _pack(PRIORITY, _word.pack(priority))
    body += _pack(0x802A, tie.to_bytes(8, "big")) + _pack(USE_CANDIDATE, b"")
    return _sign(BINDING_REQUEST, transaction, body, pwd)


def _attributes(data: bytes | bytearray | memoryview) -> Iterator[tuple[int, int, int]]:
    """Type, start and end of each attribute's value; raises StunError where one overhangs."""
    position, total = HEADER_BYTES, len(data)
    while position < total:
        kind, length = _attribute.unpack_from(data, position)
        start = position + 4
        position = start + (length + 3 & ~3)
        if position > total:
            raise StunError("an attribute reaches beyond its message")
        yield kind, start, start + length


def _verify_integrity(data: bytes, start: int, end: int, pwd: bytes) -> None:
    """MESSAGE-INTEGRITY covers all before it, under a length that ends with it (14.5)."""
    covered = _with_length(data[: start - 4], start - 4 + _INTEGRITY_BYTES)
    if not hmac.compare_digest(hmac.digest(pwd, covered, "sha1"), data[start:end]):
        raise StunError("a check whose sender does not know our password")


def _verify_fingerprint(data: bytes, start: int, end: int) -> None:
    """FINGERPRINT is the last attribute and covers all before it (14.7)."""
    right = _word.pack(crc32(data[: start - 4]) ^ _FINGERPRINT_XOR)
    if end != len(data) or data[start:end] != right:
        raise StunError("a check with a wrong FINGERPRINT")


def _sign(kind: int, transaction: bytes, body: bytes, pwd: bytes) -> bytes:
    message = _header.pack(kind, len(body) + _INTEGRITY_BYTES, COOKIE, transaction) + body
    message += _pack(MESSAGE_INTEGRITY, hmac.digest(pwd, message, "sha1"))
    message = _with_length(message, len(message) + _FINGERPRINT_BYTES)
    return message + _pack(FINGERPRINT, _word.pack(crc32(message) ^ _FINGERPRINT_XOR))


def _with_length(message: bytes, total: int) -> bytes:
    return message[:2] + _length.pack(total - HEADER_BYTES) + message[4:]


def _pack(kind: int, value: bytes) -> bytes:
    return _attribute.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _xor(value: bytes, pad: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(value, pad, strict=False))
