"""Rooms on a LiveKit server as the gateway sees them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from livekit import rtc
from livekit.protocol import models
from livekit.protocol.room import (
    ListParticipantsRequest,
    ListParticipantsResponse,
    ListRoomsResponse,
)

from mulisa.core.errors import ConfigError, ConnectionLost, MulisaError
from mulisa.server.events import (
    Joined,
    Left,
    RoomClosed,
    RoomOpened,
    SfuFound,
    SfuLost,
    Updated,
)
from mulisa.server.gateway import GatewayConfig
from mulisa.server.livekit import livekit_server
from tests.livekit_server import LiveKitServer
from tests.server.gateways import (
    ROOM,
    RunningGateway,
    ScriptedWorker,
    config,
    running_gateway,
    token_for,
)

pytestmark = pytest.mark.network


def sfu_config(folder: Path, server: LiveKitServer, **changes: Any) -> GatewayConfig:
    values = {"topology": "sfu", "livekit_url": server.url, "departure_timeout": 0.5} | changes
    return config(folder, api_key=server.key, api_secret=server.secret, **values)


async def admit(gateway: RunningGateway, name: str = "Alice", **wishes: Any) -> dict[str, Any]:
    url = gateway.url(f"/api/rooms/{ROOM}/token")
    async with gateway.http.post(url, json={"name": name} | wishes) as response:
        assert response.status == 200, await response.text()
        answer: dict[str, Any] = await response.json()
        return answer


async def room(gateway: RunningGateway) -> tuple[int, Any]:
    async with gateway.http.get(gateway.url(f"/api/rooms/{ROOM}")) as response:
        return response.status, await response.json()


@asynccontextmanager
async def stay(url: str, token: str) -> AsyncIterator[rtc.Room]:
    """Somebody in a room of the server."""
    client = rtc.Room()
    await client.connect(url, token)
    try:
        yield client
    finally:
        await client.disconnect()


@asynccontextmanager
async def person(gateway: RunningGateway, name: str = "Alice") -> AsyncIterator[rtc.Room]:
    answer = await admit(gateway, name)
    assert answer["topology"] == "sfu"
    async with stay(answer["url"], answer["token"]) as client:
        yield client


def is_(*kinds: type) -> Any:
    return lambda event: isinstance(event, kinds)


@asynccontextmanager
async def answering(status: int, body: bytes) -> AsyncIterator[str]:
    """A server that says the same to everybody."""

    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with TestServer(app) as server:
        yield f"ws://127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (401, b'{"code": "unauthenticated", "msg": "no such key"}', ConfigError, "no such key"),
        (403, b"forbidden", ConfigError, "LIVEKIT_API_KEY"),
        (404, b"not here", ConnectionLost, "answers 404"),
        (503, b'{"code": "unavailable", "msg": "later"}', ConnectionLost, "503 later"),
        (404, b"", ConnectionLost, "no LiveKit server"),
        (200, b"<html>hello</html>", ConnectionLost, "no LiveKit server"),
    ],
)
async def test_what_a_server_says_that_does_not_help(
    status: int, body: bytes, error: type[MulisaError], words: str
) -> None:
    async with answering(status, body) as url, livekit_server(url, "key", "secret") as server:
        with pytest.raises(error, match=words):
            await server.check()


async def test_a_server_that_is_not_there() -> None:
    url = f"ws://127.0.0.1:{unused_port()}"
    async with livekit_server(url, "key", "secret") as server:
        with pytest.raises(ConnectionLost, match=f"{url} cannot be reached"):
            await server.stays(ROOM)


async def test_without_its_server_the_gateway_admits_people_and_says_once_what_is_wrong(
    tmp_path: Path,
) -> None:
    url = f"ws://127.0.0.1:{unused_port()}"
    async with running_gateway(config(tmp_path, topology="sfu", livekit_url=url)) as gateway:
        await gateway.wait_for(is_(SfuLost))
        answer = await admit(gateway)
        assert (answer["topology"], answer["url"], answer["ice_servers"]) == ("sfu", url, [])
        assert (await room(gateway))[0] == 404
        await asyncio.sleep(1.2)  # another try
        assert [type(event) for event in gateway.events] == [SfuLost]


@asynccontextmanager
async def room_service(
    look: Callable[[str], list[models.ParticipantInfo] | None] = lambda room: [],
    port: int | None = None,
) -> AsyncIterator[str]:
    """A server whose rooms hold what `look` says; None is an error. Yields its URL."""

    async def rooms(_: web.Request) -> web.Response:
        return web.Response(body=ListRoomsResponse().SerializeToString())

    async def participants(request: web.Request) -> web.Response:
        infos = look(ListParticipantsRequest.FromString(await request.read()).room)
        if infos is None:
            error = {"code": "unavailable", "msg": "no response from servers"}
            return web.json_response(error, status=503)
        body = ListParticipantsResponse(participants=infos).SerializeToString()
        return web.Response(body=body)

    app = web.Application()
    app.router.add_post("/twirp/livekit.RoomService/ListRooms", rooms)
    app.router.add_post("/twirp/livekit.RoomService/ListParticipants", participants)
    async with TestServer(app, port=port) as server:
        yield f"ws://127.0.0.1:{server.port}"


async def test_a_server_that_comes_back_is_seen_although_nobody_wants_a_room(
    tmp_path: Path,
) -> None:
    port = unused_port()
    url = f"ws://127.0.0.1:{port}"
    async with running_gateway(config(tmp_path, livekit_url=url)) as gateway:
        await gateway.wait_for(is_(SfuLost))
        async with room_service(port=port):
            await gateway.wait_for(is_(SfuFound))


async def test_an_answer_of_another_world_counts_as_none_and_the_gateway_looks_on(
    tmp_path: Path,
) -> None:
    """Nobody would be found any more if one answer ended the looking."""
    eve = models.ParticipantInfo(identity="eve", sid="PA_1", joined_at=2**60)
    alice = models.ParticipantInfo(identity="alice-7f3k", name="Alice", sid="PA_2", joined_at=1)
    answers = [eve]
    async with (
        room_service(lambda room: [answers.pop() if answers else alice]) as url,
        running_gateway(config(tmp_path, topology="sfu", livekit_url=url)) as gateway,
    ):
        await admit(gateway)
        joined = await gateway.wait_for(is_(Joined))
        assert isinstance(joined, Joined) and joined.participant.name == "Alice"
        kinds = [type(event) for event in gateway.events]
        assert kinds == [SfuLost, SfuFound, RoomOpened, Joined]


async def test_a_room_that_cannot_be_looked_into_is_not_asked_for_all_the_time(
    tmp_path: Path,
) -> None:
    """In a cluster its node may be gone while all others answer."""
    asked: list[str] = []
    enough = asyncio.Event()

    def look(room: str) -> list[models.ParticipantInfo] | None:
        asked.append(room)
        if asked.count("other") == 6:
            enough.set()
        return None if room == ROOM else []

    async with (
        room_service(look) as url,
        running_gateway(config(tmp_path, topology="sfu", livekit_url=url)) as gateway,
    ):
        await admit(gateway)
        other = gateway.url("/api/rooms/other/token")
        async with gateway.http.post(other, json={"name": "Bob"}) as response:
            assert response.status == 200
        async with asyncio.timeout(10):
            await enough.wait()
        assert asked.count(ROOM) <= asked.count("other")


async def test_the_first_token_chooses_the_topology(tmp_path: Path) -> None:
    url = f"ws://127.0.0.1:{unused_port()}"
    async with running_gateway(config(tmp_path, topology="sfu", livekit_url=url)) as gateway:
        mesh = await admit(gateway, topology="mesh")
        assert (mesh["topology"], mesh["url"]) == ("mesh", gateway.ws_url)
        assert (await admit(gateway))["topology"] == "mesh"
        assert (await admit(gateway, topology="sfu"))["topology"] == "mesh"
        async with gateway.http.post(
            gateway.url("/api/rooms/other/token"), json={"name": "Alice"}
        ) as response:
            assert (await response.json())["topology"] == "sfu"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await gateway.http.ws_connect(
                f"{gateway.ws_url}/mesh?access_token={token_for('other')}"
            )
        assert refused.value.status == 409
        async with gateway.person():
            pass  # the mesh room of the same gateway is open


async def test_who_is_refused_does_not_choose_the_topology(tmp_path: Path) -> None:
    url = f"ws://127.0.0.1:{unused_port()}"
    async with running_gateway(config(tmp_path, topology="sfu", livekit_url=url)) as gateway:
        wish = {"name": " ", "topology": "mesh"}
        async with gateway.http.post(gateway.url(f"/api/rooms/{ROOM}/token"), json=wish) as refused:
            assert refused.status == 400
        assert (await admit(gateway))["topology"] == "sfu"


async def test_a_topology_that_there_is_not_is_a_bad_wish(tmp_path: Path) -> None:
    async with running_gateway(config(tmp_path)) as gateway:
        url = gateway.url(f"/api/rooms/{ROOM}/token")
        for topology, status in [("star", 400), (7, 400), ("sfu", 200), ("mesh", 200)]:
            body = {"name": "Alice", "topology": topology}
            async with gateway.http.post(url, json=body) as response:
                assert response.status == status


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("", "connect-src 'self';"),
        ("ws://10.0.0.1:7880", "connect-src 'self' ws://10.0.0.1:7880 http://10.0.0.1:7880;"),
        ("wss://lk.example/sub", "connect-src 'self' wss://lk.example https://lk.example;"),
    ],
)
async def test_the_page_may_connect_to_its_own_servers_only(
    tmp_path: Path, url: str, origins: str
) -> None:
    async with (
        running_gateway(config(tmp_path, livekit_url=url)) as gateway,
        gateway.http.get(gateway.url("/")) as response,
    ):
        assert origins in response.headers["Content-Security-Policy"]


@pytest.fixture
async def gateway(tmp_path: Path, livekit: LiveKitServer) -> AsyncIterator[RunningGateway]:
    async with running_gateway(sfu_config(tmp_path, livekit)) as running:
        yield running


@pytest.mark.slow
async def test_who_comes_changes_and_goes(gateway: RunningGateway) -> None:
    async with person(gateway) as alice:
        await gateway.wait_for(is_(Joined))
        status, shown = await room(gateway)
        assert (status, shown["topology"], shown["agent"]) == (200, "sfu", None)
        (there,) = shown["participants"]
        identity = alice.local_participant.identity
        assert (there["identity"], there["name"], there["kind"], there["muted"]) == (
            *(identity, "Alice", "standard"),
            True,
        )
        assert shown["routing"] == {"hear": {identity: True}, "speak_to": None}

        source = rtc.AudioSource(48000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("mic", source)
        await alice.local_participant.publish_track(
            track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        )
        await gateway.wait_for(lambda e: isinstance(e, Updated) and not e.participant.muted)
        await alice.local_participant.set_attributes({"hand": "up"})
        await gateway.wait_for(lambda e: isinstance(e, Updated) and bool(e.participant.attributes))
        await source.aclose()
        async with gateway.http.get(gateway.url("/metrics")) as response:
            metrics = await response.text()
        assert "mulisa_rooms 1.0" in metrics
        assert 'mulisa_participants{kind="standard"} 1.0' in metrics
    await gateway.wait_for(is_(RoomClosed))
    kinds = [type(event) for event in gateway.events if not isinstance(event, Updated)]
    assert kinds == [RoomOpened, Joined, Left, RoomClosed]
    assert (await room(gateway))[0] == 404


@pytest.mark.slow
async def test_a_token_that_is_used_late_is_found(gateway: RunningGateway) -> None:
    answer = await admit(gateway)
    await asyncio.sleep(11.0)  # it is not looked for often any more
    async with stay(answer["url"], answer["token"]):
        await gateway.wait_for(is_(Joined))


@pytest.mark.slow
async def test_a_gateway_that_was_restarted_learns_of_a_room_from_a_token_of_it(
    tmp_path: Path, livekit: LiveKitServer
) -> None:
    token = livekit.token("alice", ROOM)
    async with (
        running_gateway(sfu_config(tmp_path, livekit)) as gateway,
        stay(livekit.url, token),
    ):
        assert (await room(gateway))[0] == 404, "the operator does not know either"
        headers = {"Authorization": f"Bearer {token}"}
        async with gateway.http.get(gateway.url(f"/api/rooms/{ROOM}"), headers=headers) as answer:
            assert answer.status == 404
        await gateway.wait_for(is_(Joined))


@pytest.mark.slow
async def test_a_worker_is_sent_to_that_server_and_let_go_in_the_end(
    gateway: RunningGateway, livekit: LiveKitServer
) -> None:
    async with ScriptedWorker.registered(gateway, livekit.key, livekit.secret) as worker:
        async with person(gateway):
            assignment = await worker.accept()
            assert assignment.url == livekit.url
            assert assignment.job.metadata == '{"topology": "sfu"}'
            async with stay(assignment.url, assignment.token) as mulisa:
                await gateway.wait_for(lambda e: isinstance(e, Joined) and e.participant.is_agent)
                assert (await room(gateway))[1]["agent"] == {
                    "identity": "mulisa",
                    "state": "initializing",
                }
                assert mulisa.local_participant.identity == "mulisa"
        assert (await worker.hear("termination")).termination.job_id == assignment.job.id


@pytest.mark.slow
async def test_an_agent_that_nobody_sent_home_is_put_out(
    gateway: RunningGateway, livekit: LiveKitServer
) -> None:
    """Its process lost the gateway while the people left."""
    async with person(gateway):
        async with ScriptedWorker.registered(gateway, livekit.key, livekit.secret) as worker:
            assignment = await worker.accept()
        mulisa = rtc.Room()
        await mulisa.connect(assignment.url, assignment.token)
        await gateway.wait_for(lambda e: isinstance(e, Joined) and e.participant.is_agent)
    gone = asyncio.Event()
    mulisa.on("disconnected", lambda reason: gone.set())
    async with asyncio.timeout(10):
        await gone.wait()
    await gateway.wait_for(is_(RoomClosed))


@pytest.fixture
def own_server(livekit_program: str) -> Iterator[LiveKitServer]:
    """One that may be stopped."""
    with LiveKitServer(livekit_program) as server:
        yield server


@pytest.mark.slow
async def test_a_server_that_goes_away_and_comes_back(
    own_server: LiveKitServer, tmp_path: Path
) -> None:
    async with running_gateway(sfu_config(tmp_path, own_server)) as gateway:
        async with person(gateway):
            await gateway.wait_for(is_(Joined))
            await asyncio.to_thread(own_server.stop, at_once=True)
            await gateway.wait_for(is_(SfuLost))
            assert (await room(gateway))[0] == 200, "nobody is known to be gone"
            assert (await admit(gateway, "Bob"))["topology"] == "sfu"
            before = len(gateway.events)
            await asyncio.to_thread(own_server.start)
            await gateway.wait_for(is_(SfuFound))
            async with person(gateway, "Carol"):
                await gateway.wait_for(
                    lambda e: isinstance(e, Joined) and e.participant.name == "Carol"
                )
        assert not [e for e in gateway.events[before:] if isinstance(e, SfuLost)]


@pytest.mark.slow
async def test_a_wrong_secret_is_told(livekit: LiveKitServer, tmp_path: Path) -> None:
    changes = config(tmp_path, api_key=livekit.key, livekit_url=livekit.url)
    async with running_gateway(changes) as gateway:
        lost = await gateway.wait_for(is_(SfuLost))
        assert isinstance(lost, SfuLost)
        assert "refuses the API key" in lost.reason and "LIVEKIT_API_SECRET" in lost.reason
