"""How LiveKit's server APIs are called, whatever the service."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models
from livekit.protocol import room as wire

from mulisa.core.errors import InputError
from mulisa.server import twirp
from mulisa.server.tokens import TokenVerifier
from mulisa.server.twirp import MAX_BODY_BYTES, Method, TwirpError, TwirpService, may_create
from mulisa.sfu.errors import LimitExceeded, NotFound
from tests.server.tokens import api_token

pytestmark = pytest.mark.network

KEY, SECRET = "devkey", "secret"
PROTOBUF = "application/protobuf"
ALLOWED = {"roomCreate": True}
RAISED: dict[str, Exception] = {
    "not_found": NotFound("no such room"),
    "resource_exhausted": LimitExceeded("too long"),
    "invalid_argument": InputError("not so"),
    "failed_precondition": TwirpError("failed_precondition", "not now"),
    "internal": RuntimeError("our insides"),
}
STATUSES = {
    "not_found": 404,
    "resource_exhausted": 429,
    "invalid_argument": 400,
    "failed_precondition": 412,
    "internal": 500,
}


async def answer(request: wire.CreateRoomRequest) -> models.Room:
    if error := RAISED.get(request.name):
        raise error
    return models.Room(name=request.name, empty_timeout=request.empty_timeout, creation_time=7)


class Service:
    """A running service with one method, which answers as it is asked to."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self.http = http
        self.base = base

    async def post(
        self,
        body: bytes,
        content_type: str = PROTOBUF,
        path: str = "/twirp/livekit.Test/Make",
        token: str | None = "",
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": content_type}
        if token is not None:
            headers["Authorization"] = f"Bearer {token or api_token(ALLOWED)}"
        async with self.http.post(self.base + path, data=body, headers=headers) as response:
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            return response.status, await response.read()

    async def error(self, body: bytes, **how: Any) -> tuple[int, str, str]:
        """Status, code and message of a refusal."""
        status, answered = await self.post(body, **how)
        parsed = json.loads(answered)
        return status, parsed["code"], parsed["msg"]


@asynccontextmanager
async def running(admit: Callable[[web.Request], bool]) -> AsyncIterator[Service]:
    methods = {"Make": Method(wire.CreateRoomRequest, may_create, answer)}
    service = TwirpService("livekit.Test", methods, TokenVerifier(KEY, SECRET).claims, admit)
    app = web.Application(client_max_size=1024)
    app.add_routes(service.routes())
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        yield Service(http, f"http://127.0.0.1:{server.port}")


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with running(lambda request: True) as service:
        yield service


def make(name: str = "standup", **fields: Any) -> bytes:
    return wire.CreateRoomRequest(name=name, **fields).SerializeToString()


async def test_protobuf_in_protobuf_out(service: Service) -> None:
    status, body = await service.post(make(empty_timeout=60))
    assert status == 200
    room = models.Room.FromString(body)
    assert (room.name, room.empty_timeout) == ("standup", 60)


async def test_json_in_json_out_with_the_names_of_the_proto_file(service: Service) -> None:
    for body in (b'{"name": "a", "empty_timeout": 60}', b'{"name": "a", "emptyTimeout": 60}'):
        status, answered = await service.post(body, "application/json; charset=utf-8")
        assert status == 200
        parsed = json.loads(answered)
        assert (parsed["name"], parsed["empty_timeout"]) == ("a", 60)
        assert parsed["creation_time"] == "7", "a 64 bit number is text"
        assert parsed["num_participants"] == 0, "what is zero is said"


async def test_fields_of_a_newer_protocol_are_ignored(service: Service) -> None:
    status, _ = await service.post(b'{"name": "a", "colour": "blue"}', "application/json")
    assert status == 200
    status, _ = await service.post(make() + b"\xfa\xff\x03\x01x")
    assert status == 200


@pytest.mark.parametrize("code", STATUSES)
async def test_errors_have_a_code_and_its_status(service: Service, code: str) -> None:
    status, said, message = await service.error(make(code))
    assert (status, said) == (STATUSES[code], code)
    assert "insides" not in message


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "not a valid token"),
        ("nonsense", "not a valid token"),
        (api_token(ALLOWED, secret="other"), "another secret"),
        (api_token(ALLOWED, key="other"), "another API key"),
        (api_token(ALLOWED, exp=1), "expired"),
        (api_token({}), "permissions denied"),
        (api_token({"roomCreate": "true"}), "permissions denied"),
        (api_token({"roomAdmin": True, "roomList": True, "room": "standup"}), "permissions denied"),
        (api_token(None), "no claim 'video'"),
    ],
)
async def test_who_may_not_call_is_told_so(service: Service, token: str | None, words: str) -> None:
    status, code, message = await service.error(make(), token=token)
    assert (status, code) == (401, "unauthenticated")
    assert words in message


async def test_what_is_no_call_is_a_bad_route(service: Service) -> None:
    for how in (
        {"path": "/twirp/livekit.Test/Nothing"},
        {"content_type": "text/plain"},
        {"content_type": ""},
    ):
        status, code, _ = await service.error(make(), **how)
        assert (status, code) == (404, "bad_route")
    async with service.http.get(f"{service.base}/twirp/livekit.Test/Make") as response:
        assert (response.status, (await response.json())["code"]) == (404, "bad_route")


async def test_a_page_of_another_site_may_ask_first(service: Service) -> None:
    async with service.http.options(f"{service.base}/twirp/livekit.Test/Make") as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]


async def test_a_body_has_a_limit_of_its_own(service: Service) -> None:
    long = make(metadata="m" * 64_000)
    assert (await service.post(long))[0] == 200
    too_long = make(metadata="m" * MAX_BODY_BYTES)
    assert (await service.error(too_long))[:2] == (400, "malformed")

    async def dribble() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 1000 + 1):
            yield b"x" * 1000

    headers = {"Content-Type": PROTOBUF, "Authorization": f"Bearer {api_token(ALLOWED)}"}
    url = f"{service.base}/twirp/livekit.Test/Make"
    try:
        async with service.http.post(url, data=dribble(), headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (400, "malformed")
    except aiohttp.ClientConnectionError:
        pass  # it hung up while we were still sending, which will do as well


async def test_who_asks_too_often_is_told_so() -> None:
    async with running(lambda request: False) as service:
        assert (await service.error(make()))[:2] == (429, "resource_exhausted")
        assert (await service.error(make(), token="bad"))[:2] == (401, "unauthenticated")


async def test_bodies_that_are_nothing_are_malformed(service: Service) -> None:
    for body, content_type in [
        (b"\xff\xff", PROTOBUF),
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b'{"name": 7}', "application/json"),
        (b"\xff", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"metadata":' * 5_000, "application/json"),
    ]:
        assert (await service.error(body, content_type=content_type))[:2] == (400, "malformed")


@given(st.binary(max_size=200), st.sampled_from([PROTOBUF, "application/json"]))
@settings(max_examples=2000)
def test_no_body_raises_anything_else(body: bytes, content_type: str) -> None:
    for kind in (wire.CreateRoomRequest, wire.UpdateParticipantRequest, wire.SendDataRequest):
        try:
            twirp.parse(kind, content_type, body)
        except TwirpError as error:
            assert error.code == "malformed"
