"""Packets as a raw socket gives them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.compare.capture import Packet, first_packets, parse

pytestmark = pytest.mark.unit

RTP = bytes([0x80, 111]) + bytes(6) + (0xCAFE).to_bytes(4, "big") + b"voice"
RTCP = bytes([0x80, 200]) + bytes(10)
STUN = bytes([0, 1]) + bytes(18)


def datagram(payload: bytes, protocol: int = 17, fragment: int = 0) -> bytes:
    """IPv4 and UDP around it, from port 1000 to port 2000."""
    length = 28 + len(payload)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, fragment, 64, protocol, 0) + bytes(8)
    return ip + struct.pack("!HHHH", 1000, 2000, 8 + len(payload), 0) + payload


def test_a_voice_is_known_by_its_ssrc() -> None:
    packet = parse(datagram(RTP), 5.0)
    assert packet is not None
    assert (packet.at, packet.source, packet.target) == (5.0, 1000, 2000)
    assert packet.length == 28 + len(RTP)
    assert packet.ssrc == 0xCAFE


@pytest.mark.parametrize("payload", [RTCP, STUN, b"", RTP[:11]])
def test_what_is_no_voice_has_none(payload: bytes) -> None:
    packet = parse(datagram(payload), 0.0)
    assert packet is not None and packet.ssrc is None


def test_what_is_no_udp_is_none() -> None:
    assert parse(datagram(RTP, protocol=6), 0.0) is None
    assert parse(datagram(RTP, fragment=100), 0.0) is None
    assert parse(b"\x60" + bytes(60), 0.0) is None
    assert parse(b"\x50" + bytes(60), 0.0) is None


def test_ipv6_carries_voices_too() -> None:
    udp = datagram(RTP)[20:]
    packet = parse(struct.pack("!IHBB", 0x6 << 28, len(udp), 17, 64) + bytes(32) + udp, 1.0)
    assert packet is not None
    assert (packet.source, packet.length, packet.ssrc) == (1000, 40 + len(udp), 0xCAFE)


@given(st.binary(max_size=96))
def test_anything_may_come(data: bytes) -> None:
    packet = parse(data, 0.0)
    assert packet is None or packet.ssrc is None or packet.ssrc >= 0


def test_the_first_packet_of_each_voice_at_these_ports() -> None:
    def packet(at: float, target: int, ssrc: int) -> Packet:
        return Packet(at, 1, target, 100, RTP[:8] + ssrc.to_bytes(4, "big"))

    seen = [packet(1, 9, 1), packet(2, 5, 1), packet(3, 5, 1), packet(4, 6, 2)]
    assert first_packets(seen, {5, 6}) == {1: 2, 2: 4}
