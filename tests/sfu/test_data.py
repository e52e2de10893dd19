"""Timelines of data: whose it is, who gets it, when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as api

from mulisa.core.errors import InputError
from mulisa.sfu import events
from mulisa.sfu.data import MAX_PACKET_BYTES
from mulisa.sfu.errors import LimitExceeded
from mulisa.sfu.events import DataReceived, RoomConfig, SendData
from tests.sfu.rooms import MAY_ALL, Rooms, only, packets

pytestmark = pytest.mark.unit

AGENT = models.ParticipantInfo.AGENT


def user(payload: bytes = b"hello", **fields: Any) -> models.UserPacket:
    return models.UserPacket(payload=payload, **fields)


def test_data_goes_to_all_others_and_says_truly_whose_it_is() -> None:
    rooms = Rooms()
    alice, bob, carol = (rooms.join(name) for name in ("alice", "bob", "carol"))
    forged = user(participant_sid=bob.sid, participant_identity="bob", topic="t")
    lossy = models.DataPacket.LOSSY
    actions = alice.send(participant_identity="bob", sequence=3, kind=lossy, user=forged)
    assert [action.sid for action in only(SendData, actions)] == [bob.sid, carol.sid]
    (packet,) = packets(actions, bob)
    assert packet.kind == models.DataPacket.RELIABLE and packet.sequence == 3
    assert (packet.participant_sid, packet.participant_identity) == (alice.sid, "alice")
    assert (packet.user.participant_sid, packet.user.participant_identity) == (alice.sid, "alice")
    assert packet.user.payload == b"hello" and packet.user.topic == "t"
    (packet,) = packets(alice.send("_lossy", user=user()), bob, "_lossy")
    assert packet.kind == lossy


@pytest.mark.parametrize(
    "packet",
    [
        {"destination_identities": ["bob"], "user": user()},
        {"user": user(destination_identities=["bob"])},
        {"user": user(destination_sids=["PA_bob1"])},
        {"destination_identities": ["bob", "nobody"], "chat_message": models.ChatMessage()},
    ],
)
def test_data_goes_to_those_it_names(packet: dict[str, Any]) -> None:
    rooms = Rooms()
    alice, bob, _ = (rooms.join(name) for name in ("alice", "bob", "carol"))
    actions = alice.send(**packet)
    assert [action.sid for action in only(SendData, actions)] == [bob.sid]
    (forwarded,) = packets(actions, bob)
    if forwarded.HasField("user") and not forwarded.user.destination_sids:
        assert forwarded.destination_identities == forwarded.user.destination_identities == ["bob"]


def test_reliable_data_waits_for_its_channel_and_lossy_does_not() -> None:
    rooms = Rooms(RoomConfig(max_queued_bytes=300))
    alice, bob = rooms.join("alice"), rooms.arrive("bob")
    for sequence in range(1, 4):
        assert alice.send(sequence=sequence, user=user(bytes(60))) == []
    assert alice.send("_lossy", user=user()) == []
    assert rooms.receive(events.ChannelOpened(bob.sid, "_lossy")) == []
    actions = rooms.receive(events.ChannelOpened(bob.sid, "_reliable"))
    assert [packet.sequence for packet in packets(actions, bob)] == [1, 2]
    assert rooms.room.data_dropped["no channel"] == 2
    assert rooms.receive(events.ChannelOpened(bob.sid, "_reliable")) == []
    assert len(packets(alice.send(sequence=4, user=user()), bob)) == 1


def test_what_is_sent_again_after_a_resumption_is_not_forwarded_again() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    alice.send(sequence=1, user=user())
    alice.send(sequence=2, user=user())
    assert alice.send(sequence=1, user=user()) == alice.send(sequence=2, user=user()) == []
    assert len(packets(alice.send(sequence=3, user=user()), bob)) == 1
    assert len(packets(alice.send(user=user()), bob)) == 1
    rooms.receive(events.SocketLost(alice.sid))
    resumed = rooms.receive(events.Resumption(alice.sid))
    assert alice.told("reconnect", resumed)[0].last_message_seq == 3
    again = rooms.join("alice")
    assert len(packets(again.send(sequence=1, user=user()), bob)) == 1


def test_who_may_not_publish_data_reaches_nobody() -> None:
    rooms = Rooms()
    mute, _ = rooms.join("mute", replace(MAY_ALL, can_publish_data=False)), rooms.join("bob")
    assert mute.send(user=user()) == []
    assert rooms.room.data_dropped == {"forbidden": 1}


def test_lossy_data_beyond_the_limit_is_dropped_and_reliable_data_goes_on() -> None:
    rooms = Rooms(RoomConfig(data_burst=10, data_rate=5.0))
    alice, bob = rooms.join("alice"), rooms.join("bob")
    sent = [packets(alice.send("_lossy", user=user()), bob, "_lossy") for _ in range(20)]
    assert [len(each) for each in sent] == [1] * 9 + [0] * 11  # their bytes count a little
    assert rooms.room.data_dropped == {"too much": 11}
    assert packets(alice.send(user=user()), bob)
    assert packets(bob.send("_lossy", user=user()), alice, "_lossy")
    rooms.wait(1.0)
    assert packets(alice.send("_lossy", user=user()), bob, "_lossy")


def test_who_floods_with_reliable_data_is_put_out_for_good() -> None:
    rooms = Rooms(RoomConfig(data_burst=10, data_rate=5.0))
    alice, bob = rooms.join("alice"), rooms.join("bob")
    for _ in range(9):
        assert packets(alice.send(user=user()), bob)
    actions = alice.send(user=user())
    assert packets(actions, bob) == []
    (leave,) = alice.told("leave", actions)
    assert leave.action == rtc.LeaveRequest.DISCONNECT
    assert [each.sid for each in only(events.Disconnect, actions)] == [alice.sid]
    gone = bob.sees("alice")
    assert gone is not None and gone.state == models.ParticipantInfo.DISCONNECTED
    assert alice.send(user=user()) == []
    bob.leave()
    rooms.wait(60.0)
    assert rooms.room.is_over


def test_large_packets_count_as_several() -> None:
    rooms = Rooms(RoomConfig(data_burst=10, data_rate=5.0))
    alice, bob = rooms.join("alice"), rooms.join("bob")
    sent = [packets(alice.send("_lossy", user=user(bytes(48_000))), bob, "_lossy") for _ in "123"]
    assert [len(each) for each in sent] == [1, 1, 0]


def test_a_file_of_fifty_megabytes_and_a_busy_pointer_are_within_the_limits() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    chunk = bytes(15_000)  # as the SDKs send files
    for _ in range(50_000_000 // len(chunk)):
        assert packets(alice.send(user=user(chunk)), bob)
    for _ in range(10 * 500):
        rooms.wait(1 / 500)
        assert packets(alice.send("_lossy", user=user()), bob, "_lossy")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xff\xff",
        models.DataPacket(sequence=1).SerializeToString(),
        models.DataPacket(user=user(bytes(MAX_PACKET_BYTES))).SerializeToString(),
    ],
)
def test_what_is_no_packet_is_dropped_and_counted(data: bytes) -> None:
    rooms = Rooms()
    alice, _ = rooms.join("alice"), rooms.join("bob")
    assert rooms.receive(DataReceived(alice.sid, "_reliable", data)) == []
    assert rooms.room.data_dropped == {"malformed": 1}


def test_a_kind_of_data_that_is_newer_than_we_are_is_forwarded() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    newer = models.DataPacket(sequence=1).SerializeToString() + b"\xc2\x3e\x03abc"  # field 1000
    (packet,) = packets(rooms.receive(DataReceived(alice.sid, "_reliable", newer)), bob)
    assert packet.participant_sid == alice.sid
    assert packet.SerializeToString().endswith(b"\xc2\x3e\x03abc")


def test_only_agents_tell_what_others_said() -> None:
    rooms = Rooms()
    agent, alice, bob = rooms.join("mulisa", kind=AGENT), rooms.join("alice"), rooms.join("bob")
    words = models.Transcription(transcribed_participant_identity="alice", track_id="TR_1")
    assert alice.send(transcription=words) == []
    (packet,) = packets(agent.send(transcription=words), bob)
    assert packet.transcription == words and packet.participant_identity == "mulisa"


@pytest.mark.parametrize("name", ["chat_message", "stream_header"])
def test_only_agents_speak_in_the_name_of_others(name: str) -> None:
    rooms = Rooms()
    agent, alice, bob = rooms.join("mulisa", kind=AGENT), rooms.join("alice"), rooms.join("bob")
    header = models.DataStream.Header(text_header=models.DataStream.TextHeader())
    content = {"chat_message": models.ChatMessage(message="hi"), "stream_header": header}
    value: dict[str, Any] = {name: content[name]}
    (packet,) = packets(agent.send(participant_identity="alice", **value), bob)
    assert packet.participant_identity == "alice" and packet.participant_sid == agent.sid
    assert packet.chat_message.generated or packet.stream_header.text_header.generated
    (packet,) = packets(alice.send(participant_identity="bob", **value), bob)
    assert packet.participant_identity == "alice"
    assert not packet.chat_message.generated and not packet.stream_header.text_header.generated


def test_metrics_and_forged_speakers_go_to_nobody() -> None:
    rooms = Rooms()
    alice, _ = rooms.join("alice"), rooms.join("bob")
    loud = models.ActiveSpeakerUpdate(speakers=[models.SpeakerInfo(sid="PA_bob1", level=1)])
    assert alice.send(speaker=loud) == []
    metrics = models.DataPacket()
    metrics.metrics.SetInParent()
    data = metrics.SerializeToString()
    assert rooms.receive(DataReceived(alice.sid, "_reliable", data)) == []
    assert rooms.room.data_dropped == {"not forwarded": 2}


def test_who_is_hidden_sends_without_a_name() -> None:
    rooms = Rooms()
    ghost, bob = rooms.join("ghost", replace(MAY_ALL, hidden=True)), rooms.join("bob")
    (packet,) = packets(ghost.send(user=user()), bob)
    assert packet.participant_identity == packet.user.participant_identity == ""
    assert packet.user.participant_sid == ""


def test_who_has_gone_sends_nothing() -> None:
    rooms = Rooms()
    alice, _ = rooms.join("alice"), rooms.join("bob")
    alice.leave()
    assert alice.send(user=user()) == []


def send(rooms: Rooms, **request: Any) -> list[events.RoomAction]:
    return rooms.take(rooms.room.send_data(api.SendDataRequest(**request), rooms.now))


def test_the_servers_own_data_comes_from_nobody() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    (packet,) = packets(send(rooms, data=b"x", topic="t"), alice)
    assert (packet.participant_identity, packet.user.topic) == ("", "t")
    lossy = send(rooms, data=b"x", kind=models.DataPacket.LOSSY, destination_identities=["bob"])
    assert not packets(lossy, alice, "_lossy") and len(packets(lossy, bob, "_lossy")) == 1
    named = send(rooms, data=b"x", destination_sids=[bob.sid])
    assert not packets(named, alice) and len(packets(named, bob)) == 1


def test_the_servers_own_data_is_sent_once_and_has_limits() -> None:
    rooms = Rooms()
    alice = rooms.join("alice")
    nonce = bytes(range(16))
    assert len(packets(send(rooms, data=b"x", nonce=nonce), alice)) == 1
    assert send(rooms, data=b"x", nonce=nonce) == []
    with pytest.raises(InputError):
        send(rooms, data=b"x", nonce=b"short")
    with pytest.raises(LimitExceeded):
        send(rooms, data=bytes(MAX_PACKET_BYTES))
