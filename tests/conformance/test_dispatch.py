"""Agents: a minimal worker gets the job of a room that wants it, and joins as an agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from livekit import api
from livekit.protocol import agent as protocol
from livekit.protocol import models

from tests.conformance.clients import PATIENCE, sees
from tests.conformance.conftest import Join
from tests.sfu_server import KEY, SECRET, SfuServer

pytestmark = pytest.mark.network


class Worker:
    """Speaks the worker's side of LiveKit's agent protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, **message: object) -> None:
        """A `WorkerMessage`."""
        await self._socket.send_bytes(
            protocol.WorkerMessage(**message).SerializeToString()  # type: ignore[arg-type]
        )

    async def receive(self, kind: str) -> protocol.ServerMessage:
        """The next message of this kind; others are skipped."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = protocol.ServerMessage.FromString(await self._socket.receive_bytes())
                if message.WhichOneof("message") == kind:
                    return message

    async def register(self, agent_name: str = "") -> str:
        """The worker's id."""
        await self.send(
            register=protocol.RegisterWorkerRequest(
                type=protocol.JobType.JT_ROOM,
                agent_name=agent_name,
                version="1.0.0",
                allowed_permissions=models.ParticipantPermission(
                    can_subscribe=True,
                    can_publish=True,
                    can_publish_data=True,
                    can_update_metadata=True,
                    agent=True,
                ),
            )
        )
        registered = (await self.receive("register")).register
        await self.send(
            update_worker=protocol.UpdateWorkerStatus(
                status=protocol.WorkerStatus.WS_AVAILABLE, load=0.0
            )
        )
        return registered.worker_id

    async def take(self) -> protocol.JobAssignment:
        """The next job, which is taken."""
        job = (await self.receive("availability")).availability.job
        await self.send(
            availability=protocol.AvailabilityResponse(
                job_id=job.id,
                available=True,
                participant_name="Mulisa",
                participant_identity=f"agent-{job.id}",
            )
        )
        assignment = (await self.receive("assignment")).assignment
        assert assignment.job.id == job.id
        await self.send(
            update_job=protocol.UpdateJobStatus(job_id=job.id, status=protocol.JobStatus.JS_RUNNING)
        )
        return assignment


@asynccontextmanager
async def worker_at(server: SfuServer) -> AsyncIterator[Worker]:
    """Connected, not registered yet."""
    token = api.AccessToken(KEY, SECRET).with_grants(api.VideoGrants(agent=True)).to_jwt()
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{server.http_url}/agent", headers=headers) as socket,
    ):
        yield Worker(socket)


async def test_a_worker_without_a_name_gets_every_room(python_join: Join) -> None:
    async with worker_at(python_join.server) as worker:
        assert (await worker.register()).startswith("AW_")
        alice = await python_join("alice")
        assignment = await worker.take()
        assert assignment.job.room.name == python_join.room
        assert assignment.job.id.startswith("AJ_")
        identity = assignment.job.state.participant_identity or f"agent-{assignment.job.id}"
        agent = await python_join(identity, token=assignment.token)
        seen = await sees(alice, lambda view: identity in view.others, "the agent")
        assert seen.others[identity].is_agent and seen.others[identity].name == "Mulisa"
        await agent.publish(440.0)
        await sees(alice, lambda view: view.track(identity), "its voice")


async def test_a_named_worker_is_asked_for(python_join: Join) -> None:
    server, room = python_join.server, python_join.room
    async with worker_at(server) as worker, server.api() as livekit:
        await worker.register("concierge")
        made = await livekit.agent_dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(agent_name="concierge", room=room, metadata="hello")
        )
        assert made.id.startswith("AD_")
        job = (await worker.take()).job
        assert (job.agent_name, job.metadata, job.dispatch_id) == ("concierge", "hello", made.id)
        assert job.room.name == room
        listed = await livekit.agent_dispatch.list_dispatch(room)
        assert made.id in [each.id for each in listed]
        await livekit.agent_dispatch.delete_dispatch(made.id, room)
        ended = (await worker.receive("termination")).termination
        assert ended.job_id == job.id


async def test_a_token_without_the_grant_registers_no_worker(server: SfuServer, room: str) -> None:
    headers = {"Authorization": f"Bearer {server.token('alice', room)}"}
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{server.http_url}/agent", headers=headers)
    assert refused.value.status in (401, 403)
