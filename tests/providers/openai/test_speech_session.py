"""Sessions with a service that is played by the test, in virtual time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import numpy as np
import pytest

from mulisa.core.account import Account, working_for
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import (
    AudioDelta,
    Message,
    RealtimeRequest,
    TextDelta,
    ToolCall,
    ToolSpec,
)
from mulisa.providers.openai.dialects import Dialect, OpenAIDialect, VoiceLiveDialect
from mulisa.providers.openai.speech_session import (
    SpeechSession,
    SpeechSessionConfig,
    check,
)
from mulisa.providers.tones import tone

pytestmark = pytest.mark.unit

SYSTEM = Message("system", "You are Mulisa.")
BOB = Message("user", "How was your weekend?", name="Bob")
ALICE = Message("user", "Mulisa, who is here?", name="Alice")
TOOL = ToolSpec("who_is_here", "People", {"type": "object", "properties": {}})
SPOKEN = RealtimeRequest((SYSTEM, BOB, ALICE), (TOOL,), tone(3, 1.0, 16_000))
WRITTEN = RealtimeRequest((SYSTEM, ALICE), (TOOL,))


class FakeWire:
    """The service's end of one connection."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.sent: list[dict[str, Any]] = []
        self.is_open = True
        self._accepts = accepts
        self._events: asyncio.Queue[dict[str, Any] | ProviderError] = asyncio.Queue()
        self._news = asyncio.Event()

    async def send(self, event: Mapping[str, Any]) -> None:
        self.sent.append(dict(event))
        self._news.set()
        if event["type"] == "session.update" and self._accepts:
            self.say({"type": "session.updated"})
        if event["type"] == "input_audio_buffer.commit":
            self.say({"type": "input_audio_buffer.committed", "item_id": f"in_{len(self.sent)}"})

    async def receive(self) -> dict[str, Any]:
        event = await self._events.get()
        if isinstance(event, ProviderError):
            raise event
        return event

    async def aclose(self) -> None:
        self.is_open = False

    # What the test makes it do

    def say(self, *events: dict[str, Any]) -> None:
        for event in events:
            self._events.put_nowait(event)

    def fail(self) -> None:
        self._events.put_nowait(ProviderUnavailable("the session was lost", retryable=True))

    async def asked(self, kind: str, times: int = 1) -> dict[str, Any]:
        """Wait until an event of this type was sent so often; the last one."""
        async with asyncio.timeout(60.0):
            while len(found := self.of(kind)) < times:
                self._news.clear()
                await self._news.wait()
        return found[-1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.sent if event["type"] == kind]

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for event in self.sent]


def created(response: str = "r1") -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response}}


def began(item: str = "i1", response: str = "r1") -> dict[str, Any]:
    return {
        "type": "response.output_item.added",
        "response_id": response,
        "item": {"id": item, "type": "message"},
    }


def text(words: str, item: str = "i1", response: str = "r1") -> dict[str, Any]:
    return {
        "type": "response.output_audio_transcript.delta",
        "response_id": response,
        "item_id": item,
        "delta": words,
    }


def audio(seconds: float, item: str = "i1", response: str = "r1") -> dict[str, Any]:
    pcm = base64.b64encode(tone(1, seconds, 24_000).tobytes()).decode()
    return {
        "type": "response.output_audio.delta",
        "response_id": response,
        "item_id": item,
        "delta": pcm,
    }


def done(response: str = "r1", **fields: Any) -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": response, "status": "completed", **fields}}


class Service:
    """Every connection that was made."""

    def __init__(self) -> None:
        self.wires: list[FakeWire] = []
        self.refusals: list[ProviderError] = []
        """Met by the next connections, one each."""
        self.delay = 0.1
        self._news = asyncio.Event()

    async def open(self) -> FakeWire:
        await asyncio.sleep(self.delay)
        if self.refusals:
            raise self.refusals.pop(0)
        self.wires.append(FakeWire())
        self._news.set()
        return self.wires[-1]

    async def wire(self, number: int = 0) -> FakeWire:
        async with asyncio.timeout(4_000.0):
            while len(self.wires) <= number:
                self._news.clear()
                await self._news.wait()
        await self.wires[number].asked("session.update")
        await asyncio.sleep(0.001)
        return self.wires[number]


@asynccontextmanager
async def a_session(
    config: SpeechSessionConfig | None = None, dialect: Dialect | None = None
) -> AsyncIterator[tuple[SpeechSession, Service]]:
    service = Service()
    session = SpeechSession(
        service.open, dialect or OpenAIDialect("marin"), "OpenAI", config or SpeechSessionConfig()
    )
    running = asyncio.create_task(session.run())
    try:
        yield session, service
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not any(wire.is_open for wire in service.wires)


async def collect(
    session: SpeechSession, request: RealtimeRequest = WRITTEN
) -> list[TextDelta | AudioDelta | ToolCall]:
    async with asyncio.timeout(120.0), aclosing(session.respond(request)) as deltas:
        return [delta async for delta in deltas]


async def answer(
    session: SpeechSession, wire: FakeWire, number: int, request: RealtimeRequest = WRITTEN
) -> None:
    """A reply of one second, heard to its end."""
    which = f"r{number}"
    asking = asyncio.create_task(collect(session, request))
    await wire.asked("response.create", number)
    wire.say(created(which), began(f"i{number}", which), text("Bob.", f"i{number}", which))
    wire.say(audio(1.0, f"i{number}", which), done(which))
    await asking
    session.heard(Message("assistant", "Bob."), 1.0)


async def test_a_session_is_begun_without_turn_detection_and_told_who_she_is() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        assert wire.sent[0]["session"]["audio"]["input"]["turn_detection"] is None
        await answer(session, wire, 1)
        update = wire.of("session.update")[1]["session"]
        assert update["instructions"] == "You are Mulisa."
        assert [tool["name"] for tool in update["tools"]] == ["who_is_here"]
        await answer(session, wire, 2)
        assert len(wire.of("session.update")) == 2, "what is known is not told again"


async def test_voice_live_is_spoken_to_in_its_own_words() -> None:
    async with a_session(dialect=VoiceLiveDialect("en-US-AvaNeural")) as (session, service):
        wire = await service.wire()
        begun = wire.sent[0]["session"]
        assert begun["turn_detection"] is None
        assert begun["voice"] == {"type": "azure-standard", "name": "en-US-AvaNeural"}
        asking = asyncio.create_task(collect(session))
        await wire.asked("response.create")
        old = [{**text("Bob."), "type": "response.audio_transcript.delta"}]
        old.append({**audio(0.1), "type": "response.audio.delta"})
        wire.say(created(), began(), *old, done())
        assert [type(delta) for delta in await asking] == [TextDelta, AudioDelta]


async def test_only_the_turn_goes_in_as_audio_and_the_others_as_text() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        await answer(session, wire, 1, SPOKEN)
        said = [e["item"]["content"][0]["text"] for e in wire.of("conversation.item.create")]
        assert said == ["Bob: How was your weekend?", "Alice says:"]
        pieces = [base64.b64decode(e["audio"]) for e in wire.of("input_audio_buffer.append")]
        assert len(b"".join(pieces)) == pytest.approx(2 * 24_000, abs=4)
        assert wire.kinds[-1] == "response.create"
        assert wire.kinds[-2] == "input_audio_buffer.commit"


async def test_speech_that_is_too_short_to_be_accepted_is_made_longer() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        short = RealtimeRequest(WRITTEN.messages, (), tone(3, 0.05, 16_000))
        await answer(session, wire, 1, short)
        (append,) = wire.of("input_audio_buffer.append")
        assert len(base64.b64decode(append["audio"])) / 48_000 >= 0.1


async def test_words_and_samples_arrive_as_they_were_sent() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        asking = asyncio.create_task(collect(session))
        await wire.asked("response.create")
        wire.say(created(), began(), text("Bob "), audio(0.1), text("is here."), done())
        first, second, third = await asking
        assert (first, third) == (TextDelta("Bob "), TextDelta("is here."))
        assert isinstance(second, AudioDelta)
        assert np.array_equal(second.samples, tone(1, 0.1, 24_000))


async def test_a_tool_is_called_and_its_result_answered_in_the_same_conversation() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        asking = asyncio.create_task(collect(session, SPOKEN))
        await wire.asked("response.create")
        item = {"id": "i1", "type": "function_call", "call_id": "c1", "name": "who_is_here"}
        called = {"response_id": "r1", "item": {**item, "arguments": '{"limit": 2}'}}
        wire.say(created(), {"type": "response.output_item.added", **called})
        wire.say({"type": "response.output_item.done", **called}, done())
        call = ToolCall("c1", "who_is_here", {"limit": 2})
        assert await asking == [call]
        results = (Message("assistant", "", tool_calls=(call,)), Message("tool", "2", call_id="c1"))
        again = RealtimeRequest(SPOKEN.messages + results, SPOKEN.tools, SPOKEN.speech, final=True)
        before = len(wire.sent)
        await answer(session, wire, 2, again)
        output, create = wire.sent[before:]
        assert output["item"]["type"] == "function_call_output"
        assert create["response"] == {"tool_choice": "none"}


async def test_an_interruption_cancels_and_truncates_at_what_was_heard() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        deltas = session.respond(WRITTEN)
        asking = asyncio.ensure_future(anext(deltas))
        await wire.asked("response.create")
        wire.say(created(), began(), text("Once upon a time"), audio(3.0))
        await asking
        assert isinstance(await anext(deltas), AudioDelta)
        session.heard(Message("assistant", "Once upon [cut]"), 1.25)
        await deltas.aclose()
        truncate = await wire.asked("conversation.item.truncate")
        assert wire.kinds[-2:] == ["response.cancel", "conversation.item.truncate"]
        assert wire.sent[-2]["response_id"] == "r1"
        assert (truncate["item_id"], truncate["audio_end_ms"]) == ("i1", 1250)


async def test_what_comes_after_a_cancellation_is_not_of_the_next_reply() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        deltas = session.respond(WRITTEN)
        asking = asyncio.ensure_future(anext(deltas))
        await wire.asked("response.create")
        wire.say(created(), began(), text("Once"))
        await asking
        session.heard(None, 0.0)
        await deltas.aclose()
        following = asyncio.create_task(collect(session))
        wire.say(text(" upon"), audio(0.2), began("i2"))
        await asyncio.sleep(0.5)
        assert len(wire.of("response.create")) == 1, "one response at a time"
        wire.say(done(status="cancelled"))
        await wire.asked("response.create", 2)
        wire.say(created("r2"), began("i3", "r2"), text("Bob.", "i3", "r2"), done("r2"))
        assert await following == [TextDelta("Bob.")]
        deleted = [event["item_id"] for event in wire.of("conversation.item.delete")]
        assert deleted == ["i1", "i2"], "nobody heard them"


async def test_a_service_that_does_not_stop_is_left() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        asking = asyncio.create_task(collect(session))
        await wire.asked("response.create")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        session.heard(None, 0.0)
        await asyncio.sleep(SpeechSessionConfig().cancel_timeout + 1.0)
        assert not wire.is_open
        await answer(session, await service.wire(1), 1)


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "response.output_audio.delta", "response_id": "r1", "item_id": "i", "delta": "?"},
        {"type": "response.output_audio.delta", "response_id": "r1", "item_id": "i", "delta": 7},
        {"type": "response.output_audio.delta", "delta": "AAAA"},
        {"type": "response.output_item.added", "response_id": "r1", "item": []},
        {"type": "response.done", "response": {"id": "r1", "usage": {"total_tokens": "many"}}},
        {"type": "response.done", "response": {"id": "r1", "usage": {"total_tokens": 10**400}}},
        {"type": "response.output_audio_transcript.delta", "response_id": "r1", "delta": "\ud83d"},
        {"type": "error", "error": "oh"},
    ],
    ids=lambda event: f"{event['type']}-{len(str(event))}",
)
async def test_garbage_fails_the_reply_and_the_session_begins_anew(broken: dict[str, Any]) -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        asking = asyncio.create_task(collect(session))
        await wire.asked("response.create")
        wire.say(created(), began(), broken)
        with pytest.raises(ProviderError, match="broken"):
            await asking
        session.heard(None, 0.0)
        await answer(session, await service.wire(1), 1)


async def test_a_service_that_never_stops_talking_is_stopped() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        asking = asyncio.create_task(collect(session))
        await wire.asked("response.create")
        wire.say(created(), began(), *([audio(30.0)] * 21))
        with pytest.raises(ProviderError, match="broken"):
            await asking


async def test_what_is_not_known_is_passed_over() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        wire.say({"type": "rate_limits.updated"}, {}, {"type": 7}, {"type": ["x"]})
        await answer(session, wire, 1)


async def test_a_failed_response_says_why_and_quota_is_not_worth_a_retry() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        asking = asyncio.create_task(collect(session))
        await wire.asked("response.create")
        why = {"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}}
        wire.say(created(), done(status="failed", status_details=why))
        with pytest.raises(ProviderUnavailable, match="exceeded your quota; check plan") as failure:
            await asking
        assert not failure.value.retryable


async def test_an_error_about_what_was_sent_for_the_reply_fails_it_and_another_does_not() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        asking = asyncio.create_task(collect(session, SPOKEN))
        create = await wire.asked("response.create")
        item = wire.of("conversation.item.create")[0]
        harmless = {"message": "no such item", "event_id": item["event_id"]}
        wire.say({"type": "error", "error": harmless})
        await asyncio.sleep(0.1)
        assert not asking.done()
        wire.say({"type": "error", "error": {"message": "no", "event_id": create["event_id"]}})
        with pytest.raises(ProviderError, match="OpenAI failed: no"):
            await asking


async def test_after_a_loss_the_context_is_handed_over() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        await answer(session, wire, 1, SPOKEN)
        wire.fail()
        following = await service.wire(1)
        carol = Message("user", "And now?", name="Carol")
        history = (*SPOKEN.messages, Message("assistant", "Bob."), carol)
        await answer(session, following, 1, RealtimeRequest(history))
        said = [e["item"]["content"][0] for e in following.of("conversation.item.create")]
        assert [part["text"] for part in said] == [
            "Bob: How was your weekend?",
            "Alice: Mulisa, who is here?",
            "Bob.",
            "Carol: And now?",
        ]
        assert said[2]["type"] == "output_text"


async def test_a_reply_during_which_the_session_is_lost_fails_at_once() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        asking = asyncio.create_task(collect(session))
        await wire.asked("response.create")
        wire.say(created(), began(), text("Once"), audio(0.5))
        wire.fail()
        with pytest.raises(ProviderUnavailable, match="lost"):
            await asking


async def test_a_tool_that_outlasts_the_session_fails_the_reply() -> None:
    async with a_session() as (session, service):
        wire = await service.wire()
        await answer_until_call(session, wire)
        wire.fail()
        await service.wire(1)
        result = Message("tool", "2", call_id="c1")
        with pytest.raises(ProviderError, match="lost in the middle"):
            await collect(session, RealtimeRequest((*WRITTEN.messages, result)))


async def answer_until_call(session: SpeechSession, wire: FakeWire) -> None:
    asking = asyncio.create_task(collect(session))
    await wire.asked("response.create")
    item = {"id": "i1", "type": "function_call", "call_id": "c1", "name": "x", "arguments": ""}
    wire.say(created(), {"type": "response.output_item.done", "response_id": "r1", "item": item})
    wire.say(done())
    assert await asking == [ToolCall("c1", "x", {})]


async def test_a_session_is_replaced_before_the_service_ends_it_without_a_gap() -> None:
    config = SpeechSessionConfig(max_age=600.0)
    async with a_session(config) as (session, service):
        wire = await service.wire()
        await answer(session, wire, 1)
        await asyncio.sleep(599.0)
        assert len(service.wires) == 1
        following = await service.wire(1)
        await asyncio.sleep(1.0)
        assert following.is_open and not wire.is_open
        await answer(session, following, 1)


async def test_a_session_in_which_she_speaks_is_replaced_afterwards() -> None:
    config = SpeechSessionConfig(max_age=600.0)
    async with a_session(config) as (session, service):
        wire = await service.wire()
        await asyncio.sleep(595.0)
        asking = asyncio.create_task(collect(session))
        await wire.asked("response.create")
        wire.say(created(), began())
        await asyncio.sleep(20.0)
        wire.say(text("Bob."), audio(1.0), done())
        await asking
        await asyncio.sleep(3.0)
        assert wire.is_open and len(service.wires) == 1
        session.heard(Message("assistant", "Bob."), 1.0)
        await service.wire(1)
        await asyncio.sleep(1.0)
        assert not wire.is_open


async def test_she_answers_with_the_old_session_while_the_new_one_is_slow_to_come() -> None:
    config = SpeechSessionConfig(max_age=600.0)
    async with a_session(config) as (session, service):
        wire = await service.wire()
        service.delay = 20.0
        await asyncio.sleep(605.0)
        await answer(session, wire, 1)
        await service.wire(1)


async def test_who_refuses_us_is_named_at_once_and_asked_again_after_a_while() -> None:
    config = SpeechSessionConfig(refused_wait=60.0)
    async with a_session(config) as (session, service):
        service.refusals = [ProviderUnavailable("OpenAI refuses the key; check OPENAI_API_KEY")]
        before = asyncio.get_running_loop().time()
        with pytest.raises(ProviderUnavailable, match="OPENAI_API_KEY"):
            await collect(session)
        assert asyncio.get_running_loop().time() - before < 1.0
        wire = await service.wire()
        assert asyncio.get_running_loop().time() - before >= 59.0
        await answer(session, wire, 1)


async def test_sessions_that_are_lost_one_after_another_are_begun_ever_more_rarely() -> None:
    async with a_session() as (_, service):
        before = asyncio.get_running_loop().time()
        for number in range(6):
            (await service.wire(number)).fail()
        assert asyncio.get_running_loop().time() - before > 0.75 * (0.5 + 1 + 2 + 4 + 8)


async def test_what_is_used_is_accounted_for() -> None:
    account = Account()
    with working_for(account):
        async with a_session() as (session, service):
            wire = await service.wire()
            asking = asyncio.create_task(collect(session, SPOKEN))
            await wire.asked("response.create")
            wire.say(created(), done(usage={"total_tokens": 321}))
            await asking
    assert account.spent["tokens"] == 321
    assert account.spent["seconds"] == pytest.approx(1.0, abs=0.01)


async def test_a_spent_budget_is_told_before_anything_is_sent() -> None:
    account = Account(budget={"tokens": 10})
    with working_for(account):
        async with a_session() as (session, service):
            wire = await service.wire()
            account.spent["tokens"] = 10
            with pytest.raises(ProviderUnavailable, match="--budget"):
                await collect(session)
            assert not wire.of("response.create")


async def refused_open() -> FakeWire:
    raise ProviderUnavailable("the key is wrong")


async def rejecting() -> FakeWire:
    wire = FakeWire(accepts=False)
    wire.say({"type": "error", "error": {"code": "invalid_value", "message": "no such voice"}})
    return wire


async def silent() -> FakeWire:
    return FakeWire(accepts=False)


@pytest.mark.parametrize(
    ("open_wire", "reason"),
    [(refused_open, "key is wrong"), (rejecting, "no such voice"), (silent, "in time")],
)
async def test_a_check_says_what_is_wrong(open_wire: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ProviderError, match=reason):
        await check(open_wire, OpenAIDialect("marin"), "OpenAI")


async def test_a_check_leaves_no_session() -> None:
    service = Service()
    await check(service.open, OpenAIDialect("marin"), "OpenAI")
    assert not service.wires[0].is_open
