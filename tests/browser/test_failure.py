"""Processes that die, a language model that is out of reach, and an end without leftovers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.browser.conftest import MESH_LATER
from tests.browser.people import browser_at, loudness, person_in, until
from tests.browser.server import ENDING, Server
from tests.browser.speech import ALICE, BOB, Studio, word_error_rate

NOBODY = 1
"""A port at which nobody listens."""

pytestmark = pytest.mark.browser

BUDGET = "I think we should move the budget review to Friday."
LONG = "The new website will be ready next week, and the old one goes to the archive on Monday."


@MESH_LATER
async def test_people_go_on_talking_when_the_agent_process_dies(
    studio: Studio, server: Server, chromium: str
) -> None:
    budget, long = await studio.speak(BOB, BUDGET, LONG)
    (question,) = await studio.speak(ALICE, "Mulisa, what did Bob say about the budget?")
    async with browser_at(chromium) as browser:
        alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
        for person in (alice, bob):
            await person.enter(server.url, "crash")
        await alice.sees("Bob")
        for person in (alice, bob):
            await person.mulisa_is("listening")
        await bob.say(budget)
        await alice.reads("Bob")
        stay = await _stay_of_mulisa(server)

        agent = server.agent()
        family = [agent, *agent.children(recursive=True)]
        await alice.record(await bob.identity())
        speaking = asyncio.create_task(bob.say(long))
        await alice.hears_on(await bob.identity())
        agent.kill()
        returned = asyncio.create_task(_return_of_mulisa(server, stay))
        await speaking
        heard = await alice.recorded(await bob.identity())
        await alice.hears_on(await bob.identity())
        await bob.hears_on(await alice.identity())
        assert await _end(family) == []
        (understood,) = await studio.understand(heard)
        assert word_error_rate(LONG, understood) <= 0.3, understood

        print(f"Mulisa was back after {await returned:.2f} s")
        for person in (alice, bob):
            await person.sees("Mulisa")
            await person.mulisa_is("listening")
        await alice.record()
        await alice.ask(question)
        answer = await alice.reads("Mulisa", "Friday")
        assert loudness(await alice.recorded()) > -60
        said = " ".join(entry["text"] for entry in await server.said("crash")).lower()
    assert "bob" in answer.lower()
    assert "budget" in said and answer.lower() in said


async def test_a_server_ends_without_leftovers(chromium: str, tmp_path: Path) -> None:
    server = Server(tmp_path, "--llm", "concierge")
    try:
        server.wait_for("agent_ready")
        async with browser_at(chromium) as browser:
            alice = await person_in(browser, "Alice")
            await alice.enter(server.url, "ending")
            await alice.mulisa_is("listening")
            processes = server.processes()
            assert len(processes) >= 3, "the gateway, the agent, its voice"
            code = await asyncio.to_thread(server.stop)
            assert await _end(processes) == []
            await alice.page.get_by_test_id("trouble").wait_for()
    finally:
        if server.process.returncode is None:
            server.stop()
    assert code == 0
    assert [p.name() for p in psutil.Process().children(recursive=True) if _is_browser(p)] == []


@pytest.mark.slow
async def test_a_language_model_out_of_reach_is_told_aloud_and_in_the_log(
    studio: Studio, chromium: str, tmp_path: Path
) -> None:
    (question,) = await studio.speak(BOB, "Mulisa, what is the capital of France?")
    log = tmp_path / "log.txt"
    with _served_by(NOBODY, tmp_path / "data", log) as server:
        await asyncio.to_thread(server.wait_for, "agent_ready")
        async with browser_at(chromium) as browser:
            bob = await person_in(browser, "Bob")
            await bob.enter(server.url, "thoughtless")
            await bob.mulisa_is("listening")
            for count in (1, 2):  # the room goes on
                await bob.record()
                await bob.say(question)
                apology = await bob.reads("Mulisa", "sorry", count=count)
                (heard,) = await studio.understand(await bob.recorded())
                assert word_error_rate(apology, heard) <= 0.5, (apology, heard)
                await bob.mulisa_is("listening")
            assert len(await bob.captions("Bob")) == 2
    assert f"127.0.0.1:{NOBODY}" in log.read_text()


@contextmanager
def _served_by(port: int, data: Path, log: Path) -> Iterator[Server]:
    """A server whose language model is at this port of ours."""
    environment = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "x"}
    with log.open("w") as file:
        server = Server(data, "--llm", "openai", environment=environment, log=file)
        try:
            yield server
        finally:
            code = server.stop()
    assert code == 0


async def _return_of_mulisa(server: Server, stay: str) -> float:
    """Wait for another stay of hers than this one; seconds that it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def new_stay() -> str:
        return await _stay_of_mulisa(server)

    await until(new_stay, lambda now: now not in ("", stay), "Mulisa to come back")
    return loop.time() - began


async def _stay_of_mulisa(server: Server) -> str:
    """Since when she is in the room; empty while she is not."""
    present = await server.participants("crash")
    return next((str(p["joined_at"]) for p in present if p["kind"] == "agent"), "")


async def _end(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that do not end."""
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, ENDING)
    return list(alive)


def _is_browser(process: psutil.Process) -> bool:
    return "chrom" in process.name().lower()
