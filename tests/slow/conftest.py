"""The talking room of the browser tests, for long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.server import Server
from tests.browser.speech import Studio


@pytest.fixture(scope="module")
def studio() -> Studio:
    """Speech of several people."""
    pytest.importorskip("faster_whisper", reason="needs the extra: pip install 'mulisa[local]'")
    return Studio()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A talking room with local engines, fresh for each test."""
    running = Server(tmp_path_factory.mktemp("data"), "--llm", "concierge")
    try:
        running.wait_for("agent_ready")
        yield running
    finally:
        code = running.stop()
    assert code == 0
