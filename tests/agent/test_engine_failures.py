"""What engines do wrong in the middle of a conversation costs nobody a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mulisa.agent.ear import EarConfig
from mulisa.agent.persona import Persona
from mulisa.agent.reply import ReplyConfig
from mulisa.agent.session import Session, SessionConfig
from mulisa.core.errors import ConnectionLost
from mulisa.core.provider import LLM, STT, TTS, Engines
from mulisa.core.room import Participant
from mulisa.providers.chain.llm import LLMChain
from mulisa.providers.chain.rota import ChainConfig
from mulisa.providers.chain.stt import STTChain
from mulisa.providers.chain.tts import TTSChain
from mulisa.providers.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS, ScriptedVAD
from mulisa.transport.loopback import LoopbackRoom, LoopbackTransport
from tests.agent.test_session import ASK, CHAT, LONG, MULISA, SCRIPT, STORY, Call, WrittenDown
from tests.faulty_engines import ERROR, SILENCE, FaultyLLM, FaultySTT, FaultyTTS
from tests.services.faults import Fault
from tests.speech import say, speak

pytestmark = pytest.mark.unit


@asynccontextmanager
async def a_call(
    stt: STT | None = None,
    llm: LLM | None = None,
    tts: TTS | None = None,
    config: SessionConfig | None = None,
) -> AsyncIterator[tuple[Call, LoopbackTransport, asyncio.Task[None]]]:
    """With Alice and Bob in it."""
    engines = Engines(
        vad=ScriptedVAD(),
        stt=stt or ScriptedSTT(SCRIPT, latency=0.2),
        llm=llm or ScriptedLLM(default=STORY),
        tts=tts or ScriptedTTS(first_audio=0.1),
    )
    room = LoopbackRoom("conversation", seed=7)
    transport = LoopbackTransport(room, Participant(MULISA, "Mulisa", kind="agent"))
    call = Call(room, engines, WrittenDown(), transport)
    call.session = Session(transport, engines, Persona(), call.log, config, call.observed)
    running = asyncio.create_task(call.session.run())
    try:
        alice, _ = await call.enter("alice"), await call.enter("bob")
        await call.settles(lambda: call.state(alice) == "listening")
        yield call, alice, running
    finally:
        running.cancel()
        await asyncio.wait({running})
        await call.leave()


def a_broken_stt() -> tuple[STTChain, FaultySTT, FaultySTT]:
    cloud = FaultySTT("Cloud", script=SCRIPT, latency=0.2)
    local = FaultySTT("Local", script=SCRIPT, latency=0.4)
    for stt in (cloud, local):
        stt.vendor.faults.always("stt", ERROR)
    return STTChain([cloud, local]), cloud, local


async def test_words_that_were_said_while_all_recognisers_were_down_are_written_later() -> None:
    stt, cloud, local = a_broken_stt()
    async with a_call(stt) as (call, alice, _):
        for _ in range(3):
            await speak(alice, say(CHAT, pause=0.7))
            await asyncio.sleep(8.0)
        await asyncio.sleep(40.0)
        assert call.log.entries == []
        cloud.vendor.faults.always("stt", None)
        await call.settles(lambda: len(call.log.of("alice")) == 3, within=10.0)
        written = call.log.of("alice")
        assert [entry.text for entry in written] == [SCRIPT[CHAT]] * 3
        said_at = sorted(entry.started_at for entry in written)
        assert (said_at[1] - said_at[0]).total_seconds() == pytest.approx(8.7, abs=0.5)
    assert cloud.open_streams == local.open_streams == 0


async def test_a_question_is_answered_although_it_was_understood_late() -> None:
    stt, cloud, _ = a_broken_stt()
    async with a_call(stt) as (call, alice, _):
        await speak(alice, say(ASK, pause=0.7))
        await asyncio.sleep(8.0)
        cloud.vendor.faults.always("stt", None)
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert call.log.of("mulisa")[0].text == STORY


async def test_a_question_that_was_understood_too_late_is_excused_in_writing() -> None:
    stt, cloud, _ = a_broken_stt()
    async with a_call(stt) as (call, alice, _):
        await speak(alice, say(ASK, pause=0.7))
        await asyncio.sleep(40.0)
        cloud.vendor.faults.always("stt", None)
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        excuse = call.log.of("mulisa")[0]
        assert (excuse.source, excuse.text) == ("chat", ReplyConfig().too_late)
        assert call.observed.replies == []


async def test_too_much_speech_that_waits_is_given_up_oldest_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stt, cloud, _ = a_broken_stt()
    config = SessionConfig(ear=EarConfig(max_kept=2.5))
    async with a_call(stt, config=config) as (call, alice, _):
        for word in (20, 21, 22, 23, 24, 25):
            await speak(alice, say(word, pause=0.7))
            await asyncio.sleep(8.0)
        cloud.vendor.faults.always("stt", None)
        await asyncio.sleep(10.0)
        kept = [entry.text for entry in call.log.of("alice")]
        assert kept and kept == [f"word {n}" for n in range(26 - len(kept), 26)]
        assert 2 <= len(kept) <= 4
        assert caplog.text.count("more than 2.5 s of speech wait") == 6 - len(kept)


@pytest.mark.parametrize("end", ["removed", "cancelled", "lost"])
async def test_the_last_words_are_waited_for_when_she_is_sent_away(end: str) -> None:
    async with a_call(ScriptedSTT(SCRIPT, latency=4.0)) as (call, alice, running):
        await speak(alice, say(CHAT, pause=0.0))
        await asyncio.sleep(0.1)
        match end:
            case "removed":
                call.room.remove("mulisa")
            case "cancelled":
                running.cancel()
            case "lost":
                call.room.lose("mulisa")
        await asyncio.wait({running})
        assert [entry.text for entry in call.log.entries] == [SCRIPT[CHAT]]
        assert call.observed.awaited == [9.0], "somebody may wonder why she stays"
        if end == "lost":
            with pytest.raises(ExceptionGroup) as lost:
                running.result()
            assert lost.group_contains(ConnectionLost)


async def test_last_words_that_do_not_come_keep_nobody() -> None:
    loop = asyncio.get_running_loop()
    async with a_call(ScriptedSTT(SCRIPT, latency=1e4)) as (call, alice, running):
        await speak(alice, say(CHAT, pause=1.0))
        left_at = loop.time()
        call.room.remove("mulisa")
        await running
        assert loop.time() - left_at == pytest.approx(10.0, abs=0.1)


async def test_who_does_not_want_to_wait_for_last_words_need_not() -> None:
    loop = asyncio.get_running_loop()
    async with a_call(ScriptedSTT(SCRIPT, latency=1e4)) as (_, alice, running):
        await speak(alice, say(CHAT, pause=1.0))
        running.cancel()
        await asyncio.sleep(2.0)
        assert not running.done()
        told_at = loop.time()
        running.cancel()
        await asyncio.wait({running})
        assert loop.time() - told_at < 0.1


async def test_a_question_asked_while_she_leaves_is_written_and_not_answered() -> None:
    async with a_call(ScriptedSTT(SCRIPT, latency=4.0)) as (call, alice, running):
        await speak(alice, say(ASK, pause=1.0))
        call.room.remove("mulisa")
        await running
        assert [entry.text for entry in call.log.entries] == [SCRIPT[ASK]]


async def test_half_an_answer_is_finished_by_another_voice_and_another_model() -> None:
    cloud, local = FaultyLLM("Cloud", default=STORY), FaultyLLM("Local", default=STORY)
    voices = FaultyTTS("Voice", first_audio=0.1), FaultyTTS("Other voice", first_audio=0.1)
    cloud.vendor.faults.next("llm", Fault("silence", after=9))
    voices[0].vendor.faults.next("tts", Fault("cut", after=4))
    async with a_call(llm=LLMChain([cloud, local]), tts=TTSChain(voices)) as (call, alice, _):
        await speak(alice, say(LONG))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert call.log.of("mulisa")[0].text == STORY
        assert call.observed.failed == 0


async def test_an_answer_that_nobody_can_finish_is_excused() -> None:
    cloud = FaultyLLM("Cloud", default=STORY)
    cloud.vendor.faults.next("llm", Fault("cut", after=12))
    cloud.vendor.faults.always("llm", ERROR)
    async with a_call(llm=LLMChain([cloud])) as (call, alice, _):
        await speak(alice, say(LONG))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        text = call.log.of("mulisa")[0].text
        assert text.startswith("Once upon a time") and text.endswith(ReplyConfig().broken_off)
        assert call.observed.failed == 1


async def test_she_is_not_said_to_be_speaking_while_no_sound_comes() -> None:
    voice = FaultyTTS("Voice", first_audio=0.1)
    voice.vendor.faults.next("tts", Fault("silence", after=3))
    patient = ChainConfig(gap=2.0)
    async with a_call(tts=TTSChain([voice], patient)) as (call, alice, _):
        states: list[str] = []

        def note() -> bool:
            if states[-1:] != [call.state(alice)]:
                states.append(call.state(alice))
            return len(call.log.of("mulisa")) == 1

        await speak(alice, say(LONG))
        await call.settles(note)
        assert states[-5:] == ["thinking", "speaking", "thinking", "speaking", "listening"]


async def test_she_listens_while_somebody_speaks_over_her() -> None:
    async with a_call() as (call, alice, _):
        await speak(alice, say(LONG))
        await call.settles(lambda: call.state(alice) == "speaking")
        await speak(alice, say(9, seconds=0.6))
        await call.settles(lambda: call.state(alice) == "listening", within=1.5)


async def test_a_hanging_recogniser_is_replaced_before_the_turn_ends() -> None:
    cloud = FaultySTT("Cloud", script=SCRIPT, latency=0.2)
    cloud.vendor.faults.always("stt", SILENCE)
    local = FaultySTT("Local", script=SCRIPT, latency=0.3)
    async with a_call(STTChain([cloud, local])) as (call, alice, _):
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert [entry.text for entry in call.log.entries] == [SCRIPT[ASK], STORY]
