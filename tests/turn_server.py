"""coturn as a child process: a relay over UDP, TCP and TLS."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mulisa.server.selfmade import keep_certificate, self_made_files
from tests.network import RELAY_PORTS, free_port

LOOPBACK = "127.0.0.1"
USERNAME = "mulisa"
CREDENTIAL = "only-for-tests"
SECRET = "shared-for-tests"
STARTING = 10.0
"""Seconds it may take until it answers."""
ENDING = 10.0
BINDING_REQUEST = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"mulisa tests"
"""STUN without attributes (RFC 8489, 5)."""


class TurnServer:
    """`turnserver`; on loopback it has one user and relays to this machine only."""

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        address: str = LOOPBACK,
        port: int = 0,
        secret: str = "",
        prefix: Sequence[str] = (),
    ) -> None:
        """With `secret` users are those that it signed; `prefix` is what runs the program."""
        self.address = address
        self.port = port or free_port(socket.SOCK_DGRAM)
        self.tls_port = port + 1 if port else free_port()
        self.log = folder / "turnserver.log"
        self.files = self_made_files(folder)
        keep_certificate(self.files, [address], datetime.now(UTC))
        users = (
            ["--use-auth-secret", f"--static-auth-secret={secret}"]
            if secret
            else [f"--user={USERNAME}:{CREDENTIAL}"]
        )
        self._process = subprocess.Popen(
            [
                *prefix,
                program,
                "-n",  # no configuration file
                f"--listening-port={self.port}",
                f"--tls-listening-port={self.tls_port}",
                f"--listening-ip={address}",
                f"--relay-ip={address}",
                f"--min-port={RELAY_PORTS.start}",
                f"--max-port={RELAY_PORTS.stop - 1}",
                "--allow-loopback-peers",
                "--lt-cred-mech",
                *users,
                "--realm=tests",
                f"--cert={self.files.certificate}",
                f"--pkey={self.files.key}",
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

    def url(self, transport: str) -> str:
        """Over ``udp``, ``tcp`` or ``tls``."""
        if transport == "tls":
            return f"turns:{self.address}:{self.tls_port}?transport=tcp"
        return f"turn:{self.address}:{self.port}?transport={transport}"

    @property
    def ice_server(self) -> str:
        """As an option `--ice-server` of `mulisa serve`."""
        return self.url("udp").replace(":", f":{USERNAME}:{CREDENTIAL}@", 1)

    @property
    def livekit(self) -> dict[str, Any]:
        """As an entry of ``rtc.turn_servers`` in the configuration of a LiveKit server."""
        return {
            "host": self.address,
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
            client.connect((self.address, self.port))
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


def turn_program() -> str:
    """Path of coturn; skips the test where it is not installed."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("no TURN server here: apt-get install coturn")
    return program


@contextmanager
def turn_server(folder: Path) -> Iterator[TurnServer]:
    """One on loopback for a test, which is skipped where coturn is not installed."""
    server = TurnServer(turn_program(), folder)
    try:
        yield server
    finally:
        server.stop()
