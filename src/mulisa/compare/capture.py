"""Packets on the wire of this machine, seen by a raw socket (root; Linux).

What getStats cannot know: what Mulisa and the server send, when the first packet comes, and what
still comes after it should not.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

_SNAP_BYTES: Final = 96
_ALL_PROTOCOLS: Final = 0x0003
_OUTGOING: Final = 4
"""A packet of the loopback is seen twice, going out and coming in; the first is enough."""
_SO_TIMESTAMPNS: Final = 35
_BUFFER_BYTES: Final = 16 * 1024 * 1024
_IPV4_HEADER: Final = struct.Struct("!BxHxxHxB")
_PATIENCE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Packet:
    """One UDP packet."""

    at: float
    """Seconds since 1970, by the kernel."""
    source: int
    """Port."""
    target: int
    length: int
    """Bytes, IP header included."""
    head: bytes
    """The first bytes of what UDP carries."""

    @property
    def ssrc(self) -> int | None:
        """Of RTP; None for RTCP, STUN and DTLS (RFC 7983, RFC 5761)."""
        if len(self.head) < 12 or not 128 <= self.head[0] <= 191 or 192 <= self.head[1] <= 223:
            return None
        return int.from_bytes(self.head[8:12])


class Capture:
    """Packets since the last `forget`."""

    def __init__(self) -> None:
        self.packets: list[Packet] = []

    def forget(self) -> None:
        """Begin anew."""
        self.packets = []

    def between(self, begin: float, end: float = float("inf")) -> list[Packet]:
        """Those seen between two moments."""
        return [packet for packet in list(self.packets) if begin <= packet.at <= end]


def first_packets(packets: Sequence[Packet], ports: Collection[int]) -> dict[int, float]:
    """When each voice first came to one of these ports, by SSRC."""
    firsts: dict[int, float] = {}
    for packet in packets:
        if packet.target in ports and packet.ssrc is not None:
            firsts.setdefault(packet.ssrc, packet.at)
    return firsts


@contextmanager
def capturing() -> Iterator[Capture | None]:
    """Every UDP packet of the machine until the block ends; None if we may not look."""
    try:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS))
    except (PermissionError, AttributeError, OSError):
        yield None
        return
    with raw:
        raw.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        raw.settimeout(_PATIENCE)
        capture, ending = Capture(), threading.Event()
        reader = threading.Thread(target=_read, args=(raw, capture, ending), name="capture")
        reader.start()
        try:
            yield capture
        finally:
            ending.set()
            reader.join()


def _read(raw: socket.socket, capture: Capture, ending: threading.Event) -> None:
    while not ending.is_set():
        try:
            data, ancillary, _, sender = raw.recvmsg(_SNAP_BYTES, 64)
        except TimeoutError:
            continue
        if sender[2] != _OUTGOING:
            continue
        packet = parse(data, _timestamp(ancillary))
        if packet is not None:
            capture.packets.append(packet)


def _timestamp(ancillary: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return float(seconds + nanoseconds / 1e9)
    return 0.0


def parse(data: bytes, at: float) -> Packet | None:
    """An IPv4 packet's beginning; None if it is no whole UDP packet."""
    if len(data) < 28 or data[0] >> 4 != 4:
        return None
    first, length, fragment, protocol = _IPV4_HEADER.unpack_from(data)
    begin = (first & 15) * 4
    if protocol != socket.IPPROTO_UDP or fragment & 0x1FFF or len(data) < begin + 8:
        return None
    source, target = struct.unpack_from("!HH", data, begin)
    return Packet(at, source, target, length, data[begin + 8 : begin + 24])
