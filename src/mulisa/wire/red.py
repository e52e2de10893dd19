"""Redundant audio (RED, RFC 2198): a packet's payload with earlier ones in front of it. Pure."""

from __future__ import annotations

_LONG_HEADER = 4
"""Bytes of a redundant block's header; the primary block's is one byte."""


def primary_start(payload: bytes) -> int:
    """Where the primary block's data begin, -1 if this is no RED payload."""
    at = redundant = 0
    while at < len(payload):
        if payload[at] < 0x80:
            start = at + 1 + redundant
            return start if start <= len(payload) else -1
        if at + _LONG_HEADER > len(payload):
            break
        redundant += (payload[at + 2] & 3) << 8 | payload[at + 3]
        at += _LONG_HEADER
    return -1


def with_payload_type(payload: bytes, payload_type: int) -> bytes:
    """The same blocks, all of this payload type. `payload` is one that `primary_start` accepts."""
    blocks = bytearray(payload)
    at = 0
    while blocks[at] & 0x80:
        blocks[at] = 0x80 | payload_type
        at += _LONG_HEADER
    blocks[at] = payload_type
    return bytes(blocks)


def alone(primary: bytes, payload_type: int) -> bytes:
    """A RED payload without redundancy."""
    return bytes((payload_type,)) + primary
