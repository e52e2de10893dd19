"""The main job: people in browsers speak, Mulisa answers aloud, and everybody is heard by name."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.browser.people import Person, browser_at, longest_pause, loudness, person_in, until
from tests.browser.server import Server
from tests.browser.speech import ALICE, BOB, CAROL, Studio, Voice, word_error_rate

pytestmark = pytest.mark.browser

BUDGET = "I think we should move the budget review to Friday."
SPEAKERS = [
    (ALICE, "We need a better plan for the summer party."),
    (BOB, BUDGET),
    (CAROL, "The new website will be ready next week."),
]
AT_ONCE = {
    ALICE: "The old website goes to the archive on Monday afternoon.",
    BOB: "Somebody should water the plants in the office tomorrow.",
}
WITHOUT_ALICE = {
    BOB: "It will probably rain on the weekend.",
    CAROL: "The train to the airport leaves at seven in the morning.",
}
OVERLAP = timedelta(seconds=0.5)


@pytest.mark.parametrize(("voice", "line"), SPEAKERS, ids=[v.name for v, _ in SPEAKERS])
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
        alice, carol = people[ALICE], people[CAROL]
        for person in people.values():
            for voice, _ in SPEAKERS:
                await person.sees(voice.name)
            await person.mulisa_is("listening")
        for voice, line in SPEAKERS:
            (speech,) = await studio.speak(voice, line)
            await people[voice].say(speech)
            await carol.reads(voice.name)
        for voice, line in SPEAKERS:
            (caption,) = await carol.captions(voice.name)
            assert word_error_rate(line, caption.text) <= 0.5, caption
        assert await alice.captions("Mulisa") == []

        await carol.record()
        await alice.ask(question)
        answer = await carol.reads("Mulisa", "budget")
        (heard,) = await studio.understand(await carol.recorded())
        assert "bob" in answer.lower() and "friday" in answer.lower()
        assert "friday" in heard.lower(), heard
        await carol.mulisa_is("listening")

        await _speak_at_once(studio, people)
        said = {voice: await _said(server, voice, line) for voice, line in AT_ONCE.items()}
        assert _overlap(*said.values()) > OVERLAP, said

        await alice.page.get_by_test_id("leave").click()
        await carol.sees("Alice", count=0)
        for voice, line in WITHOUT_ALICE.items():
            (speech,) = await studio.speak(voice, line)
            await people[voice].say(speech)
            await _said(server, voice, line)


async def _speak_at_once(studio: Studio, people: dict[Voice, Person]) -> None:
    speeches = {voice: (await studio.speak(voice, line))[0] for voice, line in AT_ONCE.items()}
    await asyncio.gather(*(people[voice].say(speech) for voice, speech in speeches.items()))


async def _said(server: Server, voice: Voice, line: str) -> dict[str, Any]:
    """Wait until the transcript has this line of somebody, as far as it was understood."""

    async def entries() -> list[dict[str, Any]]:
        return [each for each in await server.said("team") if each["name"] == voice.name]

    def likeness(entry: dict[str, Any]) -> float:
        return word_error_rate(line, entry["text"])

    found = await until(
        entries,
        lambda entries: min(map(likeness, entries), default=1.0) <= 0.5,
        f"{voice.name} to have said {line!r}",
    )
    return min(found, key=likeness)


def _overlap(one: dict[str, Any], other: dict[str, Any]) -> timedelta:
    def at(edge: str) -> list[datetime]:
        return [datetime.fromisoformat(each[edge]) for each in (one, other)]

    return min(at("ended_at")) - max(at("started_at"))


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
