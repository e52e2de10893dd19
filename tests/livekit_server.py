"""A real LiveKit server on free ports of loopback, as a child process.

The fixture `livekit` of `tests/conftest.py` is one for the whole run; a test that stops or
configures its server starts its own with the fixture `livekit_program`.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from tests.network import RELAY_PORTS, free_port

if TYPE_CHECKING:
    from livekit.api import LiveKitAPI

KEY: Final = "APImulisatests"
SECRET: Final = "only-for-tests-and-long-enough-for-sha256"
STARTING: Final = 20.0
"""Seconds a server may take until it answers."""
ENDING: Final = 10.0
_POLL: Final = 0.05


class LiveKitServer:
    """Enter it, or call `start` and `stop`; all ports stay the same over a restart.

    Its methods block for as long as the server takes: `await asyncio.to_thread(server.restart)`.
    """

    def __init__(
        self, program: str, *, turn: bool = False, config: Mapping[str, Any] | None = None
    ) -> None:
        """`turn` switches its own TURN server on; `config` is merged into its configuration."""
        self._program = program
        self.port, self.tcp_port = free_port(), free_port()
        self.udp_port, self.turn_port = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        self.key, self.secret = KEY, SECRET
        self._config = {
            "port": self.port,
            "bind_addresses": ["127.0.0.1"],
            "keys": {KEY: SECRET},
            "rtc": {
                "tcp_port": self.tcp_port,
                "udp_port": self.udp_port,
                "use_external_ip": False,
                "node_ip": "127.0.0.1",
                "enable_loopback_candidate": True,
            },
            "logging": {"level": "info"},
        }
        if turn:
            addresses = ["127.0.0.1"]  # from any, its answers would come from another one
            self._config["turn"] = {
                "enabled": True,
                "udp_port": self.turn_port,
                "bind_addresses": addresses,
                "relay_range_start": RELAY_PORTS.start,
                "relay_range_end": RELAY_PORTS.stop - 1,
            }
        _merge(self._config, config or {})
        self._log = tempfile.TemporaryFile()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What a client is given: ``ws://127.0.0.1:PORT``."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def http_url(self) -> str:
        """Base of its API."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Return when it answers. Raises RuntimeError with its log if it does not."""
        command = [self._program, "--config-body", json.dumps(self._config)]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        for _ in range(round(STARTING / _POLL)):
            if self._answers():
                return
            if self.process.poll() is not None:
                break
            time.sleep(_POLL)
        self.stop(at_once=True)
        raise RuntimeError(f"the LiveKit server does not answer:\n{self.log()[-4_000:]}")

    def stop(self, *, at_once: bool = False) -> None:
        """End it: in order, which tells its clients, or like a crash. Idempotent."""
        process, self.process = self.process, None
        if process is None:
            return
        if at_once:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(timeout=ENDING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, *, at_once: bool = True) -> None:
        """Stop and start on the same ports; every room is forgotten."""
        self.stop(at_once=at_once)
        self.start()

    def log(self) -> str:
        """What it has written so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def token(
        self,
        identity: str,
        room: str,
        *,
        kind: str = "standard",
        name: str = "",
        ttl: float = 3600.0,
        **grants: Any,
    ) -> str:
        """A token to join a room; `ttl` in seconds, `grants` as in `api.VideoGrants`."""
        from livekit import api  # takes its time; most test runs need none of it

        allowed = {"can_update_own_metadata": True, "agent": kind == "agent", **grants}
        return (
            api.AccessToken(KEY, SECRET)
            .with_identity(identity)
            .with_name(name or identity.title())
            .with_kind(kind)  # type: ignore[arg-type]
            .with_ttl(timedelta(seconds=ttl))
            .with_grants(api.VideoGrants(room_join=True, room=room, **allowed))
            .to_jwt()
        )

    def api(self) -> LiveKitAPI:
        """A client of its RoomService and the rest; close it with ``aclose`` or ``async with``."""
        from livekit import api

        return api.LiveKitAPI(self.http_url, KEY, SECRET)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.http_url, timeout=1.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._log.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(at_once=True)
        self._log.close()


def _merge(into: dict[str, Any], config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
