"""The main job: people in browsers speak, Mulisa answers aloud, and everybody is heard by name."""

from __future__ import annotations

import pytest

from tests.browser.people import browser_at, longest_pause, loudness, person_in
from tests.browser.server import Server
from tests.browser.speech import ALICE, BOB, CAROL, Studio, Voice, word_error_rate

pytestmark = pytest.mark.browser

BUDGET = "I think we should move the budget review to Friday."
SPEAKERS = [
    (ALICE, "We need a better plan for the summer party."),
    (BOB, BUDGET),
    (CAROL, "The new website will be ready next week."),
]


@pytest.mark.parametrize(("voice", "line"), SPEAKERS, ids=lambda value: str(value)[:20])
async def test_each_voice_alone_is_understood(studio: Studio, voice: Voice, line: str) -> None:
    (heard,) = await studio.understand(*await studio.speak(voice, line))
    assert word_error_rate(line, heard) <= 0.25, heard


async def test_a_person_alone_is_answered_aloud(
    studio: Studio, server: Server, chromium: str
) -> None:
    (question,) = await studio.speak(BOB, "Who is in the call?")
    async with browser_at(chromium) as browser:
        bob = await person_in(browser, "Bob")
        await bob.enter(server.url, "alone")
        await bob.mulisa_is("listening")
        await bob.record()
        await bob.say(question)
        await bob.reads("Bob", "call")
        answer = await bob.reads("Mulisa", "Bob", "alone")
        (heard,) = await studio.understand(await bob.recorded())
    assert word_error_rate(answer, heard) <= 0.5, (answer, heard)


async def test_three_people_are_heard_by_name_and_she_answers_who_calls_her(
    studio: Studio, server: Server, chromium: str
) -> None:
    (question,) = await studio.speak(ALICE, "Mulisa, what did Bob say about the budget?")
    async with browser_at(chromium) as browser:
        people = {}
        for voice, _ in SPEAKERS:
            people[voice] = await person_in(browser, voice.name)
            await people[voice].enter(server.url, "team")
        alice = people[ALICE]
        for voice, _ in SPEAKERS:
            await alice.sees(voice.name)
        await alice.sees("Mulisa")
        for voice, line in SPEAKERS:
            (speech,) = await studio.speak(voice, line)
            await people[voice].say(speech)
            await people[CAROL].reads(voice.name)
        for voice, line in SPEAKERS:
            (caption,) = await people[CAROL].captions(voice.name)
            assert word_error_rate(line, caption.text) <= 0.5, caption
        assert await alice.captions("Mulisa") == []
        await people[CAROL].record()
        await alice.ask(question)
        answer = await people[CAROL].reads("Mulisa", "budget")
        (heard,) = await studio.understand(await people[CAROL].recorded())
    assert "bob" in answer.lower() and "friday" in answer.lower()
    assert "friday" in heard.lower(), heard


async def test_she_stops_when_somebody_speaks(
    studio: Studio, server: Server, chromium: str
) -> None:
    ask, interrupt = await studio.speak(
        BOB, "Mulisa, what can you do? Please help me.", "Wait, please stop, that is enough for me."
    )
    async with browser_at(chromium) as browser:
        bob = await person_in(browser, "Bob")
        await bob.enter(server.url, "interrupted")
        await bob.mulisa_is("listening")
        await bob.say(ask)
        await bob.mulisa_is("speaking")
        await bob.record()
        await bob.say(interrupt)
        await bob.mulisa_is("listening")
        await bob.reads("Mulisa")
        recording = await bob.recorded()
        said = await server.said("interrupted")
    assert loudness(recording) > -60 and longest_pause(recording) > 0.5
    reply = next(entry for entry in said if entry["name"] == "Mulisa")
    assert reply["interrupted"] and reply["unspoken"], reply
