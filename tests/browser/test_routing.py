"""Who hears whom: what is switched off does not arrive, packet by packet, from the answer on."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Browser, Locator

from tests.browser.conftest import MESH_LATER
from tests.browser.people import Person, browser_at, loudness, person_in, until
from tests.browser.server import Server
from tests.browser.speech import ALICE, BOB, Studio, word_error_rate

pytestmark = pytest.mark.browser

PLAN = "We need a better plan for the summer party."
BUDGET = "I think we should move the budget review to Friday."
CONFESSION = "The new website will not be ready next week."
WEATHER = "It will probably rain on the weekend."
QUESTION = "Mulisa, who is in the call?"
LONG_QUESTION = "Mulisa, what can you do? Please help me."
PRIVATE_QUESTION = "Mulisa, please tell me privately who is in the call."


async def test_who_is_off_her_ears_sends_her_nothing_and_is_not_written(
    studio: Studio, server: Server, chromium: str
) -> None:
    plan, confession, weather = await studio.speak(ALICE, PLAN, CONFESSION, WEATHER)
    (budget,) = await studio.speak(BOB, BUDGET)
    async with browser_at(chromium) as browser:
        alice, bob = await _two(browser, server, "ears")
        identity = await alice.identity()
        await alice.say(plan)
        await bob.reads("Alice")
        await bob.page.get_by_test_id("routing").click()
        cell = _cell(bob, identity, "mulisa")
        await _is(cell, "data-arriving", "true")

        await alice.page.get_by_test_id("ears").click()
        await alice.page.get_by_test_id("routing-note").wait_for()
        await _is(alice.page.get_by_test_id("ears"), "aria-busy", "false")
        await _is(cell, "data-allowed", "false")
        sent = await alice.packets_to("mulisa") if server.topology == "mesh" else 0
        await alice.say(confession)
        await bob.say(budget)
        await alice.reads("Bob")
        await _is(cell, "data-arriving", "false")
        if server.topology == "mesh":
            assert await alice.packets_to("mulisa") == sent, "packets after the acknowledgement"
        await bob.hears_on(identity)
        assert len(await alice.captions("Alice", final=False)) == 1

        await cell.click()
        await _is(cell, "aria-busy", "false")
        await _is(cell, "aria-checked", "true")
        await _is(cell, "data-arriving", "true")
        await alice.say(weather)
        await bob.reads("Alice", count=2)
        said = await server.said("ears")
    assert [entry["name"] for entry in said] == ["Alice", "Bob", "Alice"]
    for line, entry in zip((PLAN, BUDGET, WEATHER), said, strict=True):
        assert word_error_rate(line, entry["text"]) <= 0.5, entry


@MESH_LATER
async def test_whom_she_does_not_speak_to_gets_no_packet_of_her(
    studio: Studio, server: Server, chromium: str
) -> None:
    (question,) = await studio.speak(ALICE, QUESTION)
    (long_question,) = await studio.speak(BOB, LONG_QUESTION)
    async with browser_at(chromium) as browser:
        alice, bob = await _two(browser, server, "voice")
        await bob.say(long_question)
        await bob.hears_on("mulisa")
        listeners = [await alice.identity()]
        assert (await server.route("voice", speak_to=listeners))["speak_to"] == listeners
        before = await bob.packets_of()
        await alice.hears_on("mulisa")
        assert await bob.packets_of() == before, "packets after the acknowledgement"
        await alice.mulisa_is("listening")

        await alice.record()
        await alice.ask(question)
        answer = await alice.reads("Mulisa", "two", "Bob")
        await alice.mulisa_is("listening")
        (heard,) = await studio.understand(await alice.recorded())
        assert word_error_rate(answer, heard) <= 0.5, (answer, heard)
        assert await bob.packets_of() == before, "packets after the acknowledgement"

        await bob.page.get_by_test_id("routing").click()
        await _is(_cell(bob, "mulisa", await bob.identity()), "data-allowed", "false")
        everybody = bob.page.get_by_test_id("routing-everybody")
        await everybody.click()
        await _is(everybody, "aria-busy", "false")
        await _is(everybody, "aria-checked", "true")
        await bob.record()
        await alice.ask(question)
        await bob.mulisa_is("listening")
        assert loudness(await bob.recorded()) > -60
        assert await bob.packets_of() > before
        status, room = await server.get("rooms/voice")
        assert status == 200 and '"speak_to": null' in room, room
        names = {"mulisa", *listeners, await bob.identity()}
        assert json.loads(room)["heard"].keys() == names, "each says whom they hear"


async def test_a_whisper_is_for_one_person(studio: Studio, server: Server, chromium: str) -> None:
    (question,) = await studio.speak(BOB, PRIVATE_QUESTION)
    (budget,) = await studio.speak(ALICE, BUDGET)
    async with browser_at(chromium) as browser:
        alice, bob = await _two(browser, server, "whisper")
        await alice.record()
        await bob.record()
        before = await alice.packets_of()
        await bob.ask(question)
        await bob.mulisa_is("listening")
        (answer,) = await bob.captions("Mulisa")
        (heard,) = await studio.understand(await bob.recorded())
        assert word_error_rate(answer.text, heard) <= 0.5, (answer, heard)
        assert answer.listener == await bob.identity()
        await alice.say(budget)
        await bob.reads("Alice")
        assert await alice.captions("Mulisa", final=False) == []
        assert loudness(await alice.recorded()) < -60
        if server.topology == "mesh":
            assert await alice.packets_of() == before
        else:  # her voice for all is silent meanwhile; the whisper is a stream of its own
            assert await alice.streams() == await bob.streams() - 1
        (entry,) = [each for each in await server.said("whisper") if each["name"] == "Mulisa"]
    assert entry["listener"] == answer.listener


async def _two(browser: Browser, server: Server, room: str) -> tuple[Person, Person]:
    """Alice and Bob, who see each other and Mulisa, who listens."""
    people = await person_in(browser, "Alice"), await person_in(browser, "Bob")
    for person in people:
        await person.enter(server.url, room)
    for person in people:
        for name in ("Alice", "Bob", "Mulisa"):
            await person.sees(name)
        await person.mulisa_is("listening")
    return people


def _cell(person: Person, speaks: str, hears: str) -> Locator:
    """Of the matrix on somebody's page."""
    return person.page.locator(
        f'[data-testid="routing-cell"][data-from="{speaks}"][data-to="{hears}"]'
    )


async def _is(element: Locator, attribute: str, value: str) -> None:
    await until(
        lambda: element.get_attribute(attribute),
        lambda now: now == value,
        f"{attribute} to be {value}",
    )
