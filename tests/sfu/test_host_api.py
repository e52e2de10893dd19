"""What the API does to a room, as clients see it, and when it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from livekit import rtc
from livekit.protocol import models
from livekit.protocol.room import (
    CreateRoomRequest,
    SendDataRequest,
    UpdateParticipantRequest,
    UpdateSubscriptionsRequest,
)

from mulisa.core.errors import InputError
from mulisa.core.room import Identity, RoomName
from mulisa.sfu.errors import LimitExceeded, NotFound
from mulisa.sfu.media import TrackSid
from tests.sfu.hosting import Hosting, Person, hosting, pitch, until

pytestmark = pytest.mark.network

ALICE, BOB = Identity("alice"), Identity("bob")


@dataclass
class Stage:
    """Alice speaks, bob hears her."""

    here: Hosting
    alice: Person
    bob: Person
    track: TrackSid

    def received(self) -> int:
        return self.here.host._forwarder.counters.packets_received

    def forwarded(self) -> int:
        return self.here.host.counters.packets_forwarded

    async def nothing_flows_from_now_on(self) -> None:
        """Alice goes on speaking, and not one packet more is sent to anybody."""
        received, forwarded = self.received(), self.forwarded()
        await until(lambda: self.received() >= received + 20)
        assert self.forwarded() == forwarded


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with (
        hosting() as here,
        Person(here.url, "alice") as alice,
        Person(here.url, "bob") as bob,
    ):
        publication = await alice.speak(300.0)
        await bob.hear("alice", 0.2)
        yield Stage(here, alice, bob, TrackSid(publication.sid))


async def test_what_is_unsubscribed_has_stopped_when_the_call_returns(stage: Stage) -> None:
    host, room = stage.here.host, stage.here.room
    change = UpdateSubscriptionsRequest(room=room, identity=BOB, track_sids=[stage.track])
    host.update_subscriptions(change)
    await stage.nothing_flows_from_now_on()
    change.subscribe = True
    host.update_subscriptions(change)
    assert pitch(await stage.bob.hear("alice")) == pytest.approx(300.0, abs=5.0)


async def test_who_may_not_subscribe_any_more_hears_nothing_from_then_on(stage: Stage) -> None:
    request = UpdateParticipantRequest(room=stage.here.room, identity=BOB)
    request.permission.CopyFrom(models.ParticipantPermission(can_publish=True))
    info = stage.here.host.update_participant(request)
    assert not info.permission.can_subscribe
    await stage.nothing_flows_from_now_on()


async def test_what_is_muted_has_stopped_when_the_call_returns(stage: Stage) -> None:
    info = stage.here.host.mute(stage.here.room, ALICE, stage.track, True)
    assert info.muted and info.sid == stage.track
    forwarded = stage.forwarded()
    theirs = stage.bob.sdk.remote_participants["alice"].track_publications[stage.track]
    await stage.bob.until(lambda: theirs.muted)
    assert stage.forwarded() == forwarded
    with pytest.raises(InputError):
        stage.here.host.mute(stage.here.room, ALICE, stage.track, False)


async def test_who_is_removed_is_told_so(stage: Stage) -> None:
    reasons: list[int] = []
    stage.bob.sdk.on("disconnected", reasons.append)
    stage.here.host.remove(stage.here.room, BOB)
    await stage.nothing_flows_from_now_on()
    await stage.bob.until(lambda: bool(reasons))
    assert reasons == [rtc.DisconnectReason.PARTICIPANT_REMOVED]


async def test_names_metadata_and_data_arrive(stage: Stage) -> None:
    host, room = stage.here.host, stage.here.room
    host.update_participant(UpdateParticipantRequest(room=room, identity=ALICE, name="Al"))
    await stage.bob.until(lambda: stage.bob.sdk.remote_participants["alice"].name == "Al")
    assert host.participant(room, ALICE).name == "Al"
    assert host.update_metadata(room, "agenda").metadata == "agenda"
    told = host.room(room)
    assert told is not None and told.metadata == "agenda"
    host.send_data(SendDataRequest(room=room, data=b"news", destination_identities=[BOB]))
    await stage.bob.until(lambda: stage.bob.data == [("", b"news")])
    assert stage.alice.data == []


async def test_a_room_is_created_once_with_what_was_asked_for() -> None:
    created: list[tuple[RoomName, list[str]]] = []

    def on_agents(room: RoomName, agents: object) -> None:
        created.append((room, [each.agent_name for each in agents]))  # type: ignore[attr-defined]

    async with hosting(on_agents=on_agents, max_rooms=1) as here:
        request = CreateRoomRequest(name="plenary", empty_timeout=9, metadata="m")
        request.agents.add(agent_name="mulisa")
        room = here.host.create_room(request)
        assert (room.name, room.empty_timeout, room.metadata) == ("plenary", 9, "m")
        assert here.host.create_room(CreateRoomRequest(name="plenary")).sid == room.sid
        assert created == [(RoomName("plenary"), ["mulisa"])]
        with pytest.raises(LimitExceeded):
            here.host.create_room(CreateRoomRequest(name="another"))
        with pytest.raises(InputError):
            here.host.create_room(CreateRoomRequest())
        here.host.delete_room(RoomName("plenary"))
        assert [report.event for report in here.reports] == ["room_started", "room_finished"]


async def test_what_is_not_there_is_not_found() -> None:
    async with hosting() as here:
        host, absent, nobody = here.host, RoomName("absent"), Identity("nobody")
        assert host.room(absent) is None and host.participants(absent) == []
        here.create("there")
        for room in (absent, RoomName("there")):
            with pytest.raises(NotFound):
                host.participant(room, nobody)
            with pytest.raises(NotFound):
                host.remove(room, nobody)
            with pytest.raises(NotFound):
                host.mute(room, nobody, TrackSid("TR_x"), True)
            with pytest.raises(NotFound):
                host.update_participant(UpdateParticipantRequest(room=room, identity=nobody))
            with pytest.raises(NotFound):
                host.update_subscriptions(UpdateSubscriptionsRequest(room=room, identity=nobody))
        for change in (
            lambda: host.delete_room(absent),
            lambda: host.update_metadata(absent, "m"),
            lambda: host.send_data(SendDataRequest(room=absent)),
        ):
            with pytest.raises(NotFound):
                change()
