"""The gateway with its own SFU: LiveKit's SDK in its rooms, LiveKit's server API on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from livekit import api, rtc
from livekit.protocol import agent as wire
from livekit.protocol import models
from livekit.protocol import rtc as signal

from mulisa.core.errors import ConfigError
from mulisa.server.events import Joined, Left, RoomClosed, RoomOpened
from mulisa.server.gateway import GatewayConfig, serve
from mulisa.server.tokens import TokenVerifier
from mulisa.transport.mesh.signaling import IceServer
from tests.server.gateways import (
    KEY,
    ROOM,
    SECRET,
    RunningGateway,
    ScriptedWorker,
    config,
    running_gateway,
    token_for,
)
from tests.server.tokens import api_token

pytestmark = pytest.mark.network

PATIENCE = 15.0
EVENTS: tuple[Any, ...] = (
    "data_received",
    "disconnected",
    "participant_attributes_changed",
    "participant_connected",
    "track_muted",
    "track_published",
    "track_subscribed",
    "track_unsubscribed",
)


class World:
    """A gateway, its server API as `livekit-api` calls it, and people in its rooms."""

    def __init__(self, gateway: RunningGateway, lk: api.LiveKitAPI, stack: AsyncExitStack) -> None:
        self.gateway = gateway
        self.lk = lk
        self.seen: list[tuple[str, str]] = []
        """Whose SDK told what."""
        self._changed = asyncio.Event()
        self._stack = stack

    def note(self, *what: str) -> None:
        """Something happened that somebody may wait for."""
        self.seen.append((what[0], what[-1]))
        self._changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is so, looking at each event of anybody's SDK."""
        async with asyncio.timeout(PATIENCE):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def hears(self, name: str, event: str, times: int = 1) -> None:
        """Wait until somebody's SDK told this so many times in all."""
        await self.until(lambda: self.seen.count((name, event)) >= times)

    async def person(self, name: str = "Alice", **claims: Any) -> rtc.Room:
        """Somebody who joined with a token of their own."""
        video = {"roomJoin": True, "room": ROOM} | claims.pop("video", {})
        token = api_token(video, identity=name.lower(), name=name, **claims)
        room = rtc.Room()
        for event in EVENTS:
            room.on(event, lambda *_, event=event: self.note(name.lower(), event))
        await room.connect(self.gateway.ws_url, token)
        self._stack.push_async_callback(room.disconnect)
        return room

    async def room(self) -> tuple[int, Any]:
        async with self.gateway.http.get(self.gateway.url(f"/api/rooms/{ROOM}")) as response:
            return response.status, await response.json()


@asynccontextmanager
async def world_of(config: GatewayConfig) -> AsyncIterator[World]:
    async with running_gateway(config) as gateway, AsyncExitStack() as stack:
        padded = SECRET.ljust(64, "\0")  # HMAC does it anyway; PyJWT warns of short keys
        lk = api.LiveKitAPI(gateway.ws_url, KEY, padded, session=gateway.http)
        yield World(gateway, lk, stack)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(config(tmp_path, departure_timeout=0.2)) as world:
        yield world


def is_(*kinds: type) -> Any:
    return lambda event: isinstance(event, kinds)


async def test_a_room_is_on_our_own_sfu_and_everybody_is_told(world: World) -> None:
    gateway = world.gateway
    async with gateway.http.post(
        gateway.url(f"/api/rooms/{ROOM}/token"), json={"name": "Alice"}
    ) as response:
        admission = await response.json()
    assert (admission["topology"], admission["url"]) == ("sfu", gateway.ws_url)
    assert admission["ice_servers"] == []
    room = rtc.Room()
    await room.connect(admission["url"], admission["token"])
    status, shown = await world.room()
    assert (status, shown["topology"]) == (200, "sfu")
    (alice,) = shown["participants"]
    assert (alice["identity"], alice["name"]) == (admission["identity"], "Alice")
    await room.disconnect()
    await gateway.wait_for(is_(RoomClosed))
    assert [type(event) for event in gateway.events] == [RoomOpened, Joined, Left, RoomClosed]
    assert (await world.room())[0] == 404
    async with gateway.http.get(gateway.url("/metrics")) as page:
        assert "mulisa_sfu_joins_total 1.0" in await page.text()


async def test_behind_a_proxy_with_https_the_sfu_is_reached_by_wss(world: World) -> None:
    headers = {"X-Forwarded-Proto": "https", "Host": "talk.example.org"}
    url = world.gateway.url(f"/api/rooms/{ROOM}/token")
    async with world.gateway.http.post(url, json={"name": "A"}, headers=headers) as response:
        assert (await response.json())["url"] == "wss://talk.example.org"


async def test_rooms_are_created_listed_changed_and_deleted(world: World) -> None:
    rooms = world.lk.room
    created = await rooms.create_room(
        api.CreateRoomRequest(name=ROOM, empty_timeout=60, max_participants=7, metadata="m")
    )
    assert created.sid.startswith("RM_")
    assert (created.empty_timeout, created.max_participants) == (60, 7)
    again = await rooms.create_room(api.CreateRoomRequest(name=ROOM))
    assert again.sid == created.sid
    await rooms.create_room(api.CreateRoomRequest(name="other"))
    listed = await rooms.list_rooms(api.ListRoomsRequest())
    assert {room.name for room in listed.rooms} == {ROOM, "other"}
    one = await rooms.list_rooms(api.ListRoomsRequest(names=[ROOM, "nowhere"]))
    assert [room.name for room in one.rooms] == [ROOM]
    changed = await rooms.update_room_metadata(
        api.UpdateRoomMetadataRequest(room=ROOM, metadata="new")
    )
    assert changed.metadata == "new"
    await rooms.delete_room(api.DeleteRoomRequest(room=ROOM))
    assert [room.name for room in (await rooms.list_rooms(api.ListRoomsRequest())).rooms] == [
        "other"
    ]
    for call in (
        rooms.delete_room(api.DeleteRoomRequest(room=ROOM)),
        rooms.update_room_metadata(api.UpdateRoomMetadataRequest(room=ROOM, metadata="")),
        rooms.get_participant(api.RoomParticipantIdentity(room="other", identity="nobody")),
        rooms.remove_participant(api.RoomParticipantIdentity(room="other", identity="nobody")),
        rooms.get_participant(api.RoomParticipantIdentity(room=ROOM, identity="nobody")),
    ):
        with pytest.raises(api.TwirpError) as error:
            await call
        assert (error.value.code, error.value.status) == ("not_found", 404)
    nobody = await rooms.list_participants(api.ListParticipantsRequest(room=ROOM))
    assert list(nobody.participants) == [], "a room that is not there has nobody in it"


async def test_people_are_seen_changed_and_put_out(world: World) -> None:
    _, bob = await world.person(), await world.person("Bob")
    rooms = world.lk.room
    people = await rooms.list_participants(api.ListParticipantsRequest(room=ROOM))
    assert {person.identity for person in people.participants} == {"alice", "bob"}
    found = await rooms.get_participant(api.RoomParticipantIdentity(room=ROOM, identity="alice"))
    assert found.name == "Alice"
    updated = await rooms.update_participant(
        api.UpdateParticipantRequest(
            room=ROOM, identity="alice", name="Alicia", metadata="m", attributes={"hand": "up"}
        )
    )
    assert (updated.name, updated.metadata, updated.attributes["hand"]) == ("Alicia", "m", "up")
    await world.until(lambda: bob.remote_participants["alice"].attributes.get("hand") == "up")
    (shown,) = [p for p in (await world.room())[1]["participants"] if p["identity"] == "alice"]
    assert (shown["name"], shown["attributes"]) == ("Alicia", {"hand": "up"})

    await rooms.remove_participant(api.RoomParticipantIdentity(room=ROOM, identity="alice"))
    await world.hears("alice", "disconnected")
    left = await world.gateway.wait_for(is_(Left))
    assert isinstance(left, Left) and left.reason == "removed"


async def test_a_track_is_muted_and_subscriptions_are_chosen(world: World) -> None:
    alice, bob = await world.person(), await world.person("Bob")
    source = rtc.AudioSource(48_000, 1)
    track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    publication = await alice.local_participant.publish_track(track, options)
    await world.hears("bob", "track_subscribed")
    for subscribe in (False, True):  # the SDK tells of the former when it is done with the latter
        await world.lk.room.update_subscriptions(
            api.UpdateSubscriptionsRequest(
                room=ROOM, identity="bob", track_sids=[publication.sid], subscribe=subscribe
            )
        )
    await world.hears("bob", "track_subscribed", times=2)
    assert ("bob", "track_unsubscribed") in world.seen

    mute = api.MuteRoomTrackRequest(room=ROOM, identity="alice", track_sid=publication.sid)
    mute.muted = True
    muted = await world.lk.room.mute_published_track(mute)
    assert muted.track.muted and muted.track.sid == publication.sid
    await world.hears("bob", "track_muted")
    assert bob.remote_participants["alice"].track_publications[publication.sid].muted
    mute.muted = False
    with pytest.raises(api.TwirpError) as error:
        await world.lk.room.mute_published_track(mute)
    assert error.value.code == "failed_precondition", "nobody is made to speak"
    with pytest.raises(api.TwirpError) as error:
        await world.lk.room.mute_published_track(
            api.MuteRoomTrackRequest(room=ROOM, identity="alice", track_sid="TR_x", muted=True)
        )
    assert error.value.code == "not_found"


def _read(name: str, packet: rtc.DataPacket) -> tuple[str, bytes, str | None]:
    return name, packet.data, packet.topic


async def test_data_reaches_everybody_or_some(world: World) -> None:
    alice, bob = await world.person(), await world.person("Bob")
    got: list[tuple[str, bytes, str | None]] = []
    for name, room in (("alice", alice), ("bob", bob)):
        room.on("data_received", lambda packet, name=name: got.append(_read(name, packet)))
    request = api.SendDataRequest(room=ROOM, data=b"all", kind=models.DataPacket.RELIABLE)
    await world.lk.room.send_data(request)
    await world.until(lambda: len(got) == 2)
    assert {(name, data) for name, data, _ in got} == {("alice", b"all"), ("bob", b"all")}
    got.clear()
    request = api.SendDataRequest(
        room=ROOM,
        data=b"some",
        kind=models.DataPacket.RELIABLE,
        destination_identities=["bob"],
        topic="t",
    )
    await world.lk.room.send_data(request)
    await world.lk.room.send_data(
        api.SendDataRequest(room=ROOM, data=b"end", kind=models.DataPacket.RELIABLE)
    )
    await world.until(lambda: sum(data == b"end" for _, data, _ in got) == 2)
    assert [(name, topic) for name, data, topic in got if data == b"some"] == [("bob", "t")]


@pytest.mark.parametrize(
    ("video", "allowed"),
    [
        ({"roomCreate": True}, {"CreateRoom", "DeleteRoom"}),
        ({"roomList": True}, {"ListRooms"}),
        (
            {"roomAdmin": True, "room": ROOM},
            {"ListParticipants", "GetParticipant", "ListDispatch", "UpdateRoomMetadata"},
        ),
        ({"roomAdmin": True, "room": "other"}, set()),
        ({"roomAdmin": True}, set()),
        ({"roomJoin": True, "room": ROOM}, set()),
        ({}, set()),
    ],
)
async def test_a_token_allows_what_it_grants_and_nothing_else(
    world: World, video: dict[str, Any], allowed: set[str]
) -> None:
    await world.lk.room.create_room(api.CreateRoomRequest(name=ROOM))
    headers = {"Authorization": f"Bearer {api_token(video, identity='x')}"}
    granted = set()
    for method, body in {
        "UpdateRoomMetadata": {"room": ROOM, "metadata": "x"},
        "ListRooms": {},
        "ListParticipants": {"room": ROOM},
        "GetParticipant": {"room": ROOM, "identity": "x"},
        "ListDispatch": {"room": ROOM},
        "CreateRoom": {"name": ROOM},
        "DeleteRoom": {"room": ROOM},
    }.items():
        service = "AgentDispatchService" if "Dispatch" in method else "RoomService"
        url = world.gateway.url(f"/twirp/livekit.{service}/{method}")
        async with world.gateway.http.post(url, json=body, headers=headers) as response:
            assert response.status in (200, 401, 404)
            if response.status != 401:
                granted.add(method)
            else:
                assert (await response.json())["code"] == "unauthenticated"
    assert granted == allowed


async def test_a_room_has_one_topology(world: World) -> None:
    gateway = world.gateway
    await world.person()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await gateway.http.ws_connect(f"{gateway.ws_url}/mesh?access_token={token_for(ROOM)}")
    assert refused.value.status == 409
    async with gateway.person("retro"):
        url = f"{gateway.ws_url}/rtc?access_token={token_for('retro', 'Bob')}"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await gateway.http.ws_connect(url)
        assert refused.value.status == 409
        with pytest.raises(api.TwirpError) as error:
            await world.lk.room.create_room(api.CreateRoomRequest(name="retro"))
        assert error.value.code == "failed_precondition"
    await world.lk.room.create_room(api.CreateRoomRequest(name="planned"))
    wish = {"name": "Alice", "topology": "mesh"}
    async with gateway.http.post(gateway.url("/api/rooms/planned/token"), json=wish) as response:
        assert (await response.json())["topology"] == "sfu", "it was created on the SFU"


async def test_the_agent_process_is_sent_in_at_once_and_let_go(world: World) -> None:
    async with ScriptedWorker.registered(world.gateway) as worker:
        alice = await world.person()
        assignment = await worker.accept(participant_identity="mulisa", participant_name="Mulisa")
        assert json.loads(assignment.job.metadata) == {"topology": "sfu"}
        assert not assignment.url, "it goes where it registered"
        assert assignment.job.room.sid.startswith("RM_")
        mulisa = rtc.Room()
        await mulisa.connect(world.gateway.ws_url, assignment.token)
        await world.until(lambda: "mulisa" in alice.remote_participants)
        assert (
            alice.remote_participants["mulisa"].kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        )
        assert (await world.room())[1]["agent"]["identity"] == "mulisa"
        await alice.disconnect()
        assert (await worker.hear("termination")).termination.job_id == assignment.job.id
        await mulisa.disconnect()


async def test_an_agent_that_nobody_knows_is_put_out_of_an_empty_room(world: World) -> None:
    await world.person("Mulisa", kind="agent")
    await world.hears("mulisa", "disconnected")


@asynccontextmanager
async def scribe(gateway: RunningGateway) -> AsyncIterator[ScriptedWorker]:
    """A worker that takes what asks for it by name."""
    async with ScriptedWorker.connect(gateway) as worker:
        request = wire.RegisterWorkerRequest(type=wire.JT_ROOM, agent_name="scribe")
        await worker.say(register=request)
        await worker.hear("register")
        yield worker


async def test_an_agent_is_dispatched_by_name_ahead_of_people(world: World) -> None:
    dispatch = world.lk.agent_dispatch
    async with scribe(world.gateway) as worker:
        created = await dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(agent_name="scribe", room=ROOM, metadata="take notes")
        )
        assert created.id.startswith("AD_")
        assert (created.agent_name, created.room, created.metadata) == (
            *("scribe", ROOM, "take notes"),
        )
        job = (await worker.hear("availability")).availability.job
        assert (job.agent_name, job.metadata, job.dispatch_id) == (
            *("scribe", "take notes", created.id),
        )
        answer = wire.AvailabilityResponse(
            job_id=job.id, available=True, participant_identity=f"agent-{job.id}"
        )
        await worker.say(availability=answer)
        assignment = (await worker.hear("assignment")).assignment
        grant = TokenVerifier(KEY, SECRET).verify(assignment.token)
        assert (grant.identity, grant.attributes["lk.agent_name"]) == (f"agent-{job.id}", "scribe")
        (listed,) = await dispatch.list_dispatch(ROOM)
        assert [each.id for each in listed.state.jobs] == [job.id]
        await dispatch.delete_dispatch(created.id, ROOM)
        assert (await worker.hear("termination")).termination.job_id == job.id
        assert await dispatch.list_dispatch(ROOM) == []
        with pytest.raises(api.TwirpError) as error:
            await dispatch.delete_dispatch(created.id, ROOM)
        assert error.value.code == "not_found"


async def test_a_token_may_say_which_agents_its_room_gets(world: World) -> None:
    async with scribe(world.gateway) as worker, ScriptedWorker.registered(world.gateway) as usual:
        agents = [{"agentName": "scribe", "metadata": "quietly"}]
        await world.person(roomConfig={"agents": agents})
        assert (await worker.accept()).job.metadata == "quietly"
        listed = await world.lk.agent_dispatch.list_dispatch(ROOM)
        assert [each.agent_name for each in listed] == ["scribe"]
        async with world.gateway.person("other"):  # the next offer that this one gets
            assert (await usual.accept()).job.room.name == "other"


async def test_a_room_that_is_deleted_ends_its_jobs(world: World) -> None:
    async with scribe(world.gateway) as worker:
        await world.lk.room.create_room(
            api.CreateRoomRequest(name=ROOM, agents=[api.RoomAgentDispatch(agent_name="scribe")])
        )
        job = (await worker.accept()).job
        await world.lk.room.delete_room(api.DeleteRoomRequest(room=ROOM))
        assert (await worker.hear("termination")).termination.job_id == job.id


async def test_webhooks_tell_a_whole_call_in_order(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    note: Callable[..., None] = list[str]().append

    async def hook(request: web.Request) -> web.Response:
        told.append(json.loads(await request.text()))
        note("webhook", told[-1]["event"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    async with TestServer(app) as server:
        url = f"http://127.0.0.1:{server.port}/hook"
        async with world_of(config(tmp_path, webhooks=(url,))) as world:
            note = world.note
            alice = await world.person()
            source = rtc.AudioSource(48_000, 1)
            track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
            publication = await alice.local_participant.publish_track(track)
            await alice.local_participant.unpublish_track(publication.sid)
            await world.hears("webhook", "track_unpublished")
            await alice.disconnect()
            await world.hears("webhook", "participant_left")
            await world.lk.room.delete_room(api.DeleteRoomRequest(room=ROOM))
    assert [each["event"] for each in told] == [
        "room_started",
        "participant_joined",
        "track_published",
        "track_unpublished",
        "participant_left",
        "room_finished",
    ]
    assert {each["room"]["name"] for each in told} == {ROOM}
    assert told[1]["participant"]["identity"] == "alice"
    assert told[2]["track"]["sid"] == publication.sid


async def test_everybody_gets_turn_credentials_of_their_own(tmp_path: Path) -> None:
    servers = (IceServer(urls="stun:s.example.org"), IceServer(urls="turn:t.example.org"))
    settings = config(tmp_path, ice_servers=servers, turn_secret="north")
    async with running_gateway(settings) as gateway:
        url = f"{gateway.ws_url}/rtc?protocol=17&access_token={token_for(ROOM)}"
        async with gateway.http.ws_connect(url) as socket:
            first = signal.SignalResponse.FromString(await socket.receive_bytes(timeout=5))
        stun, turn = first.join.ice_servers
        assert (list(stun.urls), stun.username) == (["stun:s.example.org"], "")
        assert turn.username.endswith(":alice-7f3k") and turn.credential
        ask = gateway.url("/api/rooms/retro/token")
        wish = {"name": "Bob", "topology": "mesh"}
        async with gateway.http.post(ask, json=wish) as response:
            admission = await response.json()
        mesh_url = f"{gateway.ws_url}/mesh?access_token={admission['token']}"
        async with gateway.http.ws_connect(mesh_url) as socket:
            joined = await socket.receive_json(timeout=5)
        for told in (admission["ice_servers"], joined["ice_servers"]):
            assert told[1]["username"].endswith(f":{admission['identity']}")
            assert told[1]["credential"]


async def test_without_its_rtc_port_the_gateway_does_not_begin(tmp_path: Path) -> None:
    async with running_gateway(config(tmp_path)) as first:
        assert first.rtc_port
        with pytest.raises(ConfigError, match=f"{first.rtc_port}.*--rtc-port"):
            await serve(config(tmp_path, rtc_port=first.rtc_port))


async def test_with_a_server_elsewhere_there_is_no_embedded_sfu(tmp_path: Path) -> None:
    settings = config(tmp_path, livekit_url="ws://127.0.0.1:9")
    async with running_gateway(settings) as gateway:
        for path in ("/rtc/validate", "/twirp/livekit.RoomService/ListRooms"):
            async with gateway.http.get(gateway.url(path)) as response:
                assert response.status == 404
