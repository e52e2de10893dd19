"""RTCP: what aiortc writes is read, what we write aiortc reads, garbage is neither."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import pytest
from aiortc import rtp as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.wire.rtcp import (
    MAX_BLOCKS,
    Bye,
    FullIntraRequest,
    Nack,
    PictureLoss,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    parse,
)

pytestmark = pytest.mark.unit

Writable: TypeAlias = SenderReport | ReceiverReport | Bye | PictureLoss

_word = st.integers(0, 2**32 - 1)
_blocks = st.lists(
    st.builds(
        ReportBlock,
        _word,
        st.integers(0, 255),
        st.integers(-(2**23), 2**23 - 1),
        _word,
        _word,
        _word,
        _word,
    ),
    max_size=3,
).map(tuple)
_sender_reports = st.builds(
    SenderReport, _word, st.integers(0, 2**64 - 1), _word, _word, _word, _blocks
)
_receiver_reports = st.builds(ReceiverReport, _word, _blocks)
_byes = st.builds(Bye, st.lists(_word, max_size=31).map(tuple))
_losses = st.builds(PictureLoss, _word, _word)
_written = _sender_reports | _receiver_reports | _byes | _losses


def joined(packets: Iterable[Writable]) -> bytes:
    return b"".join(map(bytes, packets))


def theirs_of(block: ReportBlock) -> theirs.RtcpReceiverInfo:
    return theirs.RtcpReceiverInfo(
        block.ssrc,
        block.fraction_lost,
        block.packets_lost,
        block.highest_sequence,
        block.jitter,
        block.last_report,
        block.delay,
    )


@given(st.lists(_written, max_size=5))
def test_what_we_write_we_read(packets: list[Writable]) -> None:
    assert parse(joined(packets)) == packets


@given(_sender_reports, _receiver_reports)
def test_others_read_our_reports(sender: SenderReport, receiver: ReceiverReport) -> None:
    first, second = theirs.RtcpPacket.parse(bytes(sender) + bytes(receiver))
    assert first == theirs.RtcpSrPacket(
        sender.ssrc,
        theirs.RtcpSenderInfo(sender.ntp, sender.timestamp, sender.packets, sender.octets),
        [theirs_of(block) for block in sender.blocks],
    )
    assert second == theirs.RtcpRrPacket(receiver.ssrc, [*map(theirs_of, receiver.blocks)])


def test_a_report_has_room_for_31_blocks() -> None:
    blocks = tuple(ReportBlock(ssrc, 1, -1, 2, 3, 4, 5) for ssrc in range(MAX_BLOCKS))
    assert parse(bytes(ReceiverReport(1, blocks))) == [ReceiverReport(1, blocks)]
    (read,) = theirs.RtcpPacket.parse(bytes(ReceiverReport(1, blocks)))
    assert read == theirs.RtcpRrPacket(1, [*map(theirs_of, blocks)])


def test_others_read_our_feedback() -> None:
    loss, nack = theirs.RtcpPacket.parse(bytes(PictureLoss(1, 2)) + bytes(Nack(3, 4, (5, 7))))
    assert loss == theirs.RtcpPsfbPacket(theirs.RTCP_PSFB_PLI, 1, 2)
    assert nack == theirs.RtcpRtpfbPacket(theirs.RTCP_RTPFB_NACK, 3, 4, [5, 7])


def ascending(start: int, steps: Iterable[int]) -> tuple[int, ...]:
    sequences = [start]
    for step in steps:
        sequences.append((sequences[-1] + step) & 0xFFFF)
    return tuple(sequences)


@given(st.integers(0, 65535), st.lists(st.integers(1, 40), max_size=25))
def test_nacks_are_read_as_written_by_us_and_by_others(start: int, steps: list[int]) -> None:
    sequences = ascending(start, steps)
    assert parse(bytes(Nack(1, 2, sequences))) == [Nack(1, 2, sequences)]
    if list(sequences) == sorted(sequences):  # aiortc fails where the numbers wrap around
        other = theirs.RtcpRtpfbPacket(theirs.RTCP_RTPFB_NACK, 1, 2, list(sequences))
        assert parse(bytes(other)) == [Nack(1, 2, sequences)]


def test_a_full_intra_request_names_its_streams() -> None:
    entries = bytes.fromhex("0000002a 01000000 0000002b 01000000")
    packet = theirs.RtcpPsfbPacket(theirs.RTCP_PSFB_FIR, 1, 0, entries)
    assert parse(bytes(packet)) == [FullIntraRequest(1, (42, 43))]


def test_unknown_packets_are_skipped() -> None:
    description = theirs.RtcpSdesPacket([theirs.RtcpSourceInfo(1, [(1, b"cname")])])
    estimate = theirs.RtcpPsfbPacket(15, 1, 0, theirs.pack_remb_fci(1000, [2]))
    data = bytes(description) + bytes(estimate) + bytes(PictureLoss(1, 2))
    assert parse(data) == [PictureLoss(1, 2)]


def test_what_came_before_a_broken_packet_counts() -> None:
    whole = bytes(PictureLoss(1, 2))
    assert parse(whole + bytes(ReceiverReport(1))[:-1]) == [PictureLoss(1, 2)]
    too_short = bytes.fromhex("81c90001 00000001")  # promises a report block
    assert parse(whole + too_short + whole) == [PictureLoss(1, 2)]


def test_padding_is_no_content() -> None:
    padded = bytes.fromhex("a1cd0004 00000001 00000002 00070000 00000004")
    assert parse(padded) == [Nack(1, 2, (7,))]


def test_a_long_nack_is_read_in_part() -> None:
    (nack,) = parse(bytes(Nack(1, 2, tuple(range(0, 60000, 17)))))
    assert isinstance(nack, Nack)
    assert 0 < len(nack.sequences) < 600


_damage = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=4)
_some = st.lists(_receiver_reports | _byes | _losses, max_size=3)


@settings(max_examples=2000)
@given(st.binary(max_size=150) | _some.map(joined), _damage)
def test_any_bytes_can_be_parsed(data: bytes, damage: list[tuple[int, int]]) -> None:
    damaged = bytearray(data)
    for at, byte in damage:
        damaged[at : at + 1] = bytes((byte,))
    for packet in parse(bytes(damaged)):
        assert isinstance(packet, RtcpPacket)


@pytest.mark.slow
@settings(max_examples=8_000)
@given(st.binary(max_size=150) | _some.map(joined), _damage)
def test_any_bytes_can_be_parsed_however_many(
    data: bytes,
    damage: list[tuple[int, int]],
) -> None:
    test_any_bytes_can_be_parsed.hypothesis.inner_test(data, damage)  # type: ignore[attr-defined]
