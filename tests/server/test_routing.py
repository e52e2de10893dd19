"""``PUT /api/rooms/{room}/routing``, and what the gateway says to the agent process about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from livekit.protocol import agent as wire

from mulisa.core.control import (
    ROUTABLE_ATTRIBUTE,
    ControlFrame,
    Routed,
    RouteFailed,
    RouteRequest,
    RoutingReported,
    encode_control,
    parse_control,
)
from mulisa.core.room import Identity
from mulisa.core.routing import Routing, RoutingChange
from mulisa.server.events import Joined, WorkerLost
from mulisa.server.tokens import TokenVerifier
from tests.server.gateways import (
    KEY,
    SECRET,
    RunningGateway,
    ScriptedWorker,
    config,
    running_gateway,
    token_for,
)

pytestmark = pytest.mark.network

ALICE, BOB = Identity("alice-7f3k"), Identity("bob-7f3k")
PATH = "/api/rooms/standup/routing"
DEAF_TO_ALICE = {"hear": {ALICE: False}}
ROUTABLE = {ROUTABLE_ATTRIBUTE: "1"}
EVERYBODY = {"hear": {ALICE: True}, "speak_to": None}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(config(tmp_path, departure_timeout=0.1)) as running:
        yield running


async def put(
    gateway: RunningGateway, body: Any, path: str = PATH, **headers: str
) -> tuple[int, Any]:
    async with gateway.http.put(gateway.url(path), json=body, headers=headers) as response:
        return response.status, await response.json()


async def shown(gateway: RunningGateway) -> Any:
    """What the room says of its routing."""
    async with gateway.http.get(gateway.url("/api/rooms/standup")) as response:
        return (await response.json())["routing"]


async def hear_request(worker: ScriptedWorker) -> RouteRequest:
    frame = parse_control(await worker.socket.receive_str(timeout=5))
    assert isinstance(frame, RouteRequest)
    return frame


async def say(worker: ScriptedWorker, frame: ControlFrame) -> None:
    await worker.socket.send_str(encode_control(frame))


async def settle(gateway: RunningGateway, worker: ScriptedWorker) -> None:
    """Until the gateway has read what the worker said."""
    await worker.say(ping=wire.WorkerPing(timestamp=1))
    await worker.hear("pong")


async def test_a_change_is_answered_when_the_agent_says_that_it_holds(
    gateway: RunningGateway,
) -> None:
    async with ScriptedWorker.registered(gateway) as worker, gateway.person():
        job = (await worker.accept(participant_attributes=ROUTABLE)).job
        change = {"hear": {ALICE: False}, "speak_to": []}
        changing = asyncio.create_task(put(gateway, change))
        request = await hear_request(worker)
        assert (request.job_id, request.change) == (
            job.id,
            RoutingChange({ALICE: False}, sets_listeners=True, speak_to=frozenset()),
        )
        assert not changing.done()
        assert await shown(gateway) == EVERYBODY, "nothing holds yet"
        await say(worker, Routed(request.request_id, Routing(frozenset({ALICE}), frozenset())))
        assert await changing == (200, change)
        assert await shown(gateway) == change


async def test_what_changed_right_after_the_answer_is_what_the_room_shows(
    gateway: RunningGateway,
) -> None:
    """The request wakes up after both were read."""
    async with ScriptedWorker.registered(gateway) as worker, gateway.person():
        job = (await worker.accept(participant_attributes=ROUTABLE)).job
        changing = asyncio.create_task(put(gateway, DEAF_TO_ALICE))
        request = await hear_request(worker)
        by_voice = Routing(listeners=frozenset({ALICE}))
        await asyncio.gather(
            say(worker, Routed(request.request_id, Routing(frozenset({ALICE})))),
            say(worker, RoutingReported(job.id, by_voice)),
        )
        assert (await changing)[0] == 200
        await settle(gateway, worker)
        assert await shown(gateway) == by_voice.to_json([ALICE])


async def test_what_the_agent_cannot_do_is_said(gateway: RunningGateway) -> None:
    async with ScriptedWorker.registered(gateway) as worker, gateway.person():
        await worker.accept(participant_attributes=ROUTABLE)
        changing = asyncio.create_task(put(gateway, DEAF_TO_ALICE))
        request = await hear_request(worker)
        await say(worker, RouteFailed(request.request_id, "her browser does not answer"))
        assert await changing == (503, {"error": "her browser does not answer"})
        assert await shown(gateway) == EVERYBODY


async def test_an_agent_that_does_not_answer_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async with (
        running_gateway(config(tmp_path, routing_timeout=0.2)) as gateway,
        ScriptedWorker.registered(gateway) as worker,
        gateway.person(),
    ):
        await worker.accept(participant_attributes=ROUTABLE)
        status, answer = await put(gateway, DEAF_TO_ALICE)
        assert status == 503 and "in time" in answer["error"]
        late = await hear_request(worker)
        await say(worker, Routed(late.request_id, Routing(frozenset({ALICE}))))
        await settle(gateway, worker)
        assert await shown(gateway) == EVERYBODY, "nobody asks for it any more"


@pytest.mark.parametrize("how", ["worker lost", "session failed"])
async def test_an_agent_that_goes_while_it_is_asked(gateway: RunningGateway, how: str) -> None:
    async with gateway.person():
        async with ScriptedWorker.registered(gateway) as worker:
            job = (await worker.accept(participant_attributes=ROUTABLE)).job
            changing = asyncio.create_task(put(gateway, DEAF_TO_ALICE))
            await hear_request(worker)
            if how == "session failed":
                failed = wire.UpdateJobStatus(job_id=job.id, status=wire.JS_FAILED)
                await worker.say(update_job=failed)
                status, answer = await changing
        if how == "worker lost":
            status, answer = await changing
    assert status == 503
    assert "left before it confirmed" in answer["error"]


async def test_only_the_worker_that_was_asked_confirms(gateway: RunningGateway) -> None:
    async with (
        ScriptedWorker.registered(gateway) as worker,
        gateway.person(),
        ScriptedWorker.registered(gateway) as other,
    ):
        job = (await worker.accept(participant_attributes=ROUTABLE)).job
        changing = asyncio.create_task(put(gateway, DEAF_TO_ALICE))
        request = await hear_request(worker)
        await say(other, Routed(request.request_id, Routing()))
        await say(other, RoutingReported(job.id, Routing(frozenset({BOB}))))
        await settle(gateway, other)
        assert not changing.done()
        assert await shown(gateway) == EVERYBODY
        await say(worker, Routed(request.request_id, Routing(frozenset({ALICE}))))
        await say(worker, Routed(request.request_id, Routing()))
        assert await changing == (200, {"hear": {ALICE: False}, "speak_to": None})


async def test_without_an_agent_it_holds_at_once_and_for_the_one_that_comes(
    gateway: RunningGateway,
) -> None:
    async with gateway.person():
        assert await put(gateway, DEAF_TO_ALICE) == (200, DEAF_TO_ALICE | {"speak_to": None})
        assert await put(gateway, {"speak_to": [ALICE]}) == (
            200,
            DEAF_TO_ALICE | {"speak_to": [ALICE]},
        )
        async with ScriptedWorker.registered(gateway) as worker:
            assignment = await worker.accept(participant_attributes=ROUTABLE)
            assert json.loads(assignment.job.metadata) == {
                "topology": "mesh",
                "routing": DEAF_TO_ALICE | {"speak_to": [ALICE]},
            }
            grant = TokenVerifier(KEY, SECRET).verify(assignment.token)
            assert ROUTABLE_ATTRIBUTE not in grant.attributes


async def test_it_outlives_an_agent_that_is_killed_and_what_she_was_told_by_voice_counts(
    gateway: RunningGateway,
) -> None:
    async with gateway.person():
        async with ScriptedWorker.registered(gateway) as first:
            job = (await first.accept(participant_attributes=ROUTABLE)).job
            told = Routing(listeners=frozenset({ALICE}))
            await say(first, RoutingReported(job.id, told))
            await settle(gateway, first)
            assert await shown(gateway) == {"hear": {ALICE: True}, "speak_to": [ALICE]}
        await gateway.wait_for(lambda event: isinstance(event, WorkerLost))
        async with ScriptedWorker.registered(gateway) as second:
            metadata = json.loads((await second.accept()).job.metadata)
            assert metadata["routing"] == told.to_json()


async def test_an_agent_that_takes_no_routing_or_is_not_ours(gateway: RunningGateway) -> None:
    async with gateway.person():
        async with ScriptedWorker.registered(gateway) as worker:
            token = (await worker.accept()).token
            status, answer = await put(gateway, DEAF_TO_ALICE)
            assert status == 503 and "does not take routing" in answer["error"]
        url = f"{gateway.ws_url}/mesh?access_token={token}"
        async with gateway.http.ws_connect(url):
            await gateway.wait_for(
                lambda event: isinstance(event, Joined) and event.participant.is_agent
            )
            status, answer = await put(gateway, DEAF_TO_ALICE)
            assert status == 503 and "cannot be reached from here" in answer["error"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"hear": {"alice-7f3k": 1}},
        {"hear": ["alice-7f3k"]},
        {"speak_to": "alice-7f3k"},
        {"speak_to": {}},
        {"mute": []},
        {"hear": {"": False}},
        {"hear": {"eve-9999": False}},
        {"speak_to": ["alice-7f3k", "eve-9999"]},
    ],
    ids=str,
)
async def test_a_bad_change_gets_a_sentence_and_changes_nothing(
    gateway: RunningGateway, body: Any
) -> None:
    async with gateway.person():
        status, answer = await put(gateway, body)
        assert status == 400
        assert isinstance(answer["error"], str)
        assert await shown(gateway) == EVERYBODY


async def test_who_left_may_be_named_while_the_routing_names_them(gateway: RunningGateway) -> None:
    async with gateway.person():
        async with gateway.person(name="Bob"):
            assert (await put(gateway, {"hear": {BOB: False}}))[0] == 200
        assert (await put(gateway, {"hear": {BOB: False}}))[0] == 200
        assert await put(gateway, {"hear": {BOB: True}}) == (200, EVERYBODY)
        assert (await put(gateway, {"hear": {BOB: False}}))[0] == 400, "she is a stranger now"


async def test_access_is_that_of_the_room(gateway: RunningGateway) -> None:
    forwarded = {"X-Forwarded-For": "127.0.0.1"}
    async with gateway.person():
        for headers, status in [
            (forwarded, 401),
            ({"Host": "evil.example"}, 401),
            ({"Authorization": f"Bearer {token_for('another')}"}, 403),
            ({"Authorization": f"Bearer {token_for(secret='forged')}"}, 401),
            (forwarded | {"Authorization": f"Bearer {token_for()}"}, 200),
        ]:
            assert (await put(gateway, DEAF_TO_ALICE, **headers))[0] == status, headers
        body = json.dumps({}).encode()
        async with gateway.http.put(gateway.url(PATH), data=body) as response:
            assert response.status == 400, "not called JSON"
        headers = {"Content-Type": "application/json"}
        for broken in (b"{", b"\xff", b"[" * 10_000):
            async with gateway.http.put(gateway.url(PATH), data=broken, headers=headers) as answer:
                assert answer.status == 400
    assert (await put(gateway, {}, "/api/rooms/nobody/routing"))[0] == 404


@pytest.mark.parametrize(
    "words",
    ["", "{", '{"type": "route"}', '{"type": "routed", "request_id": "x", "hear": 7}'],
)
async def test_control_words_that_nobody_understands_end_that_worker(
    gateway: RunningGateway, words: str
) -> None:
    async with ScriptedWorker.registered(gateway) as worker:
        await worker.socket.send_str(words)
        message = await worker.socket.receive(timeout=5)
        assert message.type is aiohttp.WSMsgType.CLOSE
    async with ScriptedWorker.registered(gateway) as worker, gateway.person():
        await worker.accept()
