"""What breaks under a mesh: processes are killed, signalling is cut, pages are reloaded."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from playwright.async_api import Error as PlaywrightError

from tests.browser.people import Person, browser_at, person_in, until
from tests.browser.server import ENDING, Program, Server
from tests.browser.speech import ALICE, BOB, Studio
from tests.network import TcpProxy, free_port
from tests.slow.calls import Call

pytestmark = [pytest.mark.slow, pytest.mark.browser]

ROOM = "call"
BUDGET = "I think we should move the budget review to Friday."
PLAN = "We need a better plan for the summer party."
QUESTION = "Mulisa, what did Bob say about the budget?"
CUT = 20.0
GONE_WITHIN = 10.0
"""Who sends neither signalling nor media; on this machine, with its clocks, and no more."""
SLACK = 5.0
"""For a busy machine to look."""
KEEP = "window.kept = Object.values(window.mulisa.connections)"
KEPT = """() => Object.values(window.mulisa.connections).filter(
    (each) => window.kept.includes(each) && each.connectionState === "connected"
).length"""


@contextmanager
def served(data: Path, *options: str, port: int = 0) -> Iterator[Server]:
    """Killed in the end, if it is there yet."""
    server = Server(data, "--llm", "concierge", *options, port=port)
    try:
        yield server
    finally:
        kill(server)


def kill(server: Program) -> None:
    """Without a word, as a power cut."""
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGKILL)
    server.stop()


@asynccontextmanager
async def call_on(server: Server, chromium: str, alices_url: str = "") -> AsyncIterator[Call]:
    """Alice and Bob, each in a browser of their own, and Mulisa."""
    async with AsyncExitStack() as stack:
        people = []
        for name in ("Alice", "Bob"):
            browser = await stack.enter_async_context(browser_at(chromium))
            people.append(await person_in(browser, name))
        alice, bob = people
        await alice.enter(alices_url or server.url, ROOM)
        await bob.enter(server.url, ROOM)
        for person in people:
            await person.sees("Mulisa")
            await person.mulisa_is("listening")
        await alice.hears_on(await bob.identity())
        yield Call(server, alice, bob)


async def test_signalling_alone_is_cut_for_long(
    studio: Studio, server: Server, chromium: str
) -> None:
    (budget,) = await studio.speak(BOB, BUDGET)
    (question,) = await studio.speak(ALICE, QUESTION)
    async with TcpProxy(("127.0.0.1", server.port)) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        async with call_on(server, chromium, url) as call:
            before = await sid_of(call.alice)
            await call.alice.page.evaluate(KEEP)
            proxy.is_open = False
            assert proxy.cut() >= 1
            loop = asyncio.get_running_loop()
            ends = loop.time() + CUT
            await call.bob_says(budget)
            while loop.time() < ends:
                assert "Alice" in await names(server)
                await call.bob.hears_on(await call.alice.identity())
                await call.alice.hears_on(await call.bob.identity())
            trouble = call.alice.page.get_by_test_id("trouble")
            assert "You still hear" in (await trouble.text_content() or "")
            proxy.is_open = True
            await trouble.wait_for(state="detached")
            assert await sid_of(call.alice) == before
            assert await call.alice.page.evaluate(KEPT) == 2
            await call.goes_on(question)
            await call.check_nothing_is_lost(BUDGET)


async def test_the_gateway_is_killed_and_started_again_with_its_agent(
    studio: Studio, chromium: str, tmp_path: Path
) -> None:
    """`mulisa serve` under a supervisor of the system: the port is taken over at once."""
    budget, plan = await studio.speak(BOB, BUDGET, PLAN)
    (question,) = await studio.speak(ALICE, QUESTION)
    port = free_port()
    with served(tmp_path, port=port) as first:
        await asyncio.to_thread(first.wait_for, "agent_ready")
        async with call_on(first, chromium) as call:
            await call.bob_says(budget)
            sids = [await sid_of(person) for person in (call.alice, call.bob)]
            mulisas = [p for p in first.processes() if p.pid != first.process.pid]
            await call.alice.page.evaluate(KEEP)
            kill(first)
            await call.alice.page.get_by_test_id("trouble").wait_for()
            await call.alice.hears_on(await call.bob.identity())
            _, alive = await asyncio.to_thread(psutil.wait_procs, mulisas, ENDING)
            assert alive == [], "an agent without its gateway ends by itself"
            with served(tmp_path, port=port) as second:
                began = asyncio.get_running_loop().time()
                call.server = second
                await until(lambda: present(second), {"Alice", "Bob"}.issubset, "both back")
                print(f"people were back {asyncio.get_running_loop().time() - began:.2f} s later")
                assert [await sid_of(person) for person in (call.alice, call.bob)] == sids
                assert await call.alice.page.evaluate(KEPT) >= 1, "the way to Bob"
                await until(lambda: present(second), lambda here: "Mulisa" in here, "Mulisa back")
                for person in (call.alice, call.bob):
                    await person.mulisa_is("listening")
                print(f"Mulisa was back {asyncio.get_running_loop().time() - began:.2f} s later")
                await call.goes_on(question)
                await call.bob_says(plan)
                await call.check_nothing_is_lost(BUDGET, PLAN)


async def test_the_gateway_is_killed_and_an_agent_of_its_own_outlives_it(
    studio: Studio, chromium: str, tmp_path: Path
) -> None:
    budget, plan = await studio.speak(BOB, BUDGET, PLAN)
    (question,) = await studio.speak(ALICE, QUESTION)
    port, data = free_port(), tmp_path / "data"
    keys = {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "secret-of-the-test"}
    os.environ.update(keys)
    try:
        with served(data, "--no-agent", port=port) as first:
            worker = Program(
                *("worker", "--url", f"ws://127.0.0.1:{port}", "--data", str(data)),
                *("--llm", "concierge"),
            )
            try:
                async with call_on(first, chromium) as call:
                    await call.bob_says(budget)
                    before = [await sid_of(call.alice), await mulisas_sid(call.alice)]
                    await call.alice.page.evaluate(KEEP)
                    kill(first)
                    await call.alice.page.get_by_test_id("trouble").wait_for()
                    with served(data, "--no-agent", port=port) as second:
                        call.server = second
                        await until(lambda: present(second), lambda x: len(x) == 3, "everybody")
                        after = [await sid_of(call.alice), await mulisas_sid(call.alice)]
                        assert after == before
                        assert await call.alice.page.evaluate(KEPT) == 2
                        await call.goes_on(question)
                        await call.bob_says(plan)
                        await call.check_nothing_is_lost(BUDGET, PLAN)
            finally:
                worker.stop()
    finally:
        for key in keys:
            del os.environ[key]


async def test_one_browser_is_killed(server: Server, chromium: str) -> None:
    async with browser_at(chromium) as browser:
        alice = await person_in(browser, "Alice")
        await alice.enter(server.url, ROOM)
        others = {p.pid for p in psutil.Process().children(recursive=True)}
        async with browser_at(chromium) as doomed:
            bob = await person_in(doomed, "Bob")
            await bob.enter(server.url, ROOM)
            for person in (alice, bob):
                await person.mulisa_is("listening")
            await alice.hears_on(await bob.identity())
            chromium_of_bob = [
                process
                for process in psutil.Process().children(recursive=True)
                if process.pid not in others and "chrom" in process.name().lower()
            ]
            # What holds the sockets first: it would close them in order when a tab ends.
            for process in sorted(chromium_of_bob, key=_holds_no_sockets):
                os.kill(process.pid, signal.SIGKILL)
            loop = asyncio.get_running_loop()
            began = loop.time()
            limit = GONE_WITHIN + SLACK
            await until(lambda: names(server), lambda here: "Bob" not in here, "Bob gone", limit)
            print(f"Bob was gone {loop.time() - began:.2f} s after his browser was killed")
            await alice.sees("Bob", 0)
            await alice.mulisa_is("listening")


def _holds_no_sockets(process: psutil.Process) -> bool:
    return not any("network.mojom" in argument for argument in process.cmdline())


async def test_somebody_reloads_like_mad(server: Server, chromium: str) -> None:
    async with browser_at(chromium) as browser:
        alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
        await alice.enter(server.url, ROOM)
        await bob.enter(server.url, ROOM)
        await alice.sees("Bob")
        for _ in range(20):
            await reload(bob)
        await until(bob.identity, bool, "Bob to be in the room")
        await settle(server, {"Alice": 1, "Bob": 1, "Mulisa": 1})
        await alice.sees("Bob")
        await alice.hears_on(await bob.identity())
        await bob.hears_on(await alice.identity())


async def test_six_people_reload_at_once(server: Server, chromium: str) -> None:
    async with browser_at(chromium) as browser:
        people = [await person_in(browser, f"P{number}") for number in range(6)]
        for person in people:
            await person.enter(server.url, ROOM)
        for _ in range(2):
            await asyncio.gather(*(reload(person) for person in people))
        for person in people:
            await until(person.identity, bool, f"{person.name} to be in the room")
        await settle(server, {"Mulisa": 1} | {person.name: 1 for person in people})
        for person, other in zip(people, [*people[1:], people[0]], strict=True):
            await person.hears_on(await other.identity())


async def reload(person: Person) -> None:
    await until(lambda: reloaded(person), bool, f"the page of {person.name} to be reloaded")


async def reloaded(person: Person) -> bool:
    """False if the browser is between two pages, where it takes no order."""
    try:
        await person.page.reload(wait_until="commit")
    except PlaywrightError as error:
        assert "Not attached" in error.message, error
        return False
    return True


async def settle(server: Server, expected: dict[str, int]) -> None:
    """Wait until exactly these stays are in the room."""
    await until(lambda: names(server), lambda here: Counter(here) == expected, f"{expected}")


async def names(server: Server) -> list[str]:
    return [str(each["name"]) for each in await server.participants(ROOM)]


async def present(server: Server) -> list[str]:
    """As `names`, of a server that may not be there yet."""
    try:
        return await names(server)
    except OSError:
        return []


async def sid_of(person: Person) -> str:
    sid: str = await person.page.evaluate("window.mulisa.sid")
    return sid


async def mulisas_sid(person: Person) -> Any:
    """As that person knows it."""
    app = "document.querySelector('mulisa-app')"
    return await person.page.evaluate(f"{app}.visit.room.agent.participant.sid")
