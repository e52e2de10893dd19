"""What the API does to a room."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.protocol import models, rtc
from livekit.protocol import room as api

from mulisa.core.errors import InputError
from mulisa.core.room import Identity
from mulisa.sfu.errors import LimitExceeded, NotFound
from mulisa.sfu.events import (
    Disconnect,
    Report,
    RoomAction,
    RoomConfig,
    SetMuted,
    Subscribe,
    Unpublish,
    Unsubscribe,
)
from mulisa.sfu.media import TrackSid
from tests.sfu.rooms import MAY_ALL, Client, Rooms, only

pytestmark = pytest.mark.unit

ALICE, NOBODY = Identity("alice"), Identity("nobody")


def update(rooms: Rooms, identity: str, **fields: Any) -> list[RoomAction]:
    request = api.UpdateParticipantRequest(room="standup", identity=identity, **fields)
    return rooms.take(rooms.room.update_participant(request, rooms.now))


def permit(rooms: Rooms, client: Client, **changes: bool) -> list[RoomAction]:
    permission = MAY_ALL.to_message()
    for name, value in changes.items():
        setattr(permission, name, value)
    return update(rooms, client.identity, permission=permission)


def test_the_room_can_be_looked_at() -> None:
    rooms = Rooms()
    alice = rooms.join("alice")
    track = alice.publish()
    assert [info.identity for info in rooms.room.participants()] == ["alice"]
    assert rooms.room.participant(ALICE).tracks[0].sid == track
    assert rooms.room.track(ALICE, track) is not None
    assert rooms.room.track(ALICE, TrackSid("TR_none")) is None
    assert rooms.room.sid_of(ALICE) == alice.sid and rooms.room.sid_of(NOBODY) is None
    assert rooms.room.permissions_of(ALICE) == MAY_ALL
    with pytest.raises(NotFound):
        rooms.room.participant(NOBODY)


def test_somebody_is_put_out() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    actions = rooms.take(rooms.room.remove(ALICE, rooms.now))
    (leave,) = alice.told("leave", actions)
    assert leave.reason == models.PARTICIPANT_REMOVED
    assert Disconnect(alice.sid) in actions
    assert bob.told("update", actions)
    with pytest.raises(NotFound):
        rooms.room.remove(ALICE, rooms.now)


def test_a_track_is_muted_by_the_server_but_not_unmuted() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    track = alice.publish()
    actions = rooms.take(rooms.room.mute(ALICE, track, True, rooms.now))
    assert alice.kinds(actions) == ["mute", "update"]
    assert SetMuted(track, True) in actions
    seen = bob.sees("alice")
    assert seen and seen.tracks[0].muted
    with pytest.raises(InputError):
        rooms.room.mute(ALICE, track, False, rooms.now)
    with pytest.raises(NotFound):
        rooms.room.mute(ALICE, TrackSid("TR_none"), True, rooms.now)


def test_what_is_said_of_somebody_is_changed() -> None:
    rooms = Rooms(RoomConfig(max_metadata_bytes=5))
    rooms.join("alice", attributes={"k": "v"})
    bob = rooms.join("bob")
    update(rooms, "alice", name="Al", metadata="m", attributes={"k": "", "l": "w"})
    seen = bob.sees("alice")
    assert seen and (seen.name, seen.metadata, dict(seen.attributes)) == ("Al", "m", {"l": "w"})
    assert update(rooms, "alice") == []
    with pytest.raises(LimitExceeded):
        update(rooms, "alice", metadata="too long")
    with pytest.raises(NotFound):
        update(rooms, "nobody", name="x")


def test_who_may_no_longer_publish_loses_its_tracks_at_once() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    track = alice.publish()
    alice.announce("pending")
    actions = permit(rooms, alice, can_publish=False)
    assert actions[0] == Unsubscribe(bob.sid, track, has_ended=True)
    assert len(only(Unpublish, actions)) == 2
    assert alice.kinds(actions) == ["track_unpublished", "track_unpublished", "update"]
    seen = bob.sees("alice")
    assert seen and not seen.tracks and not seen.permission.can_publish
    assert [r.event for r in only(Report, actions)] == ["track_unpublished", "participant_updated"]
    assert alice.told("request_response", alice.announce("again"))
    assert alice.bind(track) == []


def test_who_may_no_longer_subscribe_loses_everything_and_may_get_it_back() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    track = alice.publish()
    assert only(Unsubscribe, permit(rooms, bob, can_subscribe=False)) == [
        Unsubscribe(bob.sid, track)
    ]
    again = permit(rooms, bob, can_subscribe=True)
    assert only(Subscribe, again) == [Subscribe(bob.sid, track, alice.sid)]
    assert permit(rooms, bob, can_subscribe=True) == []


def test_who_becomes_hidden_is_gone_for_the_others_until_it_shows_again() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob")
    track = alice.publish()
    actions = permit(rooms, alice, hidden=True)
    assert only(Unsubscribe, actions) == [Unsubscribe(bob.sid, track)]
    (gone,) = bob.told("update", actions)
    assert gone.participants[0].state == models.ParticipantInfo.DISCONNECTED
    (own,) = alice.told("update", actions)
    assert own.participants[0].permission.hidden
    actions = permit(rooms, alice, hidden=False)
    seen = bob.sees("alice")
    assert seen and seen.state == models.ParticipantInfo.ACTIVE and seen.tracks[0].sid == track
    assert only(Subscribe, actions) == [Subscribe(bob.sid, track, alice.sid)]


def test_somebody_is_subscribed_by_the_server() -> None:
    rooms = Rooms()
    alice, bob = rooms.join("alice"), rooms.join("bob", auto_subscribe=False)
    track = alice.publish()
    group = models.ParticipantTracks(participant_sid=alice.sid, track_sids=[track])
    request = api.UpdateSubscriptionsRequest(
        identity="bob", participant_tracks=[group], subscribe=True
    )
    actions = rooms.take(rooms.room.update_subscriptions(request, rooms.now))
    assert only(Subscribe, actions) == [Subscribe(bob.sid, track, alice.sid)]
    request.participant_tracks[0].track_sids.append("TR_none")
    with pytest.raises(NotFound):
        rooms.room.update_subscriptions(request, rooms.now)


def test_the_rooms_metadata_is_told_at_once() -> None:
    rooms = Rooms(RoomConfig(max_metadata_bytes=5))
    alice = rooms.join("alice")
    (told,) = alice.told("room_update", rooms.take(rooms.room.update_metadata("m", rooms.now)))
    assert told.room.metadata == "m" == rooms.room.info().metadata
    with pytest.raises(LimitExceeded):
        rooms.room.update_metadata("too long", rooms.now)
    assert rooms.room.info().metadata == "m"


def test_a_deleted_room_puts_everybody_out() -> None:
    rooms = Rooms()
    clients = [rooms.join("alice"), rooms.join("bob"), rooms.arrive("carol")]
    clients[0].publish()
    actions = rooms.take(rooms.room.close(now=rooms.now))
    for client in clients:
        assert client.kinds(actions) == ["leave"]
        assert client.told("leave", actions)[0].reason == models.ROOM_DELETED
        assert Disconnect(client.sid) in actions
    assert only(Report, actions)[-1].event == "room_finished"
    assert only(Report, actions)[-1].room.num_participants == 0
    assert rooms.room.is_over and rooms.room.participants() == []
    assert rooms.room.close(now=rooms.now) == []


def test_a_server_that_stops_asks_to_come_again() -> None:
    rooms = Rooms()
    alice = rooms.join("alice")
    reconnect = rtc.LeaveRequest.RECONNECT
    rooms.take(rooms.room.close(models.SERVER_SHUTDOWN, reconnect, now=rooms.now))
    (leave,) = alice.told("leave")
    assert (leave.reason, leave.action) == (models.SERVER_SHUTDOWN, reconnect)
