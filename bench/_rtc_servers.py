"""The SFUs of a paired measurement, each with processes of its own, read from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import psutil  # type: ignore[import-untyped]
from bench._servers import Keys
from tests.livekit_server import LiveKitServer
from tests.mediasoup_server import MediasoupServer

from mulisa.core.room import Identity, RoomName

Stack: TypeAlias = Literal["livekit", "embedded", "mediasoup"]
FORWARDERS: tuple[Stack, ...] = get_args(Stack)
STACKS: tuple[Stack, ...] = ("livekit", "embedded")
"""Those that speak LiveKit's protocol."""
MIB = 2**20

_LIVEKIT = Path(__file__).parents[1] / ".venv" / ".livekit"
"""Where `make livekit` writes the path of the server that it built."""
_MEDIASOUP = Path(__file__).parents[1] / ".venv" / ".mediasoup"
"""And `make mediasoup` that of the worker."""
_ENDING = 20.0


@dataclass(frozen=True)
class Sfu:
    """A server that runs."""

    stack: Stack
    url: str
    """``http://127.0.0.1:PORT``."""
    token: Callable[[str, str], str]
    """Of an identity, for a room."""
    process: psutil.Process

    def cpu(self) -> float:
        """Seconds of CPU that it and its children have used (utime and stime, ticks of 10 ms)."""
        times = [process.cpu_times() for process in self._family()]
        return float(sum(time.user + time.system for time in times))

    def memory(self) -> float:
        """Resident, MiB."""
        return float(sum(process.memory_info().rss for process in self._family()) / MIB)

    def udp_ports(self) -> set[int]:
        """Where it receives."""
        return {
            connection.laddr.port
            for process in self._family()
            for connection in process.net_connections("udp")
            if connection.laddr
        }

    def _family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def running(stacks: Sequence[Stack]) -> Iterator[Mapping[Stack, Sfu]]:
    """Fresh servers, all at once; ends us if one of them cannot be had."""
    with ExitStack() as servers:
        yield {stack: servers.enter_context(_START[stack]()) for stack in stacks}


def stacks_of(asked: Sequence[Stack] | None, known: Sequence[Stack] = STACKS) -> Sequence[Stack]:
    """Those that were asked for, all that are here by default; ends us if one of them is not."""
    programs = {"livekit": _program(_LIVEKIT), "mediasoup": _program(_MEDIASOUP)}
    missing = [
        stack for stack in asked or known if not os.access(programs.get(stack, "."), os.X_OK)
    ]
    for stack in missing:
        what = f"no {stack} here: run `make {stack}`"
        if asked:
            sys.exit(f"{what}, or leave it out of --stacks")
        print(f"{what}; it is not measured", file=sys.stderr)
    return [stack for stack in asked or known if stack not in missing]


@contextmanager
def _livekit() -> Iterator[Sfu]:
    with LiveKitServer(_program(_LIVEKIT)) as server:
        assert server.process
        process = psutil.Process(server.process.pid)
        yield Sfu("livekit", server.http_url, server.token, process)


@contextmanager
def _embedded() -> Iterator[Sfu]:
    keys = Keys()
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "mulisa", "serve", "--no-agent", "--topology", "sfu"]
        command += ["--port", "0", "--rtc-port", "0", "--json", "--data", data]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=keys.environment()
        )
        try:
            url = _until_ready(process)
            yield Sfu("embedded", url, _tokens(keys), psutil.Process(process.pid))
        finally:
            process.terminate()  # SIGINT is ignored by what a shell runs in the background
            try:
                process.wait(_ENDING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _mediasoup() -> Iterator[Sfu]:
    with MediasoupServer(_program(_MEDIASOUP)) as server:
        assert server.process
        process = psutil.Process(server.process.pid)
        yield Sfu("mediasoup", server.url, lambda identity, room: f"{room} {identity}", process)


_START: Mapping[Stack, Callable[[], Any]] = {
    "livekit": _livekit,
    "embedded": _embedded,
    "mediasoup": _mediasoup,
}


def _tokens(keys: Keys) -> Callable[[str, str], str]:
    return lambda identity, room: keys.token(Identity(identity), RoomName(room))


def _program(note: Path) -> str:
    return note.read_text().strip() if note.exists() else ""


def _until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        said = json.loads(line)
        if url := said.get("url"):
            # What it says later is not read by anybody, and must not fill the pipe.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return str(url)
    sys.exit("the embedded SFU does not start; try `mulisa serve --no-agent --topology sfu`")
