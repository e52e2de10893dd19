"""Whole conversations in virtual time: a loopback room, scripted engines, people who are tones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
import pytest

from mulisa.agent.persona import Persona
from mulisa.agent.session import Session
from mulisa.core.audio import AudioFrame
from mulisa.core.errors import ConfigError, ConnectionLost
from mulisa.core.metrics import SessionObserver, TurnMetrics
from mulisa.core.provider import Engines, ToolCall
from mulisa.core.room import AGENT_STATE_ATTRIBUTE, Identity, RoomName
from mulisa.core.transcript import TranscriptEntry
from mulisa.core.transport import Caption, ChatMessage
from mulisa.providers.scripted import Rule, ScriptedLLM, ScriptedSTT, ScriptedTTS, ScriptedVAD
from mulisa.transport.loopback import LoopbackRoom, LoopbackTransport
from tests.speech import say, speak

pytestmark = pytest.mark.unit

ASK, CHAT, STOP, LONG, COUGH, MORE, MISHEARD, HANGING = range(8)
SCRIPT = [
    "Mulisa, who is in the call?",
    "Bob, how was your weekend?",
    "Stop.",
    "Mulisa, tell me a long story.",
    "",
    "And what did Bob say?",
    "Nilasa, who is in the call?",
    "I was thinking that we,",
]
STORY = "Once upon a time there was a very small fox. He lived in a wood. That is all of it."
MULISA = Identity("mulisa")


class WrittenDown:
    """A transcript log that remembers the order of what was written and what was shown."""

    def __init__(self) -> None:
        self.entries: list[TranscriptEntry] = []

    async def append(self, room: RoomName, entry: TranscriptEntry) -> None:
        await asyncio.sleep(0.01)
        self.entries.append(entry)

    async def recent(self, room: RoomName, limit: int) -> Sequence[TranscriptEntry]:
        return self.entries[-limit:]

    def of(self, identity: str) -> list[TranscriptEntry]:
        return [entry for entry in self.entries if entry.identity == identity]


class Observed(SessionObserver):
    """Remembers what the session reports."""

    def __init__(self) -> None:
        self.turns: list[bool] = []
        self.replies: list[TurnMetrics] = []
        self.interrupted = self.failed = self.underruns = 0

    def turn_committed(self, *, addressed: bool) -> None:
        self.turns.append(addressed)

    def reply_started(self, metrics: TurnMetrics) -> None:
        self.replies.append(metrics)

    def reply_interrupted(self) -> None:
        self.interrupted += 1

    def reply_failed(self) -> None:
        self.failed += 1

    def voice_gaps(self, *, underruns: int, stalls: int) -> None:
        self.underruns += underruns


class Call:
    """A room with Mulisa in it and people to speak for."""

    def __init__(self, room: LoopbackRoom, engines: Engines, log: WrittenDown) -> None:
        self.room = room
        self.engines = engines
        self.log = log
        self.observed = Observed()
        self.transport = room.join("mulisa", "Mulisa", kind="agent")
        self.session = Session(self.transport, engines, Persona(), self.log, observer=self.observed)
        self._stack = AsyncExitStack()

    async def enter(self, identity: str) -> LoopbackTransport:
        return await self._stack.enter_async_context(self.room.join(identity, identity.title()))

    async def leave(self) -> None:
        await self._stack.aclose()

    async def settles(self, is_so: Callable[[], bool], within: float = 30.0) -> None:
        """Let virtual time pass until it is so."""
        async with asyncio.timeout(within):
            while not is_so():  # noqa: ASYNC110 - virtual time costs nothing
                await asyncio.sleep(0.01)

    def state(self, seen_by: LoopbackTransport) -> str:
        mulisa = seen_by.participants.get(MULISA)
        return mulisa.attributes.get(AGENT_STATE_ATTRIBUTE, "") if mulisa else ""


@asynccontextmanager
async def a_call(
    *,
    loss: float = 0.0,
    llm: ScriptedLLM | None = None,
    tts: ScriptedTTS | None = None,
    log: WrittenDown | None = None,
) -> AsyncIterator[Call]:
    engines = Engines(
        vad=ScriptedVAD(),
        stt=ScriptedSTT(SCRIPT, latency=0.2),
        llm=llm or ScriptedLLM([Rule("story", STORY)], default="Alice and Bob are here."),
        tts=tts or ScriptedTTS(first_audio=0.1),
    )
    room = LoopbackRoom("conversation", seed=7, loss=loss)
    call = Call(room, engines, log or WrittenDown())
    running = asyncio.create_task(call.session.run())
    try:
        yield call
    finally:
        if running.done():
            running.result()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await call.leave()


async def record(listener: LoopbackTransport, heard: list[AudioFrame]) -> None:
    async for frame in listener.frames(MULISA):
        heard.append(frame)


@asynccontextmanager
async def recording(listener: LoopbackTransport) -> AsyncIterator[list[AudioFrame]]:
    heard: list[AudioFrame] = []
    task = asyncio.create_task(record(listener, heard))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def audible(frames: Sequence[AudioFrame]) -> list[AudioFrame]:
    return [frame for frame in frames if np.abs(frame.samples).max() > 1000]


async def test_a_question_is_answered_aloud_and_written_down() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await call.settles(lambda: call.state(alice) == "listening")
        async with recording(alice) as heard:
            await speak(alice, say(ASK))
            await call.settles(lambda: len(call.log.entries) == 2)
        question, answer = call.log.entries
        assert (question.name, question.text) == ("Alice", SCRIPT[ASK])
        assert (answer.name, answer.text) == ("Mulisa", "Alice and Bob are here.")
        assert not answer.interrupted
        assert len(audible(heard)) * 0.02 == pytest.approx(5 * 0.2, abs=0.2)


async def test_words_are_on_disk_before_they_are_shown_as_final() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        written: list[int] = []
        await speak(alice, say(ASK))

        def final_captions() -> list[Caption]:
            finals = [caption for caption in alice.captions if caption.final]
            written.append(len(call.log.entries) - len(finals))
            return finals

        await call.settles(lambda: len(final_captions()) == 2)
        assert min(written) >= 0
        assert [c.text for c in alice.captions if c.final] == [e.text for e in call.log.entries]


async def test_her_name_is_written_as_it_should_be_whatever_was_recognised() -> None:
    async with a_call() as call:
        alice, _ = await call.enter("alice"), await call.enter("bob")
        await speak(alice, say(MISHEARD))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert call.log.entries[0].text == SCRIPT[ASK]
        shown = [caption for caption in alice.captions if caption.identity == "alice"]
        assert {c.text for c in shown if not c.final} == {SCRIPT[MISHEARD]}
        assert [c.text for c in shown if c.final] == [SCRIPT[ASK]]
        llm = call.engines.llm
        assert isinstance(llm, ScriptedLLM)
        assert llm.requests[0].messages[-1].content == SCRIPT[ASK]


async def test_her_state_follows_what_she_does() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        states: list[str] = []

        def note() -> bool:
            if (state := call.state(alice)) and states[-1:] != [state]:
                states.append(state)
            return len(states) == 4

        await call.settles(lambda: call.state(alice) == "listening")
        speaking = asyncio.create_task(speak(alice, say(ASK)))
        await call.settles(note)
        await speaking
        assert states == ["listening", "thinking", "speaking", "listening"]


async def test_several_are_heard_by_name_and_not_answered() -> None:
    async with a_call() as call:
        alice, bob = await call.enter("alice"), await call.enter("bob")
        await asyncio.gather(speak(alice, say(CHAT)), speak(bob, say(9)))
        await call.settles(lambda: len(call.log.entries) == 2)
        await asyncio.sleep(3.0)
        assert {(e.name, e.text) for e in call.log.entries} == {
            ("Alice", SCRIPT[CHAT]),
            ("Bob", "word 9"),
        }
        assert call.observed.turns == [False, False]


async def test_with_several_she_answers_who_calls_her_and_their_next_question() -> None:
    async with a_call() as call:
        alice, bob = await call.enter("alice"), await call.enter("bob")
        await speak(bob, say(9))
        await call.settles(lambda: len(call.log.of("bob")) == 1)
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        await speak(alice, say(MORE))
        await call.settles(lambda: len(call.log.of("mulisa")) == 2)
        llm = call.engines.llm
        assert isinstance(llm, ScriptedLLM)
        said = [(message.role, message.name) for message in llm.requests[-1].messages[1:]]
        assert ("user", "Bob") in said and said[-1] == ("user", "Alice")


async def test_an_interruption_pauses_then_cuts_and_memory_ends_at_what_was_heard() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        async with recording(alice) as heard:
            await speak(alice, say(LONG))
            await call.settles(lambda: call.state(alice) == "speaking")
            await asyncio.sleep(1.2)
            onset = asyncio.get_running_loop().time()
            await speak(alice, say(9, seconds=1.5))
            await call.settles(lambda: len(call.log.of("mulisa")) >= 1)
            last = audible([f for f in heard if f.received_at < onset + 1.5])[-1]
        assert last.received_at - onset < 0.35
        reply = call.log.of("mulisa")[0]
        assert reply.interrupted
        assert f"{reply.text} {reply.unspoken}" == STORY
        assert 0 < len(reply.text.split()) < 9
        assert call.observed.interrupted == 1


async def test_a_cough_only_pauses_and_no_word_is_lost() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await speak(alice, say(LONG))
        await call.settles(lambda: call.state(alice) == "speaking")
        await asyncio.sleep(0.5)
        await speak(alice, say(COUGH, seconds=0.25))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        reply = call.log.of("mulisa")[0]
        assert reply.text == STORY and not reply.interrupted
        assert call.observed.turns == [True], "a cough is no turn"
        assert call.observed.interrupted == call.observed.failed == call.observed.underruns == 0


async def test_a_chat_message_is_answered_aloud_and_in_the_chat() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await call.settles(lambda: MULISA in alice.participants)
        await alice.send_chat(ChatMessage("m1", "Who is here?"))
        await call.settles(lambda: len(call.log.entries) == 2)
        question, answer = call.log.entries
        assert [e.source for e in call.log.entries] == ["chat", "voice"]
        assert question.segment_id == "chat:alice:m1"
        await call.settles(lambda: alice.captions[-1].text == answer.text)
        finals = {caption.segment_id: caption.text for caption in alice.captions if caption.final}
        assert finals == {entry.segment_id: entry.text for entry in call.log.entries}


async def test_nobody_overwrites_what_another_wrote() -> None:
    async with a_call() as call:
        alice, bob = await call.enter("alice"), await call.enter("bob")
        await call.settles(lambda: MULISA in alice.participants and MULISA in bob.participants)
        await alice.send_chat(ChatMessage("m1", "I am for it."))
        await bob.send_chat(ChatMessage("m1", "And I am not."))
        await call.settles(lambda: len(call.log.entries) == 2)
        assert {e.segment_id for e in call.log.entries} == {"chat:alice:m1", "chat:bob:m1"}


async def test_the_last_words_of_somebody_who_leaves_are_kept() -> None:
    async with a_call() as call:
        await call.enter("alice")
        async with call.room.join("bob", "Bob") as bob:
            await speak(bob, say(CHAT, pause=0.0))
        await call.settles(lambda: len(call.log.of("bob")) == 1)
        assert call.log.of("bob")[0].text == SCRIPT[CHAT]


async def test_an_engine_that_fails_is_apologised_for_and_the_room_goes_on() -> None:
    llm = ScriptedLLM(default="I am back.", failures={0})
    async with a_call(llm=llm) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert "Sorry" in call.log.of("mulisa")[0].text
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 2)
        assert call.log.of("mulisa")[1].text == "I am back."
        assert call.observed.failed == 1


async def test_a_voice_that_fails_frees_the_floor() -> None:
    async with a_call(tts=ScriptedTTS(failures={0})) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("alice")) == 1)
        await call.settles(lambda: call.state(alice) == "listening")
        assert call.log.of("mulisa") == []
        assert call.observed.failed == 1 and call.observed.replies == []
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)


async def test_a_conversation_over_a_lossy_path() -> None:
    async with a_call(loss=0.05) as call:
        alice, bob = await call.enter("alice"), await call.enter("bob")
        for turn in range(1, 4):
            await speak(bob, say(CHAT, 9))
            await speak(alice, say(ASK))
            await call.settles(lambda turn=turn: len(call.log.of("mulisa")) == turn)  # type: ignore[misc]
        assert [e.text for e in call.log.of("alice")] == [SCRIPT[ASK]] * 3
        assert [e.text for e in call.log.of("bob")] == [f"{SCRIPT[CHAT]} word 9"] * 3


async def test_who_comes_back_under_the_same_identity_is_heard_again() -> None:
    async with a_call() as call:
        for turn in range(1, 3):
            async with call.room.join("alice", "Alice") as alice:
                await call.settles(lambda alice=alice: MULISA in alice.participants)  # type: ignore[misc]
                await speak(alice, say(ASK))
                await call.settles(lambda turn=turn: len(call.log.of("mulisa")) == turn)  # type: ignore[misc]


async def test_turns_are_measured_stage_by_stage() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.observed.replies) == 1)
        stages = call.observed.replies[0].stages()
        assert stages["endpointing"] == pytest.approx(0.5, abs=0.05)
        assert stages["first_audio"] == pytest.approx(0.1, abs=0.05)
        assert stages["response"] == pytest.approx(0.6, abs=0.1)


async def test_after_a_crash_she_knows_what_was_said_before_also_by_who_is_gone() -> None:
    log = WrittenDown()
    async with a_call(log=log) as call:
        bob = await call.enter("bob")
        await speak(bob, say(9))
        await call.settles(lambda: len(log.of("mulisa")) == 1)
    recalling = ScriptedLLM(
        [
            Rule("what did Bob say", ToolCall("c1", "what_was_said", {"by": "Bob"})),
            Rule("word 9", "Bob said word nine.", role="tool"),
        ]
    )
    async with a_call(log=log, llm=recalling) as call:
        alice = await call.enter("alice")
        await speak(alice, say(MORE))
        await call.settles(lambda: len(log.of("mulisa")) == 2)
    assert log.of("mulisa")[1].text == "Bob said word nine."
    first_request = recalling.requests[0].messages
    assert [(m.role, m.name) for m in first_request[1:]] == [
        ("user", "Bob"),
        ("assistant", ""),
        ("user", "Alice"),
    ]


async def test_a_transcript_that_cannot_be_read_keeps_nobody_from_talking() -> None:
    class Unreadable(WrittenDown):
        async def recent(self, room: RoomName, limit: int) -> Sequence[TranscriptEntry]:
            raise ConfigError("cannot write the transcript")

    async with a_call(log=Unreadable()) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)


async def test_gaps_in_her_voice_are_counted() -> None:
    async with a_call(tts=ScriptedTTS(pace=0.5)) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert call.observed.underruns == 4, "between five words"


async def test_a_room_that_is_lost_ends_the_session_with_its_error() -> None:
    room = LoopbackRoom("lost")
    engines = Engines(ScriptedVAD(), ScriptedSTT(SCRIPT), ScriptedLLM(), ScriptedTTS())
    session = Session(room.join("mulisa", kind="agent"), engines, Persona(), WrittenDown())
    running = asyncio.create_task(session.run())
    await asyncio.sleep(1.0)
    room.lose("mulisa")
    with pytest.raises(ExceptionGroup) as raised:
        await running
    assert raised.value.subgroup(ConnectionLost) is not None


async def test_words_of_a_cut_reply_are_written_when_she_leaves() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await speak(alice, say(LONG))
        await call.settles(lambda: call.state(alice) == "speaking")
        await asyncio.sleep(1.0)
        call.room.remove("mulisa")
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert call.log.of("mulisa")[0].interrupted


async def test_words_that_are_known_are_written_when_she_leaves() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await speak(alice, say(HANGING))
        await call.settles(lambda: any(SCRIPT[HANGING] in c.text for c in alice.captions))
        assert call.log.of("alice") == []
        call.room.remove("mulisa")
        await call.settles(lambda: len(call.log.of("alice")) == 1)
        assert call.log.of("alice")[0].text == SCRIPT[HANGING]


async def test_an_ear_that_fails_hears_again() -> None:
    async with a_call() as call:
        vad = call.engines.vad
        assert isinstance(vad, ScriptedVAD)
        alice = await call.enter("alice")
        vad.failures = {vad.calls + 2}
        await speak(alice, say(9))
        await asyncio.sleep(2.0)
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert call.log.of("alice")[-1].text == SCRIPT[ASK]
