"""`mulisa join`, `mulisa worker` and `mulisa serve` with a real LiveKit server, as programs."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit import api, rtc

from tests.browser.server import Program, Server, credentials
from tests.livekit_server import LiveKitServer

pytestmark = [pytest.mark.network, pytest.mark.slow]

SCRIPTED = ("--stt", "scripted", "--llm", "scripted", "--tts", "scripted")
BACK = 5.0
"""Seconds in which she is back once the server answers again."""


@pytest.fixture
def server(livekit_program: str) -> Iterator[LiveKitServer]:
    """One that may be stopped, and that closes rooms soon."""
    rooms = {"room": {"departure_timeout": 1}}
    with LiveKitServer(livekit_program, config=rooms) as server:
        yield server


@asynccontextmanager
async def running(
    command: str, server: LiveKitServer, folder: Path, *options: str, **environment: str
) -> AsyncIterator[Program]:
    given = credentials(server) | {"MULISA_VAD": "scripted"} | environment
    common = ("--url", server.url, "--data", str(folder), *SCRIPTED)
    with tempfile.TemporaryFile("w+") as log:
        program = Program(command, *common, *options, environment=given, log=log)
        try:
            yield program
        finally:
            if program.process.poll() is None:
                program.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(program.stop)


async def told(program: Program, event: str) -> dict[str, Any]:
    return await asyncio.to_thread(program.wait_for, event)


async def exit_code(program: Program) -> int:
    return await asyncio.to_thread(program.process.wait, 20)


@asynccontextmanager
async def person(server: LiveKitServer, room: str = "standup") -> AsyncIterator[rtc.Room]:
    client = rtc.Room()
    await client.connect(server.url, server.token("alice", room))
    try:
        yield client
    finally:
        await client.disconnect()


async def agent_in(client: rtc.Room, former: str = "") -> rtc.RemoteParticipant:
    """Mulisa, once somebody sees her listen; in another stay than that of the former sid."""
    async with asyncio.timeout(20):
        while True:
            for each in client.remote_participants.values():
                if each.attributes.get("lk.agent.state") == "listening" and each.sid != former:
                    return each
            await _next(client, "participant_connected", "participant_attributes_changed")


async def alone(client: rtc.Room) -> None:
    async with asyncio.timeout(20):
        while client.remote_participants:
            await _next(client, "participant_disconnected")


async def _next(client: rtc.Room, *events: Any) -> None:
    happened = asyncio.Event()

    def on_event(*_: object) -> None:
        happened.set()

    for event in events:
        client.on(event, on_event)
    await happened.wait()
    for event in events:
        client.off(event, on_event)


async def test_she_joins_and_stays_until_she_is_removed(
    server: LiveKitServer, tmp_path: Path
) -> None:
    async with running("join", server, tmp_path, "--room", "standup") as join:
        assert (await told(join, "room_entered"))["room"] == "standup"
        async with person(server) as alice:
            mulisa = await agent_in(alice)
            assert (mulisa.identity, mulisa.name) == ("mulisa", "Mulisa")
            assert mulisa.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
            assert (await told(join, "joined"))["identity"] == "alice"
        assert (await told(join, "left"))["identity"] == "alice"
        async with person(server) as alice:
            await agent_in(alice)
            await told(join, "joined")  # both ways: who is removed while she joins joins again
            async with server.api() as client:
                mulisa_there = api.RoomParticipantIdentity(room="standup", identity="mulisa")
                await client.room.remove_participant(mulisa_there)
            await told(join, "removed")
            assert await exit_code(join) == 0
            await alone(alice)


async def test_she_enters_a_room_again_that_was_closed_and_ends_by_ctrl_c(
    server: LiveKitServer, tmp_path: Path
) -> None:
    async with running("join", server, tmp_path, "--room", "standup") as join:
        await told(join, "room_entered")
        async with server.api() as client:
            await client.room.delete_room(api.DeleteRoomRequest(room="standup"))
        assert "closed" in (await told(join, "room_lost"))["reason"]
        await told(join, "room_entered")
        async with person(server) as alice:
            await agent_in(alice)
            join.process.send_signal(signal.SIGINT)
            assert await exit_code(join) == 0
            await alone(alice)


async def test_she_comes_back_to_a_server_that_crashed(
    server: LiveKitServer, tmp_path: Path
) -> None:
    async with running("join", server, tmp_path, "--room", "standup") as join:
        await told(join, "room_entered")
        await asyncio.to_thread(server.stop, at_once=True)
        await asyncio.sleep(3.0)
        await asyncio.to_thread(server.start)
        async with person(server) as alice, asyncio.timeout(BACK):
            await agent_in(alice)
        assert join.process.poll() is None


async def test_a_server_that_is_not_there_yet_is_waited_for(
    server: LiveKitServer, tmp_path: Path
) -> None:
    server.stop()
    async with running("join", server, tmp_path, "--room", "standup") as join:
        assert "cannot be reached" in (await told(join, "room_lost"))["reason"]
        await asyncio.to_thread(server.start)
        await told(join, "room_entered")


async def test_a_key_that_is_refused_ends_it(server: LiveKitServer, tmp_path: Path) -> None:
    wrong = {"LIVEKIT_API_SECRET": "wrong"}
    async with running("join", server, tmp_path, "--room", "standup", **wrong) as join:
        assert "LIVEKIT_API_SECRET" in (await told(join, "cannot_join"))["message"]
        assert await exit_code(join) == 1
    async with running("worker", server, tmp_path, **wrong) as worker:
        assert "LIVEKIT_API_SECRET" in (await told(worker, "agent_cannot_start"))["message"]
        assert await exit_code(worker) == 1


async def test_a_worker_serves_every_room_of_a_server(
    server: LiveKitServer, tmp_path: Path
) -> None:
    async with running("worker", server, tmp_path) as worker:
        await told(worker, "registered")
        async with person(server, "one") as alice, person(server, "two") as bob:
            await agent_in(alice)
            await agent_in(bob)
        async with server.api() as client, asyncio.timeout(20):
            while (await client.room.list_rooms(api.ListRoomsRequest())).rooms:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        async with person(server, "one") as alice:
            await agent_in(alice)
            worker.process.send_signal(signal.SIGTERM)
            await alone(alice)
        assert await exit_code(worker) == 0
    assert not [event for event in worker.events if event["event"] == "session_failed"]


async def test_a_worker_with_a_name_comes_when_it_is_asked_for(
    server: LiveKitServer, tmp_path: Path
) -> None:
    async with running("worker", server, tmp_path, "--agent-name", "scribe") as worker:
        await told(worker, "registered")
        async with person(server) as alice:
            await asyncio.sleep(2.0)
            assert not alice.remote_participants
            request = api.CreateAgentDispatchRequest(agent_name="scribe", room="standup")
            async with server.api() as client:
                await client.agent_dispatch.create_dispatch(request)
            assert (await agent_in(alice)).identity == "mulisa"


async def test_a_served_room_gets_her_back_when_the_sfu_or_her_process_dies(
    server: LiveKitServer, tmp_path: Path
) -> None:
    environment = {"MULISA_VAD": "scripted"}
    room = await asyncio.to_thread(
        lambda: Server(tmp_path, *SCRIPTED, environment=environment, livekit=server)
    )
    try:
        await told(room, "agent_ready")
        answer = await room.admit("standup", "Alice")
        alice = rtc.Room()
        await alice.connect(answer["url"], answer["token"])
        former = (await agent_in(alice)).sid
        silenced = {"hear": {answer["identity"]: False}, "speak_to": []}
        assert await room.route("standup", **silenced) == silenced

        room.agent().kill()
        await told(room, "agent_died")
        mulisa = await agent_in(alice, former)
        assert '"speak_to":[]' in mulisa.attributes["mulisa.routing"]

        await asyncio.to_thread(server.stop, at_once=True)
        await told(room, "sfu_lost")
        await asyncio.to_thread(server.start)
        await told(room, "sfu_found")
        mulisa = await agent_in(alice, mulisa.sid)
        assert '"speak_to":[]' in mulisa.attributes["mulisa.routing"]
        async with asyncio.timeout(5):
            while len(await room.participants("standup")) < 2:
                pass
        await alice.disconnect()
    finally:
        assert await asyncio.to_thread(room.stop) == 0
