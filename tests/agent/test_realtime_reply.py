"""Conversations with a speech-to-speech engine: who decides, what goes in, what becomes of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from mulisa.agent.persona import Persona
from mulisa.agent.realtime_reply import RealtimeConfig
from mulisa.agent.session import Session
from mulisa.agent.troubles import SETTLED
from mulisa.core.account import Trouble
from mulisa.core.provider import Engines, ToolCall
from mulisa.core.room import Participant
from mulisa.core.transport import ChatMessage
from mulisa.providers.scripted import (
    Rule,
    ScriptedLLM,
    ScriptedRealtime,
    ScriptedRealtimeSession,
    ScriptedSTT,
    ScriptedTTS,
    ScriptedVAD,
)
from mulisa.providers.tones import recognise
from mulisa.transport.loopback import LoopbackRoom, LoopbackTransport
from tests.agent.test_session import (
    ASK,
    CHAT,
    COUGH,
    LONG,
    MULISA,
    SCRIPT,
    STORY,
    WHISPER,
    Call,
    WrittenDown,
    audible,
    recording,
)
from tests.speech import say, speak

pytestmark = pytest.mark.unit

ANSWER = "Alice and Bob are here."
INSTEAD = "I say it in another voice."


class Stage(Call):
    """A call whose answers are spoken by a scripted engine."""

    troubles: list[Trouble]

    @property
    def realtime(self) -> ScriptedRealtimeSession:
        assert isinstance(self.engines.realtime, ScriptedRealtime)
        (session,) = self.engines.realtime.sessions
        return session

    @property
    def llm(self) -> ScriptedLLM:
        assert isinstance(self.engines.llm, ScriptedLLM)
        return self.engines.llm

    async def has_answered(self, times: int) -> None:
        """Wait until she has spoken so often."""
        await self.settles(lambda: len(self.log.of("mulisa")) == times)

    async def says(self, *texts: str) -> None:
        """Wait until so much was said by her."""
        await self.has_answered(len(texts))
        assert [entry.text for entry in self.log.of("mulisa")] == list(texts)


@asynccontextmanager
async def a_call(
    realtime: ScriptedRealtime | None = None,
    llm: ScriptedLLM | None = None,
    *,
    transport: type[LoopbackTransport] = LoopbackTransport,
) -> AsyncIterator[Stage]:
    engines = Engines(
        vad=ScriptedVAD(),
        stt=ScriptedSTT(SCRIPT, latency=0.2),
        llm=llm or ScriptedLLM(default=INSTEAD),
        tts=ScriptedTTS(first_audio=0.1),
        realtime=realtime or ScriptedRealtime([Rule("story", STORY)], default=ANSWER),
    )
    room = LoopbackRoom("conversation", seed=7)
    joining = transport(room, Participant(MULISA, "Mulisa", kind="agent"))
    call = Stage(room, engines, WrittenDown(), joining)
    call.troubles = []
    call.observed.engine_trouble = call.troubles.append  # type: ignore[assignment]
    call.session = Session(joining, engines, Persona(), call.log, observer=call.observed)
    running = asyncio.create_task(call.session.run())
    try:
        yield call
    finally:
        if running.done():
            running.result()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await call.leave()


async def test_a_question_is_answered_by_the_engine_and_written_down() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        async with recording(alice) as heard:
            await speak(alice, say(ASK))
            await call.says(ANSWER)
        assert len(audible(heard)) * 0.02 == pytest.approx(5 * 0.2, abs=0.2)
        assert call.llm.requests == []
        (metrics,) = call.observed.replies
        assert metrics.first_audio_at is not None and metrics.first_token_at is not None
        assert call.troubles == []


async def test_only_who_is_answered_is_heard_and_the_others_are_quoted() -> None:
    async with a_call() as call:
        alice, bob = await call.enter("alice"), await call.enter("bob")
        await speak(bob, say(CHAT))
        await call.settles(lambda: len(call.log.of("bob")) == 1)
        assert call.realtime.requests == [], "the floor decides when there is an answer"
        await speak(alice, say(ASK))
        await call.says(ANSWER)
        (request,) = call.realtime.requests
        assert request.speech is not None
        assert recognise(request.speech) == [ASK]
        said = [(message.name, message.content) for message in request.messages[1:]]
        assert said == [("Bob", SCRIPT[CHAT]), ("Alice", SCRIPT[ASK])]
        assert "Alice and Bob" in request.messages[0].content
        assert "who_is_here" in [tool.name for tool in request.tools]


async def test_a_chat_message_is_answered_without_audio() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await call.settles(lambda: MULISA in alice.participants)
        await alice.send_chat(ChatMessage("m1", "Who is here?"))
        await call.says(ANSWER)
        (request,) = call.realtime.requests
        assert request.speech is None
        assert request.messages[-1].content == "Who is here?"


async def test_the_engine_is_told_what_was_heard() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.says(ANSWER)
        ((words, seconds),) = call.realtime.settled
        assert words is not None and words.content == ANSWER
        assert seconds == pytest.approx(5 * 0.26, abs=0.05)
        await speak(alice, say(ASK))
        await call.says(ANSWER, ANSWER)
        assert call.realtime.requests[1].messages[2] == words, "as it stands in the memory"


async def test_an_interruption_ends_the_answer_at_what_was_heard() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await speak(alice, say(LONG))
        await call.settles(lambda: call.state(alice) == "speaking")
        await asyncio.sleep(1.2)
        await speak(alice, say(9, seconds=1.5))
        await call.settles(lambda: len(call.log.of("mulisa")) >= 1)
        reply = call.log.of("mulisa")[0]
        assert reply.interrupted and 0 < len(reply.text.split()) < 12
        assert STORY.startswith(f"{reply.text} {reply.unspoken}"[:20])
        words, seconds = call.realtime.settled[0]
        assert words is not None and words.content.startswith(reply.text)
        assert "interrupted" in words.content
        assert 0.8 < seconds < 2.5
        await call.settles(lambda: len(call.realtime.requests) == 2)
        assert words in call.realtime.requests[1].messages


async def test_an_answer_that_is_still_being_made_is_stopped() -> None:
    slow = ScriptedRealtime(default=STORY, pace=0.3)
    async with a_call(slow) as call:
        alice = await call.enter("alice")
        await speak(alice, say(LONG))
        await call.settles(lambda: call.state(alice) == "speaking")
        await asyncio.sleep(0.5)
        await speak(alice, say(9, seconds=1.5))
        await call.settles(lambda: len(call.realtime.settled) >= 1)
        assert call.realtime.stopped == 1


async def test_a_cough_only_pauses_and_no_word_is_lost() -> None:
    async with a_call() as call:
        alice = await call.enter("alice")
        await speak(alice, say(LONG))
        await call.settles(lambda: call.state(alice) == "speaking")
        await asyncio.sleep(0.5)
        await speak(alice, say(COUGH, seconds=0.25))
        await call.says(STORY)
        assert call.realtime.stopped == 0
        assert call.troubles == []


async def test_a_tool_is_used_and_its_result_handed_back() -> None:
    rules = [Rule("call", ToolCall("c1", "who_is_here", {})), Rule("Alice", "Only you.", "tool")]
    async with a_call(ScriptedRealtime(rules)) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.says("Only you.")
        first, second = call.realtime.requests
        assert second.messages[: len(first.messages)] == first.messages
        called, result = second.messages[len(first.messages) :]
        assert called.tool_calls[0].call_id == result.call_id == "c1"
        assert second.speech is first.speech, "the engine may have to hear it again"
        assert len(call.realtime.settled) == 1


async def test_an_engine_that_only_calls_tools_must_answer_at_last() -> None:
    always = ScriptedRealtime(default=ToolCall("c1", "date_time", {}))
    async with a_call(always) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.says(INSTEAD)
        assert [request.final for request in call.realtime.requests] == [False] * 4 + [True]


async def test_a_whisper_is_heard_by_one_and_not_told_to_the_engine_for_the_others() -> None:
    secret = ScriptedRealtime([Rule("code", "The code is pineapple.")], default=ANSWER)
    async with a_call(secret) as call:
        alice, bob = await call.enter("alice"), await call.enter("bob")
        async with recording(bob) as overheard:
            await speak(alice, say(WHISPER))
            await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert not audible(overheard)
        (entry,) = call.log.of("mulisa")
        assert (entry.text, entry.listener) == ("The code is pineapple.", "alice")
        await speak(bob, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 2)
        whispered, aloud = call.realtime.requests
        assert "whisper" in whispered.messages[0].content
        assert not any("pineapple" in message.content for message in aloud.messages)


@pytest.mark.parametrize(
    "broken",
    [ScriptedRealtime(failures=[0]), ScriptedRealtime(default=""), None],
    ids=["fails", "says nothing", "breaks"],
)
async def test_what_the_engine_does_not_say_is_said_by_the_others(
    broken: ScriptedRealtime | None,
) -> None:
    realtime = broken or ScriptedRealtime(breaks={0: 0})
    async with a_call(realtime) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.says(INSTEAD)
        assert call.observed.failed == 0
        assert [words for words, _ in call.realtime.settled] == [None]
        (trouble,) = call.troubles
        assert (trouble.stage, trouble.engine, trouble.successor) == (
            "realtime",
            "scripted",
            "scripted",
        )
        assert trouble.reason


async def test_a_silent_engine_is_given_up_and_left_alone_for_a_while() -> None:
    config = RealtimeConfig()
    working_again = ScriptedRealtime(default=ANSWER, stalls={0: 0})
    async with a_call(working_again) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.says(INSTEAD)
        (first,) = call.observed.replies
        assert first.first_frame_sent_at is not None and first.committed_at is not None
        waited = first.first_frame_sent_at - first.committed_at
        assert waited == pytest.approx(config.first_audio + config.patience, abs=0.5)
        await speak(alice, say(ASK))
        await call.says(INSTEAD, INSTEAD)
        assert len(call.realtime.requests) == 1, "nobody waits for it twice"
        await asyncio.sleep(config.rest)
        await speak(alice, say(ASK))
        await call.says(INSTEAD, INSTEAD, ANSWER)
        await asyncio.sleep(SETTLED)
        assert [bool(trouble.reason) for trouble in call.troubles] == [True, False]


@pytest.mark.parametrize("kind", ["breaks", "stalls"])
async def test_an_answer_that_stops_half_way_is_finished_by_the_others(kind: str) -> None:
    half: dict[str, ScriptedRealtime] = {
        "breaks": ScriptedRealtime(default=STORY, breaks={0: 5}),
        "stalls": ScriptedRealtime(default=STORY, stalls={0: 5}),
    }
    llm = ScriptedLLM([Rule("cut off by a fault", "small fox.", "system")])
    async with a_call(half[kind], llm) as call:
        alice = await call.enter("alice")
        async with recording(alice) as heard:
            await speak(alice, say(LONG))
            await call.says("Once upon a time there small fox.")
        (request,) = llm.requests
        assert request.messages[-2].content == "Once upon a time there"
        frames = audible(heard)
        gaps = [b.received_at - a.received_at for a, b in zip(frames, frames[1:], strict=False)]
        assert max(gaps) <= 1.0, "never speaking without sound"
        assert call.realtime.settled[0][0] is None, "it must forget what it did not finish"


async def test_words_that_came_without_their_sound_are_spoken_by_the_others() -> None:
    class Mute(ScriptedRealtimeSession):
        """Its words come at once, its voice only for the first two of them."""

        async def respond(self, request):  # type: ignore[no-untyped-def]
            deltas = [delta async for delta in super().respond(request)]
            for delta in deltas[::2]:
                yield delta
            yield deltas[1]
            yield deltas[3]
            await asyncio.Event().wait()

    realtime = ScriptedRealtime(default=ANSWER)
    realtime.session = lambda: realtime.sessions.append(Mute(realtime)) or realtime.sessions[-1]  # type: ignore
    async with a_call(realtime) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        (reply,) = call.log.of("mulisa")
        assert reply.text == ANSWER
        tts = call.engines.tts
        assert isinstance(tts, ScriptedTTS)
        (spoken,) = tts.texts
        assert ANSWER.endswith(spoken) and spoken != ANSWER
        assert call.llm.requests == []


async def test_when_nobody_can_think_she_says_so() -> None:
    async with a_call(ScriptedRealtime(failures=[0]), ScriptedLLM(failures=[0])) as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
        assert call.log.of("mulisa")[0].text.startswith("Sorry")
        assert call.observed.failed == 1


async def test_nothing_is_recorded_without_such_an_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded: list[object] = []
    keep: Callable[..., None] = lambda *args: recorded.append(args)  # noqa: E731
    monkeypatch.setattr("mulisa.agent.recordings.Recordings.push", keep)
    from tests.agent import test_session

    async with test_session.a_call() as call:
        alice = await call.enter("alice")
        await speak(alice, say(ASK))
        await call.settles(lambda: len(call.log.of("mulisa")) == 1)
    assert recorded == []


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_fails_every_question_is_answered(seed: int) -> None:
    dice = random.Random(seed)
    calls = range(40)
    realtime = ScriptedRealtime(
        [Rule("story", STORY)],
        default=ANSWER,
        first_audio=dice.choice([0.1, 0.5, 1.2]),
        pace=dice.choice([0.01, 0.1, 0.25]),
        failures={call for call in calls if dice.random() < 0.2},
        breaks={call: dice.randrange(6) for call in calls if dice.random() < 0.3},
        stalls={call: dice.randrange(6) for call in calls if dice.random() < 0.3},
    )
    llm = ScriptedLLM(default=INSTEAD, first_token=0.2)
    async with a_call(realtime, llm) as call:
        alice = await call.enter("alice")
        for number in range(8):
            async with recording(alice) as heard:
                await speak(alice, say(dice.choice([ASK, LONG])))
                await call.has_answered(number + 1)
            frames = audible(heard)
            gaps = [b.received_at - a.received_at for a, b in pairwise(frames)]
            assert max(gaps) <= 1.0, (number, "never speaking without sound")
            await asyncio.sleep(dice.choice([0.0, 1.0, 15.0]))
        assert call.observed.failed == 0
        assert all(entry.text and not entry.unspoken for entry in call.log.of("mulisa"))
        assert len(call.realtime.settled) == sum(
            not request.final for request in call.realtime.requests
        )
