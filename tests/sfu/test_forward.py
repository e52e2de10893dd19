"""From a publisher's connection to its subscribers': what each of them receives."""

from __future__ import annotations

import gc
import weakref

import pytest
from aiortc.rtp import RtcpByePacket, RtcpRtpfbPacket, RtpPacket
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.sfu.media import AUDIO_LEVEL, MID, Codec, Inbound, TrackSid
from mulisa.sfu.source import MAX_SOURCES
from mulisa.wire.rtp import sequence_delta, timestamp_delta
from mulisa.wire.srtp import AES_128_CM, AES_128_GCM, AES_256_GCM, SrtpProfile
from tests.sfu.media_peers import (
    OPUS,
    RED,
    ROOM,
    RecordingPath,
    Stage,
    Voice,
    audio,
    extensions,
    to_audio,
)

pytestmark = pytest.mark.unit

TRACK = TrackSid("TR_a")


def steps(packets: list[RtpPacket]) -> list[tuple[int, int]]:
    """(sequence, timestamp) differences of packets that follow each other."""
    return [
        (
            sequence_delta(later.sequence_number, earlier.sequence_number),
            timestamp_delta(later.timestamp, earlier.timestamp),
        )
        for earlier, later in zip(packets, packets[1:], strict=False)
    ]


@pytest.mark.parametrize("profile", [AES_128_GCM, AES_256_GCM, AES_128_CM])
def test_a_packet_reaches_its_subscriber_as_the_subscriber_negotiated_it(
    profile: SrtpProfile,
) -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer, session = stage.join(profile)
    session.subscribe([to_audio("TR_a", Codec("opus", 96, 48000, 2), ssrc=77)])
    voice.speak(payload=b"hello")
    (packet,) = peer.take()
    assert (packet.ssrc, packet.payload_type, packet.payload) == (77, 96, b"hello")
    assert packet.extensions.audio_level == (True, 30)
    assert packet.extensions.mid is None


def test_every_subscriber_has_its_own_numbers() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peers = [stage.subscriber(to_audio(ssrc=100 + i, level=i % 2 * 7)) for i in range(300)]
    voice.speak(3)
    received = [peer.take() for peer in peers]
    assert all(steps(packets) == [(1, 960), (1, 960)] for packets in received)
    assert [packets[0].ssrc for packets in received] == [100 + i for i in range(300)]
    assert len({(each[0].sequence_number, each[0].timestamp) for each in received}) > 290
    assert [packets[0].extensions.audio_level for packets in received[:2]] == [None, (True, 30)]


def test_each_subscriber_has_the_level_under_its_own_id() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peers = {level: stage.subscriber(to_audio(ssrc=level, level=level)) for level in (14, 3, 7)}
    voice.speak()
    for level, peer in peers.items():
        (packet,) = peer.take_encrypted()  # headers stay in the clear
        assert packet[12:20] == bytes((0xBE, 0xDE, 0, 1, level << 4, 0x80 | 30, 0, 0))


def test_a_packet_without_a_level_goes_out_without_one() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer = stage.subscriber(to_audio())
    voice.level = None
    voice.speak(payload=b"x")
    assert [(each.extensions.audio_level, each.payload) for each in peer.take()] == [(None, b"x")]


def test_what_is_lost_on_the_way_in_is_missing_on_the_way_out() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer = stage.subscriber(to_audio())
    voice.speak()
    voice.lose(2)
    voice.speak()
    assert steps(peer.take()) == [(3, 2880)]


def test_a_late_packet_keeps_its_place_and_comes_once() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    voice = Voice(stage, publisher)
    peer = stage.subscriber(to_audio())
    voice.speak()
    (late,) = voice.lose()
    voice.speak()
    publisher.publish(late)
    publisher.publish(late)
    first, third, second = peer.take()
    assert steps([first, second, third]) == [(1, 960), (1, 960)]
    assert stage.forwarder.counters.dropped == {"duplicate": 1}


def test_who_came_after_a_late_packet_does_not_get_it() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    voice = Voice(stage, publisher)
    early = stage.subscriber(to_audio())
    voice.speak()
    (late,) = voice.lose()
    voice.speak()
    newcomer = stage.subscriber(to_audio())
    voice.speak()
    publisher.publish(late)
    assert len(early.take()) == 4
    assert len(newcomer.take()) == 1


@pytest.mark.parametrize("way", ["mute", "pause"])
def test_nothing_passes_while_a_track_is_held_and_no_number_is_missing_afterwards(way: str) -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer, session = stage.join()
    session.subscribe([to_audio()])
    voice.speak(2)

    def hold(is_held: bool) -> None:
        if way == "mute":
            stage.forwarder.set_muted(TRACK, is_held)
        else:
            session.pause(TRACK, is_held)

    before = peer.take()
    hold(True)
    voice.speak(5)
    assert peer.take() == []
    hold(False)
    voice.speak(2)
    after = peer.take()
    assert steps([before[-1], *after]) == [(1, 6 * 960), (1, 960)]
    assert [packet.marker for packet in after] == [1, 0]


def test_a_pause_ends_with_its_subscription() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer, session = stage.join()
    session.pause(TRACK, True)
    session.subscribe([to_audio(ssrc=1)])
    voice.speak()
    session.subscribe([to_audio(ssrc=2)])
    voice.speak()
    assert peer.take() == []
    session.subscribe([])
    session.subscribe([to_audio(ssrc=3)])
    voice.speak()
    assert [packet.ssrc for packet in peer.take()] == [3]


def test_while_a_track_is_muted_nothing_is_sent_again() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer = stage.subscriber(to_audio(ssrc=42))
    voice.speak()
    (packet,) = peer.take()
    stage.forwarder.set_muted(TRACK, True)
    peer.on_rtcp(bytes(RtcpRtpfbPacket(1, 1, 42, [packet.sequence_number])))
    assert peer.take_encrypted() == []


def test_after_a_silence_the_timestamp_goes_on_with_the_wall_clock() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer = stage.subscriber(to_audio())
    voice.speak()
    stage.clock.now += 2
    voice.speak(2)
    packets = peer.take()
    assert steps(packets) == [(1, round(2.02 * 48000)), (1, 960)]
    assert [packet.marker for packet in packets] == [1, 1, 0]


def test_a_publisher_whose_timestamp_counts_silence_is_left_alone() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer = stage.subscriber(to_audio())
    voice.speak()
    for _ in range(3):
        voice.packet.timestamp = (voice.packet.timestamp + 19 * 960) % 2**32
        stage.clock.now += 0.38
        voice.speak()
    assert steps(peer.take()) == [(1, 20 * 960)] * 3


def test_a_new_stream_of_the_same_track_goes_on_without_a_seam() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    peer = stage.subscriber(to_audio())
    Voice(stage, publisher).speak(2)
    Voice(stage, publisher, ssrc=1001, sequence=40000, timestamp=5).speak(2)
    assert steps(peer.take()) == [(1, 960)] * 3


def test_of_two_streams_of_a_track_the_later_one_counts() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    peer = stage.subscriber(to_audio())
    old, new = Voice(stage, publisher), Voice(stage, publisher, ssrc=1001)
    old.speak(2, b"old")
    for _ in range(3):
        new.speak(payload=b"new")
        old.speak(payload=b"old")
    assert [packet.payload for packet in peer.take()] == [b"old"] * 2 + [b"new"] * 3
    stage.clock.now += 3
    old.speak(payload=b"old")
    assert [packet.payload for packet in peer.take()] == [b"old"]


def test_an_unsubscribed_track_gets_no_packet_more_and_a_new_subscription_begins_anew() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer, session = stage.join()
    session.subscribe([to_audio(ssrc=1)])
    voice.speak()
    session.subscribe([])
    voice.speak()
    session.subscribe([to_audio(ssrc=2)])
    voice.speak()
    assert [packet.ssrc for packet in peer.take()] == [1, 2]


def test_an_unpublished_track_is_heard_no_more_and_nothing_of_it_is_kept() -> None:
    stage = Stage()
    publisher, session = stage.join()
    session.publish([audio()], ROOM)
    voice = Voice(stage, publisher)
    peer, subscriber = stage.join()
    subscriber.subscribe([to_audio()])
    voice.speak()
    session.publish([], ROOM)
    voice.speak()
    assert len(peer.take()) == 1
    assert stage.forwarder.counters.dropped == {"unknown": 1}
    subscriber.subscribe([])
    session.close()
    subscriber.close()
    assert stage.forwarder.is_empty


def test_nothing_keeps_the_connection_of_who_left() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer, session = stage.join()
    session.subscribe([to_audio()])
    voice.speak()
    session.path_changed()
    voice.speak()
    session.close()
    gone = weakref.ref(peer), weakref.ref(session)
    del peer, session
    gc.collect()
    assert [each() for each in gone] == [None, None]


def test_a_subscription_may_come_before_its_track() -> None:
    stage = Stage()
    peer = stage.subscriber(to_audio())
    Voice(stage, stage.publisher(audio())).speak()
    assert len(peer.take()) == 1


def test_a_mute_may_come_before_its_track() -> None:
    stage = Stage()
    stage.forwarder.set_muted(TRACK, True)
    voice = Voice(stage, stage.publisher(audio()))
    peer = stage.subscriber(to_audio())
    voice.speak()
    assert peer.take() == []
    stage.forwarder.set_muted(TRACK, False)
    voice.speak()
    assert len(peer.take()) == 1


def test_a_connection_gets_packets_once_it_has_a_path_and_keys() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer, session = stage.join()
    peer.path, away = None, peer.path
    session.subscribe([to_audio()])
    voice.speak()
    peer.path = away
    session.path_changed()
    voice.speak()
    assert len(peer.take()) == 1
    peer.path, old = RecordingPath(), peer.path
    session.path_changed()
    voice.speak()
    assert len(peer.take()) == 1
    assert old is not None
    assert old.packets == []
    peer.srtp = None
    session.path_changed()
    voice.speak()
    assert peer.take() == []


def test_a_closed_session_takes_and_gives_nothing() -> None:
    stage = Stage()
    publisher, session = stage.join()
    session.publish([audio()], ROOM)
    peer, subscriber = stage.join()
    subscriber.subscribe([to_audio()])
    subscriber.close()
    voice = Voice(stage, publisher)
    voice.speak()
    assert peer.take() == []
    session.close()
    voice.speak()
    publisher.on_rtcp(b"")
    assert stage.forwarder.is_empty


def red_payload(*blocks: bytes) -> bytes:
    """Opus blocks of payload type 111, the last one primary."""
    *earlier, primary = blocks
    heads = [
        bytes((0x80 | 111, *((960 * (len(earlier) - i) << 10 | len(block)).to_bytes(3))))
        for i, block in enumerate(earlier)
    ]
    return b"".join(heads) + bytes((111,)) + b"".join(earlier) + primary


def test_red_goes_to_those_who_take_it_and_its_primary_block_to_the_others() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio("TR_a", RED, OPUS)), payload_type=63)
    same = stage.subscriber(to_audio("TR_a", OPUS, RED))
    other = stage.subscriber(
        to_audio("TR_a", Codec("red", 120, 48000, 2), Codec("opus", 100, 48000, 2), level=0)
    )
    plain = stage.subscriber(to_audio("TR_a", Codec("opus", 101, 48000, 2)))
    voice.speak(2, red_payload(b"", b""))
    for peer in (same, other, plain):
        peer.take()
    payload = red_payload(b"before", b"now")
    voice.speak(payload=payload)
    assert [(each.payload_type, each.payload) for each in same.take()] == [(63, payload)]
    renamed = payload.replace(bytes((0x80 | 111,)), bytes((0x80 | 100,))).replace(b"o", b"d", 1)
    assert [(each.payload_type, each.payload) for each in other.take()] == [(120, renamed)]
    assert [(each.payload_type, each.payload) for each in plain.take()] == [(101, b"now")]


def test_red_at_the_beginning_of_a_run_holds_nothing_of_before() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio("TR_a", RED, OPUS)), payload_type=63)
    peer = stage.subscriber(to_audio("TR_a", OPUS, RED))
    for word in (b"a", b"b", b"c"):
        voice.speak(payload=red_payload(b"before", word))
    payloads = [each.payload for each in peer.take()]
    assert payloads == [red_payload(b"a"), red_payload(b"b"), red_payload(b"before", b"c")]


def test_plain_opus_goes_as_opus_to_who_would_take_red() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio("TR_a", RED, OPUS)), payload_type=111)
    peer = stage.subscriber(to_audio("TR_a", RED, OPUS))
    voice.speak(payload=b"plain")
    assert [(each.payload_type, each.payload) for each in peer.take()] == [(111, b"plain")]


def test_broken_red_is_dropped() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio("TR_a", RED, OPUS)), payload_type=63)
    peer = stage.subscriber(to_audio("TR_a", RED, OPUS))
    voice.speak(payload=b"\xef\x00\x00\xff\x6f")
    assert peer.take() == []
    assert stage.forwarder.counters.dropped == {"malformed": 1}


def test_a_publisher_without_header_extensions_is_known_by_its_announced_ssrc() -> None:
    stage = Stage()
    publisher = stage.publisher(audio("TR_a", ssrcs=[1000]), audio("TR_b", mid="1", ssrcs=[2000]))
    peer = stage.subscriber(to_audio("TR_b"))
    for ssrc in (1000, 2000, 3000):
        voice = Voice(stage, publisher, ssrc=ssrc, mid=None)
        voice.level = None
        voice.speak(payload=str(ssrc).encode())
    assert [packet.payload for packet in peer.take()] == [b"2000"]
    assert stage.forwarder.counters.dropped == {"unknown": 1}


def test_a_flood_of_streams_takes_no_memory_and_the_call_goes_on() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    peer = stage.subscriber(to_audio())
    for ssrc in range(2000):
        Voice(stage, publisher, ssrc=ssrc).speak()
    assert steps(peer.take()) == [(1, 960)] * 1999
    stage.forwarder.tick(stage.clock.now)
    reports = publisher.take_rtcp()
    assert sum(len(report.reports) for report in reports) == MAX_SOURCES


def test_an_old_stream_goes_on_when_the_later_one_said_goodbye() -> None:
    stage = Stage()
    publisher = stage.publisher(audio())
    peer = stage.subscriber(to_audio())
    old, new = Voice(stage, publisher), Voice(stage, publisher, ssrc=1001)
    old.speak()
    new.speak()
    publisher.on_rtcp(bytes(RtcpByePacket([1001])))
    old.speak()
    assert steps(peer.take()) == [(1, 960)] * 2


def test_nack_of_a_subscriber_is_answered_with_the_very_packet() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio("TR_a", RED, OPUS)), payload_type=63)
    peer = stage.subscriber(to_audio("TR_a", RED, OPUS, ssrc=42))
    voice.speak(10, red_payload(b"old", b"new"))
    sent = peer.take_encrypted()
    numbers = [int.from_bytes(packet[2:4]) for packet in sent]
    peer.on_rtcp(bytes(RtcpRtpfbPacket(1, 1, 42, [numbers[0], numbers[1], numbers[7]])))
    assert peer.take_encrypted() == [sent[0], sent[1], sent[7]]


def test_nacks_cannot_make_us_send_without_end() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer = stage.subscriber(to_audio(ssrc=42))
    voice.speak(60)
    numbers = [packet.sequence_number for packet in peer.take()]
    for _ in range(100):
        peer.on_rtcp(bytes(RtcpRtpfbPacket(1, 1, 42, numbers)))
    assert len(peer.take_encrypted()) < 100
    stage.clock.now += 1
    peer.on_rtcp(bytes(RtcpRtpfbPacket(1, 1, 42, numbers[:1])))
    assert len(peer.take_encrypted()) == 1


def test_what_was_sent_before_a_pause_is_not_sent_again_after_it() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer, session = stage.join()
    session.subscribe([to_audio(ssrc=42)])
    voice.speak(3)
    numbers = [packet.sequence_number for packet in peer.take()]
    session.pause(TRACK, True)
    voice.speak(2)
    session.pause(TRACK, False)
    voice.speak()
    assert len(peer.take()) == 1
    peer.on_rtcp(bytes(RtcpRtpfbPacket(1, 1, 42, numbers)))
    assert peer.take_encrypted() == []


class Listener:
    """Checks what a subscriber receives, packet by packet."""

    def __init__(self) -> None:
        self.known: dict[int, bytes] = {}
        self._newest: RtpPacket | None = None
        self._missing = 0

    def miss(self, packets: int) -> None:
        """So many were lost before they reached the forwarder."""
        self._missing += packets

    def hear(self, encrypted: bytes, packet: RtpPacket, *, is_late: bool) -> None:
        assert packet.sequence_number not in self.known
        self.known[packet.sequence_number] = encrypted
        newest, self._newest = self._newest, packet
        if newest is None:
            return
        ((ahead, passed),) = steps([newest, packet])
        if is_late and ahead < 0:
            self._newest = newest
            return
        assert 1 <= ahead <= 1 + self._missing
        assert passed > 0
        self._missing -= ahead - 1 + is_late


class Story:
    """A publisher to whom all kinds of things happen, and one subscriber."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.publisher = self.stage.publisher(audio())
        self.peer, self.session = self.stage.join()
        self.session.subscribe([to_audio(ssrc=42)])
        self.voice = Voice(self.stage, self.publisher)
        self.listener = Listener()
        self.lost: list[bytes] = []
        self.is_muted = self.is_paused = False

    def speak(self, count: int) -> None:
        self.voice.speak(count)

    def lose(self, count: int) -> None:
        self.lost += self.voice.lose(count)
        self.listener.miss(count)

    def late(self, count: int) -> None:
        if self.lost:
            self.publisher.publish(self.lost.pop(count % len(self.lost)))

    def mute(self, count: int) -> None:
        self.is_muted = not self.is_muted
        self.stage.forwarder.set_muted(TRACK, self.is_muted)

    def pause(self, count: int) -> None:
        self.is_paused = not self.is_paused
        self.session.pause(TRACK, self.is_paused)

    def silence(self, count: int) -> None:
        self.stage.clock.now += count / 8

    def restart(self, count: int) -> None:
        self.lost.clear()
        ssrc = self.voice.packet.ssrc + 1
        self.voice = Voice(self.stage, self.publisher, ssrc=ssrc, sequence=count * 1600)

    def again(self, count: int) -> None:
        if known := self.listener.known:
            sequence = sorted(known)[count % len(known)]
            self.peer.on_rtcp(bytes(RtcpRtpfbPacket(1, 1, 42, [sequence])))
            assert all(packet == known[sequence] for packet in self.peer.take_encrypted())

    def listen(self, *, is_late: bool) -> None:
        for encrypted in self.peer.take_encrypted():
            assert not (self.is_muted or self.is_paused)
            self.listener.hear(encrypted, self.peer.decrypt(encrypted), is_late=is_late)


_EVENTS = ("speak", "lose", "late", "mute", "pause", "silence", "restart", "again")


@given(st.lists(st.tuples(st.sampled_from(_EVENTS), st.integers(1, 40)), max_size=40))
def test_whatever_a_publisher_does_a_subscriber_sees_one_continuous_stream(
    events: list[tuple[str, int]],
) -> None:
    """No number twice, none missing but what was lost; a NACK brings back the very packet."""
    story = Story()
    for what, count in events:
        getattr(story, what)(count)
        story.listen(is_late=what == "late")


@given(st.binary(max_size=200), st.booleans())
def test_garbage_harms_nobody(noise: bytes, is_rtcp: bool) -> None:
    stage = Stage()
    publisher, session = stage.join()
    session.publish([audio(), audio("TR_b", RED, mid="1")], ROOM)
    session.subscribe([to_audio("TR_b", ssrc=1)])
    voice = Voice(stage, publisher)
    peer = stage.subscriber(to_audio())
    voice.speak()
    if is_rtcp:
        publisher.on_rtcp(noise)
    else:
        publisher.publish(noise)
        publisher.publish(b"\x90\x6f" + noise)
    voice.speak()
    assert len(peer.take()) >= 2


def test_a_level_in_two_byte_extensions_is_read() -> None:
    stage = Stage()
    publisher = stage.publisher(
        Inbound(TRACK, "audio", "0", (OPUS,), (9,), extensions={AUDIO_LEVEL: 15, MID: 4})
    )
    peer = stage.subscriber(to_audio())
    packet = RtpPacket(111, 0, 1, 1, 9, b"x")
    packet.extensions.mid, packet.extensions.audio_level = "0", (False, 99)
    publisher.publish(packet.serialize(extensions({AUDIO_LEVEL: 15, MID: 4})))
    assert [each.extensions.audio_level for each in peer.take()] == [(False, 99)]


@pytest.mark.slow
@settings(max_examples=8000)
@given(st.binary(max_size=200), st.booleans())
def test_garbage_harms_nobody_however_many(
    noise: bytes,
    is_rtcp: bool,
) -> None:
    test_garbage_harms_nobody.hypothesis.inner_test(noise, is_rtcp)  # type: ignore[attr-defined]


@pytest.mark.slow
@settings(max_examples=4000)
@given(st.lists(st.tuples(st.sampled_from(_EVENTS), st.integers(1, 40)), max_size=40))
def test_whatever_a_publisher_does_at_length(
    events: list[tuple[str, int]],
) -> None:
    again = test_whatever_a_publisher_does_a_subscriber_sees_one_continuous_stream
    again.hypothesis.inner_test(events)  # type: ignore[attr-defined]
