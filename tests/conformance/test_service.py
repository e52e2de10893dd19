"""LiveKit's server API: RoomService as `livekit.api` calls it."""

from __future__ import annotations

from typing import Any

import pytest
from livekit import api

from tests.browser.people import until
from tests.conformance.clients import FEW, Data, hears, sees
from tests.conformance.conftest import Join
from tests.conformance.test_tracks import packets_in_a_while
from tests.sfu_server import SfuServer

pytestmark = pytest.mark.network


async def test_rooms_are_created_listed_and_deleted(server: SfuServer, room: str) -> None:
    async with server.api() as livekit:
        asked = api.CreateRoomRequest(name=room, metadata="plans", empty_timeout=60)
        made = await livekit.room.create_room(asked)
        again = await livekit.room.create_room(asked)
        assert made.sid.startswith("RM_") and again.sid == made.sid
        assert (made.name, made.metadata, made.empty_timeout) == (room, "plans", 60)
        listed = await livekit.room.list_rooms(api.ListRoomsRequest())
        assert room in [each.name for each in listed.rooms]
        listed = await livekit.room.list_rooms(api.ListRoomsRequest(names=[room, "absent"]))
        assert [each.sid for each in listed.rooms] == [made.sid]
        await livekit.room.delete_room(api.DeleteRoomRequest(room=room))
        listed = await livekit.room.list_rooms(api.ListRoomsRequest(names=[room]))
        assert not listed.rooms


async def test_participants_are_listed_and_found(python_join: Join) -> None:
    alice, _ = await python_join("alice", metadata="first"), await python_join("bob")
    sid = await alice.publish(440.0)
    room = python_join.room
    async with python_join.server.api() as livekit:
        listed = await livekit.room.list_participants(api.ListParticipantsRequest(room=room))
        assert {each.identity for each in listed.participants} == {"alice", "bob"}
        who = api.RoomParticipantIdentity(room=room, identity="alice")
        found = await until(
            lambda: livekit.room.get_participant(who), lambda found: bool(found.tracks), "a track"
        )
        assert (found.sid, found.metadata) == ((await alice.view()).me.sid, "first")
        assert [each.sid for each in found.tracks] == [sid]
        absent = await livekit.room.list_participants(api.ListParticipantsRequest(room="absent"))
        assert not absent.participants
        with pytest.raises(api.TwirpError) as refused:
            await livekit.room.get_participant(
                api.RoomParticipantIdentity(room=room, identity="nobody")
            )
        assert (refused.value.status, refused.value.code) == (404, "not_found")


async def test_a_participant_is_changed(python_join: Join) -> None:
    alice, bob = await python_join("alice"), await python_join("bob")
    async with python_join.server.api() as livekit:
        changed = await livekit.room.update_participant(
            api.UpdateParticipantRequest(
                room=python_join.room,
                identity="alice",
                name="Alicia",
                metadata="new",
                attributes={"colour": "red"},
            )
        )
    assert (changed.name, changed.metadata) == ("Alicia", "new")
    for client in (alice, bob):
        await sees(
            client,
            lambda view: (view.others.get("alice") or view.me).attributes == {"colour": "red"},
            "the new attributes",
        )


async def test_permissions_are_taken_and_given(python_join: Join) -> None:
    alice, bob = await python_join("alice"), await python_join("bob")
    await alice.publish(440.0)
    await hears(bob, "alice", 440.0)

    async def permit(identity: str, **allowed: bool) -> None:
        every: Any = {
            "can_publish": True,
            "can_subscribe": True,
            "can_publish_data": True,
        } | allowed
        async with python_join.server.api() as livekit:
            await livekit.room.update_participant(
                api.UpdateParticipantRequest(
                    room=python_join.room,
                    identity=identity,
                    permission=api.ParticipantPermission(**every),
                )
            )

    await permit("bob", can_subscribe=False)
    await sees(bob, lambda view: not view.can_subscribe, "that it may not subscribe")
    await alice.send("barrier")
    await sees(bob, lambda view: view.data, "the barrier")
    assert await packets_in_a_while(bob) < FEW
    await permit("bob")
    await hears(bob, "alice", 440.0)
    await permit("alice", can_publish=False)
    await sees(bob, lambda view: not view.others["alice"].tracks, "the track go")
    assert await packets_in_a_while(bob) < FEW


async def test_a_track_is_muted_by_a_host(python_join: Join) -> None:
    alice, bob = await python_join("alice"), await python_join("bob")
    sid = await alice.publish(440.0)
    await hears(bob, "alice", 440.0)
    async with python_join.server.api() as livekit:
        muted = await livekit.room.mute_published_track(
            api.MuteRoomTrackRequest(
                room=python_join.room, identity="alice", track_sid=sid, muted=True
            )
        )
    assert muted.track.sid == sid and muted.track.muted
    await sees(bob, lambda view: view.is_muted("alice"), "mute")
    await sees(alice, lambda view: view.me.tracks["voice"].is_muted, "being muted")
    await hears(bob, "alice", 0.0)
    await alice.set_muted(False)
    await hears(bob, "alice", 440.0)


async def test_subscriptions_are_changed(python_join: Join) -> None:
    alice, bob = await python_join("alice"), await python_join("bob")
    sid = await alice.publish(440.0)
    await hears(bob, "alice", 440.0)
    async with python_join.server.api() as livekit:
        for is_wanted in (False, True):
            await livekit.room.update_subscriptions(
                api.UpdateSubscriptionsRequest(
                    room=python_join.room, identity="bob", track_sids=[sid], subscribe=is_wanted
                )
            )
            await alice.set_tone(700.0)
            await until(
                lambda: packets_in_a_while(bob),
                lambda packets, is_wanted=is_wanted: (packets >= FEW) is is_wanted,  # type: ignore[misc]
                "packets" if is_wanted else "no packets",
            )
            if is_wanted:
                await hears(bob, "alice", 700.0)


async def test_data_is_sent_by_the_server(python_join: Join) -> None:
    alice, bob = await python_join("alice"), await python_join("bob")
    async with python_join.server.api() as livekit:
        for text, to in (("for bob", ["bob"]), ("for all", [])):
            await livekit.room.send_data(
                api.SendDataRequest(
                    room=python_join.room,
                    data=text.encode(),
                    kind=api.DataPacket.Kind.RELIABLE,
                    topic="news",
                    destination_identities=to,
                )
            )
    view = await sees(bob, lambda view: len(view.data) == 2, "both")
    assert view.data == [
        Data("", "news", "for bob", True),
        Data("", "news", "for all", True),
    ]
    view = await sees(alice, lambda view: view.data, "the one for all")
    assert [each.text for each in view.data] == ["for all"]


async def test_the_rooms_metadata_is_told(python_join: Join) -> None:
    alice = await python_join("alice")
    async with python_join.server.api() as livekit:
        room = await livekit.room.update_room_metadata(
            api.UpdateRoomMetadataRequest(room=python_join.room, metadata="agenda")
        )
    assert room.metadata == "agenda"
    await sees(alice, lambda view: view.room_metadata == "agenda", "the metadata")
    bob = await python_join("bob")
    assert (await bob.view()).room_metadata == "agenda"


async def test_the_api_asks_for_its_grants(server: SfuServer, room: str) -> None:
    def token(**grants: bool | str) -> str:
        return (
            api.AccessToken(server.key, server.secret)
            .with_identity("alice")
            .with_grants(api.VideoGrants(**grants))  # type: ignore[arg-type]
            .to_jwt()
        )

    async def refused(token: str) -> None:
        async with api.LiveKitAPI(server.http_url, token=token) as livekit:
            with pytest.raises(api.TwirpError) as error:
                await livekit.room.create_room(api.CreateRoomRequest(name=room))
            assert error.value.status in (401, 403)
            with pytest.raises(api.TwirpError) as error:
                await livekit.room.list_participants(api.ListParticipantsRequest(room=room))
            assert error.value.status in (401, 403)

    await refused(token(room_join=True, room=room))
    await refused(token(room_list=True))
    await refused(token(room_admin=True, room="another"))
    async with api.LiveKitAPI(server.http_url, token=token(room_admin=True, room=room)) as livekit:
        await livekit.room.list_participants(api.ListParticipantsRequest(room=room))
