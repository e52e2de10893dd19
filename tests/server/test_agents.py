from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from livekit.protocol import agent as wire
from livekit.protocol import models

from mulisa.server.events import JobFailed, Joined, WorkerLost, WorkerRegistered
from mulisa.server.tokens import TokenVerifier
from tests.server.gateways import (
    KEY,
    ROOM,
    SECRET,
    RunningGateway,
    ScriptedWorker,
    config,
    running_gateway,
    token_for,
    worker_token,
)

pytestmark = pytest.mark.network


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(config(tmp_path, departure_timeout=0.1)) as running:
        yield running


async def upgrade_status(gateway: RunningGateway, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await gateway.http.ws_connect(f"{gateway.ws_url}/agent", headers=headers)
    return refused.value.status


async def test_a_worker_gets_a_room_joins_it_and_is_let_go(gateway: RunningGateway) -> None:
    async with ScriptedWorker.registered(gateway) as worker:
        async with gateway.person():
            job = (await worker.hear("availability")).availability.job
            assert (job.type, job.room.name) == (wire.JT_ROOM, "standup")
            assert json.loads(job.metadata) == {"topology": "mesh"}
            await worker.say(
                availability=wire.AvailabilityResponse(
                    job_id=job.id,
                    available=True,
                    participant_identity="mulisa",
                    participant_name="Mulisa",
                    participant_attributes={"lk.agent.name": "m"},
                )
            )
            assignment = (await worker.hear("assignment")).assignment
            assert assignment.job.id == job.id
            grant = TokenVerifier(KEY, SECRET).verify(assignment.token)
            assert (grant.identity, grant.name, grant.kind) == ("mulisa", "Mulisa", "agent")
            assert grant.can_update_metadata
            assert not grant.agent, "a participant's token registers no worker"
            await worker.say(update_job=wire.UpdateJobStatus(job_id=job.id, status=wire.JS_RUNNING))
            url = f"{gateway.ws_url}/mesh?access_token={assignment.token}"
            async with gateway.http.ws_connect(url) as socket:
                joined = await socket.receive_json(timeout=5)
                assert joined["participant"]["kind"] == "agent"
                await gateway.wait_for(
                    lambda event: isinstance(event, Joined) and event.participant.is_agent
                )
                async with gateway.http.get(gateway.url("/api/rooms/standup")) as response:
                    assert (await response.json())["agent"] == {
                        "identity": "mulisa",
                        "state": "initializing",
                    }
        assert (await worker.hear("termination")).termination.job_id == job.id


async def test_an_agent_may_do_what_its_worker_asked_for(gateway: RunningGateway) -> None:
    async with ScriptedWorker.connect(gateway) as worker:
        permission = models.ParticipantPermission(
            can_subscribe=True, hidden=True, can_publish_sources=[models.MICROPHONE]
        )
        request = wire.RegisterWorkerRequest(type=wire.JT_ROOM, allowed_permissions=permission)
        await worker.say(register=request)
        await worker.hear("register")
        async with gateway.person():
            grant = TokenVerifier(KEY, SECRET).verify((await worker.accept()).token)
    assert (grant.can_subscribe, grant.hidden, grant.sources) == (True, True, ("microphone",))
    assert not (grant.can_publish or grant.can_publish_data or grant.can_update_metadata)


async def test_a_worker_that_says_no_name_is_mulisa(gateway: RunningGateway) -> None:
    async with ScriptedWorker.registered(gateway) as worker, gateway.person(name="Mulisa"):
        assignment = await worker.accept()
        grant = TokenVerifier(KEY, SECRET).verify(assignment.token)
        assert (grant.identity, grant.name) == ("mulisa", "Mulisa")


async def test_a_lost_workers_room_goes_to_the_next(gateway: RunningGateway) -> None:
    async with gateway.person():
        async with ScriptedWorker.registered(gateway) as first:
            await first.accept()
        await gateway.wait_for(lambda event: isinstance(event, WorkerLost))
        async with ScriptedWorker.registered(gateway) as second:
            assert (await second.accept()).job.room.name == "standup"


async def test_a_refused_room_goes_to_the_next(gateway: RunningGateway) -> None:
    async with (
        ScriptedWorker.registered(gateway) as first,
        ScriptedWorker.registered(gateway) as second,
        gateway.person(),
    ):
        job = (await first.hear("availability")).availability.job
        await first.say(availability=wire.AvailabilityResponse(job_id=job.id, available=False))
        assert (await second.accept()).job.room.name == "standup"


async def test_a_full_worker_is_passed_over(gateway: RunningGateway) -> None:
    async with (
        ScriptedWorker.registered(gateway) as full,
        ScriptedWorker.registered(gateway) as free,
    ):
        await full.say(update_worker=wire.UpdateWorkerStatus(status=wire.WS_FULL, load=1.0))
        await full.say(ping=wire.WorkerPing(timestamp=7))
        assert (await full.hear("pong")).pong.last_timestamp == 7
        async with gateway.person():
            await free.accept()


async def test_a_failed_job_is_told_and_tried_again(gateway: RunningGateway) -> None:
    async with ScriptedWorker.registered(gateway) as worker, gateway.person():
        job = (await worker.accept()).job
        failed = wire.UpdateJobStatus(job_id=job.id, status=wire.JS_FAILED, error="no ears")
        await worker.say(update_job=failed)
        told = await gateway.wait_for(lambda event: isinstance(event, JobFailed))
        assert told == JobFailed(ROOM, "no ears")
        assert (await worker.accept()).job.id != job.id


async def test_unknown_jobs_and_kinds_are_ignored(gateway: RunningGateway) -> None:
    async with ScriptedWorker.registered(gateway) as worker:
        await worker.say(update_job=wire.UpdateJobStatus(job_id="AJ_x", status=wire.JS_FAILED))
        await worker.say(availability=wire.AvailabilityResponse(job_id="AJ_x", available=True))
        await worker.say(simulate_job=wire.SimulateJobRequest())
        await worker.say(migrate_job=wire.MigrateJobRequest())
        await worker.say()
        async with gateway.person():
            await worker.accept()


async def test_a_named_worker_waits_for_explicit_dispatch(gateway: RunningGateway) -> None:
    async with ScriptedWorker.connect(gateway) as named:
        await named.say(register=wire.RegisterWorkerRequest(agent_name="scribe"))
        await named.hear("register")
        async with ScriptedWorker.registered(gateway) as worker, gateway.person():
            await worker.accept()


@pytest.mark.parametrize(
    ("token", "status"),
    [
        (worker_token(secret="forged"), 401),
        ("", 401),
        ("rubbish", 401),
        (token_for(), 403),
    ],
    ids=["forged", "none", "rubbish", "a person's"],
)
async def test_only_a_workers_token_is_admitted(
    gateway: RunningGateway, token: str, status: int
) -> None:
    assert await upgrade_status(gateway, token) == status


async def test_a_gateway_without_an_agent_of_its_own_takes_one_that_comes(tmp_path: Path) -> None:
    async with running_gateway(config(tmp_path, agent=False)) as gateway:
        assert await _expected_agent(gateway) is None
        async with ScriptedWorker.connect(gateway) as named:
            await named.say(register=wire.RegisterWorkerRequest(agent_name="scribe"))
            await named.hear("register")
            assert await _expected_agent(gateway) is None, "it gets no rooms here"
        async with ScriptedWorker.registered(gateway):
            assert await _expected_agent(gateway) == {"identity": "mulisa", "name": "Mulisa"}


async def _expected_agent(gateway: RunningGateway) -> object:
    """Of whom somebody who asks for a token is told."""
    async with gateway.http.post(
        gateway.url("/api/rooms/standup/token"), json={"name": "Alice"}
    ) as response:
        return (await response.json())["agent"]


@pytest.mark.parametrize("first_words", ["text", "rubbish", "ping", "close"])
async def test_bad_first_words_end_that_worker_only(
    gateway: RunningGateway, first_words: str
) -> None:
    async with ScriptedWorker.registered(gateway) as good:
        async with ScriptedWorker.connect(gateway) as bad:
            match first_words:
                case "text":
                    await bad.socket.send_str('{"register": {}}')
                case "rubbish":
                    await bad.socket.send_bytes(b"\xff" * 40)
                case "ping":
                    await bad.say(ping=wire.WorkerPing())
                case "close":
                    await bad.socket.close()
            message = await bad.socket.receive(timeout=5)
            assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
        async with gateway.person():
            await good.accept()
        assert sum(isinstance(event, WorkerRegistered) for event in gateway.events) == 1


@pytest.mark.parametrize("bad_words", [b"\xff" * 40, b"\0" * 70_000], ids=["rubbish", "too large"])
async def test_bad_words_later_end_the_worker_and_free_its_rooms(
    gateway: RunningGateway, bad_words: bytes
) -> None:
    async with gateway.person(), ScriptedWorker.registered(gateway) as bad:
        await bad.accept()
        await bad.socket.send_bytes(bad_words)
        await gateway.wait_for(lambda event: isinstance(event, WorkerLost))
        async with ScriptedWorker.registered(gateway) as good:
            await good.accept()
