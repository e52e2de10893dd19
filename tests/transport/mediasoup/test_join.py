"""``mulisa join --mediasoup`` as a program, at an application in Python."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.browser.server import Program
from tests.transport.mediasoup.application import application
from tests.transport.mediasoup.rooms import eventually

pytestmark = pytest.mark.network

SCRIPTED = ("--stt", "scripted", "--llm", "scripted", "--tts", "scripted")


@asynccontextmanager
async def joining(url: str, folder: Path) -> AsyncIterator[Program]:
    with tempfile.TemporaryFile("w+") as log:
        options = ("--room", "standup", "--mediasoup", url, "--data", str(folder), *SCRIPTED)
        program = Program("join", *options, environment={"MULISA_VAD": "scripted"}, log=log)
        try:
            yield program
        finally:
            if program.process.poll() is None:
                program.process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(program.stop)


async def told(program: Program, event: str) -> dict[str, Any]:
    return await asyncio.to_thread(program.wait_for, event)


async def test_she_joins_comes_back_and_leaves(tmp_path: Path) -> None:
    async with application() as app:
        app.joined = {"peers": [{"id": "alice", "displayName": "Alice"}]}
        async with joining(app.url, tmp_path) as program:
            assert (await told(program, "room_entered"))["room"] == "standup"
            join = dict(app.asked)["join"]
            assert join["displayName"] == "Mulisa"
            await app.close(1011)
            await eventually(lambda: app.connections == 2)
            program.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(program.process.wait, 20) == 0


async def test_who_is_no_mediasoup_application_is_told_and_the_command_fails(
    tmp_path: Path,
) -> None:
    app = web.Application()
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with joining(f"ws://127.0.0.1:{runner.addresses[0][1]}", tmp_path) as program:
            assert await asyncio.to_thread(program.process.wait, 30) == 1
            program._reader.join()
            said = []
            while (line := program._lines.get_nowait()) is not None:
                said.append(line)
            assert any("protoo WebSocket" in line for line in said), said
    finally:
        await runner.cleanup()
