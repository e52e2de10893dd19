"""The way to the server is cut under a call that goes on."""

from __future__ import annotations

import pytest

from tests.browser.conftest import MESH_FIRST
from tests.browser.people import Person, browser_at, person_in, until
from tests.browser.server import Server
from tests.network import TcpProxy

pytestmark = pytest.mark.browser

KEEP = "window.kept = Object.values(window.mulisa.connections)"
IS_KEPT = """() => Object.values(window.mulisa.connections).every(
    (each) => window.kept.includes(each) && each.connectionState === "connected"
)"""


@MESH_FIRST
async def test_a_stay_is_resumed_and_no_connection_is_touched(
    server: Server, chromium: str
) -> None:
    async with TcpProxy(("127.0.0.1", server.port)) as proxy, browser_at(chromium) as browser:
        alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
        await alice.enter(f"http://127.0.0.1:{proxy.port}", "cut")
        await bob.enter(server.url, "cut")
        await alice.sees("Bob")
        await alice.mulisa_is("listening")
        await alice.hears_on(await bob.identity())
        await alice.page.evaluate(KEEP)
        sid = await _sid(alice)

        proxy.is_open = False
        assert proxy.cut() >= 1
        trouble = alice.page.get_by_test_id("trouble")
        await until(lambda: trouble.all_text_contents(), _says_what_is_wrong, "the trouble")
        await alice.hears_on(await bob.identity(), more=50)
        await bob.hears_on(await alice.identity())
        proxy.is_open = True
        await trouble.wait_for(state="detached")
        assert await _sid(alice) == sid
        assert await alice.page.evaluate(IS_KEPT)

        await alice.page.get_by_test_id("mute").click()
        await until(lambda: _muted(server), lambda muted: "Alice" in muted, "Alice muted")
        assert len(await server.participants("cut")) == 3


def _says_what_is_wrong(texts: list[str]) -> bool:
    """That one still hears the others is known once their connections are."""
    return any("Reconnecting" in text and "You still hear" in text for text in texts)


async def _sid(person: Person) -> str:
    sid: str = await person.page.evaluate("window.mulisa.sid")
    return sid


async def _muted(server: Server) -> list[str]:
    return [each["name"] for each in await server.participants("cut") if each["muted"]]
