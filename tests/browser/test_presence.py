"""Coming, reloading, leaving: who is who stays clear, and rooms end when they are empty."""

from __future__ import annotations

import pytest

from tests.browser.people import browser_at, loudness, person_in, until
from tests.browser.server import Server
from tests.browser.speech import ALICE, BOB, Studio, word_error_rate

pytestmark = pytest.mark.browser

PLAN = "We need a better plan for the summer party."
BUDGET = "I think we should move the budget review to Friday."


async def test_a_reload_keeps_the_identity_and_she_still_hears(
    studio: Studio, server: Server, chromium: str
) -> None:
    plan, question = await studio.speak(ALICE, PLAN, "Mulisa, who is in the call?")
    async with browser_at(chromium) as browser:
        alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
        await alice.enter(server.url, "reload")
        await bob.enter(server.url, "reload")
        await alice.sees("Bob")
        identity = await alice.identity()
        sid = await alice.page.evaluate("window.mulisa.sid")

        await alice.page.reload()
        await alice.sees("Alice")
        await alice.sees("Bob")
        await alice.mulisa_is("listening")
        assert await alice.identity() == identity
        assert await alice.page.evaluate("window.mulisa.sid") != sid
        await bob.sees("Alice")
        await until(  # a LiveKit server is asked only now and then
            lambda: server.participants("reload"),
            lambda here: [p["identity"] for p in here].count(identity) == 1,
            f"{identity} once in the API",
        )

        await bob.hears_on(identity)
        await bob.record(identity)
        await alice.say(plan)
        caption = await bob.reads("Alice")
        assert loudness(await bob.recorded(identity)) > -50
        assert word_error_rate(PLAN, caption) <= 0.5, caption
        await alice.ask(question)
        answer = await bob.reads("Mulisa")
    assert "bob" in answer.lower(), answer


async def test_who_leaves_is_gone_and_an_empty_room_is_closed(
    server: Server, chromium: str
) -> None:
    async with browser_at(chromium) as browser:
        alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
        await alice.enter(server.url, "leaving")
        await bob.enter(server.url, "leaving")
        await alice.sees("Bob")
        await alice.sees("Mulisa")
        await bob.page.get_by_test_id("leave").click()
        await bob.page.get_by_test_id("ended").wait_for()
        await alice.sees("Bob", count=0)
        bobs_audio = alice.page.locator("audio[data-identity^=bob]")
        await until(bobs_audio.count, lambda count: count == 0, "no sound of Bob")
        await until(
            lambda: server.participants("leaving"),
            lambda here: [p["name"] for p in here] == ["Alice", "Mulisa"],
            "Alice and Mulisa",
        )
        await alice.page.close()  # without a word
        await until(
            lambda: server.get("rooms/leaving"), lambda answer: answer[0] == 404, "an empty room"
        )


async def test_two_people_of_one_name_are_two_people(
    studio: Studio, server: Server, chromium: str
) -> None:
    lines = {ALICE: PLAN, BOB: BUDGET}
    async with browser_at(chromium) as browser:
        people = [await person_in(browser, "Alice") for _ in lines]
        for person in people:
            await person.enter(server.url, "namesakes")
        for person in people:
            await person.sees("Alice", count=2)
            await person.mulisa_is("listening")
        identities = [await person.identity() for person in people]
        assert len(set(identities)) == 2
        await until(  # a LiveKit server is asked only now and then
            lambda: server.participants("namesakes"),
            lambda here: [p["identity"] for p in here if p["name"] == "Alice"] == identities,
            f"{identities} in the API",
        )

        for number, (person, (voice, line)) in enumerate(
            zip(people, lines.items(), strict=True), start=1
        ):
            (speech,) = await studio.speak(voice, line)
            await person.say(speech)
            await people[0].reads("Alice", count=number)
        entries = await server.said("namesakes")
    assert [entry["identity"] for entry in entries] == identities
    assert [entry["name"] for entry in entries] == ["Alice", "Alice 2"], "told apart in writing"
    for entry, line in zip(entries, lines.values(), strict=True):
        assert word_error_rate(line, entry["text"]) <= 0.5, entry
