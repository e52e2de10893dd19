"""The main job once more, with a model that hears and speaks: people in browsers, both topologies.

The service is one of the tests'; behind it are the recogniser, the concierge and the voice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mulisa.core.room import Topology
from mulisa.providers.concierge import Concierge
from mulisa.providers.piper import PiperTTS
from mulisa.providers.whisper import WhisperSTT
from tests.browser.people import browser_at, longest_pause, loudness, person_in, until
from tests.browser.server import Server
from tests.browser.speech import ALICE, BOB, Studio, word_error_rate
from tests.services.brains import RealBrain
from tests.services.faults import Fault
from tests.services.openai_voice import RESPONSE, Event, OpenAIVoice

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BUDGET = "I think we should move the budget review to Friday."
QUESTION = "Mulisa, what did Bob say about the budget?"


@dataclass(frozen=True, slots=True)
class Stage:
    """`mulisa serve` with speech-to-speech, and the service that it uses."""

    server: Server
    service: OpenAIVoice
    brain: RealBrain


Serving = Callable[[str], AbstractAsyncContextManager[Stage]]


SFU_ONLY = pytest.mark.parametrize("serving", ["sfu"], indirect=True)
"""What is the same in both topologies: the engine does not know them."""


@pytest.fixture(params=["mesh", "sfu"])
def serving(request: pytest.FixtureRequest, tmp_path: Path) -> Serving:
    """A server in this topology, for a vendor."""
    topology: Topology = request.param

    @asynccontextmanager
    async def serve(vendor: str) -> AsyncIterator[Stage]:
        stt, tts = WhisperSTT(), PiperTTS()
        await stt.load(lambda *_: None)
        await tts.load(lambda *_: None)
        brain = RealBrain(stt, Concierge(), tts)
        service = OpenAIVoice(brain, speed=4.0)
        async with service.serving() as url:
            settings = {
                "openai": {"OPENAI_API_KEY": service.key, "OPENAI_BASE_URL": f"{url}/v1"},
                "azure": {
                    "AZURE_VOICE_LIVE_API_KEY": service.key,
                    "AZURE_VOICE_LIVE_ENDPOINT": url,
                },
            }
            server = await _started(tmp_path, vendor, settings[vendor], topology)
            try:
                yield Stage(server, service, brain)
            finally:
                await asyncio.to_thread(server.stop)
        await stt.aclose()
        await tts.aclose()

    return serve


async def _started(
    data: Path, vendor: str, environment: dict[str, str], topology: Topology
) -> Server:
    """In a thread: the service, which is asked for the key meanwhile, is on this loop."""

    def start() -> Server:
        options = ("--llm", "concierge", "--realtime", vendor)
        server = Server(data, *options, environment=environment, topology=topology)
        server.wait_for("agent_ready")
        return server

    return await asyncio.to_thread(start)


@pytest.mark.parametrize(
    ("serving", "vendor"),
    [("mesh", "openai"), ("sfu", "openai"), ("sfu", "azure")],
    indirect=["serving"],
)
async def test_people_talk_and_she_answers_in_the_models_voice(
    vendor: str, serving: Serving, studio: Studio, chromium: str
) -> None:
    (budget,), (question,) = await studio.speak(BOB, BUDGET), await studio.speak(ALICE, QUESTION)
    async with serving(vendor) as stage, browser_at(chromium) as browser:
        alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
        for person in (alice, bob):
            await person.enter(stage.server.url, "team")
        for person in (alice, bob):
            await person.sees("Alice")
            await person.sees("Bob")
            await person.mulisa_is("listening")
        await bob.say(budget)
        await alice.reads("Bob", "budget")
        assert await alice.captions("Mulisa") == []
        await bob.record()
        await alice.ask(question)
        answer = await bob.reads("Mulisa", "Friday")
        (heard,) = await studio.understand(await bob.recorded())
        assert word_error_rate(answer, heard) <= 0.5, (answer, heard)
    assert stage.service.invalid == []
    assert stage.brain.understood, "the model heard the question"
    assert all(word_error_rate(QUESTION, said) <= 0.5 for said in stage.brain.understood)
    texts = [item.text for item in stage.service.connections[-1].session.items]
    assert any(text.startswith("Bob: ") and "budget" in text for text in texts)


async def test_she_stops_when_somebody_speaks(
    serving: Serving, studio: Studio, chromium: str
) -> None:
    ask, interrupt = await studio.speak(
        BOB, "Mulisa, what can you do? Please help me.", "Wait, please stop, that is enough for me."
    )
    async with serving("openai") as stage, browser_at(chromium) as browser:
        bob = await person_in(browser, "Bob")
        await bob.enter(stage.server.url, "interrupted")
        await bob.mulisa_is("listening")
        await bob.say(ask)
        await bob.mulisa_is("speaking")
        await bob.record()
        await bob.say(interrupt)
        await bob.mulisa_is("listening")
        await bob.reads("Mulisa")
        recording = await bob.recorded()
        said = await stage.server.said("interrupted")
        await until(_truncations(stage), bool, "the service to be told what was heard")
        (cut, *_) = await _truncations(stage)()
    assert loudness(recording) > -60 and longest_pause(recording) > 0.5
    reply = next(entry for entry in said if entry["name"] == "Mulisa")
    assert reply["interrupted"] and reply["unspoken"], reply
    assert 0 < cut["audio_end_ms"] < 10_000
    assert stage.service.invalid == []


def _truncations(stage: Stage) -> Callable[[], Coroutine[Any, Any, list[Event]]]:
    async def found() -> list[Event]:
        connections = stage.service.connections
        return [event for each in connections for event in each.of("conversation.item.truncate")]

    return found


@SFU_ONLY
async def test_a_silent_service_does_not_silence_her(
    serving: Serving, studio: Studio, chromium: str
) -> None:
    (question,) = await studio.speak(BOB, "Who is in the call?")
    async with serving("openai") as stage, browser_at(chromium) as browser:
        stage.service.faults.always(RESPONSE, Fault("silence"))
        bob = await person_in(browser, "Bob")
        await bob.enter(stage.server.url, "alone")
        await bob.mulisa_is("listening")
        await bob.record()
        await bob.say(question)
        answer = await bob.reads("Mulisa", "Bob", "alone")
        (heard,) = await studio.understand(await bob.recorded())
    assert word_error_rate(answer, heard) <= 0.5, (answer, heard)
