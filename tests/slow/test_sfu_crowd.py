"""A full room at once: as many as an SFU lets in, at the pace of an office after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import psutil  # type: ignore[import-untyped]
import pytest
from livekit.protocol import models, rtc

from mulisa.sfu.events import RoomConfig
from tests.sfu_server import EmbeddedServer

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(180)]

ROOM = "assembly"
CROWD = RoomConfig().max_participants
JOINS_PER_SECOND = 50
PATIENCE = 50.0
"""Seconds: after 60 s who has no connection for media is put out."""
MAX_GROWTH_BYTES = 64 * 2**20


class Guest:
    """A client that signals and nothing else: it opens no connection for media."""

    def __init__(self, identity: str, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.identity = identity
        self._socket = socket
        self._present: dict[str, models.ParticipantInfo] = {}

    async def meet(self, identities: set[str]) -> None:
        """Return when it knows of all of these, and of nobody else."""
        while self._present.keys() != identities - {self.identity}:
            message = rtc.SignalResponse.FromString(await self._socket.receive_bytes())
            assert message.WhichOneof("message") != "leave", message
            for info in (*message.join.other_participants, *message.update.participants):
                if info.identity != self.identity:
                    self._note(info)

    def _note(self, info: models.ParticipantInfo) -> None:
        if info.state == models.ParticipantInfo.DISCONNECTED:
            self._present.pop(info.identity, None)
        else:
            self._present[info.identity] = info


@asynccontextmanager
async def guest(
    server: EmbeddedServer, http: aiohttp.ClientSession, identity: str
) -> AsyncIterator[Guest]:
    token = server.token(identity, ROOM)
    async with http.ws_connect(f"{server.url}/rtc?access_token={token}") as socket:
        yield Guest(identity, socket)


async def test_two_hundred_come_in_four_seconds_and_everybody_knows_everybody() -> None:
    identities = {f"guest-{number}" for number in range(CROWD)}
    loop = asyncio.get_running_loop()
    everybody = asyncio.Barrier(CROWD)
    async with AsyncExitStack() as stack:
        server = EmbeddedServer()
        await asyncio.to_thread(stack.enter_context, server)
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        before, cpu_before = process.memory_info().rss, process.cpu_times()
        begin = loop.time()

        async def stay(number: int, identity: str) -> None:
            await asyncio.sleep(begin + number / JOINS_PER_SECOND - loop.time())
            async with guest(server, http, identity) as who:
                await who.meet(identities)
                await everybody.wait()

        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            for number, identity in enumerate(sorted(identities)):
                group.create_task(stay(number, identity))
        cpu, growth = process.cpu_times(), process.memory_info().rss - before
        seconds = cpu.user + cpu.system - cpu_before.user - cpu_before.system
        print(
            f"{CROWD} met within {loop.time() - begin:.1f} s: {seconds:.1f} s of processor time, "
            f"{before / 2**20:.0f} MiB before, {growth / 2**20:.1f} MiB more"
        )
        assert growth < MAX_GROWTH_BYTES
