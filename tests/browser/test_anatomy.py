""" "How this call works" in a real call: what it shows is what happens, and a click routes."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page

from mulisa.core.audio import Samples
from tests.browser.people import Person, browser_at, person_in, until
from tests.browser.server import Server
from tests.browser.speech import ALICE, Studio

pytestmark = [pytest.mark.browser, pytest.mark.slow]

QUESTION = "Mulisa, what can you do for us?"


async def test_lines_cells_and_packets_are_those_of_the_call_and_a_click_routes(
    studio: Studio, server: Server, chromium: str
) -> None:
    (question,) = await studio.speak(ALICE, QUESTION)
    async with browser_at(chromium) as browser:
        alice = await person_in(browser, "Alice", moves=True)
        bob = await person_in(browser, "Bob")
        for person in (alice, bob):
            await person.enter(server.url, "anatomy")
        for person in (alice, bob):
            await person.sees("Mulisa")
            await person.sees("Bob")
        await alice.mulisa_is("listening")
        await alice.page.keyboard.press("h")
        await alice.page.get_by_test_id("anatomy").wait_for()

        await _lines_are_those_of(server, alice, await bob.identity())
        cell = _cell(alice.page, await bob.identity(), await alice.identity())
        await _is(cell, "data-arriving", "true")
        await _her_voice_is_shown(alice, question)
        await _a_click_routes(alice, await bob.identity())
        await _a_number_says_its_source(alice.page)

        await alice.page.keyboard.press("Escape")
        await alice.page.get_by_test_id("anatomy").wait_for(state="detached")


async def _lines_are_those_of(server: Server, alice: Person, bob: str) -> None:
    """As many as there are connections, and what is sent on one's own is counted, live."""
    page = alice.page
    own = page.locator('[data-testid="edge"][data-own]')
    is_mesh = server.topology == "mesh"
    assert await page.get_by_test_id("edge").count() == 3
    assert await own.count() == (2 if is_mesh else 1)
    assert await page.get_by_test_id("link").count() == (2 if is_mesh else 1)
    row = page.locator(f'[data-testid="link"][data-with="{bob if is_mesh else "sfu"}"]')
    await until(lambda: row.inner_text(), lambda text: "direct" in text, "the path")
    dots = own.last.locator(".dots")
    await until(lambda: dots.count(), lambda count: count > 0, "packets on one's own line")
    rates = await dots.evaluate_all("all => all.map(dots => Number(dots.dataset.rate))")
    assert all(20 < rate < 120 for rate in rates), rates
    moves = await dots.first.evaluate(
        "dots => dots.getAnimations().map(({playbackRate}) => playbackRate)"
    )
    assert len(moves) == 1
    assert 2 < moves[0] < 12, "ten packets are a dot"
    foreign = page.locator(f'[data-testid="edge"]:not([data-own]) .lane[data-from="{bob}"]')
    await _is(foreign.first, "data-state", "flows")


async def _her_voice_is_shown(alice: Person, question: Samples) -> None:
    """Words, packets with their numbers, and ears, while she speaks."""
    page = alice.page
    strip = page.get_by_test_id("strip")

    async def newest() -> int:
        return int(await strip.get_attribute("data-newest") or 0)

    assert await strip.get_attribute("data-shown") == "0", "she has not spoken yet"
    await alice.ask(question)
    await until(newest, lambda number: number >= 40, "her packets on the strip")
    await alice.mulisa_is("listening")
    came = await alice.packets_of("mulisa")
    shown = await until(newest, lambda number: number >= came, f"packet {came} on the strip")
    assert shown <= await alice.packets_of("mulisa"), "a LiveKit server's silence has packets, too"
    bars = strip.locator("rect")
    assert await bars.count() == int(await strip.get_attribute("data-shown") or 0) > 20


async def _a_click_routes(alice: Person, bob: str) -> None:
    """Mulisa ceases to hear Bob: her own count of his packets says so, and the lines show it."""
    page = alice.page
    cell = _cell(page, bob, "mulisa")
    await _is(cell, "data-arriving", "true")
    await cell.click()
    await _is(cell, "aria-checked", "false")
    await _is(cell, "data-arriving", "false")
    await cell.click()
    await _is(cell, "aria-checked", "true")
    await _is(cell, "data-arriving", "true")


async def _a_number_says_its_source(page: Page) -> None:
    number = page.get_by_test_id("link").first.get_by_test_id("sourced").first
    await number.focus()
    said = page.get_by_test_id("source")
    await until(lambda: said.inner_text(), lambda text: "getStats" in text, "the source")


def _cell(page: Page, speaker: str, listener: str) -> Locator:
    return page.locator(
        f'[data-testid="routing-cell"][data-from="{speaker}"][data-to="{listener}"]'
    )


async def _is(element: Locator, attribute: str, value: str) -> None:
    await until(
        lambda: element.get_attribute(attribute),
        lambda found: found == value,
        f"{attribute} of {element} to be {value}",
    )
