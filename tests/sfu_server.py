"""An SFU that speaks LiveKit's protocol, on free ports of loopback, as a child process.

`EmbeddedServer` is ours (``mulisa serve`` without an agent); LiveKit's own one is in
`tests/livekit_server.py`. What they have in common is what the tests use.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from tests.network import free_port

if TYPE_CHECKING:
    from livekit.api import LiveKitAPI

KEY: Final = "APImulisatests"
SECRET: Final = "only-for-tests-and-long-enough-for-sha256"
STARTING: Final = 120.0
"""Seconds a server may take until it answers."""
ENDING: Final = 10.0
_POLL: Final = 0.05


class SfuServer(ABC):
    """Enter it, or call `start` and `stop`; all ports stay the same over a restart.

    Its methods block for as long as the server takes: `await asyncio.to_thread(server.restart)`.
    """

    def __init__(self) -> None:
        self.port, self.tcp_port = free_port(), free_port()
        self.udp_port = free_port(socket.SOCK_DGRAM)
        self.key, self.secret = KEY, SECRET
        self._log = tempfile.TemporaryFile()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What is run."""

    def environment(self) -> Mapping[str, str]:
        """What it finds in its environment besides ours."""
        return {}

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
        self.process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=os.environ | dict(self.environment()),
        )
        for _ in range(round(STARTING / _POLL)):
            if self._answers():
                return
            if self.process.poll() is not None:
                break
            time.sleep(_POLL)
        self.stop(at_once=True)
        raise RuntimeError(f"the server does not answer:\n{self.log()[-4_000:]}")

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
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
        **grants: Any,
    ) -> str:
        """A token to join a room; `ttl` in seconds, `grants` as in `api.VideoGrants`."""
        from livekit import api  # takes its time; most test runs need none of it

        allowed = {"can_update_own_metadata": True, "agent": kind == "agent", "room_join": True}
        return (
            api.AccessToken(KEY, SECRET)
            .with_identity(identity)
            .with_name(name or identity.title())
            .with_kind(kind)  # type: ignore[arg-type]
            .with_ttl(timedelta(seconds=ttl))
            .with_metadata(metadata)
            .with_attributes(dict(attributes or {}))
            .with_grants(api.VideoGrants(**{"room": room, **allowed, **grants}))
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


class EmbeddedServer(SfuServer):
    """``mulisa serve`` with its own SFU, and without an agent."""

    def __init__(self, *options: str) -> None:
        """`options` are added to the command."""
        super().__init__()
        self._options = options
        self._data = tempfile.TemporaryDirectory()

    def command(self) -> Sequence[str]:
        """See `SfuServer`."""
        return (
            *(sys.executable, "-m", "mulisa", "serve", "--no-agent", "--topology", "sfu"),
            *("--port", str(self.port), "--rtc-port", str(self.udp_port)),
            *("--data", self._data.name, *self._options),
        )

    def environment(self) -> Mapping[str, str]:
        """See `SfuServer`."""
        return {"LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        super().__exit__(exc_type, exc, traceback)
        self._data.cleanup()
