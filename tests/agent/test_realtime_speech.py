"""Speech to speech with real voices and engines, over the vendor's SDK and real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
import pytest

from mulisa.agent.persona import Persona
from mulisa.agent.realtime_reply import RealtimeConfig
from mulisa.agent.session import Session, SessionConfig
from mulisa.core.provider import Engines
from mulisa.core.room import Participant
from mulisa.providers.azure.realtime import AzureVoiceLive
from mulisa.providers.concierge import Concierge
from mulisa.providers.openai.realtime import OpenAIRealtime
from mulisa.providers.piper import PiperTTS
from mulisa.providers.scripted import ScriptedLLM
from mulisa.providers.silero import SileroVAD
from mulisa.providers.whisper import WhisperSTT
from mulisa.transport.loopback import LoopbackRoom, LoopbackTransport
from tests.agent.test_session import MULISA, Call, WrittenDown, recording
from tests.browser.speech import ALICE, BOB, Studio, word_error_rate
from tests.providers.speech import needs_local
from tests.services.brains import RealBrain
from tests.services.faults import Fault
from tests.services.openai_voice import RESPONSE, OpenAIVoice
from tests.speech import speak

pytestmark = [pytest.mark.provider("whisper"), pytest.mark.slow, needs_local]

BUDGET = "I think we should move the budget review to Friday."
QUESTION = "Mulisa, what did Bob say about the budget?"
HELP = "Mulisa, what can you do? Please help me."
ENOUGH = "Wait, please stop, that is enough for me."
INSTEAD = "The other engines are speaking now."
PATIENT = SessionConfig(realtime=RealtimeConfig(first_audio=20.0, max_gap=5.0))
"""It is about what is said; the machine may be busy."""


class Stage(Call):
    """A call with the service in it."""

    brain: RealBrain
    service: OpenAIVoice


@asynccontextmanager
async def a_call(vendor: str, config: SessionConfig = PATIENT) -> AsyncIterator[Stage]:
    vad, stt, tts = SileroVAD(), WhisperSTT(), PiperTTS()
    brain = RealBrain(stt, Concierge(), tts)
    service = OpenAIVoice(brain, speed=4.0)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(service.serving())
        realtime = (
            OpenAIRealtime(base_url=f"{url}/v1", api_key=service.key)
            if vendor == "openai"
            else AzureVoiceLive(endpoint=url, api_key=service.key)
        )
        llm = ScriptedLLM(default=INSTEAD)
        engines = Engines(vad, stt, llm, tts, realtime)
        for engine in (vad, stt, tts, realtime):
            stack.push_async_callback(engine.aclose)
            await engine.load(lambda *_: None)
        room = LoopbackRoom("conversation")
        joining = LoopbackTransport(room, Participant(MULISA, "Mulisa", kind="agent"))
        call = Stage(room, engines, WrittenDown(), joining)
        call.brain, call.service = brain, service
        call.session = Session(joining, engines, Persona(), call.log, config, call.observed)
        running = asyncio.create_task(call.session.run())
        try:
            yield call
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await call.leave()


@pytest.mark.parametrize("vendor", ["openai", "azure"])
async def test_she_answers_in_speech_what_she_was_asked_in_speech(vendor: str) -> None:
    studio = Studio()
    (budget,), (question,) = await studio.speak(BOB, BUDGET), await studio.speak(ALICE, QUESTION)
    async with a_call(vendor) as call:
        alice, bob = await call.enter("alice"), await call.enter("bob")
        await speak(bob, budget)
        await call.settles(lambda: bool(call.log.of("bob")), within=60.0)
        async with recording(bob) as frames:
            await speak(alice, question)
            await call.settles(lambda: bool(call.log.of("mulisa")), within=60.0)
        (answer,) = call.log.of("mulisa")
        connection = call.service.connections[-1]
        assert "friday" in answer.text.lower()
        heard = np.concatenate([frame.samples for frame in frames])
        (understood,) = await studio.understand(heard)
        assert word_error_rate(answer.text, understood) <= 0.5, (answer.text, understood)
        (spoken,) = call.brain.understood
        assert word_error_rate(QUESTION, spoken) <= 0.5, "of the others it hears nothing"
        assert len(connection.of("input_audio_buffer.commit")) == 1
        texts = [item.text for item in connection.session.items]
        assert texts[0].startswith("Bob: ") and texts[1] == "Alice says:"
        assert call.service.invalid == [] and connection.errors == []


@pytest.mark.parametrize("vendor", ["openai", "azure"])
async def test_what_nobody_heard_the_service_does_not_know(vendor: str) -> None:
    studio = Studio()
    ask, enough = await studio.speak(BOB, HELP, ENOUGH)
    async with a_call(vendor) as call:
        bob = await call.enter("bob")
        await speak(bob, ask)
        await call.settles(lambda: call.state(bob) == "speaking", within=60.0)
        await asyncio.sleep(1.0)
        await speak(bob, enough)
        await call.settles(lambda: bool(call.log.of("mulisa")), within=60.0)
        reply = call.log.of("mulisa")[0]
        assert reply.interrupted and reply.text and reply.unspoken
        connection = call.service.connections[-1]
        await call.settles(lambda: bool(connection.of("conversation.item.truncate")))
        (truncated,) = connection.of("conversation.item.truncate")
        items = connection.session.items
        (said,) = [item for item in items if item.item_id == truncated["item_id"]]
        assert said.audio is not None
        assert len(said.audio) / 24 == pytest.approx(truncated["audio_end_ms"], abs=1)
        assert 500 < truncated["audio_end_ms"] < 6_000
        assert call.service.invalid == [] and connection.errors == []


async def test_when_the_service_says_nothing_the_others_speak() -> None:
    studio = Studio()
    (question,) = await studio.speak(BOB, "Who is in the call?")
    async with a_call("openai", SessionConfig()) as call:
        call.service.faults.always(RESPONSE, Fault("silence"))
        bob = await call.enter("bob")
        await speak(bob, question)
        await call.settles(lambda: bool(call.log.of("mulisa")), within=60.0)
        assert call.log.of("mulisa")[0].text == INSTEAD
