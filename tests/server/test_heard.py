"""Who hears whom, as an agent process tells the gateway and the gateway whoever asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from livekit.protocol import agent as wire

from mulisa.core.control import ReceptionReported, encode_control
from mulisa.core.reception import REPORT_LASTS
from mulisa.core.room import Identity, RoomName
from mulisa.server.heard import Heard
from tests.server.gateways import RunningGateway, ScriptedWorker, config, running_gateway

pytestmark = pytest.mark.network

ALICE, BOB, EVE = Identity("alice-7f3k"), Identity("bob-7f3k"), Identity("eve-9999")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(config(tmp_path)) as running:
        yield running


async def shown(gateway: RunningGateway) -> Any:
    """What the room says of who hears whom."""
    async with gateway.http.get(gateway.url("/api/rooms/standup")) as response:
        return (await response.json())["heard"]


async def tell(worker: ScriptedWorker, job_id: str, listener: Identity, *heard: Identity) -> None:
    """Until the gateway has read it."""
    frame = ReceptionReported(job_id, listener, frozenset(heard))
    await worker.socket.send_str(encode_control(frame))
    await worker.say(ping=wire.WorkerPing(timestamp=1))
    await worker.hear("pong")


async def test_a_room_shows_what_each_listener_says_to_receive(gateway: RunningGateway) -> None:
    async with (
        ScriptedWorker.registered(gateway) as worker,
        gateway.person(),
        gateway.person(name="Bob"),
    ):
        job_id = (await worker.accept()).job.id
        assert await shown(gateway) == {}, "nobody said anything"
        await tell(worker, job_id, ALICE, BOB, EVE)
        await tell(worker, job_id, BOB)
        await tell(worker, job_id, EVE, ALICE)
        assert await shown(gateway) == {ALICE: [BOB], BOB: []}
        await tell(worker, job_id, ALICE)
        assert await shown(gateway) == {ALICE: [], BOB: []}


async def test_only_the_agent_of_a_room_tells_of_it(gateway: RunningGateway) -> None:
    async with (
        ScriptedWorker.registered(gateway) as worker,
        gateway.person(),
        ScriptedWorker.registered(gateway) as other,
    ):
        job_id = (await worker.accept()).job.id
        await tell(other, job_id, ALICE)
        await tell(worker, "AJ_unknown", ALICE)
        assert await shown(gateway) == {}
        await tell(worker, job_id, ALICE)
        assert await shown(gateway) == {ALICE: []}


def test_rooms_that_nothing_comes_of_are_forgotten() -> None:
    heard = Heard()
    for number in range(100):
        room = RoomName(f"room {number}")
        heard.report(room, ALICE, frozenset({BOB}), now=number * REPORT_LASTS / 2)
    assert len(heard) == 2
    now = 99 * REPORT_LASTS / 2
    assert heard.matrix(RoomName("room 99"), {ALICE, BOB}, now) == {ALICE: {BOB}}
    assert heard.matrix(RoomName("room 99"), {ALICE, BOB}, now + REPORT_LASTS) == {}
    assert heard.matrix(RoomName("room 0"), {ALICE, BOB}, now) == {}
