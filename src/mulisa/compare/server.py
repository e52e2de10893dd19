"""The talking room of a comparison: `mulisa serve` without Mulisa, and `mulisa worker` for her."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

from mulisa.core.errors import MulisaError

STARTING: Final = 120.0
"""Seconds a process may take until it is ready; models are loaded meanwhile."""
ENDING: Final = 15.0
ENGINES: Final = ("--stt", "whisper", "--llm", "concierge", "--tts", "piper")
_FOREIGN: Final = ("LIVEKIT_URL", "MULISA_CONFIG")
"""What would make this another server than the one that is to be measured."""
_HEARD_LINES: Final = 20


def keys() -> dict[str, str]:
    """Of one room and who takes part in it, as environment variables."""
    return {"LIVEKIT_API_KEY": "compare", "LIVEKIT_API_SECRET": secrets.token_hex(32)}


class Program:
    """A `mulisa` command as a child process, read by its JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process, command: str) -> None:
        self._process = process
        self._command = command
        self._said: list[dict[str, Any]] = []
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def wait_for(self, event: str) -> dict[str, Any]:
        """The next line with this event. Raises MulisaError if the process ends before."""
        try:
            async with asyncio.timeout(STARTING):
                while line := await self._lines.readline():
                    said: dict[str, Any] = json.loads(line)
                    self._said.append(said)
                    if said.get("event") == event:
                        return said
        except TimeoutError:
            pass
        texts = "; ".join(str(each.get("text", each)) for each in self._said[-_HEARD_LINES:])
        raise MulisaError(f"'mulisa {self._command}' did not come to {event!r}: {texts}")

    def read_on(self) -> None:
        """Nobody waits for anything any more: what it says must not fill the pipe."""
        self._reading = asyncio.create_task(self._read(), name=f"output of {self._command}")

    async def stop(self) -> None:
        """Ctrl-C; it is killed if that does not end it."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(ENDING):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reading:
            await self._reading

    @property
    def _lines(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout

    async def _read(self) -> None:
        while await self._lines.read(65_536):
            pass


@asynccontextmanager
async def program(
    command: str, *options: str, environment: Mapping[str, str]
) -> AsyncIterator[Program]:
    """Start ``mulisa COMMAND --json``, and end it with the block."""
    ours = {name: text for name, text in os.environ.items() if name not in _FOREIGN}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mulisa", command, "--json", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=ours | {"HF_HUB_OFFLINE": "1"} | dict(environment),
        limit=1 << 20,
    )
    running = Program(process, command)
    try:
        yield running
    finally:
        await running.stop()


@asynccontextmanager
async def server(data: Path, environment: Mapping[str, str]) -> AsyncIterator[tuple[Program, str]]:
    """The room without her, on any free ports; and its URL."""
    options = ("--no-agent", "--port", "0", "--rtc-port", "0", "--data", str(data))
    async with program("serve", *options, environment=environment) as running:
        url = str((await running.wait_for("link"))["url"])
        running.read_on()
        yield running, url


@asynccontextmanager
async def mulisa(url: str, data: Path, environment: Mapping[str, str]) -> AsyncIterator[Program]:
    """Her process, with its engines loaded; she goes into every room of the server."""
    base = url.replace("http", "ws", 1)
    options = ("--url", base, "--data", str(data), *ENGINES)
    async with program("worker", *options, environment=environment) as running:
        yield running


def processes(pid: int) -> list[psutil.Process]:
    """A process and all its descendants."""
    own = psutil.Process(pid)
    return [own, *own.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Spent so far by a process and all its descendants that are there now."""
    total = 0.0
    for process in processes(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def udp_ports(pid: int) -> frozenset[int]:
    """Local UDP ports of a process and its descendants."""
    ports = set()
    for process in processes(pid):
        with suppress(psutil.Error):
            ports |= {each.laddr.port for each in process.net_connections("udp") if each.laddr}
    return frozenset(ports)
