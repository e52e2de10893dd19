"""RTCP as far as a forwarder needs it (RFC 3550, 6; RFC 4585, 6; RFC 5104, 4.3.1). Pure.

Packets of other types (source descriptions, extended reports, transport feedback) are skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct, error
from typing import Final, TypeAlias

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
BYE: Final = 203
TRANSPORT_FEEDBACK: Final = 205
PAYLOAD_FEEDBACK: Final = 206

MAX_BLOCKS: Final = 31
"""Report blocks of one packet."""

_NACK_FORMAT = 1
_PLI_FORMAT = 1
_FIR_FORMAT = 4
_MAX_NACKED = 512
"""Sequence numbers that one packet may ask for; the rest of a longer one is not read."""

_HEAD = Struct("!BBH")
_ONE = Struct("!L")
_PAIR = Struct("!LL")
_SENDER = Struct("!LQLLL")
_BLOCK = Struct("!LLLLLL")
_LOST = Struct("!HH")


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one stream (RFC 3550, 6.4.1)."""

    ssrc: int
    fraction_lost: int
    """Since the last report, in 256ths."""
    packets_lost: int
    highest_sequence: int
    """Extended: its cycles are the upper 16 bits."""
    jitter: int
    """In units of the stream's timestamp."""
    last_report: int = 0
    """Middle 32 bits of the NTP timestamp of the last sender report, 0 if there was none."""
    delay: int = 0
    """Since that report came, in 65536ths of a second."""

    def __bytes__(self) -> bytes:
        lost = max(-0x800000, min(self.packets_lost, 0x7FFFFF)) & 0xFFFFFF
        return _BLOCK.pack(
            self.ssrc,
            self.fraction_lost << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_report,
            self.delay,
        )


@dataclass(frozen=True, slots=True)
class SenderReport:
    """Which timestamp of a stream belongs to which wall clock time of its sender."""

    ssrc: int
    ntp: int
    """64 bits: seconds since 1900 and a fraction."""
    timestamp: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        sender = _SENDER.pack(self.ssrc, self.ntp, self.timestamp, self.packets, self.octets)
        return _packet(SENDER_REPORT, len(self.blocks), sender + b"".join(map(bytes, self.blocks)))


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    """What a receiver says of the streams it gets."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        body = _ONE.pack(self.ssrc) + b"".join(map(bytes, self.blocks))
        return _packet(RECEIVER_REPORT, len(self.blocks), body)


@dataclass(frozen=True, slots=True)
class Bye:
    """These streams end."""

    ssrcs: tuple[int, ...]

    def __bytes__(self) -> bytes:
        return _packet(BYE, len(self.ssrcs), b"".join(map(_ONE.pack, self.ssrcs)))


@dataclass(frozen=True, slots=True)
class Nack:
    """These packets of a stream are missing (RFC 4585, 6.2.1)."""

    ssrc: int
    media_ssrc: int
    sequences: tuple[int, ...]

    def __bytes__(self) -> bytes:
        body = _PAIR.pack(self.ssrc, self.media_ssrc) + b"".join(_lost_fields(self.sequences))
        return _packet(TRANSPORT_FEEDBACK, _NACK_FORMAT, body)


@dataclass(frozen=True, slots=True)
class PictureLoss:
    """A video receiver needs a key frame (PLI, RFC 4585, 6.3.1)."""

    ssrc: int
    media_ssrc: int

    def __bytes__(self) -> bytes:
        return _packet(PAYLOAD_FEEDBACK, _PLI_FORMAT, _PAIR.pack(self.ssrc, self.media_ssrc))


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """A video receiver asks these streams for a key frame (FIR, RFC 5104, 4.3.1)."""

    ssrc: int
    media_ssrcs: tuple[int, ...]


RtcpPacket: TypeAlias = SenderReport | ReceiverReport | Bye | Nack | PictureLoss | FullIntraRequest


def parse(compound: bytes) -> list[RtcpPacket]:
    """The packets of a compound (or of a reduced-size one, RFC 5506) that we know, in order.

    Reading ends at the first packet that is broken: what came before it counts.
    """
    packets: list[RtcpPacket] = []
    for kind, count, body in _split(compound):
        try:
            packet = _parse_one(kind, count, body)
        except error:  # shorter than its type needs
            break
        if packet is not None:
            packets.append(packet)
    return packets


def _split(compound: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(compound):
        bits, kind, words = _HEAD.unpack_from(compound, at)
        body = compound[at + _HEAD.size : at + _HEAD.size + 4 * words]
        if bits >> 6 != 2 or len(body) < 4 * words:
            return
        padding = body[-1] if bits & 0x20 and body else 0
        yield kind, bits & 31, body[: len(body) - padding] if padding <= len(body) else b""
        at += _HEAD.size + 4 * words


def _parse_one(kind: int, count: int, body: bytes) -> RtcpPacket | None:
    if kind == SENDER_REPORT:
        ssrc, ntp, timestamp, packets, octets = _SENDER.unpack_from(body)
        blocks = _blocks(body, _SENDER.size, count)
        return SenderReport(ssrc, ntp, timestamp, packets, octets, blocks)
    if kind == RECEIVER_REPORT:
        (ssrc,) = _ONE.unpack_from(body)
        return ReceiverReport(ssrc, _blocks(body, _ONE.size, count))
    if kind == BYE:
        return Bye(tuple(_ONE.unpack_from(body, 4 * i)[0] for i in range(count)))
    if kind == TRANSPORT_FEEDBACK and count == _NACK_FORMAT:
        ssrc, media_ssrc = _PAIR.unpack_from(body)
        return Nack(ssrc, media_ssrc, tuple(_nacked(body)))
    if kind == PAYLOAD_FEEDBACK and count == _PLI_FORMAT:
        return PictureLoss(*_PAIR.unpack_from(body))
    if kind == PAYLOAD_FEEDBACK and count == _FIR_FORMAT:
        (ssrc,) = _ONE.unpack_from(body)
        asked = range(_PAIR.size, len(body) - _PAIR.size + 1, _PAIR.size)
        return FullIntraRequest(ssrc, tuple(_ONE.unpack_from(body, at)[0] for at in asked))
    return None


def _blocks(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...]:
    return tuple(_block(body, start + _BLOCK.size * i) for i in range(count))


def _block(body: bytes, at: int) -> ReportBlock:
    ssrc, loss, highest, jitter, last_report, delay = _BLOCK.unpack_from(body, at)
    lost = ((loss & 0xFFFFFF) ^ 0x800000) - 0x800000
    return ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last_report, delay)


def _nacked(body: bytes) -> Iterator[int]:
    fields = range(_PAIR.size, len(body) - _LOST.size + 1, _LOST.size)
    for at in fields[: _MAX_NACKED // 17]:
        first, following = _LOST.unpack_from(body, at)
        yield first
        yield from ((first + 1 + i) & 0xFFFF for i in range(16) if following >> i & 1)


def _lost_fields(sequences: Iterable[int]) -> Iterator[bytes]:
    """Sequence numbers in ascending order (modulo 2^16), 17 of them to a field at best."""
    first = following = -1
    for sequence in sequences:
        ahead = (sequence - first - 1) & 0xFFFF
        if first >= 0 and ahead < 16:
            following |= 1 << ahead
            continue
        if first >= 0:
            yield _LOST.pack(first, following)
        first, following = sequence, 0
    if first >= 0:
        yield _LOST.pack(first, following)


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return _HEAD.pack(0x80 | count, kind, len(body) // 4) + body
