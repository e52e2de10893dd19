"""coturn on loopback, as a child process: what a room uses whose people see only relays."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.network import RELAY_PORTS, free_port

USERNAME = "mulisa"
CREDENTIAL = "only-for-tests"
STARTING = 10.0
"""Seconds it may take until it answers."""
ENDING = 10.0
BINDING_REQUEST = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"mulisa tests"
"""STUN without attributes (RFC 8489, 5)."""


class TurnServer:
    """`turnserver` with one user; relays to this machine only."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port(socket.SOCK_DGRAM)
        self.log = folder / "turnserver.log"
        self._process = subprocess.Popen(
            [
                program,
                "-n",  # no configuration file
                f"--listening-port={self.port}",
                "--listening-ip=127.0.0.1",
                "--relay-ip=127.0.0.1",
                f"--min-port={RELAY_PORTS.start}",
                f"--max-port={RELAY_PORTS.stop - 1}",
                "--allow-loopback-peers",
                "--lt-cred-mech",
                f"--user={USERNAME}:{CREDENTIAL}",
                "--realm=tests",
                "--no-tls",
                "--no-dtls",
                "--no-cli",
                f"--log-file={self.log}",
                "--simple-log",
                "--verbose",
                f"--pidfile={folder / 'turnserver.pid'}",
                f"--userdb={folder / 'turnserver.db'}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    @property
    def ice_server(self) -> str:
        """As an option `--ice-server` of `mulisa serve`."""
        return f"turn:{USERNAME}:{CREDENTIAL}@127.0.0.1:{self.port}?transport=udp"

    @property
    def livekit(self) -> dict[str, Any]:
        """As an entry of ``rtc.turn_servers`` in the configuration of a LiveKit server."""
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "protocol": "udp",
            "username": USERNAME,
            "credential": CREDENTIAL,
        }

    async def answers(self) -> None:
        """Return when it answers a STUN request."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(("127.0.0.1", self.port))
            async with asyncio.timeout(STARTING):
                while True:
                    assert self._process.poll() is None, self.log.read_text(errors="replace")
                    try:
                        client.send(BINDING_REQUEST)
                        async with asyncio.timeout(0.1):
                            await loop.sock_recv(client, 2048)
                        return
                    except (ConnectionRefusedError, TimeoutError):
                        await asyncio.sleep(0.05)  # it says nowhere else that it listens

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=ENDING)


@contextmanager
def turn_server(folder: Path) -> Iterator[TurnServer]:
    """One for a test, which is skipped where coturn is not installed."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("no TURN server here: apt-get install coturn")
    server = TurnServer(program, folder)
    try:
        yield server
    finally:
        server.stop()
