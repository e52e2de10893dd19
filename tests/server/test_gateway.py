from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mulisa.core.errors import ConfigError
from mulisa.core.room import Identity
from mulisa.core.transcript import TranscriptEntry
from mulisa.server.events import (
    GatewayEvent,
    Joined,
    Left,
    Listening,
    RoomClosed,
    RoomOpened,
    Updated,
)
from mulisa.server.gateway import serve
from mulisa.server.tokens import Grant, TokenIssuer, TokenVerifier, utc_now
from mulisa.store.transcript import TranscriptStore
from mulisa.transport.mesh.relay import MAX_PEOPLE
from tests.server.gateways import (
    KEY,
    ROOM,
    SECRET,
    RunningGateway,
    config,
    running_gateway,
    worker_token,
)
from tests.server.gateways import token_for as token

pytestmark = pytest.mark.network

TOKEN_PATH = "/api/rooms/standup/token"
FORWARDED = {"X-Forwarded-For": "127.0.0.1"}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(config(tmp_path)) as running:
        yield running


async def ask(gateway: RunningGateway, body: Any, path: str = TOKEN_PATH) -> tuple[int, Any]:
    async with gateway.http.post(gateway.url(path), json=body) as response:
        return response.status, await response.json()


async def look(gateway: RunningGateway, path: str, **headers: str) -> tuple[int, str]:
    async with gateway.http.get(gateway.url(path), headers=headers) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("path", ["/", "/r/standup", "/r/Ideen%20%26%20B"])
async def test_every_room_has_the_page_unless_its_name_is_bad(
    gateway: RunningGateway, path: str
) -> None:
    status, text = await look(gateway, path)
    assert (status, "<title>Mulisa" in text) == ((400, False) if "%26" in path else (200, True))


async def test_assets_may_be_kept_for_ever_and_the_page_may_not(gateway: RunningGateway) -> None:
    async with gateway.http.get(gateway.url("/assets/main-a1b2c3.js")) as asset:
        assert "immutable" in asset.headers["Cache-Control"]
        assert asset.content_type.endswith("javascript")
    async with gateway.http.get(gateway.url("/r/standup")) as page:
        assert page.headers["Cache-Control"] == "no-cache"
    assert (await look(gateway, "/icon.svg"))[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/assets/none.js",
        "/assets/..%2findex.html",
        "/assets/../index.html",
        "//keys",
        "/assets/%2e%2e%2f%2e%2e%2fx",
        "/..%2fkeys",
        "/a/b",
    ],
)
async def test_nothing_else_is_served(gateway: RunningGateway, path: str) -> None:
    (gateway_status, body) = await look(gateway, path)
    assert gateway_status == 404
    assert body == '{"error": "there is nothing here"}'


async def test_a_page_that_was_not_built_is_said_so(tmp_path: Path) -> None:
    async with running_gateway(config(tmp_path, page_folder=tmp_path / "none")) as gateway:
        for path in ("/", "/r/standup", "/healthz"):
            status, text = await look(gateway, path)
            assert status == 503
            assert "not built" in text


async def test_every_answer_carries_the_security_headers(gateway: RunningGateway) -> None:
    for path in ("/", "/assets/main-a1b2c3.js", "/api/rooms", "/nothing", "/healthz", "/mesh"):
        async with gateway.http.get(gateway.url(path)) as response:
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "aiohttp" not in response.headers["Server"]


async def test_a_token_lets_its_holder_into_the_room(gateway: RunningGateway) -> None:
    status, answer = await ask(gateway, {"name": "  Alice  B ", "topology": "mesh"})
    assert status == 200
    grant = TokenVerifier(KEY, SECRET).verify(answer["token"])
    assert (grant.room, grant.name, grant.kind) == ("standup", "Alice B", "standard")
    assert grant.identity == answer["identity"]
    assert answer["identity"].startswith("alice-b-")
    assert answer["url"] == gateway.ws_url
    assert answer["topology"] == "mesh"
    assert answer["agent"] == {"identity": "mulisa", "name": "Mulisa"}
    async with gateway.http.ws_connect(
        f"{answer['url']}/mesh?access_token={answer['token']}"
    ) as socket:
        assert (await socket.receive_json(timeout=5))["participant"]["name"] == "Alice B"


async def test_a_reload_keeps_the_identity_and_two_alices_differ(gateway: RunningGateway) -> None:
    _, first = await ask(gateway, {"name": "Alice"})
    _, again = await ask(gateway, {"name": "Alice", "token": first["token"]})
    _, other = await ask(gateway, {"name": "Alice"})
    assert first["identity"] == again["identity"] != other["identity"]


@pytest.mark.parametrize(
    ("earlier", "kept"),
    [
        (token(now=datetime.now(UTC) - timedelta(days=9)), True),
        (token(secret="forged"), False),
        (token("another room"), False),
        ("rubbish", False),
    ],
    ids=["expired", "forged", "another room", "rubbish"],
)
async def test_only_our_own_earlier_token_keeps_an_identity(
    gateway: RunningGateway, earlier: str, kept: bool
) -> None:
    status, answer = await ask(gateway, {"name": "Alice", "token": earlier})
    assert status == 200
    assert (answer["identity"] == "alice-7f3k") is kept


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        "Alice",
        {"name": 7},
        {"name": ""},
        {"name": "\x07"},
        {"name": "x" * 65},
        {"name": None},
    ],
)
async def test_a_bad_request_gets_a_sentence(gateway: RunningGateway, body: Any) -> None:
    status, answer = await ask(gateway, body)
    assert status == 400
    assert isinstance(answer["error"], str)


@pytest.mark.parametrize("room", ["..", "a%2Fb", "-", "x" * 65, "%00", "caf%C3%A9!"])
async def test_a_bad_room_name_gets_a_sentence(gateway: RunningGateway, room: str) -> None:
    status, answer = await ask(gateway, {"name": "Alice"}, f"/api/rooms/{room}/token")
    assert status in (400, 404)
    assert isinstance(answer["error"], str)


async def test_bodies_that_are_too_large_not_json_or_not_called_so(gateway: RunningGateway) -> None:
    url = gateway.url(TOKEN_PATH)
    json_type = {"Content-Type": "application/json"}
    async with gateway.http.post(url, data=b"x" * 17_000, headers=json_type) as response:
        assert response.status == 413
        assert "16 KiB" in (await response.json())["error"]
    for body in (b"{", b"\xff\xfe", b"[" * 10_000):
        async with gateway.http.post(url, data=body, headers=json_type) as response:
            assert response.status == 400
    async with gateway.http.post(url, data=b'{"name": "Alice"}') as response:
        assert response.status == 400, "a form of another site could send this"


async def test_tokens_are_rationed_per_address(tmp_path: Path) -> None:
    async with running_gateway(config(tmp_path, token_burst=3, token_rate=0.001)) as gateway:
        statuses = [(await ask(gateway, {"name": "Eve"}))[0] for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        _, metrics = await look(gateway, "/metrics")
        assert 'mulisa_tokens_total{result="refused"} 2.0' in metrics


async def test_a_full_room_says_so_before_anybody_tries_to_enter(gateway: RunningGateway) -> None:
    async with AsyncExitStack() as people:
        for number in range(MAX_PEOPLE):
            params = {"access_token": token(name=f"P{number}")}
            socket = gateway.http.ws_connect(gateway.url("/mesh"), params=params)
            async with asyncio.timeout(10):
                await (await people.enter_async_context(socket)).receive_json()
        status, answer = await ask(gateway, {"name": "Late", "topology": "mesh"})
        assert (status, answer) == (503, {"error": "the room is full: at most 12 people"})
        back, _ = await ask(gateway, {"name": "P0", "token": token(name="P0")})
        assert back == 200, "who is in may come back"


async def test_a_method_that_does_not_exist(gateway: RunningGateway) -> None:
    async with gateway.http.delete(gateway.url("/api/rooms")) as response:
        assert response.status == 405
        assert "GET" in response.headers["Allow"]


async def test_the_operator_sees_rooms_and_others_need_a_token(gateway: RunningGateway) -> None:
    async with gateway.person(), gateway.http.get(gateway.url("/api/rooms")) as response:
        (room,) = (await response.json())["rooms"]
        assert room["name"] == "standup"
        assert room["agent"] is None
        (alice,) = room["participants"]
        assert (alice["identity"], alice["kind"], alice["muted"]) == (
            "alice-7f3k",
            "standard",
            False,
        )
        assert datetime.fromisoformat(alice["joined_at"]).utcoffset() == timedelta(0)

        assert (await look(gateway, "/api/rooms", **FORWARDED))[0] == 403
        assert (await look(gateway, "/api/rooms", Host="evil.example"))[0] == 403
        path = "/api/rooms/standup"
        assert (await look(gateway, path))[0] == 200
        assert (await look(gateway, path, **FORWARDED))[0] == 401
        assert (await look(gateway, path, Host="evil.example"))[0] == 401
        assert (await look(gateway, f"{path}?access_token={token()}", **FORWARDED))[0] == 200


@pytest.mark.parametrize("what", ["", "/transcript"])
@pytest.mark.parametrize(
    ("bearer", "status"),
    [
        (token("another room"), 403),
        (token(secret="forged"), 401),
        (token(now=utc_now() - timedelta(days=1)), 401),
        ("rubbish", 401),
    ],
    ids=["another room", "forged", "expired", "rubbish"],
)
async def test_a_bad_token_is_refused_even_from_the_operator(
    gateway: RunningGateway, what: str, bearer: str, status: int
) -> None:
    path = f"/api/rooms/standup{what}"
    assert (await look(gateway, path, Authorization=f"Bearer {bearer}"))[0] == status


async def test_an_empty_room_is_not_found(gateway: RunningGateway) -> None:
    status, text = await look(gateway, "/api/rooms/standup")
    assert (status, text) == (404, '{"error": "nobody is in that room"}')


async def test_the_transcript_in_every_format(gateway: RunningGateway, tmp_path: Path) -> None:
    assert (await look(gateway, "/api/rooms/standup/transcript"))[0] == 404
    began = datetime.now(UTC)
    entry = TranscriptEntry(
        "U1", Identity("alice-7f3k"), "Alice", "standard", "voice", "Ship it.", began, began
    )
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, entry)
    path = "/api/rooms/standup/transcript"
    for export in ("json", "vtt", "md", "txt"):
        status, text = await look(gateway, f"{path}?format={export}")
        assert status == 200
        assert "Alice" in text
        assert "Ship it" in text
    status, text = await look(gateway, f"{path}?format=exe")
    assert status == 400
    assert "json" in text
    assert (await look(gateway, path, **FORWARDED))[0] == 401


async def test_who_reads_a_whisper(gateway: RunningGateway, tmp_path: Path) -> None:
    began = datetime.now(UTC)
    aloud = TranscriptEntry(
        "U1", Identity("mulisa"), "Mulisa", "agent", "voice", "Hello.", began, began
    )
    whisper = replace(aloud, segment_id="U2", text="Psst.", listener=Identity("alice-7f3k"))
    async with TranscriptStore(tmp_path) as store:
        await store.append(ROOM, aloud)
        await store.append(ROOM, whisper)
    path = "/api/rooms/standup/transcript?format=txt"
    _, operators = await look(gateway, path)
    _, alices = await look(gateway, path, Authorization=f"Bearer {token()}")
    _, bobs = await look(gateway, path, Authorization=f"Bearer {token(name='Bob')}")
    assert "Psst" in operators and "Psst" in alices
    assert "Hello" in bobs and "Psst" not in bobs


async def test_a_room_in_which_nothing_was_said_has_an_empty_transcript(
    gateway: RunningGateway,
) -> None:
    async with gateway.person():
        status, text = await look(gateway, "/api/rooms/standup/transcript")
        assert status == 200
        assert '"entries": []' in text


async def test_comings_and_goings_are_told_and_counted(gateway: RunningGateway) -> None:
    async with gateway.person():
        _, metrics = await look(gateway, "/metrics")
        assert "mulisa_rooms 1.0" in metrics
        assert 'mulisa_participants{kind="standard"} 1.0' in metrics
    await gateway.wait_for(lambda event: isinstance(event, RoomClosed))
    assert [type(event) for event in gateway.events] == [RoomOpened, Joined, Left, RoomClosed]
    assert "mulisa_rooms 0.0" in (await look(gateway, "/metrics"))[1]


async def test_signalling_messages_are_counted(gateway: RunningGateway) -> None:
    async with gateway.person() as alice:
        await alice.send_json({"type": "update", "muted": True})
        assert (await alice.receive_json(timeout=5))["participant"]["muted"]
        _, metrics = await look(gateway, "/metrics")
        assert "mulisa_signalling_messages_total 1.0" in metrics
    assert [event for event in gateway.events if isinstance(event, Updated)]


async def test_serving_ends_cleanly_and_tells_everybody(tmp_path: Path) -> None:
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_event(event: GatewayEvent) -> None:
        if isinstance(event, Listening):
            url.set_result(event.url)

    serving = asyncio.create_task(serve(config(tmp_path), on_event))
    base = await asyncio.wait_for(url, 5)
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{base}/mesh?access_token={token()}") as socket,
    ):
        await socket.receive_json(timeout=5)
        serving.cancel()
        assert await socket.receive_json(timeout=5) == {"type": "closing", "reason": "shutdown"}
        with pytest.raises(asyncio.CancelledError):
            await serving


async def test_a_taken_port_is_said_so(tmp_path: Path, gateway: RunningGateway) -> None:
    with pytest.raises(ConfigError, match="--port"):
        await serve(config(tmp_path, port=gateway.server.port))


async def test_what_never_happened_is_counted_as_zero(gateway: RunningGateway) -> None:
    _, metrics = await look(gateway, "/metrics")
    for never in (
        *('mulisa_participants{kind="standard"}', 'mulisa_participants{kind="agent"}'),
        *('mulisa_tokens_total{result="issued"}', 'mulisa_tokens_total{result="refused"}'),
    ):
        assert f"{never} 0.0" in metrics


async def test_joins_of_people_are_rationed_per_address_and_agents_are_not(tmp_path: Path) -> None:
    async with running_gateway(config(tmp_path, join_burst=2, join_rate=0.001)) as gateway:
        for _ in range(2):
            async with gateway.person():
                pass
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with gateway.person():
                pass
        assert refused.value.status == 429
        agent = Grant(Identity("mulisa"), "Mulisa", ROOM, "agent", room_join=True)
        key = TokenIssuer(KEY, SECRET).issue(agent, utc_now())
        async with gateway.http.ws_connect(f"{gateway.ws_url}/mesh?access_token={key}") as socket:
            assert (await socket.receive_json(timeout=5))["type"] == "joined"


@pytest.mark.parametrize(("path", "key"), [("/mesh", token()), ("/agent", worker_token())])
async def test_a_plain_request_is_told_to_upgrade(
    gateway: RunningGateway, path: str, key: str
) -> None:
    async with gateway.http.get(gateway.url(f"{path}?access_token={key}")) as response:
        assert response.status == 426
        assert response.headers["Upgrade"] == "websocket"
        assert "WebSocket" in (await response.json())["error"]
