"""LiveKit's own components, as they come, show what Mulisa does and what is said."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp import web
from playwright.async_api import Locator

from tests.browser.people import Person, browser_at, person_in, until
from tests.browser.server import Server
from tests.browser.speech import ALICE, Studio, word_error_rate
from tests.livekit_server import LiveKitServer

pytestmark = [pytest.mark.slow, pytest.mark.browser]

QUESTION = "Mulisa, who is in the call?"
SOURCES = Path(__file__).parents[1] / "livekit_ui"
NPM = ("sh", str(SOURCES.parents[1] / "scripts" / "npm.sh"), "--prefix", str(SOURCES))
INSTALLING = 240.0
BUILDING = 120.0


@pytest.fixture(scope="module")
def front_end(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built page of tests/livekit_ui."""
    built = tmp_path_factory.mktemp("livekit_ui")
    try:
        _npm("ci", "--silent", "--prefer-offline", timeout=INSTALLING)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"LiveKit's components could not be installed from the npm registry: {error}")
    options = ("--logLevel", "error", "--outDir", str(built), "--emptyOutDir")
    _npm("run", "--silent", "build", "--", *options, timeout=BUILDING)
    return built


@pytest.fixture
def server(livekit: LiveKitServer, tmp_path: Path) -> Iterator[Server]:
    """A talking room on a LiveKit server."""
    running = Server(tmp_path, "--llm", "concierge", livekit=livekit)
    try:
        running.wait_for("agent_ready")
        yield running
    finally:
        code = running.stop()
    assert code == 0


async def test_her_state_and_all_words_are_shown(
    studio: Studio, server: Server, front_end: Path, chromium: str
) -> None:
    (question,) = await studio.speak(ALICE, QUESTION)
    admission = await server.admit("components", "Alice")
    async with _hosted(front_end) as base, browser_at(chromium) as browser:
        alice = await person_in(browser, "Alice")
        query = urlencode({"url": admission["url"], "token": admission["token"]})
        await alice.page.goto(f"{base}/index.html?{query}")
        await _state_is(alice, "listening")
        visualizer = alice.page.locator(".lk-audio-bar-visualizer")
        assert await visualizer.get_attribute("data-lk-va-state") == "listening"
        assert await alice.page.locator("#state").get_attribute("data-agent") == "mulisa"

        await alice.say(question)
        for identity in (admission["identity"], "mulisa"):
            await _finals(alice, identity).first.wait_for()
        await _state_is(alice, "listening")
        states: list[str] = await alice.page.evaluate("window.seen.states")
        history: list[list[dict[str, str]]] = await alice.page.evaluate("window.seen.captions")
    assert "speaking" in states, states
    assert states[states.index("speaking") - 1] in ("thinking", "listening"), states
    for captions in history:
        segments = [caption["segment"] for caption in captions]
        assert len(set(segments)) == len(segments), "a caption is shown twice"
    asked, answered = history[-1]
    assert asked["identity"] == admission["identity"] and answered["identity"] == "mulisa"
    assert asked["final"] == answered["final"] == "true"
    assert word_error_rate(QUESTION, asked["text"]) <= 0.5, asked
    assert "alice" in answered["text"].lower() or "you" in answered["text"].lower(), answered
    growing = [c for captions in history for c in captions if c["final"] == "false"]
    assert {"mulisa"} <= {caption["identity"] for caption in growing}, "no interim words of hers"
    assert {c["segment"] for c in growing} <= {asked["segment"], answered["segment"]}


def _npm(*arguments: str, timeout: float) -> None:
    subprocess.run((*NPM, *arguments), check=True, timeout=timeout)


@asynccontextmanager
async def _hosted(folder: Path) -> AsyncIterator[str]:
    """The folder over HTTP; its base URL."""
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def _state_is(person: Person, state: str) -> None:
    shown = person.page.locator("#state")
    await until(shown.text_content, lambda text: text == state, f"the state {state}")


def _finals(person: Person, identity: str) -> Locator:
    return person.page.locator(f'li[data-identity="{identity}"][data-final="true"]')
