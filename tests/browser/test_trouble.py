"""An engine that fails: the room goes on with the next one, and everybody is told quietly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mulisa.core.room import Topology
from tests.browser.people import browser_at, person_in
from tests.browser.server import Server

pytestmark = pytest.mark.browser

KEY = "sk-cAnArY-0123456789abcdef"


@pytest.fixture(params=["sfu", "mesh"])
def troubled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A room whose language model is out of reach, and whose next one is not."""
    topology: Topology = request.param
    environment = {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_API_KEY": KEY}
    engines = ("--llm", "openai:gpt-x,concierge")
    server = Server(tmp_path, *engines, environment=environment, topology=topology)
    try:
        yield server
    finally:
        code = server.stop()
    assert code == 0


async def test_everybody_reads_what_fails_and_who_does_its_work(
    troubled: Server, chromium: str
) -> None:
    await asyncio.to_thread(troubled.wait_for, "agent_ready")
    async with browser_at(chromium) as browser:
        alice = await person_in(browser, "Alice", width=320)
        await alice.enter(troubled.url, "trouble")
        await alice.mulisa_is("listening")
        notice = alice.page.get_by_test_id("engine-trouble")
        assert await notice.text_content() == ""
        await alice.write("Who is here?")
        await alice.reads("Mulisa")
        await notice.get_by_text("gpt-x cannot answer: it cannot be reached.").wait_for()
        assert "Concierge does it meanwhile." in (await notice.text_content() or "")
        told = await asyncio.to_thread(troubled.wait_for, "engine_trouble")
        assert "OPENAI_BASE_URL" in told["reason"], "the operator reads the mend"
        status, room = await troubled.get("rooms/trouble")
        assert status == 200 and json.loads(room)["use"] == {}, "the concierge is free"
        everything = await alice.page.content() + room + json.dumps(troubled.events)
        assert "cAnArY" not in everything
