"""coturn for a test, which is skipped where it is not installed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mulisa.compare import coturn
from mulisa.core.errors import ConfigError
from tests.network import free_port

LOOPBACK = "127.0.0.1"
USERNAME = "mulisa"
CREDENTIAL = "only-for-tests"
STARTING = 10.0
"""Seconds it may take until it answers."""
BINDING_REQUEST = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"mulisa tests"
"""STUN without attributes (RFC 8489, 5)."""


class TurnServer(coturn.TurnServer):
    """`turnserver` on loopback, with one user; it relays to this machine only."""

    def __init__(self, program: str, folder: Path) -> None:
        super().__init__(
            program,
            folder,
            address=LOOPBACK,
            port=free_port(socket.SOCK_DGRAM),
            tls_port=free_port(),
            user=f"{USERNAME}:{CREDENTIAL}",
        )

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
                    assert self.runs, self.log.read_text(errors="replace")
                    try:
                        client.send(BINDING_REQUEST)
                        async with asyncio.timeout(0.1):
                            await loop.sock_recv(client, 2048)
                        return
                    except (ConnectionRefusedError, TimeoutError):
                        await asyncio.sleep(0.05)  # it says nowhere else that it listens


def turn_program() -> str:
    """Path of coturn; skips the test where it is not installed."""
    try:
        return coturn.turn_program()
    except ConfigError as error:
        pytest.skip(str(error))


@contextmanager
def turn_server(folder: Path) -> Iterator[TurnServer]:
    """One on loopback for a test, which is skipped where coturn is not installed."""
    server = TurnServer(turn_program(), folder)
    try:
        yield server
    finally:
        server.stop()
