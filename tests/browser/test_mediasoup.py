"""`mulisa join --mediasoup`: conversations on mediasoup, with browsers on mediasoup-client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import Browser

from mulisa.core.room import RoomName
from mulisa.core.transcript import TranscriptEntry
from mulisa.store.transcript import TranscriptReader
from tests.browser.people import (
    Person,
    browser_at,
    longest_pause,
    loudness,
    person_in,
    until,
)
from tests.browser.server import Program
from tests.browser.speech import ALICE, BOB, CAROL, Studio, Voice, word_error_rate
from tests.mediasoup_server import MediasoupServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

ROOM = RoomName("standup")
PLAN = "We need a better plan for the summer party."
BUDGET = "I think we should move the budget review to Friday."
WEATHER = "It will probably rain on the weekend."
CONFESSION = "The new website will not be ready next week."
SPEAKERS = [(ALICE, PLAN), (BOB, BUDGET), (CAROL, "The new website will be ready next week.")]
AT_ONCE = {
    ALICE: "The old website goes to the archive on Monday afternoon.",
    BOB: "Somebody should water the plants in the office tomorrow.",
}
QUESTION = "Mulisa, who is in the call?"
LONG_QUESTION = "Mulisa, what can you do? Please help me."
PRIVATE_QUESTION = "Mulisa, please tell me privately who is in the call."


@dataclass(frozen=True, slots=True)
class Joined:
    """The application, and Mulisa in a room of it."""

    server: MediasoupServer
    program: Program
    data: Path

    def said(self) -> list[TranscriptEntry]:
        """Everything that was said in the room so far, oldest first."""
        calls = TranscriptReader(self.data).everything(ROOM)
        return list(calls.entries) if calls else []


@pytest.fixture(scope="module")
def joined(mediasoup_worker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    """`mulisa join` with local engines, in one room for all tests."""
    data = tmp_path_factory.mktemp("data")
    with MediasoupServer(mediasoup_worker) as server:
        options = ("--room", ROOM, "--mediasoup", server.url, "--llm", "concierge")
        program = Program("join", *options, "--data", str(data))
        try:
            program.wait_for("room_entered")
            yield Joined(server, program, data)
        finally:
            code = program.stop()
        assert code == 0


@asynccontextmanager
async def people(
    browser: Browser, joined: Joined, *voices: Voice
) -> AsyncIterator[dict[Voice, Person]]:
    """They are in the room, see each other and Mulisa, and leave it in the end."""
    present = {voice: await person_in(browser, voice.name) for voice in voices}
    for person in present.values():
        await person.enter(joined.server.http_url, ROOM)
    for person in present.values():
        for name in ("Mulisa", *(voice.name for voice in voices)):
            await person.sees(name)
        await person.mulisa_is("listening")
    yield present
    for person in present.values():
        await person.page.get_by_test_id("leave").click()
        await person.page.context.close()


async def test_three_people_are_heard_by_name_and_she_answers_who_calls_her(
    studio: Studio, joined: Joined, chromium: str
) -> None:
    (question,) = await studio.speak(ALICE, "Mulisa, what did Bob say about the budget?")
    async with (
        browser_at(chromium) as browser,
        people(browser, joined, ALICE, BOB, CAROL) as present,
    ):
        alice, carol = present[ALICE], present[CAROL]
        for voice, line in SPEAKERS:
            (speech,) = await studio.speak(voice, line)
            await present[voice].say(speech)
            caption = await carol.reads(voice.name)
            assert word_error_rate(line, caption) <= 0.5, caption
        assert await alice.captions("Mulisa") == []

        await carol.record()
        await alice.ask(question)
        answer = await carol.reads("Mulisa", "budget")
        (heard,) = await studio.understand(await carol.recorded())
        assert "bob" in answer.lower() and "friday" in answer.lower()
        assert "friday" in heard.lower(), heard
        await carol.mulisa_is("listening")

        speeches = {voice: (await studio.speak(voice, line))[0] for voice, line in AT_ONCE.items()}
        await asyncio.gather(*(present[voice].say(each) for voice, each in speeches.items()))
        for voice, line in AT_ONCE.items():
            await _said(joined, voice, line)


async def _said(joined: Joined, voice: Voice, line: str) -> None:
    async def entries() -> list[str]:
        return [each.text for each in joined.said() if each.name == voice.name]

    await until(
        entries,
        lambda texts: min((word_error_rate(line, text) for text in texts), default=1.0) <= 0.5,
        f"{voice.name} to have said {line!r}",
    )


async def test_she_stops_when_somebody_speaks(
    studio: Studio, joined: Joined, chromium: str
) -> None:
    ask, interrupt = await studio.speak(
        BOB, LONG_QUESTION, "Wait, please stop, that is enough for me."
    )
    async with browser_at(chromium) as browser, people(browser, joined, BOB) as present:
        bob = present[BOB]
        await bob.say(ask)
        await bob.mulisa_is("speaking")
        await bob.record()
        await bob.say(interrupt)
        await bob.mulisa_is("listening")
        await bob.reads("Mulisa")
        recording = await bob.recorded()
    assert loudness(recording) > -60 and longest_pause(recording) > 0.5
    reply = [entry for entry in joined.said() if entry.name == "Mulisa"][-1]
    assert reply.interrupted and reply.unspoken, reply


async def test_who_is_off_her_ears_is_not_written(
    studio: Studio, joined: Joined, chromium: str
) -> None:
    plan, confession, weather = await studio.speak(ALICE, PLAN, CONFESSION, WEATHER)
    (budget,) = await studio.speak(BOB, BUDGET)
    async with browser_at(chromium) as browser, people(browser, joined, ALICE, BOB) as present:
        alice, bob = present[ALICE], present[BOB]
        await alice.say(plan)
        await bob.reads("Alice")
        before = len(await bob.captions("Mulisa"))
        await alice.write("Mulisa, don't listen to me anymore.")
        await _has_answered(bob, before)
        n_captions = len(await alice.captions("Alice", final=False))
        await alice.say(confession)
        await bob.say(budget)
        await alice.reads("Bob")
        await bob.hears_on(await alice.identity())
        assert len(await alice.captions("Alice", final=False)) == n_captions

        before = len(await bob.captions("Mulisa"))
        await alice.write("Mulisa, listen to me again.")
        await _has_answered(bob, before)
        await alice.say(weather)
        await bob.reads("Alice", "rain", "weekend")
    assert not [each for each in joined.said() if "not be ready" in each.text]


async def _has_answered(person: Person, before: int) -> None:
    await until(
        lambda: person.captions("Mulisa"),
        lambda lines: len(lines) > before,
        f"an answer; the page reads {await person.captions()}",
    )
    await person.mulisa_is("listening")


async def test_whom_she_does_not_speak_to_gets_no_packet_of_her(
    studio: Studio, joined: Joined, chromium: str
) -> None:
    (question,) = await studio.speak(ALICE, QUESTION)
    async with browser_at(chromium) as browser, people(browser, joined, ALICE, BOB) as present:
        alice, bob = present[ALICE], present[BOB]
        await alice.write("Mulisa, who is in the call?")
        await bob.hears_on("mulisa")
        await bob.mulisa_is("listening")
        n_before = len(await alice.captions("Mulisa"))
        await alice.write("Mulisa, speak only to me.")
        await _has_answered(alice, n_before)
        before = await bob.packets_of()
        await alice.record()
        await alice.ask(question)
        await alice.mulisa_is("listening")
        answer = (await alice.captions("Mulisa"))[-1].text
        (heard,) = await studio.understand(await alice.recorded())
        assert word_error_rate(answer, heard) <= 0.5, (answer, heard)
        assert await bob.packets_of() == before, "packets after the acknowledgement"

        n_before = len(await alice.captions("Mulisa"))
        await alice.write("Mulisa, speak to everybody.")
        await _has_answered(alice, n_before)
        await alice.write("Mulisa, who is in the call?")
        await bob.hears_on("mulisa")


async def test_a_whisper_is_for_one_person(studio: Studio, joined: Joined, chromium: str) -> None:
    (question,) = await studio.speak(BOB, PRIVATE_QUESTION)
    (budget,) = await studio.speak(ALICE, BUDGET)
    async with browser_at(chromium) as browser, people(browser, joined, ALICE, BOB) as present:
        alice, bob = present[ALICE], present[BOB]
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
        assert await alice.packets_of() == before
        assert await alice.streams() == await bob.streams() - 1
    entry = [each for each in joined.said() if each.name == "Mulisa"][-1]
    assert entry.listener == answer.listener


async def test_a_worker_that_dies_interrupts_the_conversation_and_no_more(
    studio: Studio, joined: Joined, chromium: str
) -> None:
    plan, question = await studio.speak(ALICE, PLAN, QUESTION)
    async with browser_at(chromium) as browser, people(browser, joined, ALICE, BOB) as present:
        alice, bob = present[ALICE], present[BOB]
        await alice.say(plan)
        await bob.reads("Alice")
        await asyncio.to_thread(joined.server.kill_worker)
        await until(bob.identity, lambda found: not found, "the room to be gone", 20.0)
        for person in (alice, bob):
            await until(person.identity, bool, f"{person.name} to be back")
            for name in ("Alice", "Bob", "Mulisa"):
                await person.sees(name)
            await person.mulisa_is("listening")
        await bob.record()
        await alice.ask(question)
        answer = await bob.reads("Mulisa", "Bob", "two")
        (heard,) = await studio.understand(await bob.recorded())
        assert word_error_rate(answer, heard) <= 0.5, (answer, heard)
    assert not [each for each in joined.program.events if each.get("event") == "room_lost"]
