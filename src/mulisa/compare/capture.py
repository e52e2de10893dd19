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
_SO_RCVBUFFORCE: Final = 33
"""Beyond net.core.rmem_max, which holds a second of packets."""
_BUFFER_BYTES: Final = 16 * 1024 * 1024
_IPV4_HEADER: Final = struct.Struct("!BxHxxHxB")
_IPV6_HEADER: Final = struct.Struct("!xxxxHB")
IPV4_BYTES: Final = 20
IPV6_BYTES: Final = 40
UDP_BYTES: Final = 8
_SHORTEST: Final = IPV4_BYTES + UDP_BYTES
_HEAD_BYTES: Final = 16
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
            raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
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
    """The beginning of an IP packet; None if it is no whole UDP packet."""
    version = data[0] >> 4 if len(data) >= _SHORTEST else 0
    if version == 4:
        return _from_ipv4(data, at)
    return _from_ipv6(data, at) if version == 6 else None


def _from_ipv4(data: bytes, at: float) -> Packet | None:
    first, length, fragment, protocol = _IPV4_HEADER.unpack_from(data)
    is_whole = protocol == socket.IPPROTO_UDP and not fragment & 0x3FFF
    return _from_udp(data, (first & 15) * 4, length, at) if is_whole else None


def _from_ipv6(data: bytes, at: float) -> Packet | None:
    """Without extension headers, which nobody here sends."""
    length, following = _IPV6_HEADER.unpack_from(data)
    if following != socket.IPPROTO_UDP:
        return None
    return _from_udp(data, IPV6_BYTES, IPV6_BYTES + length, at)


def _from_udp(data: bytes, begin: int, length: int, at: float) -> Packet | None:
    if len(data) < begin + UDP_BYTES:
        return None
    source, target = struct.unpack_from("!HH", data, begin)
    payload = begin + UDP_BYTES
    return Packet(at, source, target, length, data[payload : payload + _HEAD_BYTES])
