"""`mulisa` commands as child processes, and the HTTP interface of `mulisa serve`."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import aiohttp
import psutil  # type: ignore[import-untyped]

from mulisa.core.room import Topology
from tests.livekit_server import LiveKitServer

STARTING = 120.0
"""Seconds a server may take until its agent is ready."""
ENDING = 30.0
"""Seconds a process may take to end."""


class Program:
    """A `mulisa` command as a child process, read by its JSON lines."""

    def __init__(
        self,
        command: str,
        *options: str,
        environment: Mapping[str, str] | None = None,
        log: IO[str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """`log` gets what is written to standard error; without it that is ours.

        `prefix` is a command that runs another one in its place.
        """
        self._command = [*prefix, sys.executable, "-m", "mulisa", command, "--json", *options]
        self._environment = os.environ | {"HF_HUB_OFFLINE": "1"} | dict(environment or {})
        self._log = log
        self._start()

    def _start(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self._environment,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next line with this event. Fails when none comes."""
        while True:
            try:
                line = self._lines.get(timeout=STARTING)
            except queue.Empty:
                line = None
            assert line is not None, f"no {event!r}; it said {self.events}"
            said: dict[str, Any] = json.loads(line)
            self.events.append(said)
            if said.get("event") == event:
                return said

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=ENDING)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)


class Server(Program):
    """`mulisa serve`, on any free port unless one is given."""

    def __init__(
        self,
        data: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        log: IO[str] | None = None,
        prefix: Sequence[str] = (),
        topology: Topology = "mesh",
        livekit: LiveKitServer | None = None,
        livekit_url: str = "",
        port: int = 0,
    ) -> None:
        """SFU rooms are on its own SFU, or with a LiveKit server there; `livekit_url` is how to
        get to that, if not directly.
        """
        given = dict(environment or {})
        if livekit is not None:
            options += ("--livekit-url", livekit_url or livekit.url)
            given |= credentials(livekit)
        self.topology: Topology = topology if livekit is None else "sfu"
        options += ("--topology", self.topology, "--rtc-port", "0")
        self.data = data
        self._livekit = livekit
        super().__init__(
            *("serve", "--port", str(port), "--data", str(data), *options),
            environment=given,
            log=log,
            prefix=prefix,
        )

    def _start(self) -> None:
        super()._start()
        try:
            self.url = str(self.wait_for("link")["url"])
        except BaseException:
            self.stop()
            raise

    def begin_anew(self) -> None:
        """Restart with nobody in any room, and nothing remembered of any."""
        self.stop()
        for file in self.data.glob("transcript.sqlite3*"):
            file.unlink()
        if self._livekit is not None:
            self._livekit.restart()
        self._start()
        self.wait_for("agent_ready")

    @property
    def port(self) -> int:
        """Of the gateway."""
        return int(self.url.rsplit(":", 1)[1])

    def agent(self) -> psutil.Process:
        """The process that Mulisa lives in."""
        (agent,) = psutil.Process(self.process.pid).children()
        return agent

    def processes(self) -> list[psutil.Process]:
        """Everything that runs because of this server, itself included."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    async def get(
        self, path: str, token: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and body of ``/api/...``; without a token as the operator."""
        given = dict(headers or {}) | ({"Authorization": f"Bearer {token}"} if token else {})
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.url}/api/{path}", headers=given) as response,
        ):
            return response.status, await response.text()

    async def admit(self, room: str, name: str) -> dict[str, Any]:
        """A token for the room, and what comes with it; waits if we ask too often."""
        path = f"{self.url}/api/rooms/{room}/token"
        async with aiohttp.ClientSession() as http, asyncio.timeout(ENDING):
            while True:
                async with http.post(path, json={"name": name}) as response:
                    if response.status == 200:
                        answer: dict[str, Any] = await response.json()
                        return answer
                    assert response.status == 429, await response.text()
                await asyncio.sleep(1.0)

    async def participants(self, room: str) -> list[dict[str, Any]]:
        """Who is in the room; empty when nobody is."""
        status, body = await self.get(f"rooms/{room}")
        if status == 404:
            return []
        assert status == 200, body
        found: list[dict[str, Any]] = json.loads(body)["participants"]
        return found

    async def route(self, room: str, **change: Any) -> dict[str, Any]:
        """`PUT .../routing` as the operator; what holds, when it holds."""
        async with (
            aiohttp.ClientSession() as http,
            http.put(f"{self.url}/api/rooms/{room}/routing", json=change) as response,
        ):
            assert response.status == 200, await response.text()
            routing: dict[str, Any] = await response.json()
            return routing

    async def said(self, room: str) -> list[dict[str, Any]]:
        """Entries of the room's transcript so far."""
        status, body = await self.get(f"rooms/{room}/transcript?format=json")
        assert status == 200, body
        entries: list[dict[str, Any]] = json.loads(body)["entries"]
        return entries


def credentials(livekit: LiveKitServer) -> dict[str, str]:
    """The environment in which our commands may use this server."""
    return {"LIVEKIT_API_KEY": livekit.key, "LIVEKIT_API_SECRET": livekit.secret}
