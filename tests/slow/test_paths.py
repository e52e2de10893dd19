"""Paths that are cut and come back, between browsers that are hosts of their own.

Signalling goes on: what is cut is the UDP between two hosts, and nobody else may notice. What the
tests print of times is measured; what they assert is who is connected to whom, and by what.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from mulisa.compare.internet import Internet
from mulisa.compare.namespaces import Namespace
from mulisa.compare.ways import Nat
from mulisa.core.audio import Samples
from mulisa.providers.tones import tone
from tests.browser.people import until
from tests.namespaces import internet
from tests.slow.homes import Inhabitant, Public, inhabitants, public

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

ROOM: Final = "street"
AGENT: Final = "mulisa"
STATE: Final = f"http://127.0.0.1:8000/api/rooms/{ROOM}"
OUTAGE: Final = 8.0
BACK: Final = 20.0
"""Seconds after which who is not back never will be. It takes 3 at most; a busy machine more."""

TAG: Final = """
() => { for (const each of Object.values(window.mulisa.connections)) each.isFirst = true; }
"""
IS_FIRST: Final = "(name) => window.mulisa.connections[name]?.isFirst === true"


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as made:
        yield made


class Street:
    """Alice, Bob and Mulisa, who hear each other, each on a host of their own."""

    def __init__(
        self, where: Public, server: Namespace, hosts: list[Namespace], people: list[Inhabitant]
    ) -> None:
        self.where = where
        self.server = server
        self.alice, self.bob = people
        self.alices, self.bobs = hosts
        self._words = 0

    async def cut(self, other: Namespace, seconds: float) -> float:
        """Between Alice and this host; when it ended."""
        self.alices.cut(other)
        await asyncio.sleep(seconds)
        self.alices.cut()
        return asyncio.get_running_loop().time()

    async def stay(self) -> tuple[str, ...]:
        """Since when each participant is in the room."""
        asking = f"import urllib.request as r; print(r.urlopen('{STATE}').read().decode())"
        told = await asyncio.to_thread(self.server.run, sys.executable, "-c", asking)
        present = json.loads(told)["participants"]
        return tuple(sorted(f"{each['identity']} {each['joined_at']}" for each in present))

    async def is_first(self, one: Inhabitant, name: str) -> bool:
        """Whether this connection is the one that there was in the beginning."""
        found: bool = await one.person.page.evaluate(IS_FIRST, name)
        return found

    async def mulisa_understands_and_answers(self, one: Inhabitant) -> None:
        """What they say is written, and her answer arrives."""
        self._words += 1
        await one.person.say(words(self._words))
        await one.person.reads(one.name, f"word {self._words}")
        heard = await one.person.packets_of(AGENT)
        before = len(await one.person.captions("Mulisa"))
        await one.person.write("Mulisa, do you hear me?")
        await one.person.reads("Mulisa", count=before + 1)
        await until(
            lambda: one.person.packets_of(AGENT), lambda now: now > heard + 25, "to hear Mulisa"
        )


def words(number: int) -> Samples:
    """What the scripted recogniser takes for ``word N``."""
    return tone(number, seconds=0.4)


@asynccontextmanager
async def street(
    net: Internet, chromium: str, folder: Path, alice_is_at_home: bool = False
) -> AsyncIterator[Street]:
    """Alice's home is behind a NAT."""
    server = net.host("server", 10)
    with public(net, folder, "mesh", ("stun",), host=server) as where:
        at_home = net.home("port-restricted") if alice_is_at_home else [net.host("alice", 30)]
        hosts = [*at_home, net.host("bob", 31)]
        homes: dict[str, tuple[Nat, Namespace]] = {
            "Alice": ("port-restricted", hosts[0]),
            "Bob": ("full-cone", hosts[1]),
        }
        async with inhabitants(chromium, homes, where.url, folder) as people:
            found = Street(where, server, hosts, people)
            for each in people:
                await each.enter(ROOM)
            for one, other in (people, people[::-1]):
                await one.person.hears_on(other.identity)
                await one.person.mulisa_is("listening")
            for each in people:
                await found.mulisa_understands_and_answers(each)
                await each.person.page.evaluate(TAG)
            yield found


async def seconds_until_heard(one: Inhabitant, name: str, since: float) -> float:
    """Until somebody's packets come again."""
    before = await one.person.packets_of(name)
    await until(
        lambda: one.person.packets_of(name),
        lambda now: now > before,
        f"{one.name} to hear {name}",
        BACK,
    )
    return asyncio.get_running_loop().time() - since


async def reads_trouble(one: Inhabitant, sentence: str) -> None:
    """Wait until the page says so."""
    trouble = one.person.page.get_by_test_id("trouble")
    await until(trouble.text_content, lambda text: sentence in (text or ""), sentence)


async def arrives(one: Inhabitant, speaks: str, hears: str, is_so: bool = True) -> None:
    """Wait until it stands so in the matrix on somebody's page, which may be a second late."""
    cell = one.person.page.locator(
        f'[data-testid="routing-cell"][data-from="{speaks}"][data-to="{hears}"]'
    )
    if not await cell.is_visible():
        await one.person.page.get_by_test_id("routing").click()
    await until(
        lambda: cell.get_attribute("data-arriving"),
        lambda now: now == str(is_so).lower(),
        f"{hears} to hear {speaks}: {is_so}",
        BACK,
    )


async def test_the_path_between_two_browsers_is_cut_and_comes_back(
    net: Internet, chromium: str, tmp_path: Path
) -> None:
    async with street(net, chromium, tmp_path) as here:
        alice, bob = here.alice, here.bob
        stay = await here.stay()
        cutting = asyncio.create_task(here.cut(here.bobs, OUTAGE))
        trouble = alice.person.page.get_by_test_id("trouble")
        await trouble.wait_for()
        assert "Reconnecting to Bob" in (await trouble.text_content() or "")
        ended = await cutting
        times = [
            await seconds_until_heard(one, other.identity, ended)
            for one, other in ((alice, bob), (bob, alice))
        ]
        print(f"they heard each other {times[0]:.2f} and {times[1]:.2f} s after the path returned")
        await trouble.wait_for(state="detached")
        assert await here.is_first(alice, bob.identity), "ICE was restarted, nothing replaced"
        for each in (alice, bob):
            assert await here.is_first(each, AGENT)
            await here.mulisa_understands_and_answers(each)
        assert await here.stay() == stay


@pytest.mark.parametrize("outage", [4.0, OUTAGE, 20.0], ids=str)
async def test_the_path_to_mulisa_is_cut_and_comes_back(
    outage: float, net: Internet, chromium: str, tmp_path: Path
) -> None:
    async with street(net, chromium, tmp_path) as here:
        alice, bob = here.alice, here.bob
        stay = await here.stay()
        cutting = asyncio.create_task(here.cut(here.server, outage))
        await arrives(alice, alice.identity, AGENT, False)
        ended = await cutting
        await arrives(alice, alice.identity, AGENT)
        took = asyncio.get_running_loop().time() - ended
        print(f"she heard Alice {took:.2f} s after the path returned from {outage} s")
        await here.mulisa_understands_and_answers(alice)
        assert await here.is_first(alice, bob.identity)
        assert await here.is_first(bob, AGENT)
        await here.mulisa_understands_and_answers(bob)
        assert await here.stay() == stay


async def test_a_voice_alone_that_is_lost_on_the_way_is_named_and_mended(
    net: Internet, chromium: str, tmp_path: Path
) -> None:
    async with street(net, chromium, tmp_path) as here:
        alice, bob = here.alice, here.bob
        stay = await here.stay()
        here.alices.cut(here.bobs, here.server, media_only=True)
        await reads_trouble(alice, "Bob and Mulisa do not hear you. Mending the connections.")
        await reads_trouble(bob, "Alice does not hear you. Mending the connection.")
        await arrives(bob, alice.identity, AGENT, False)
        await until(
            lambda: here.is_first(alice, AGENT), lambda is_first: not is_first, "a new connection"
        )
        here.alices.cut()
        for each in (alice, bob):
            await each.person.page.get_by_test_id("trouble").wait_for(state="detached")
        await arrives(bob, alice.identity, AGENT)
        for one, other in ((alice, bob), (bob, alice)):
            await one.person.hears_on(other.identity)
            await here.mulisa_understands_and_answers(one)
        assert await here.is_first(bob, AGENT)
        assert await here.stay() == stay


async def test_a_network_whose_address_changes(
    net: Internet, chromium: str, tmp_path: Path
) -> None:
    async with street(net, chromium, tmp_path, alice_is_at_home=True) as here:
        alice, bob = here.alice, here.bob
        await asyncio.to_thread(net.move, here.alices)
        ended = asyncio.get_running_loop().time()
        times = [
            await seconds_until_heard(one, other.identity, ended)
            for one, other in ((alice, bob), (bob, alice))
        ]
        print(f"they heard each other {times[0]:.2f} and {times[1]:.2f} s after the change")
        for each in (alice, bob):
            await here.mulisa_understands_and_answers(each)
        print(f"all is well {asyncio.get_running_loop().time() - ended:.2f} s after the change")
        assert await here.is_first(bob, AGENT)
