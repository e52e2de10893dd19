"""Of a video published in several layers one is forwarded: the best that arrives. Pure.

Layers are changed at key frames only. Telling those apart takes the first bytes of a packet:
VP8 RFC 7741, 4.2; VP9 RFC 9628, 4.2; H264 RFC 6184, 5.2; AV1's RTP specification, 4.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ALIVE: Final = 1.0
"""Seconds without a packet after which a layer no longer arrives."""

_H264_IDR, _H264_SPS, _H264_STAP_A, _H264_FU_A = 5, 7, 24, 28


class Layers:
    """The choice among one track's layers. `now` is seconds and never goes backwards."""

    def __init__(self, rids: Sequence[str]) -> None:
        """`rids` from the smallest layer to the biggest."""
        self.rids = tuple(rids)
        self._heard: dict[str, float] = {}
        self.current: str | None = None

    def receive(self, rid: str, is_key: bool, now: float) -> bool:
        """True if the packet is to be forwarded; `is_key` if a key frame begins with it."""
        self._heard[rid] = now
        if rid != self.current and is_key and (self.current is None or rid == self.best(now)):
            self.current = rid
        return rid == self.current

    def best(self, now: float) -> str | None:
        """The layer to forward: if it is not `current`, a key frame of it is needed."""
        arriving = (rid for rid in reversed(self.rids) if rid in self._heard)
        return next((rid for rid in arriving if now - self._heard[rid] <= ALIVE), None)


def begins_key_frame(codec: str, payload: bytes) -> bool:
    """True if this packet is the first of a frame that needs no other."""
    if not payload:
        return False
    if codec == "vp8":
        return _vp8(payload)
    if codec == "vp9":
        return _vp9(payload)
    if codec == "h264":
        return _h264(payload)
    return codec == "av1" and payload[0] & 0x88 == 0x08


def _vp8(payload: bytes) -> bool:
    if payload[0] & 0x17 != 0x10:  # not the start of the first partition
        return False
    at = 1
    if payload[0] & 0x80 and len(payload) > 1:
        extended = payload[1]
        at = 2
        if extended & 0x80:
            at += 2 if len(payload) > 2 and payload[2] & 0x80 else 1
        at += bool(extended & 0x40) + bool(extended & 0x30)
    return len(payload) > at and not payload[at] & 1


def _vp9(payload: bytes) -> bool:
    if payload[0] & 0x48 != 0x08:  # predicted from another picture, or not a frame's start
        return False
    if not payload[0] & 0x20:
        return True
    at = 1
    if payload[0] & 0x80:
        at += 2 if len(payload) > 1 and payload[1] & 0x80 else 1
    return len(payload) > at and payload[at] >> 1 & 7 == 0


def _h264(payload: bytes) -> bool:
    kind = payload[0] & 31
    if kind == _H264_STAP_A:
        return any(each in (_H264_IDR, _H264_SPS) for each in _aggregated(payload))
    if kind == _H264_FU_A:
        return len(payload) > 1 and payload[1] & 0x9F in (0x80 | _H264_IDR, 0x80 | _H264_SPS)
    return kind in (_H264_IDR, _H264_SPS)


def _aggregated(payload: bytes) -> list[int]:
    """Types of the NAL units of a STAP-A."""
    kinds, at = [], 1
    while at + 2 < len(payload):
        kinds.append(payload[at + 2] & 31)
        at += 2 + int.from_bytes(payload[at : at + 2])
    return kinds
