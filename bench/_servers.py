"""The servers of a benchmark: a LiveKit server, and `mulisa serve` with its agent process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from tests.livekit_server import LiveKitServer

from mulisa.core.room import Identity, ParticipantKind, RoomName
from mulisa.server.tokens import Grant, TokenIssuer, utc_now

Engines: TypeAlias = Literal["scripted", "local"]

_LIVEKIT = Path(__file__).parents[1] / ".venv" / ".livekit"
"""Where `make livekit` writes the path of the server that it built."""
_ENGINES: dict[Engines, tuple[str, ...]] = {
    "scripted": ("--stt", "scripted", "--llm", "scripted", "--tts", "scripted"),
    "local": ("--stt", "whisper", "--llm", "concierge", "--tts", "piper"),
}


@dataclass(frozen=True)
class Keys:
    """Who signs and accepts tokens."""

    key: str = "bench"
    secret: str = field(default="only-for-this-benchmark-on-loopback-0123456789", repr=False)

    def environment(self) -> dict[str, str]:
        """Ours and these."""
        return os.environ | {"LIVEKIT_API_KEY": self.key, "LIVEKIT_API_SECRET": self.secret}

    def token(self, identity: Identity, room: RoomName, kind: ParticipantKind = "standard") -> str:
        """Admits somebody to a room."""
        grant = Grant(
            identity,
            identity.title(),
            room,
            kind,
            room_join=True,
            agent=kind == "agent",
            can_update_metadata=True,
        )
        return TokenIssuer(self.key, self.secret).issue(grant, utc_now())


@dataclass(frozen=True)
class LiveKit:
    """A LiveKit server that runs."""

    url: str
    keys: Keys
    program: str = ""
    """Empty if somebody else started it."""


@contextmanager
def livekit(url: str | None) -> Iterator[LiveKit | None]:
    """The one at `url`, else one of our own from the user's cache, else None."""
    if url:
        given = Keys(
            os.environ.get("LIVEKIT_API_KEY", ""), os.environ.get("LIVEKIT_API_SECRET", "")
        )
        if not (given.key and given.secret):
            sys.exit(f"LIVEKIT_API_KEY and LIVEKIT_API_SECRET of {url} are not set")
        yield LiveKit(url, given)
        return
    program = _LIVEKIT.read_text().strip() if _LIVEKIT.exists() else ""
    if not os.access(program, os.X_OK):
        yield None
        return
    with LiveKitServer(program) as server:
        yield LiveKit(server.url, Keys(server.key, server.secret), program)


@contextmanager
def talking_room(engines: Engines, keys: Keys, livekit_url: str = "") -> Iterator[str]:
    """`mulisa serve` with its agent process; its HTTP URL, once the agent is ready."""
    with tempfile.TemporaryDirectory() as data:
        command = [sys.executable, "-m", "mulisa", "serve", "--port", "0", "--json", "--data", data]
        command += _ENGINES[engines]
        if livekit_url:
            command += ["--livekit-url", livekit_url]
        environment = keys.environment()
        if engines == "scripted":
            environment["MULISA_VAD"] = "scripted"
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            yield _until_ready(process)
        finally:
            process.terminate()  # SIGINT is ignored by what a shell runs in the background
            process.wait(30)


@contextmanager
def running(program: Path, *arguments: str) -> Iterator[None]:
    """A Python program beside us, ended with the block."""
    process = subprocess.Popen([sys.executable, str(program), *arguments])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


def _until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    url = ""
    for line in process.stdout:
        said = json.loads(line)
        url = str(said.get("url", url))
        if said.get("event") == "agent_ready":
            # What it says later is not read by anybody, and must not fill the pipe.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return url
    sys.exit("the server ended before its agent was ready; try it with `mulisa serve`")
