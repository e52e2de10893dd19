"""coturn as a child process: a STUN and TURN server over UDP, TCP and TLS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mulisa.core.errors import ConfigError
from mulisa.server.selfmade import keep_certificate, self_made_files

RELAY_PORTS: Final = range(10_000, 11_000)
"""Of the addresses that it relays for; systems give none of them to sockets by themselves."""
ENDING: Final = 10.0
"""Seconds it may take to end."""


def turn_program() -> str:
    """Path of coturn. Raises ConfigError where it is not installed."""
    program = shutil.which("turnserver")
    if program is None:
        raise ConfigError("there is no TURN server here: apt-get install coturn")
    return program


class TurnServer:
    """`turnserver`, for one user with a password or for those that a secret has signed."""

    def __init__(
        self,
        program: str,
        folder: Path,
        *,
        address: str,
        port: int,
        tls_port: int,
        secret: str = "",
        user: str = "",
        prefix: Sequence[str] = (),
    ) -> None:
        """`user` is ``name:password``; `prefix` is what runs the program."""
        self.address = address
        self.port = port
        self.tls_port = tls_port
        self.log = folder / "turnserver.log"
        self.files = self_made_files(folder)
        keep_certificate(self.files, [address], datetime.now(UTC))
        users = (
            ["--use-auth-secret", f"--static-auth-secret={secret}"]
            if secret
            else [f"--user={user}"]
        )
        self._process = subprocess.Popen(
            [
                *prefix,
                program,
                "-n",  # no configuration file
                f"--listening-port={port}",
                f"--tls-listening-port={tls_port}",
                f"--listening-ip={address}",
                f"--relay-ip={address}",
                f"--min-port={RELAY_PORTS.start}",
                f"--max-port={RELAY_PORTS.stop - 1}",
                "--allow-loopback-peers",
                "--lt-cred-mech",
                *users,
                "--realm=mulisa",
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
            start_new_session=True,  # Ctrl-C in the terminal is for us; we end it in order
        )

    @property
    def runs(self) -> bool:
        """It has not ended by itself."""
        return self._process.poll() is None

    def url(self, transport: str) -> str:
        """Over ``udp``, ``tcp`` or ``tls``; ``stun`` asks for an address only."""
        if transport == "stun":
            return f"stun:{self.address}:{self.port}"
        if transport == "tls":
            return f"turns:{self.address}:{self.tls_port}?transport=tcp"
        return f"turn:{self.address}:{self.port}?transport={transport}"

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
