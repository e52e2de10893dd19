"""Timelines of a room: coming, publishing, subscribing, going."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest
from livekit.protocol import models, rtc

from mulisa.core.room import Identity
from mulisa.sfu import events
from mulisa.sfu.events import (
    Disconnect,
    ExpectTrack,
    Pause,
    Report,
    RoomConfig,
    SetMuted,
    Subscribe,
    Unpublish,
    Unsubscribe,
)
from mulisa.sfu.media import Inbound, TrackSid
from mulisa.sfu.participants import Participant
from mulisa.sfu.permissions import Permissions
from tests.sfu.rooms import AT, MAY_ALL, OPUS, START, VP8, Client, Rooms, only

pytestmark = pytest.mark.unit

ACTIVE = models.ParticipantInfo.ACTIVE
DISCONNECTED = models.ParticipantInfo.DISCONNECTED
RECONNECT = rtc.LeaveRequest.RECONNECT


def reports(rooms: Rooms) -> list[str]:
    return [report.event for report in only(Report, rooms.log)]


# ---- coming


def test_a_newcomer_is_told_of_the_room_first_and_then_gets_a_token() -> None:
    rooms = Rooms()
    alice = rooms.join("alice", metadata="m", attributes={"k": "v"})
    bob = rooms.arrive("bob")
    assert bob.kinds(rooms.log) == ["join", "refresh_token"]
    (join,) = bob.told("join")
    assert join.room.name == "standup"
    assert join.room.creation_time_ms == int(AT.timestamp() * 1000)
    assert join.participant.identity == "bob"
    assert join.participant.permission.can_update_metadata
    (other,) = join.other_participants
    assert (other.sid, other.state, other.metadata) == (alice.sid, ACTIVE, "m")
    assert dict(other.attributes) == {"k": "v"}
    assert join.ping_interval == 5 and join.ping_timeout == 15


def test_everybody_hears_of_a_newcomer_and_that_it_is_connected() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.arrive("bob")
    seen = alice.sees("bob")
    assert seen and seen.state == models.ParticipantInfo.JOINED
    rooms.receive(events.Connected(bob.sid))
    for client in (alice, bob):
        now = client.sees("bob")
        assert now and now.state == ACTIVE and now.version > seen.version


def test_a_newcomer_gets_what_is_published_at_once() -> None:
    rooms = Rooms()
    alice = rooms.join("alice")
    track = alice.publish()
    before = len(rooms.log)
    bob = rooms.arrive("bob")
    actions = rooms.log[before:]
    assert only(Subscribe, actions) == [Subscribe(bob.sid, track, alice.sid)]
    assert bob.kinds(actions)[0] == "join"


def test_tracks_can_be_announced_with_the_join() -> None:
    rooms = Rooms()
    wanted = rtc.AddTrackRequest(cid="mic", type=models.AUDIO, source=models.MICROPHONE)
    alice = rooms.arrive("alice", add_track_requests=(wanted,))
    assert alice.kinds(rooms.log)[:3] == ["join", "refresh_token", "track_published"]
    assert [action.sid for action in only(ExpectTrack, rooms.log)] == [alice.sid]


def test_ice_servers_of_the_arrival_go_before_those_of_the_room() -> None:
    common, own = rtc.ICEServer(urls=["stun:a"]), rtc.ICEServer(urls=["turn:b"], username="u")
    rooms = Rooms(RoomConfig(ice_servers=(common,)))
    assert rooms.join("alice").told("join")[0].ice_servers == [common]
    assert rooms.join("bob", ice_servers=(own,)).told("join")[0].ice_servers == [own]


def test_the_later_of_two_with_one_identity_stays() -> None:
    rooms = Rooms()
    alice, first = rooms.join("alice"), rooms.join("bob")
    track = first.publish()
    before = len(rooms.log)
    second = rooms.arrive("bob")
    actions = rooms.log[before:]
    (leave,) = first.told("leave", actions)
    assert leave.reason == models.DUPLICATE_IDENTITY
    assert leave.action == rtc.LeaveRequest.DISCONNECT
    assert Disconnect(first.sid) in actions
    assert Unsubscribe(alice.sid, track, has_ended=True) in actions
    states = [
        (info.sid, info.state)
        for update in alice.told("update", actions)
        for info in update.participants
    ]
    assert states == [(first.sid, DISCONNECTED), (second.sid, models.ParticipantInfo.JOINED)]
    assert second.sid != first.sid
    assert not second.told("join")[0].other_participants[0].tracks


def test_a_full_room_admits_nobody_but_agents_and_who_is_already_there() -> None:
    rooms = Rooms(RoomConfig(max_participants=1))
    rooms.join("alice")
    bob = rooms.arrive("bob")
    assert [leave.reason for leave in bob.told("leave")] == [models.JOIN_FAILURE]
    assert not bob.told("join")
    assert rooms.arrive("alice").told("join")
    assert rooms.arrive("mulisa", kind=models.ParticipantInfo.AGENT).told("join")
    assert rooms.room.is_full(Identity("bob"), MAY_ALL, models.ParticipantInfo.STANDARD)
    assert not rooms.room.is_full(Identity("alice"), MAY_ALL, models.ParticipantInfo.STANDARD)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "x" * 257},
        {"metadata": "ä" * 40_000},
        {"attributes": {"k": "v" * 70_000}},
        {"add_track_requests": (rtc.AddTrackRequest(),)},
    ],
)
def test_who_says_too_much_of_itself_does_not_come_in(changes: dict[str, Any]) -> None:
    rooms = Rooms()
    alice = rooms.arrive("alice", **changes)
    assert alice.kinds(rooms.log) == ["leave"]
    assert only(Disconnect, rooms.log) == [Disconnect(alice.sid)]


def test_nobody_knows_of_who_is_hidden() -> None:
    rooms = Rooms()
    alice = rooms.join("alice")
    ghost = rooms.join("ghost", replace(MAY_ALL, hidden=True))
    track = ghost.publish()
    bob = rooms.join("bob")
    ghost.ask(mute=rtc.MuteTrackRequest(sid=track, muted=True))
    assert alice.sees("ghost") is None and bob.sees("ghost") is None
    assert not [s for s in only(Subscribe, rooms.log) if s.publisher == ghost.sid]
    assert ghost.sees("alice") and ghost.sees("ghost")
    alice.ask(subscription=rtc.UpdateSubscription(track_sids=[track], subscribe=True))
    assert not [s for s in only(Subscribe, rooms.log) if s.publisher == ghost.sid]
    ghost.leave()
    assert alice.sees("ghost") is None


# ---- publishing


def test_a_track_is_announced_to_all_before_anybody_is_subscribed() -> None:
    rooms = Rooms()
    alice, bob, carol = (rooms.join(name) for name in ("alice", "bob", "carol"))
    actions = alice.announce("mic", muted=True, audio_features=[models.TF_NOISE_SUPPRESSION])
    (expected,) = only(ExpectTrack, actions)
    (published,) = alice.told("track_published", actions)
    assert published.cid == "mic" and published.track.sid == expected.track
    assert published.track.source == models.MICROPHONE and published.track.muted
    assert bob.kinds(actions) == []
    alice.ask(update_metadata=rtc.UpdateParticipantMetadata(metadata="m"))
    seen = bob.sees("alice")
    assert seen and not seen.tracks
    actions = alice.bind(expected.track)
    first = next(n for n, action in enumerate(actions) if isinstance(action, Subscribe))
    for client in (alice, bob, carol):
        (update,) = client.told("update", actions[:first])
        (track,) = update.participants[0].tracks
        assert (track.sid, track.mid, track.mime_type) == (expected.track, "0", "audio/opus")
        assert track.codecs[0].cid == "mic" and track.stream == "camera"
    assert {subscribe.sid for subscribe in only(Subscribe, actions)} == {bob.sid, carol.sid}
    assert SetMuted(expected.track, True) in actions
    assert "track_published" in reports(rooms)


def test_the_publisher_is_told_of_the_first_subscriber_once() -> None:
    rooms = Rooms()
    alice, bob, carol = (rooms.join(name) for name in ("alice", "bob", "carol"))
    track = alice.publish()
    for client in (bob, carol, bob):
        rooms.receive(events.Subscribed(client.sid, track))
    assert [told.track_sid for told in alice.told("track_subscribed")] == [track]


def test_muting_stops_the_packets_and_is_told_once() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    track = alice.publish()
    muted = alice.ask(mute=rtc.MuteTrackRequest(sid=track, muted=True))
    assert muted[0] == SetMuted(track, True)
    assert bob.told("update", muted)[0].participants[0].tracks[0].muted
    assert alice.told("update", muted)
    assert alice.ask(mute=rtc.MuteTrackRequest(sid=track, muted=True)) == []
    assert SetMuted(track, False) in alice.ask(mute=rtc.MuteTrackRequest(sid=track))
    (answer,) = alice.told(
        "request_response", alice.ask(mute=rtc.MuteTrackRequest(sid="TR_none", muted=True))
    )
    assert answer.reason == rtc.RequestResponse.NOT_FOUND and answer.mute.sid == "TR_none"


def test_nobody_mutes_what_is_not_theirs() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    track = alice.publish()
    actions = bob.ask(mute=rtc.MuteTrackRequest(sid=track, muted=True))
    assert only(SetMuted, actions) == []
    assert bob.kinds(actions) == ["request_response"]


def test_a_track_ends_when_its_m_line_does() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    mic, camera = alice.publish(), alice.publish("cam", type=models.VIDEO, source=models.CAMERA)
    actions = alice.unpublish(mic)
    assert actions[0] == Unsubscribe(bob.sid, mic, has_ended=True)
    (update,) = bob.told("update", actions)
    assert [track.sid for track in update.participants[0].tracks] == [camera]
    assert "track_unpublished" in reports(rooms)
    again = alice.announce("mic")
    assert only(ExpectTrack, again)[0].track != mic


def test_a_track_that_comes_again_under_its_old_client_id_is_a_new_one() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    old = alice.publish()
    (expected,) = only(ExpectTrack, alice.announce())
    assert expected.track != old
    (repeated,) = alice.told("track_published", alice.announce())
    assert repeated.track.sid == expected.track
    del alice.bound[old]
    actions = alice.bind(expected.track)
    assert only(Unsubscribe, actions) == [Unsubscribe(bob.sid, old, has_ended=True)]
    assert only(Subscribe, actions) == [Subscribe(bob.sid, expected.track, alice.sid)]


def test_media_of_the_wrong_kind_is_no_track() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    (expected,) = only(ExpectTrack, alice.announce())
    actions = rooms.receive(
        events.Bound(alice.sid, (Inbound(expected.track, "video", "0", (VP8,)),))
    )
    assert only(Unpublish, actions) == [Unpublish(alice.sid, expected.track)]
    assert bob.kinds(actions) == []


@pytest.mark.parametrize(
    ("permissions", "wanted", "reason"),
    [
        (Permissions(can_publish=False), {}, rtc.RequestResponse.NOT_ALLOWED),
        (
            Permissions(sources=frozenset({models.CAMERA})),
            {"source": models.MICROPHONE},
            rtc.RequestResponse.NOT_ALLOWED,
        ),
        (MAY_ALL, {"type": models.DATA}, rtc.RequestResponse.UNSUPPORTED_TYPE),
        (MAY_ALL, {"sid": "TR_old"}, rtc.RequestResponse.NOT_FOUND),
    ],
)
def test_what_may_not_be_published_is_refused(
    permissions: Permissions, wanted: dict[str, Any], reason: int
) -> None:
    alice = Rooms().join("alice", permissions)
    actions = alice.announce(**wanted)
    (answer,) = alice.told("request_response", actions)
    assert answer.reason == reason and answer.add_track.cid == "mic"
    assert only(ExpectTrack, actions) == []


def test_nobody_publishes_without_end() -> None:
    rooms = Rooms(RoomConfig(max_tracks=2))
    alice = rooms.join("alice")
    alice.publish("one")
    alice.announce("two")
    (answer,) = alice.told("request_response", alice.announce("three"))
    assert answer.reason == rtc.RequestResponse.LIMIT_EXCEEDED


def test_features_and_sizes_of_a_track_may_change() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    mic, camera = alice.publish(), alice.publish("cam", type=models.VIDEO, source=models.CAMERA)
    features: list[Any] = [models.TF_STEREO, models.TF_NO_DTX, 99]
    alice.ask(update_audio_track=rtc.UpdateLocalAudioTrack(track_sid=mic, features=features))
    alice.ask(update_video_track=rtc.UpdateLocalVideoTrack(track_sid=camera, width=640, height=480))
    seen = bob.sees("alice")
    assert seen is not None
    audio, video = seen.tracks
    assert list(audio.audio_features) == [models.TF_STEREO, models.TF_NO_DTX]
    assert audio.stereo and audio.disable_dtx
    assert (video.width, video.height) == (640, 480)
    wrong = alice.ask(update_audio_track=rtc.UpdateLocalAudioTrack(track_sid=camera))
    assert alice.told("request_response", wrong)[0].reason == rtc.RequestResponse.NOT_FOUND


def test_a_codec_that_is_not_enabled_gives_way_to_one_that_is() -> None:
    rooms = Rooms(RoomConfig(enabled_codecs=("audio/opus", "video/VP8", "video/H264")))
    alice = rooms.join("alice")
    codecs = [rtc.SimulcastCodec(codec=name, cid="cam") for name in ("h265", "vp8", "h264")]
    actions = alice.announce("cam", type=models.VIDEO, simulcast_codecs=codecs)
    (published,) = alice.told("track_published", actions)
    assert [codec.mime_type for codec in published.track.codecs] == ["video/VP8", "video/H264"]


# ---- subscribing


def subscribe(client: Client, track: TrackSid, is_wanted: bool) -> list[events.RoomAction]:
    return client.ask(subscription=rtc.UpdateSubscription(track_sids=[track], subscribe=is_wanted))


def test_a_client_chooses_its_tracks() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob", auto_subscribe=False)
    track = alice.publish()
    assert only(Subscribe, rooms.log) == []
    assert only(Subscribe, subscribe(bob, track, True)) == [Subscribe(bob.sid, track, alice.sid)]
    assert subscribe(bob, track, True) == []
    assert subscribe(bob, track, False) == [Unsubscribe(bob.sid, track)]
    group = models.ParticipantTracks(participant_sid=alice.sid, track_sids=[track])
    both = rtc.UpdateSubscription(track_sids=[track], participant_tracks=[group], subscribe=True)
    assert len(only(Subscribe, bob.ask(subscription=both))) == 1
    (answer,) = bob.told("subscription_response", subscribe(bob, TrackSid("TR_none"), True))
    assert answer.err == models.SE_TRACK_NOTFOUND


def test_who_may_not_subscribe_gets_nothing() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob", Permissions(can_subscribe=False))
    track = alice.publish()
    subscribe(bob, track, True)
    assert only(Subscribe, rooms.log) == []


def test_a_publisher_takes_its_track_back_before_anything_else_is_answered() -> None:
    rooms = Rooms()
    alice, bob, carol = (rooms.join(name) for name in ("alice", "bob", "carol"))
    track = alice.publish()
    one = rtc.TrackPermission(participant_identity="carol", track_sids=[track])
    actions = alice.ask(subscription_permission=rtc.SubscriptionPermission(track_permissions=[one]))
    assert actions[0] == Unsubscribe(bob.sid, track)
    assert only(Unsubscribe, actions) == [Unsubscribe(bob.sid, track)]
    (told,) = bob.told("subscription_permission_update", actions)
    assert (told.participant_sid, told.track_sid, told.allowed) == (alice.sid, track, False)
    assert subscribe(bob, track, True) == []
    everybody = rtc.SubscriptionPermission(all_participants=True)
    again = alice.ask(subscription_permission=everybody)
    assert bob.told("subscription_permission_update", again)[0].allowed
    assert only(Subscribe, again) == [Subscribe(bob.sid, track, alice.sid)]
    assert alice.ask(subscription_permission=everybody) == []


def test_a_track_may_be_kept_from_others_before_it_exists() -> None:
    rooms = Rooms()
    agent = rooms.join("mulisa", kind=models.ParticipantInfo.AGENT)
    bob, carol = rooms.join("bob"), rooms.join("carol")
    voice = agent.publish("voice")
    (expected,) = only(ExpectTrack, agent.announce("whisper"))
    permissions = [
        rtc.TrackPermission(participant_identity="bob", track_sids=[voice, expected.track]),
        rtc.TrackPermission(participant_identity="carol", track_sids=[voice]),
        rtc.TrackPermission(participant_sid="PA_gone1", all_tracks=True),
    ]
    actions = agent.ask(
        subscription_permission=rtc.SubscriptionPermission(track_permissions=permissions)
    )
    assert only(Unsubscribe, actions) == []
    bound = agent.bind(expected.track)
    assert only(Subscribe, bound) == [Subscribe(bob.sid, expected.track, agent.sid)]
    assert not carol.told("subscription_permission_update", bound)[0].allowed
    late = rooms.join("dave")
    assert not [s for s in only(Subscribe, rooms.log) if s.sid == late.sid]


def test_a_permission_that_names_nobody_changes_nothing() -> None:
    rooms = Rooms()
    alice, _ = rooms.join("alice"), rooms.join("bob")
    alice.publish()
    nobody = rtc.SubscriptionPermission(track_permissions=[rtc.TrackPermission(all_tracks=True)])
    assert alice.ask(subscription_permission=nobody) == []


def test_a_recorder_receives_what_others_may_not() -> None:
    rooms = Rooms()
    alice = rooms.join("alice")
    alice.ask(subscription_permission=rtc.SubscriptionPermission())
    recorder = rooms.join("egress", replace(MAY_ALL, recorder=True, hidden=True))
    track = alice.publish()
    assert only(Subscribe, rooms.log) == [Subscribe(recorder.sid, track, alice.sid)]
    assert rooms.room.info().active_recording


def test_a_track_is_held_back_and_stays_so_when_it_is_subscribed_again() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    track = alice.publish()
    disabled = rtc.UpdateTrackSettings(track_sids=[track, "TR_none"], disabled=True)
    assert bob.ask(track_setting=disabled) == [Pause(bob.sid, track, True)]
    assert bob.ask(track_setting=disabled) == []
    subscribe(bob, track, False)
    assert subscribe(bob, track, True) == [
        Subscribe(bob.sid, track, alice.sid),
        Pause(bob.sid, track, True),
    ]
    enabled = rtc.UpdateTrackSettings(track_sids=[track])
    assert bob.ask(track_setting=enabled) == [Pause(bob.sid, track, False)]


# ---- what is said of participants and of the room


def test_own_metadata_is_told_to_all_and_then_answered() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice", attributes={"gone": "1", "kept": "2"}), rooms.join("bob")
    change = rtc.UpdateParticipantMetadata(
        name="Al", metadata="m", attributes={"gone": "", "new": "3"}, request_id=7
    )
    actions = alice.ask(update_metadata=change)
    assert alice.kinds(actions) == ["update", "request_response"]
    (answer,) = alice.told("request_response", actions)
    assert (answer.request_id, answer.reason) == (7, rtc.RequestResponse.OK)
    seen = bob.sees("alice")
    assert seen and (seen.name, seen.metadata) == ("Al", "m")
    assert dict(seen.attributes) == {"kept": "2", "new": "3"}
    same = alice.ask(update_metadata=change)
    assert alice.kinds(same) == ["request_response"]


def test_own_metadata_needs_a_permission_and_has_limits() -> None:
    rooms = Rooms(RoomConfig(max_attributes_bytes=10))
    alice, bob = rooms.join("alice"), rooms.join("bob", Permissions())
    change = rtc.UpdateParticipantMetadata(attributes={"k": "v"}, request_id=1)
    (refused,) = bob.told("request_response", bob.ask(update_metadata=change))
    assert refused.reason == rtc.RequestResponse.NOT_ALLOWED and refused.request_id == 1
    alice.ask(update_metadata=rtc.UpdateParticipantMetadata(attributes={"k": "12345678"}))
    more = rtc.UpdateParticipantMetadata(attributes={"l": "1"}, request_id=2)
    (exceeded,) = alice.told("request_response", alice.ask(update_metadata=more))
    assert exceeded.reason == rtc.RequestResponse.LIMIT_EXCEEDED
    seen = bob.sees("alice")
    assert seen and dict(seen.attributes) == {"k": "12345678"}


def test_room_updates_count_people_and_come_no_more_than_once_a_second() -> None:
    rooms = Rooms()
    alice = rooms.join("alice")
    rooms.wait(5)
    rooms.join("mulisa", kind=models.ParticipantInfo.AGENT)
    for name in ("bob", "carol", "dave"):
        rooms.join(name).publish()
    rooms.wait(0.9)
    before = len(alice.told("room_update"))
    rooms.wait(0.2)
    updates = alice.told("room_update")
    assert len(updates) == before + 1
    assert (updates[-1].room.num_participants, updates[-1].room.num_publishers) == (4, 3)
    rooms.wait(100)
    assert len(alice.told("room_update")) == before + 1


def test_pings_are_answered_in_milliseconds_of_the_wall_clock() -> None:
    rooms = Rooms()
    alice = rooms.join("alice")
    rooms.now = START + 2.5
    expected = int(AT.timestamp() * 1000) + 2_500
    assert alice.told("pong", alice.ask(ping=12)) == [expected]
    (pong,) = alice.told("pong_resp", alice.ask(ping_req=rtc.Ping(timestamp=77)))
    assert (pong.last_ping_timestamp, pong.timestamp) == (77, expected)


def test_what_we_do_not_have_is_refused_rather_than_left_waiting() -> None:
    alice = Rooms().join("alice")
    wanted = rtc.PublishDataTrackRequest(pub_handle=1, name="telemetry")
    (answer,) = alice.told("request_response", alice.ask(publish_data_track_request=wanted))
    assert answer.reason == rtc.RequestResponse.NOT_ALLOWED
    assert answer.publish_data_track == wanted
    blob = rtc.GetDataBlobRequest(request_id=5)
    assert alice.told("request_response", alice.ask(get_data_blob_request=blob))[0].request_id == 5


# ---- going


def test_who_leaves_is_answered_and_the_others_are_told() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    track = alice.publish()
    actions = alice.leave()
    (leave,) = alice.told("leave", actions)
    assert (leave.reason, leave.action) == (models.CLIENT_INITIATED, rtc.LeaveRequest.DISCONNECT)
    assert actions.index(Disconnect(alice.sid)) == 1
    assert Unsubscribe(bob.sid, track, has_ended=True) in actions
    seen = bob.sees("alice")
    assert seen and (seen.sid, seen.state) == (alice.sid, DISCONNECTED)
    assert seen.disconnect_reason == models.CLIENT_INITIATED
    assert reports(rooms)[-2:] == ["track_unpublished", "participant_left"]
    assert rooms.receive(events.SocketLost(alice.sid)) == []
    assert alice.ask(ping=1) == []


def test_a_client_does_not_speak_for_the_server() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    alice.ask(leave=rtc.LeaveRequest(reason=models.ROOM_DELETED))
    seen = bob.sees("alice")
    assert seen and seen.disconnect_reason == models.CLIENT_INITIATED


def test_old_clients_are_not_told_of_success() -> None:
    alice = Rooms().join("alice", client=models.ClientInfo(protocol=14))
    change = rtc.UpdateParticipantMetadata(metadata="m", request_id=1)
    assert alice.kinds(alice.ask(update_metadata=change)) == ["update"]


def test_a_client_that_never_connects_is_put_out() -> None:
    rooms = Rooms()
    rooms.join("alice")
    bob = rooms.arrive("bob")
    assert bob.told("leave", rooms.wait(59)) == []
    (leave,) = bob.told("leave", rooms.wait(2))
    assert leave.reason == models.JOIN_FAILURE
    assert reports(rooms)[-1] == "participant_connection_aborted"


def test_without_a_connection_a_lost_socket_is_the_end() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.arrive("bob")
    actions = rooms.receive(events.SocketLost(bob.sid))
    assert Disconnect(bob.sid) in actions
    seen = alice.sees("bob")
    assert seen and seen.state == DISCONNECTED


def test_a_lost_connection_means_to_join_anew() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    actions = rooms.receive(events.ConnectionFailed(bob.sid))
    (leave,) = bob.told("leave", actions)
    assert (leave.action, leave.reason) == (RECONNECT, models.CONNECTION_TIMEOUT)
    assert Disconnect(bob.sid) in actions
    seen = alice.sees("bob")
    assert seen and seen.state == DISCONNECTED


@pytest.mark.parametrize(
    ("scenario", "action"),
    [("server_leave", rtc.LeaveRequest.DISCONNECT), ("leave_request_full_reconnect", RECONNECT)],
)
def test_whoever_simulates_trouble_has_it_alone(scenario: str, action: int) -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    wanted: dict[str, Any] = {scenario: True}
    actions = alice.ask(simulate=rtc.SimulateScenario(**wanted))
    assert [leave.action for leave in alice.told("leave", actions)] == [action]
    assert bob.kinds(actions) == ["update"]


def test_a_room_nobody_comes_to_ends() -> None:
    rooms = Rooms(RoomConfig(empty_timeout=30))
    rooms.wait(29)
    assert not rooms.room.is_over
    rooms.wait(2)
    assert rooms.room.is_over and rooms.room.deadline() is None
    assert reports(rooms) == ["room_started", "room_finished"]


def test_a_room_that_people_left_ends_a_while_later_and_takes_its_agent_along() -> None:
    rooms = Rooms(RoomConfig(departure_timeout=20))
    agent = rooms.join("mulisa", kind=models.ParticipantInfo.AGENT)
    alice = rooms.join("alice")
    rooms.wait(1_000)
    alice.leave()
    rooms.wait(10)
    again = rooms.join("alice")
    rooms.wait(1_000)
    assert not rooms.room.is_over
    again.leave()
    actions = rooms.wait(21)
    assert rooms.room.is_over
    assert [leave.reason for leave in agent.told("leave", actions)] == [models.ROOM_CLOSED]
    assert Disconnect(agent.sid) in actions
    late = rooms.arrive("late")
    assert [leave.action for leave in late.told("leave")] == [RECONNECT]


def test_nonsense_puts_its_sender_out() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    alice.announce("")
    assert [leave.reason for leave in alice.told("leave")] == [models.STATE_MISMATCH]
    assert Disconnect(alice.sid) in rooms.log
    assert not bob.told("leave")


def test_what_is_not_the_rooms_is_passed_over() -> None:
    alice = Rooms().join("alice")
    assert alice.ask(offer=rtc.SessionDescription(type="offer", sdp="v=0")) == []
    assert alice.ask(trickle=rtc.TrickleRequest(candidateInit="{}")) == []
    assert alice.ask() == []


# ---- coming back


def test_a_client_without_a_socket_is_kept_for_a_while() -> None:
    rooms = Rooms(RoomConfig(resume_time=15))
    alice, bob = rooms.join("alice"), rooms.join("bob")
    rooms.receive(events.SocketLost(bob.sid))
    rooms.wait(14)
    assert Disconnect(bob.sid) not in rooms.log
    actions = rooms.wait(2)
    assert Disconnect(bob.sid) in actions and bob.kinds(actions) == []
    assert alice.told("update", actions)[0].participants[0].state == DISCONNECTED
    late = rooms.receive(events.Resumption(bob.sid))
    assert [leave.action for leave in bob.told("leave", late)] == [RECONNECT]


def test_who_comes_back_is_told_everything_again() -> None:
    rooms = Rooms()
    gone = rooms.join("early")
    alice, bob, carol = (rooms.join(name) for name in ("alice", "bob", "carol"))
    gone.leave()
    bob.send(sequence=9, user=models.UserPacket(payload=b"x"))
    rooms.receive(events.SocketLost(bob.sid))
    (expected,) = only(ExpectTrack, bob.announce())  # sent before the loss was seen
    carol.leave()
    track = alice.publish()
    assert only(Subscribe, rooms.log)[-1] == Subscribe(bob.sid, track, alice.sid)
    before = len(rooms.log)
    assert before and not bob.kinds(rooms.wait(1))
    actions = rooms.receive(events.Resumption(bob.sid, refresh_token="newer"))
    kinds = bob.kinds(actions)
    assert kinds[:4] == ["reconnect", "update", "room_update", "refresh_token"]
    assert bob.told("reconnect", actions)[0].last_message_seq == 9
    infos = bob.told("update", actions)[0].participants
    assert {(info.identity, info.state) for info in infos} == {
        ("carol", DISCONNECTED),
        ("early", DISCONNECTED),
        ("bob", ACTIVE),
        ("alice", ACTIVE),
    }
    (published,) = bob.told("track_published", actions)
    assert published.track.sid == expected.track
    assert rooms.wait(100) == [] and rooms.room.deadline() is None


def test_whoever_joined_again_is_not_taken_for_gone() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    rooms.receive(events.SocketLost(alice.sid))
    bob.leave()
    again = rooms.join("bob")
    actions = rooms.receive(events.Resumption(alice.sid))
    infos = alice.told("update", actions)[0].participants
    assert [(i.sid, i.state) for i in infos if i.identity == "bob"] == [(again.sid, ACTIVE)]


def test_permissions_that_changed_meanwhile_are_told() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    one, two = alice.publish("one"), alice.publish("two")
    alice.ask(subscription_permission=rtc.SubscriptionPermission())
    rooms.receive(events.SocketLost(bob.sid))
    only_one = rtc.TrackPermission(participant_identity="bob", track_sids=[one])
    permission = rtc.SubscriptionPermission(track_permissions=[only_one])
    assert not bob.kinds(alice.ask(subscription_permission=permission))
    actions = rooms.receive(events.Resumption(bob.sid))
    told = bob.told("subscription_permission_update", actions)
    assert {update.track_sid: update.allowed for update in told} == {one: True, two: False}


def test_a_resumption_restores_what_was_wanted() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    one, two = alice.publish("one"), alice.publish("two")
    rooms.receive(events.SocketLost(bob.sid))
    rooms.receive(events.Resumption(bob.sid))
    state = rtc.SyncState(
        subscription=rtc.UpdateSubscription(track_sids=[one, "TR_gone"], subscribe=False),
        track_sids_disabled=[two],
    )
    assert bob.ask(sync_state=state) == [Unsubscribe(bob.sid, one), Pause(bob.sid, two, True)]


def test_a_client_that_publishes_what_we_do_not_know_joins_anew() -> None:
    rooms = Rooms()
    alice = rooms.join("alice")
    track = alice.publish()
    known = rtc.TrackPublishedResponse(cid="mic", track=models.TrackInfo(sid=track))
    unknown = rtc.TrackPublishedResponse(cid="cam", track=models.TrackInfo(sid="TR_x"))
    assert alice.ask(sync_state=rtc.SyncState(publish_tracks=[known])) == []
    actions = alice.ask(sync_state=rtc.SyncState(publish_tracks=[known, unknown]))
    (leave,) = alice.told("leave", actions)
    assert (leave.action, leave.reason) == (RECONNECT, models.STATE_MISMATCH)


# ---- speakers and quality


def test_everybody_hears_who_speaks_and_who_no_longer_does() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    mic, other = alice.publish(), bob.publish()
    actions = rooms.receive(events.LevelsMeasured({mic: (0.9, -10.0), other: (0.9, -10.0)}))
    for client in (alice, bob):
        (changed,) = client.told("speakers_changed", actions)
        assert {s.sid for s in changed.speakers if s.active} == {alice.sid, bob.sid}
    actions = rooms.receive(events.LevelsMeasured({mic: (0.0, -127.0), other: (0.9, -10.0)}))
    (changed,) = bob.told("speakers_changed", actions)
    assert {s.sid: s.active for s in changed.speakers} == {alice.sid: False, bob.sid: True}


def test_a_private_voice_is_not_betrayed_by_its_loudness() -> None:
    rooms = Rooms()
    alice, bob, carol = (rooms.join(name) for name in ("alice", "bob", "carol"))
    one = rtc.TrackPermission(participant_identity="bob", all_tracks=True)
    alice.ask(subscription_permission=rtc.SubscriptionPermission(track_permissions=[one]))
    mic = alice.publish()
    actions = rooms.receive(events.LevelsMeasured({mic: (0.9, -10.0)}))
    assert bob.told("speakers_changed", actions) and alice.told("speakers_changed", actions)
    assert not carol.told("speakers_changed", actions)


def test_who_takes_its_track_back_speaks_no_longer() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    mic = alice.publish()
    rooms.receive(events.LevelsMeasured({mic: (0.9, -10.0)}))
    (changed,) = bob.told("speakers_changed", alice.unpublish(mic))
    assert [(s.sid, s.active) for s in changed.speakers] == [(alice.sid, False)]


def test_a_muted_track_does_not_speak() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    mic = alice.publish()
    alice.ask(mute=rtc.MuteTrackRequest(sid=mic, muted=True))
    assert not bob.told(
        "speakers_changed", rooms.receive(events.LevelsMeasured({mic: (1.0, -5.0)}))
    )


def test_quality_is_excellent_at_first_and_told_when_it_changes() -> None:
    rooms = Rooms()
    alice, bob, deaf = rooms.join("alice"), rooms.join("bob"), rooms.join("x", auto_subscribe=False)
    assert bob.told("connection_quality")[0].updates[0].quality == models.EXCELLENT
    track = alice.publish()
    actions = rooms.receive(events.Subscribed(bob.sid, track))
    assert [
        (i.participant_sid, i.quality)
        for update in bob.told("connection_quality", actions)
        for i in update.updates
    ] == [(alice.sid, models.EXCELLENT)]
    assert not rooms.receive(events.Subscribed(bob.sid, track))
    assert rooms.receive(events.QualityMeasured({alice.sid: (0.0, 0.05)})) == []
    actions = rooms.receive(events.QualityMeasured({alice.sid: (0.3, 0.8), bob.sid: (0.0, 0.05)}))
    for client in (alice, bob):
        (update,) = client.told("connection_quality", actions)
        assert [(i.participant_sid, i.quality) for i in update.updates] == [
            (alice.sid, models.POOR)
        ]
    assert not deaf.told("connection_quality", actions)


def test_codecs_that_carry_redundancy_are_named_so() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    (expected,) = only(ExpectTrack, alice.announce())
    red = replace(OPUS, name="red", payload_type=63)
    rooms.receive(events.Bound(alice.sid, (Inbound(expected.track, "audio", "0", (red, OPUS)),)))
    seen = bob.sees("alice")
    assert seen and seen.tracks[0].mime_type == "audio/red"


def test_a_room_keeps_nothing_of_those_who_left() -> None:
    rooms = Rooms()
    stays = rooms.join("alice")
    for _ in range(20):
        bob = rooms.join("bob")
        mic = bob.publish()
        subscribe(stays, mic, True)
        rooms.receive(events.LevelsMeasured({mic: (0.9, -10.0)}))
        bob.leave()
    rooms.log.clear()
    gc.collect()
    kept = [each for each in gc.get_objects() if isinstance(each, Participant)]
    assert [participant.identity for participant in kept if participant.sid != stays.sid] == []
