"""Processes of a comparison: `mulisa` commands that are its children, and what they spend."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

from mulisa.core.errors import MulisaError
from mulisa.core.leaving import ENDING

STARTING: Final = 120.0
"""Seconds a process may take until it is ready; models are loaded meanwhile."""
STOPPING: Final = ENDING + 5.0
"""Seconds it may take to end, with the agent process that it may wait for."""
ENGINES: Final = ("--stt", "whisper", "--llm", "concierge", "--tts", "piper")
_FOREIGN: Final = ("LIVEKIT_URL", "MULISA_CONFIG")
"""What would make this another server than the one that is to be measured."""


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
        raise self._in_vain(repr(event))

    def read_on(self) -> None:
        """Nobody waits for its words any more: what it says must not fill the pipe."""
        self._reading = asyncio.create_task(self._read(), name=f"output of {self._command}")

    async def until(self, event: asyncio.Event) -> None:
        """Wait for what it does, once it is read on. Raises MulisaError if it ends before."""
        assert self._reading is not None
        happening = asyncio.create_task(event.wait())
        try:
            await asyncio.wait(
                {happening, self._reading},
                timeout=STARTING,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            happening.cancel()
        if not event.is_set():
            raise self._in_vain("where it was waited for")

    async def stop(self) -> None:
        """Ctrl-C; it is killed if that does not end it."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(STOPPING):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reading:
            await self._reading

    def _in_vain(self, what: str) -> MulisaError:
        last = self._said[-1] if self._said else {}
        text = last.get("message") or last.get("text") or last.get("event", "it said nothing")
        return MulisaError(f"'mulisa {self._command}' did not come to {what}: {text}")

    @property
    def _lines(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout

    async def _read(self) -> None:
        while line := await self._lines.readline():
            self._said = [json.loads(line)]


@asynccontextmanager
async def program(
    command: str, *options: str, environment: Mapping[str, str], prefix: Sequence[str] = ()
) -> AsyncIterator[Program]:
    """Start ``mulisa COMMAND --json``, and end it with the block; `prefix` is what runs it."""
    ours = {name: text for name, text in os.environ.items() if name not in _FOREIGN}
    process = await asyncio.create_subprocess_exec(
        *(*prefix, sys.executable, "-m", "mulisa", command, "--json", *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=ours | {"HF_HUB_OFFLINE": "1"} | dict(environment),
        start_new_session=True,  # Ctrl-C in the terminal is for us; we end it in order
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


@dataclass(frozen=True, slots=True)
class Shares:
    """CPU seconds of Mulisa, by who spent them."""

    loop: float = 0.0
    """The main thread: in the mesh it carries the media."""
    webrtc: float = 0.0
    """Threads that libwebrtc and its SDK have named."""
    engines: float = 0.0
    """Threads without a name of their own: recognition and voice detection."""
    voice: float = 0.0
    """Child processes: the synthesis."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.media + self.engines + self.voice

    @property
    def media(self) -> float:
        """What is there with any engines."""
        return self.loop + self.webrtc

    def since(self, earlier: Shares) -> Shares:
        """What was spent after it."""
        return Shares(
            self.loop - earlier.loop,
            self.webrtc - earlier.webrtc,
            self.engines - earlier.engines,
            self.voice - earlier.voice,
        )


def cpu_shares(pid: int) -> Shares:
    """Spent so far by Mulisa's process."""
    own, *children = processes(pid)
    spent = dict.fromkeys(("loop", "webrtc", "engines", "voice"), 0.0)
    for thread in own.threads():
        spent[_part_of(pid, thread.id)] += thread.user_time + thread.system_time
    for child in children:
        with suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            spent["voice"] += times.user + times.system
    return Shares(**spent)


def _part_of(pid: int, thread: int) -> str:
    if thread == pid:
        return "loop"
    try:
        main, own = (Path(f"/proc/{pid}/task/{each}/comm").read_text() for each in (pid, thread))
    except OSError:  # it has ended, or this is no Linux
        return "engines"
    return "engines" if own == main else "webrtc"


def udp_ports(pid: int) -> frozenset[int]:
    """Local UDP ports of a process and its descendants."""
    ports = set()
    for process in processes(pid):
        with suppress(psutil.Error):
            ports |= {each.laddr.port for each in process.net_connections("udp") if each.laddr}
    return frozenset(ports)
