"""A real `mulisa serve` with local engines, and voices to speak to it with."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.speech import Studio

STARTING = 120.0
"""Seconds a server may take until its agent is ready."""


class Server:
    """`mulisa serve` as a child process, read by its JSON lines."""

    def __init__(self, data: Path, *options: str) -> None:
        command = [sys.executable, "-m", "mulisa", "serve", "--port", "0", "--json"]
        command += ["--data", str(data), *options]
        self.data = data
        self.events: list[dict[str, Any]] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.url = str(self.wait_for("link")["url"])

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next line with this event. Fails when none comes."""
        while True:
            try:
                line = self._lines.get(timeout=STARTING)
            except queue.Empty:
                line = None
            assert line is not None, f"no {event!r} from the server; it said {self.events}"
            said: dict[str, Any] = json.loads(line)
            self.events.append(said)
            if said.get("event") == event:
                return said

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=30)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)


@pytest.fixture(scope="session")
def studio() -> Studio:
    """Speech of several people, each understood by the recogniser when alone."""
    pytest.importorskip("faster_whisper", reason="needs the extra: pip install 'mulisa[local]'")
    return Studio()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A talking room with local engines."""
    running = Server(tmp_path_factory.mktemp("data"), "--llm", "concierge")
    try:
        running.wait_for("agent_ready")
        yield running
    finally:
        code = running.stop()
    assert code == 0
