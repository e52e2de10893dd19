from __future__ import annotations

from struct import pack

import pylibsrtp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.wire import srtp
from mulisa.wire.srtp import PROFILES, PacketBuffer, SrtpContexts, SrtpKeys, SrtpProfile

pytestmark = pytest.mark.unit

SSRC = 0x01020304


def pair(profile: SrtpProfile = PROFILES[0]) -> tuple[SrtpContexts, SrtpContexts]:
    """Both ends of one connection."""
    size = profile.key_bytes + profile.salt_bytes
    ours, theirs = bytes(range(size)), bytes(range(100, 100 + size))
    left = SrtpContexts(SrtpKeys(profile, ours, theirs))
    return left, SrtpContexts(SrtpKeys(profile, theirs, ours))


def rtp(sequence: int, ssrc: int = SSRC, payload: bytes = b"payload") -> bytes:
    return pack("!BBHII", 0x80, 111, sequence, 960 * sequence, ssrc) + payload


def rtcp(ssrc: int = SSRC) -> bytes:
    return pack("!BBHI", 0x80, 201, 1, ssrc)


def protect(contexts: SrtpContexts, packet: bytes) -> bytes:
    buffer = PacketBuffer()
    buffer.data[: len(packet)] = packet
    length = contexts.protect_rtp(buffer, len(packet))
    return bytes(buffer.data[:length])


def unprotect(contexts: SrtpContexts, packet: bytes) -> bytes:
    buffer = PacketBuffer()
    buffer.data[: len(packet)] = packet
    length = contexts.unprotect_rtp(buffer, len(packet))
    return bytes(buffer.data[:length])


def unprotect_rtcp(contexts: SrtpContexts, packet: bytes) -> bytes:
    buffer = PacketBuffer()
    buffer.data[: len(packet)] = packet
    return contexts.unprotect_rtcp(buffer, len(packet))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name.decode())
def test_packets_arrive_as_they_were_sent(profile: SrtpProfile) -> None:
    left, right = pair(profile)
    packet = protect(left, rtp(1))
    assert packet[12:19] != b"payload"
    assert unprotect(right, packet) == rtp(1)
    report = left.protect_rtcp(rtcp())
    assert report[8:] != b""
    assert unprotect_rtcp(right, report) == rtcp()
    assert right.rejected == 0


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name.decode())
def test_another_implementation_reads_them(profile: SrtpProfile) -> None:
    left, _ = pair(profile)
    policy = pylibsrtp.Policy(
        key=bytes(range(profile.key_bytes + profile.salt_bytes)),
        ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND,
        srtp_profile=profile.number,
    )
    theirs = pylibsrtp.Session(policy)
    assert theirs.unprotect(protect(left, rtp(1))) == rtp(1)
    assert theirs.unprotect_rtcp(left.protect_rtcp(rtcp())) == rtcp()


def test_protecting_in_place_is_what_the_binding_still_does() -> None:
    """The private part of pylibsrtp that we use; if this fails, look at `mulisa.wire.srtp`."""
    assert pylibsrtp.__version__ == "1.0.0"
    left, right = pair()
    buffer, length = PacketBuffer(), srtp.ffi.new("int *", 19)
    buffer.data[:19] = rtp(5)
    assert srtp.protect_in_place(left.outbound, buffer.pointer, length) == 0
    assert length[0] == 19 + 16
    assert unprotect(right, bytes(buffer.data[: length[0]])) == rtp(5)


def test_a_forged_packet_is_rejected() -> None:
    left, right = pair()
    packet = bytearray(protect(left, rtp(1)))
    packet[-1] ^= 1
    assert unprotect(right, bytes(packet)) == b""
    report = bytearray(left.protect_rtcp(rtcp()))
    report[9] ^= 1
    assert unprotect_rtcp(right, bytes(report)) == b""
    assert right.rejected == 2


def test_a_replay_is_rejected() -> None:
    left, right = pair()
    packet = protect(left, rtp(1))
    assert unprotect(right, packet)
    assert unprotect(right, packet) == b""
    report = left.protect_rtcp(rtcp())
    assert unprotect_rtcp(right, report)
    assert unprotect_rtcp(right, report) == b""


def test_a_packet_can_be_sent_again_for_who_lost_it() -> None:
    left, right = pair()
    lost = protect(left, rtp(1))
    for sequence in range(2, srtp.REPLAY_WINDOW):
        unprotect(right, protect(left, rtp(sequence)))
    again = protect(left, rtp(1))
    assert again == lost
    assert unprotect(right, again) == rtp(1)


def test_what_cannot_be_protected_gives_nothing() -> None:
    left, _ = pair()
    assert left.protect_rtcp(b"") == b""
    assert left.protect_rtcp(bytes(3000)) == b""
    buffer = PacketBuffer()
    assert left.protect_rtp(buffer, len(buffer.data)) == 0
    assert left.protect_rtp(buffer, 4) == 0


def test_a_stream_that_ended_leaves_nothing_behind() -> None:
    left, right = pair()
    unprotect(right, protect(left, rtp(7)))
    left.remove_outbound(SSRC)
    right.remove_inbound(SSRC)
    left.remove_outbound(SSRC)
    assert unprotect(right, protect(left, rtp(1))) == rtp(1), "both ends began anew"


def test_a_peer_of_endless_streams_is_held_to_the_limit() -> None:
    left, right = pair()
    for ssrc in range(1, srtp.MAX_INBOUND_STREAMS + 100):
        assert unprotect(right, protect(left, rtp(1, SSRC + ssrc)))
        assert unprotect(right, protect(left, rtp(ssrc, SSRC))), "who speaks is never forgotten"
    assert len(right._heard) == srtp.MAX_INBOUND_STREAMS


@pytest.fixture(scope="module")
def one_end() -> SrtpContexts:
    return pair()[0]


@settings(max_examples=2000)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_dropped(one_end: SrtpContexts, data: bytes, is_like_rtp: bool) -> None:
    data = (b"\x80\x6f" if is_like_rtp else b"") + data
    assert unprotect(one_end, data) == b""
    assert unprotect_rtcp(one_end, data) == b""
    assert not one_end._heard
