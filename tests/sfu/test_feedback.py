"""RTCP between publishers, the forwarder and subscribers; key frames and simulcast."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiortc import rtp
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.room import ParticipantSid
from mulisa.sfu.media import DEPENDENCY_DESCRIPTOR, Codec, Inbound, Outbound, TrackSid
from mulisa.wire.rtp import RtpHeader, extension_block, timestamp_delta
from tests.sfu.media_peers import (
    OPUS,
    ROOM,
    VP8,
    FakePeer,
    Stage,
    Voice,
    audio,
    to_audio,
    to_video,
    video,
)

pytestmark = pytest.mark.unit

KEY = bytes.fromhex("1000")
DELTA = bytes.fromhex("1001")
NTP = 0x1122334455667788


def camera(stage: Stage, peer: FakePeer, ssrc: int = 2000, rid: str | None = None) -> Voice:
    voice = Voice(stage, peer, ssrc=ssrc, mid="1", payload_type=96)
    voice.level, voice.rid = None, rid
    return voice


def sender_report(ssrc: int, timestamp: int) -> bytes:
    return bytes(rtp.RtcpSrPacket(ssrc, rtp.RtcpSenderInfo(NTP, timestamp, 99, 9999)))


def picture_losses(peer: FakePeer) -> list[int]:
    return [
        packet.media_ssrc
        for packet in peer.take_rtcp()
        if isinstance(packet, rtp.RtcpPsfbPacket) and packet.fmt == rtp.RTCP_PSFB_PLI
    ]


def test_publishers_get_reports_while_they_send() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    voice = Voice(stage, publisher, sequence=7)
    voice.speak(3)
    voice.lose()
    voice.speak()
    stage.forwarder.tick(stage.clock.now)
    *_, report = publisher.take_rtcp()
    assert isinstance(report, rtp.RtcpRrPacket)
    (block,) = report.reports
    assert (block.ssrc, block.packets_lost, block.highest_sequence) == (1000, 1, 11)
    assert block.fraction_lost == 256 // 5
    stage.forwarder.tick(stage.clock.now + 1)
    assert publisher.take_rtcp() == []


def test_a_publisher_is_asked_for_what_is_missing_if_it_agreed_to_it() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    silent = stage.publisher(audio("TR_b", Codec("opus", 111, 48000, 2)))
    for peer in (publisher, silent):
        voice = Voice(stage, peer, sequence=1)
        voice.speak()
        voice.lose(2)
        voice.speak()
    (nack,) = publisher.take_rtcp()
    assert isinstance(nack, rtp.RtcpRtpfbPacket)
    assert (nack.media_ssrc, nack.lost) == (1000, [2, 3])
    assert silent.take_rtcp() == []


def test_subscribers_get_the_publishers_report_in_their_own_numbers() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    voice = Voice(stage, publisher)
    peer = stage.subscriber(to_audio(ssrc=42))
    voice.speak(2, b"four")
    stage.clock.now += 10
    source_timestamp = voice.packet.timestamp
    voice.speak(1, b"four")
    *_, newest = peer.take()
    publisher.on_rtcp(sender_report(1000, (source_timestamp + 480) % 2**32))
    (report,) = peer.take_rtcp()
    assert report.ssrc == 42
    info = report.sender_info
    assert (info.ntp_timestamp, info.packet_count, info.octet_count) == (NTP, 3, 12)
    assert timestamp_delta(info.rtp_timestamp, newest.timestamp) == 480


def test_a_report_of_an_unknown_stream_is_nobodys() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    peer = stage.subscriber(to_audio())
    Voice(stage, publisher).speak()
    publisher.on_rtcp(sender_report(77, 0))
    assert peer.take_rtcp() == []


def test_loss_and_round_trip_time_are_those_that_subscribers_report() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    peer = stage.subscriber(to_audio(ssrc=42))
    Voice(stage, publisher).speak()
    publisher.on_rtcp(sender_report(1000, 0))
    stage.clock.now += 0.35
    block = rtp.RtcpReceiverInfo(42, 64, 0, 0, 0, NTP >> 16 & 0xFFFFFFFF, 65536 // 4)
    peer.on_rtcp(bytes(rtp.RtcpRrPacket(1, [block])))
    quality = stage.forwarder.quality()
    assert quality[ParticipantSid("PA_2")] == pytest.approx((0.25, 0.1))
    assert quality[ParticipantSid("PA_1")] == (0.0, 0.0)


def test_a_stream_that_goes_on_after_its_bye_is_a_new_one() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    peer = stage.subscriber(to_audio())
    voice = Voice(stage, publisher)
    voice.speak()
    publisher.on_rtcp(bytes(rtp.RtcpByePacket([1000, 5])))
    voice.speak()
    assert len(peer.take()) == 2


def test_a_new_video_subscriber_makes_us_ask_for_a_key_frame() -> None:
    stage = Stage()
    publisher = stage.publisher(video())
    voice = camera(stage, publisher)
    voice.speak(2, DELTA)
    peer, session = stage.join()
    session.subscribe([to_video()])
    voice.speak(1, DELTA)
    assert picture_losses(publisher) == [2000]
    stage.clock.now += 1
    session.pause(TrackSid("TR_v"), True)
    voice.speak(1, DELTA)
    session.pause(TrackSid("TR_v"), False)
    voice.speak(1, DELTA)
    assert picture_losses(publisher) == [2000]
    assert len(peer.take()) == 2


def test_requests_for_key_frames_are_passed_on_but_not_all() -> None:
    stage = Stage()
    publisher = stage.publisher(video())
    voice = camera(stage, publisher)
    peers = [stage.subscriber(to_video(ssrc=ssrc)) for ssrc in (60, 61)]
    voice.speak(1, KEY)
    picture_losses(publisher)
    stage.clock.now += 1
    for _ in range(5):
        peers[0].on_rtcp(bytes(rtp.RtcpPsfbPacket(rtp.RTCP_PSFB_PLI, 1, 60)))
    fir = (61).to_bytes(4) + bytes(4)
    peers[1].on_rtcp(bytes(rtp.RtcpPsfbPacket(rtp.RTCP_PSFB_FIR, 1, 0, fir)))
    assert picture_losses(publisher) == [2000]
    voice.speak(30, DELTA)
    assert picture_losses(publisher) == [2000]


def test_requests_about_streams_of_others_are_not_heard() -> None:
    stage = Stage()
    publisher = stage.publisher(video())
    voice = camera(stage, publisher)
    peer = stage.subscriber(to_video(ssrc=60))
    stranger = stage.subscriber()
    voice.speak(2, KEY)
    sequence = peer.take()[0].sequence_number
    picture_losses(publisher)
    stage.clock.now += 1
    stranger.on_rtcp(bytes(rtp.RtcpPsfbPacket(rtp.RTCP_PSFB_PLI, 1, 60)))
    stranger.on_rtcp(bytes(rtp.RtcpRtpfbPacket(1, 1, 60, [sequence])))
    assert picture_losses(publisher) == []
    assert peer.take() == stranger.take() == []


def test_of_three_layers_the_best_is_forwarded_as_one_stream() -> None:
    stage = Stage()
    publisher = stage.publisher(video(rids=["q", "h"]))
    peer = stage.subscriber(to_video())
    small, big = camera(stage, publisher, 1, "q"), camera(stage, publisher, 2, "h")
    small.speak(1, KEY)
    assert [packet.payload for packet in peer.take()] == [KEY]
    big.speak(1, DELTA)
    assert picture_losses(publisher)[-1] == 2
    small.speak(1, DELTA)
    small.rid = big.rid = None  # libwebrtc names layers in the first packets only
    big.speak(1, KEY)
    small.speak(1, KEY)
    big.speak(1, DELTA)
    received = peer.take()
    assert [packet.payload for packet in received] == [DELTA, KEY, DELTA]
    numbers = [packet.sequence_number for packet in received]
    assert [(number - numbers[0]) & 0xFFFF for number in numbers] == [0, 1, 2]
    stage.clock.now += 1.1
    small.speak(1, DELTA)
    assert picture_losses(publisher)[-1] == 1
    small.speak(1, KEY)
    assert [packet.payload for packet in peer.take()] == [KEY]


@pytest.mark.parametrize("name", ["vp8", "h264", "vp9", "av1"])
def test_every_video_codec_is_forwarded_to_who_takes_it(name: str) -> None:
    stage = Stage()
    codec = Codec(name, 96, 90000)
    publisher = stage.publisher(video("TR_v", codec))
    peer = stage.subscriber(to_video("TR_v", Codec(name, 120, 90000)))
    other = stage.subscriber(to_video("TR_v", Codec("h265", 120, 90000)))
    voice = camera(stage, publisher)
    payload = bytes(1160)
    voice.speak(2, payload)
    received = peer.take()
    assert [(each.payload_type, each.payload) for each in received] == [(120, payload)] * 2
    assert other.take() == []


def described(codec: str = "av1", descriptor_id: int = 12) -> Inbound:
    found = video("TR_v", Codec(codec, 96, 90000))
    return replace(found, extensions={**found.extensions, DEPENDENCY_DESCRIPTOR: descriptor_id})


def to_described(descriptor_id: int, ssrc: int, codec: str = "av1") -> Outbound:
    found = to_video("TR_v", Codec(codec, 96, 90000, feedback=frozenset({"nack"})), ssrc=ssrc)
    return replace(found, extensions={DEPENDENCY_DESCRIPTOR: descriptor_id})


def with_descriptor(sequence: int, descriptor: bytes, payload: bytes, number: int = 12) -> bytes:
    fixed = bytes.fromhex("9060") + sequence.to_bytes(2) + bytes(4) + (2000).to_bytes(4)
    return fixed + extension_block(number, descriptor) + payload


def descriptors(peer: FakePeer) -> list[dict[int, bytes]]:
    """The extension elements of what came, which stay in the clear."""
    header, found = RtpHeader(), []
    for packet in peer.take_encrypted():
        assert header.read(packet, len(packet))
        found.append(header.elements(packet))
    return found


@given(st.binary(min_size=1, max_size=255), st.binary(min_size=1, max_size=255))
def test_each_subscriber_has_the_dependency_descriptor_as_it_came_under_its_own_id(
    first: bytes, second: bytes
) -> None:
    stage = Stage()
    publisher = stage.publisher(described())
    peers = {number: stage.subscriber(to_described(number, 60 + number)) for number in (2, 12, 14)}
    unable = [stage.subscriber(to_described(15, 90)), stage.subscriber(to_av1_alone())]
    for sequence, descriptor in enumerate((first, second)):
        publisher.publish(with_descriptor(sequence, descriptor, b"frame"))
    publisher.publish(bytes.fromhex("8060 0002 00000000 000007d0") + b"frame")
    for number, peer in peers.items():
        assert descriptors(peer) == [{number: first}, {number: second}, {}]
    assert [descriptors(peer) for peer in unable] == [[{}, {}, {}]] * 2
    assert stage.forwarder.counters.dropped == {}


def to_av1_alone() -> Outbound:
    return to_video("TR_v", Codec("av1", 96, 90000), ssrc=91)


def test_a_packet_with_a_descriptor_is_sent_again_as_it_was_sent() -> None:
    stage = Stage()
    publisher = stage.publisher(described())
    peer = stage.subscriber(to_described(3, 60))
    publisher.publish(with_descriptor(7, b"descriptor of more than sixteen bytes", b"frame"))
    (sent,) = peer.take_encrypted()
    sequence = int.from_bytes(sent[2:4])
    peer.on_rtcp(bytes(rtp.RtcpRtpfbPacket(rtp.RTCP_RTPFB_NACK, 1, 60, [sequence])))
    assert peer.take_encrypted() == [sent]


@pytest.mark.parametrize("codec", ["vp8", "vp9", "h264"])
def test_codecs_that_say_it_in_their_payload_go_without_a_descriptor(codec: str) -> None:
    """Of simulcast another layer may follow, whose frames it does not know."""
    stage = Stage()
    publisher = stage.publisher(described(codec))
    peer = stage.subscriber(to_described(3, 60, codec))
    publisher.publish(with_descriptor(7, b"descriptor", b"frame"))
    (packet,) = peer.take_encrypted()
    assert packet[0] == 0x80


def test_markers_and_timestamps_of_video_are_left_alone() -> None:
    stage = Stage()
    publisher = stage.publisher(video())
    peer = stage.subscriber(to_video())
    voice = camera(stage, publisher)
    for marker in (0, 0, 1):
        voice.packet.timestamp = 5
        publisher.publish(voice.make(DELTA, marker=marker))
        stage.clock.now += 0.5
    received = peer.take()
    assert [packet.marker for packet in received] == [0, 0, 1]
    assert len({packet.timestamp for packet in received}) == 1


def test_audio_and_video_of_one_connection_go_their_own_ways() -> None:
    stage = Stage()
    publisher, session = stage.join()
    session.publish([audio(), video()], ROOM)
    listener, viewer = stage.subscriber(to_audio()), stage.subscriber(to_video())
    Voice(stage, publisher).speak(2, b"sound")
    camera(stage, publisher).speak(3, KEY)
    assert [packet.payload_type for packet in listener.take()] == [OPUS.payload_type] * 2
    assert [packet.payload_type for packet in viewer.take()] == [VP8.payload_type] * 3
