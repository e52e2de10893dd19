"""The main job over streaming services: people in browsers, OpenAI's protocol behind Mulisa.

The service is one of the tests'; behind it are the local recogniser and voice. Half-way its
recogniser goes down for good, and the local one of the chain takes over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]

from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.room import Topology
from mulisa.providers.piper import PiperTTS
from mulisa.providers.whisper import WhisperSTT
from tests.browser.people import browser_at, person_in
from tests.browser.server import Server
from tests.browser.speech import ALICE, BOB, Studio, word_error_rate
from tests.services.faults import Fault
from tests.services.openai_realtime import OpenAIRealtimeService
from tests.services.openai_service import KEY, RATE_HZ, Answer, Body, OpenAIService

pytestmark = [pytest.mark.browser, pytest.mark.slow]

QUESTION = "Mulisa, what did Bob say about the budget?"
BUDGET = "I think we should move the budget review to Friday."
ANSWER = "Bob said that the budget review should move to Friday."
SECOND = "Mulisa, who is in the call?"


def answer(body: Body) -> Answer:
    """What a model would say that has read the conversation."""
    said = " ".join(str(message.get("content")) for message in body["messages"])
    text = ANSWER if "Bob: " in said and "budget" in said else "I have heard nothing of that."
    return [f"{word} " for word in text.split()]


@asynccontextmanager
async def service() -> AsyncIterator[OpenAIRealtimeService]:
    """With real engines behind it."""
    stt, tts = WhisperSTT(), PiperTTS()
    await stt.load(lambda *_: None)
    await tts.load(lambda *_: None)

    async def transcribe(samples: Samples) -> str:
        stream = stt.stream(("Mulisa",))
        stream.push(soxr.resample(samples, RATE_HZ, HEARING_RATE_HZ))
        text = (await stream.flush()).text
        await stream.aclose()
        return text

    async def speak(text: str) -> Samples:
        pieces = [piece async for piece in tts.synthesize(text)]
        sound: Samples = soxr.resample(np.concatenate(pieces), tts.sample_rate_hz, RATE_HZ)
        return sound

    plain = OpenAIService(answer, speak, transcribe)
    try:
        yield OpenAIRealtimeService(transcribe, plain)
    finally:
        await stt.aclose()
        await tts.aclose()


@asynccontextmanager
async def serving(url: str, data: Path, topology: Topology) -> AsyncIterator[Server]:
    def start() -> Server:
        engines = ("--stt", "openai,local", "--llm", "openai:gpt-4.1-mini", "--tts", "openai,local")
        settings = {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": url}
        server = Server(data, *engines, environment=settings, topology=topology)
        server.wait_for("agent_ready")
        return server

    server = await asyncio.to_thread(start)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


@pytest.mark.parametrize("topology", ["mesh", "sfu"])
async def test_people_talk_over_services_of_which_one_goes_down(
    topology: Topology, tmp_path: Path, studio: Studio, chromium: str
) -> None:
    (budget,) = await studio.speak(BOB, BUDGET)
    question, second = await studio.speak(ALICE, QUESTION, SECOND)
    async with (
        service() as vendor,
        vendor.serving() as url,
        serving(url, tmp_path, topology) as server,
        browser_at(chromium) as browser,
    ):
        alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
        for person in (alice, bob):
            await person.enter(server.url, "team")
        for person in (alice, bob):
            await person.sees("Alice")
            await person.sees("Bob")
            await person.mulisa_is("listening")
        await bob.say(budget)
        await alice.reads("Bob", "budget")
        await bob.record()
        await alice.ask(question)
        told = await bob.reads("Mulisa", "Friday")
        (heard,) = await studio.understand(await bob.recorded())
        assert word_error_rate(told, heard) <= 0.5, (told, heard)
        _was_used(vendor, "chat", "speech")
        assert vendor.sessions and not any(session.invalid for session in vendor.sessions)

        for endpoint in ("realtime", "transcriptions"):
            vendor.faults.always(endpoint, Fault("status", status=503, message="overloaded"))
        before = len(await alice.captions("Mulisa"))
        await alice.ask(second)
        await bob.reads("Alice", "call")
        assert len(await alice.captions("Mulisa")) > before
        notice = alice.page.get_by_test_id("engine-trouble")
        await notice.wait_for()
        assert "gpt-4o-mini-transcribe cannot transcribe" in await notice.inner_text()
        assert KEY not in await alice.page.content()


def _was_used(vendor: OpenAIRealtimeService, *endpoints: str) -> None:
    asked: list[tuple[str, dict[str, Any]]] = vendor.plain.asked
    for endpoint in endpoints:
        assert any(name == endpoint for name, _ in asked), endpoint
