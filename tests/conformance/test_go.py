"""A client made of pion, as LiveKit's Go SDK is: two connections, no header extensions."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.conformance.clients import PATIENCE, hears, sees
from tests.conformance.conftest import Join

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)]

SOURCES = Path(__file__).parent / "go"
BUILDING = 800.0
RATE_HZ = 48_000
TONE = 440.0


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built program."""
    go = shutil.which("go", path=os.environ["PATH"] + ":/usr/local/go/bin:/usr/lib/go/bin")
    if go is None:
        pytest.skip("no Go tool chain here: https://go.dev/dl")
    built = tmp_path_factory.mktemp("go") / "conformance"
    command = [go, "build", "-p", "2", "-o", str(built), "."]
    try:
        subprocess.run(
            command, cwd=SOURCES, check=True, timeout=BUILDING, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        if "downloading" in error.stderr or "dial tcp" in error.stderr:
            pytest.skip(f"the Go client's modules could not be had: {error.stderr[-400:]}")
        raise AssertionError(error.stderr) from error
    return built


@pytest.fixture(scope="session")
def tone_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Opus in Ogg, a page per frame of 20 ms."""
    path = tmp_path_factory.mktemp("tone") / "tone.ogg"
    at = np.arange(RATE_HZ * 2) / RATE_HZ
    wave = (np.sin(2 * np.pi * TONE * at) * 8_000).astype(np.int16)
    with av.open(str(path), "w", format="ogg", options={"page_duration": "20000"}) as container:
        stream = container.add_stream("libopus", rate=RATE_HZ, layout="mono")
        for start in range(0, len(wave), 960):
            frame = av.AudioFrame.from_ndarray(
                wave[np.newaxis, start : start + 960], format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = RATE_HZ, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class GoClient:
    """What the program says, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said: list[dict[str, Any]] = []

    async def says(self, **expected: str) -> dict[str, Any]:
        """Wait for a line with these values."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while line := await self._process.stdout.readline():
                    said: dict[str, Any] = json.loads(line)
                    self.said.append(said)
                    if expected.items() <= said.items():
                        return said
        except TimeoutError:
            pass
        raise AssertionError(f"waited for {expected}; it said {self.said[-20:]}")


@asynccontextmanager
async def go_in(program: Path, url: str, token: str, file: Path) -> AsyncIterator[GoClient]:
    """In the room until the block ends."""
    process = await asyncio.create_subprocess_exec(
        str(program), url, token, str(file), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    try:
        yield GoClient(process)
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(PATIENCE):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()


async def test_a_client_of_pion_hears_and_is_heard(
    go_client: Path, tone_file: Path, python_join: Join
) -> None:
    alice = await python_join("alice")
    await alice.publish(600.0)
    bob = await python_join("bob", sdk="browser")
    token = python_join.server.token("gopher", python_join.room)
    async with go_in(go_client, python_join.server.url, token, tone_file) as gopher:
        await gopher.says(event="joined", identity="gopher")
        await gopher.says(event="published")
        await gopher.says(event="heard")
        await hears(alice, "gopher", TONE)
        await hears(bob, "gopher", TONE)
        for client in (alice, bob):
            view = await sees(client, lambda view: view.data, "its message")
            assert view.data[0].text == "from go"
            assert view.data[0].sender in ("gopher", "")  # it may come before its sender's update
        await alice.send("to go")
        await gopher.says(event="data", identity="alice", text="to go")
        await bob.publish(800.0)
        for _ in range(4):  # two voices, two seconds of each
            await gopher.says(event="heard")
        assert len({each["identity"] for each in gopher.said if each["event"] == "heard"}) == 2
    await sees(alice, lambda view: "gopher" not in view.others, "its leaving")
