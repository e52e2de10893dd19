"""Loudest N and levels, as subscribers and the room see them."""

from __future__ import annotations

import pytest

from mulisa.sfu.forward import LoudestConfig, RtpSession
from mulisa.sfu.media import TrackSid
from mulisa.wire.rtp import sequence_delta, timestamp_delta
from tests.sfu.media_peers import ROOM, FakePeer, Stage, Voice, audio, to_audio

pytestmark = pytest.mark.unit

CONFIG = LoudestConfig(count=2, min_publishers=3, hang=1.0, onset=0.1)
NAMES = ["TR_0", "TR_1", "TR_2", "TR_3"]


class BigRoom:
    """Four people of whom two are forwarded, a listener and an agent."""

    def __init__(self) -> None:
        self.stage = Stage(CONFIG)
        self.publishers: list[tuple[FakePeer, RtpSession]] = []
        for name in NAMES:
            peer, session = self.stage.join()
            session.publish([audio(name)], ROOM)
            self.publishers.append((peer, session))
        self.voices = [
            Voice(self.stage, peer, ssrc=10 + i) for i, (peer, _) in enumerate(self.publishers)
        ]
        tracks = [to_audio(name, ssrc=100 + i) for i, name in enumerate(NAMES)]
        self.listener = self.stage.subscriber(*tracks)
        self.agent, session = self.stage.join()
        session.hears_everybody = True
        session.subscribe(tracks)

    def say(self, number: int, word: bytes, level: int, packets: int = 1) -> None:
        self.voices[number].level = (level < 60, level)
        self.voices[number].speak(packets, word)


def words(peer: FakePeer) -> list[bytes]:
    return [packet.payload for packet in peer.take()]


def test_a_quiet_microphone_is_held_back_but_not_from_agents() -> None:
    room = BigRoom()
    room.say(3, b"breath", 80, packets=5)
    assert words(room.listener) == []
    assert words(room.agent) == [b"breath"] * 5


def test_a_new_voice_comes_with_its_onset_and_nobody_hears_a_packet_twice() -> None:
    room = BigRoom()
    room.say(3, b"breath", 80, packets=20)
    room.agent.take()
    room.say(3, b"word", 30, packets=2)
    received = room.listener.take()
    payloads = [packet.payload for packet in received]
    assert payloads == [b"breath"] * 5 + [b"word"] * 2
    assert received[0].marker == 1
    assert words(room.agent) == [b"word"] * 2
    for earlier, later in zip(received, received[1:], strict=False):
        assert sequence_delta(later.sequence_number, earlier.sequence_number) == 1
        assert timestamp_delta(later.timestamp, earlier.timestamp) == 960


def test_who_loses_the_place_goes_on_later_without_a_gap_in_the_numbers() -> None:
    room = BigRoom()
    room.say(0, b"a", 20)
    room.say(1, b"b", 40)
    before = [packet for packet in room.listener.take() if packet.payload == b"b"]
    room.say(2, b"c", 20)
    room.say(1, b"b", 90, packets=60)
    room.stage.clock.now += 2
    assert words(room.listener) == [b"c"]
    room.say(1, b"again", 30)
    after = [packet for packet in room.listener.take() if packet.payload in (b"b", b"again")]
    assert after[-1].payload == b"again"
    numbers = [packet.sequence_number for packet in before + after]
    assert [(number - numbers[0]) & 0xFFFF for number in numbers] == list(range(len(numbers)))
    passed = timestamp_delta(after[-1].timestamp, before[-1].timestamp)
    assert passed == 62 * 960 + 2 * 48000, "the time that passed, the word of the other included"


def test_everybody_is_heard_again_when_the_room_is_small_again() -> None:
    room = BigRoom()
    room.publishers[0][1].publish([], ROOM)
    room.say(3, b"breath", 80)
    assert words(room.listener) == [b"breath"]
    for _, session in room.publishers:
        session.close()


def test_a_publisher_without_levels_is_as_loud_as_anybody() -> None:
    room = BigRoom()
    room.voices[3].level = None
    room.voices[3].speak(4, b"x")  # DTX
    assert words(room.listener) == []
    room.stage.clock.now += 1
    room.voices[3].speak(2, b"word")
    assert words(room.listener) == [b"word"] * 2


def test_an_agents_voice_takes_no_place_and_is_never_held_back() -> None:
    room = BigRoom()
    peer, session = room.stage.join()
    session.hears_everybody = True
    session.publish([audio("TR_agent")], ROOM)
    listener = room.stage.subscriber(to_audio("TR_agent"))
    for number in range(4):
        room.say(number, b"loud", 5)
    voice = Voice(room.stage, peer, ssrc=99)
    voice.level = (False, 100)
    voice.speak(2, b"whisper")
    assert words(listener) == [b"whisper"] * 2
    room.listener.take()
    for number in range(4):
        room.say(number, b"loud", 5)
    assert words(room.listener) == [b"loud"] * CONFIG.count


def test_levels_are_those_since_the_last_call() -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    track = TrackSid("TR_a")
    stage.forwarder.levels([track])
    voice.level = (True, 20)
    voice.speak(10)
    voice.level = (False, 60)
    voice.speak(10)
    assert stage.forwarder.levels([track, TrackSid("TR_x")]) == {track: pytest.approx((0.5, -20.0))}
    stage.forwarder.set_muted(track, True)
    voice.level = (True, 0)
    voice.speak(10)
    assert stage.forwarder.levels([track]) == {track: (0.0, -127.0)}
