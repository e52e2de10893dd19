"""OpenAI's SDK against a service on loopback that is true to the protocol, well or not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import numpy as np
import pytest

from mulisa.core.account import Account, working_for
from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import (
    AudioDelta,
    Message,
    Realtime,
    RealtimeRequest,
    RealtimeSession,
    TextDelta,
    ToolCall,
    ToolSpec,
)
from mulisa.providers.openai.realtime import OpenAIRealtime
from mulisa.providers.openai.speech_session import SpeechSessionConfig
from mulisa.providers.tones import recognise, tone
from tests.services.brains import ScriptedBrain
from tests.services.faults import Fault
from tests.services.openai_voice import CONNECTION, RESPONSE, OpenAIVoice

pytestmark = pytest.mark.network

SYSTEM = Message("system", "You are Mulisa.")
BOB = Message("user", "How was your weekend?", name="Bob")
ALICE = Message("user", "Mulisa, who is here?", name="Alice")
CAROL = Message("user", "And who was here?", name="Carol")
TOOL = ToolSpec("who_is_here", "People", {"type": "object", "properties": {}})
CALL = ToolCall("c1", "who_is_here", {"limit": 2})
SPOKEN = RealtimeRequest((SYSTEM, BOB, ALICE), (TOOL,), tone(3, 0.5, 16_000))
STORY = "Once upon a time there was a very small fox and it lived in a wood"
QUICK = SpeechSessionConfig(
    setup_timeout=1.0, cancel_timeout=0.3, first_wait=0.05, longest_wait=0.2
)


def script(said: str) -> str | ToolCall:
    if "story" in said:
        return STORY
    if "tool" in said:
        return CALL
    return "Bob is here."


def voice(**options: float) -> OpenAIVoice:
    return OpenAIVoice(ScriptedBrain(script), speed=20.0, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def a_session(
    service: OpenAIVoice, config: SpeechSessionConfig = QUICK
) -> AsyncIterator[RealtimeSession]:
    async with service.serving() as url:
        realtime = OpenAIRealtime(base_url=f"{url}/v1", api_key=service.key, config=config)
        async with running(realtime) as session:
            yield session
    assert service.invalid == []


@asynccontextmanager
async def running(realtime: Realtime) -> AsyncIterator[RealtimeSession]:
    await realtime.load(lambda *_: None)
    session = realtime.session()
    task = asyncio.create_task(session.run())
    try:
        yield session
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await realtime.aclose()


async def ask(session: RealtimeSession, request: RealtimeRequest = SPOKEN) -> tuple[str, Samples]:
    """The whole answer; it is heard to its end."""
    text, pieces = "", [np.empty(0, np.int16)]
    async with asyncio.timeout(20.0), aclosing(session.respond(request)) as deltas:
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                text += delta.text
            elif isinstance(delta, AudioDelta):
                pieces.append(delta.samples)
    samples = np.concatenate(pieces)
    session.heard(Message("assistant", text.strip()), len(samples) / 24_000)
    return text.strip(), samples


async def ask_until_it_works(session: RealtimeSession) -> str:
    async with asyncio.timeout(30.0):
        while True:
            with suppress(ProviderError):
                return (await ask(session))[0]
            session.heard(None, 0.0)
            await asyncio.sleep(0.05)


def saying(words: str, *before: Message) -> RealtimeRequest:
    return RealtimeRequest((SYSTEM, *before, Message("user", words, name="Alice")), (TOOL,))


def written(service: OpenAIVoice) -> list[str]:
    """What the service knows, as text; speech and replies by what they are."""
    items = service.connections[-1].session.items
    return [item.text or item.wire["role"] for item in items]


async def test_a_turn_is_heard_and_answered_in_speech() -> None:
    service = voice()
    async with a_session(service) as session:
        text, samples = await ask(session)
        assert text == "Bob is here."
        assert recognise(samples[::3].copy()) or len(samples) > 24_000 // 2
        assert isinstance(service.brain, ScriptedBrain)
        assert service.brain.heard == ["<3>"]
        assert written(service) == [
            "Bob: How was your weekend?",
            "Alice says:",
            "user",
            "assistant",
        ]
        state = service.connections[-1].session
        assert (state.turn_detection, state.voice) == (None, "marin")
        assert state.instructions == "You are Mulisa."
        path, headers = service.handshakes[-1]
        assert path == "/v1/realtime?model=gpt-realtime-1.5"
        assert headers["Authorization"] == f"Bearer {service.key}"


async def test_the_next_turn_goes_into_the_same_conversation() -> None:
    service = voice()
    async with a_session(service) as session:
        text, _ = await ask(session)
        history = (*SPOKEN.messages, Message("assistant", text), BOB, CAROL)
        await ask(session, RealtimeRequest(history))
        assert written(service)[4:] == [
            "Bob: How was your weekend?",
            "Carol: And who was here?",
            "assistant",
        ]
        assert len(service.connections) == 2, "one of them was the check"
        assert service.connections[-1].errors == []


async def test_tools_are_called_and_answered() -> None:
    service = voice()
    async with a_session(service) as session:
        request = saying("use the tool")
        async with aclosing(session.respond(request)) as deltas:
            assert [delta async for delta in deltas] == [CALL]
        results = (Message("assistant", "", tool_calls=(CALL,)), Message("tool", "2", call_id="c1"))
        text, _ = await ask(session, RealtimeRequest(request.messages + results, (TOOL,)))
        assert text == "Bob is here."
        assert isinstance(service.brain, ScriptedBrain)
        assert service.brain.heard[-1] == "=2"
        await ask(session, saying("hello"))
        kinds = [item.wire["type"] for item in service.connections[-1].session.items]
        assert kinds == ["message", "message"], "of the former turn nothing was handed over"
        assert service.connections[-1].errors == []


async def test_an_interruption_leaves_the_service_with_what_was_heard() -> None:
    service = voice()
    async with a_session(service) as session:
        heard = 0
        async with aclosing(session.respond(saying("a story"))) as deltas:
            async for delta in deltas:
                heard += len(delta.samples) if isinstance(delta, AudioDelta) else 0
                if heard > 24_000:
                    break
            cut = Message("assistant", "Once upon [cut]")
            session.heard(cut, 0.7)
        await ask(session, saying("and now?", Message("user", "a story", name="Alice"), cut))
        connection = service.connections[-1]
        assert connection.errors == []
        (truncated,) = connection.of("conversation.item.truncate")
        assert truncated["audio_end_ms"] == 700
        story = connection.session.items[1]
        assert story.audio is not None and len(story.audio) == 0.7 * 24_000
        assert written(service)[-2:] == ["Alice: and now?", "assistant"]


async def test_a_reply_that_is_closed_in_the_middle_is_stopped() -> None:
    service = voice()
    async with a_session(service) as session:
        async with aclosing(session.respond(saying("a story"))) as deltas:
            await anext(deltas)
        session.heard(None, 0.0)
        assert (await ask(session))[0] == "Bob is here."
        connection = service.connections[-1]
        assert len(connection.of("response.cancel")) == 1
        assert [error["code"] for error in connection.errors] == []


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("kind", ["cut", "garbage", "silence", "status"])
async def test_after_a_fault_in_a_reply_the_next_one_works(kind: str, after: int) -> None:
    service = voice()
    async with a_session(service) as session:
        fault = Fault(kind, after, code="server_error")  # type: ignore[arg-type]
        service.faults.next(RESPONSE, fault)
        with pytest.raises((ProviderError, TimeoutError)):
            async with asyncio.timeout(1.0), aclosing(session.respond(saying("story"))) as deltas:
                async for _ in deltas:
                    pass
        session.heard(None, 0.0)
        assert service.faults.happened == [(RESPONSE, fault)]
        assert await ask_until_it_works(session) == "Bob is here."


@pytest.mark.parametrize("after", [0, 1, 2, 4])
@pytest.mark.parametrize("kind", ["cut", "garbage", "silence", "status", "latency"])
async def test_after_a_fault_of_the_connection_another_one_works(kind: str, after: int) -> None:
    service = voice()
    async with service.serving() as url:
        realtime = OpenAIRealtime(base_url=f"{url}/v1", api_key=service.key, config=QUICK)
        await realtime.load(lambda *_: None)
        service.faults.next(CONNECTION, Fault(kind, after, delay=0.05, status=503))  # type: ignore[arg-type]
        session = realtime.session()
        task = asyncio.create_task(session.run())
        try:
            with suppress(ProviderError, TimeoutError):
                async with asyncio.timeout(1.5):
                    await ask(session)
            session.heard(None, 0.0)
            assert await ask_until_it_works(session) == "Bob is here."
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await realtime.aclose()


async def test_a_session_that_the_service_ends_is_followed_by_one_that_knows_all() -> None:
    service = voice(max_session=1.0)
    async with a_session(service) as session:
        text, _ = await ask(session)
        await asyncio.sleep(1.5)
        history = (*SPOKEN.messages, Message("assistant", text), CAROL)
        await ask_until_it_works(session)
        await ask(session, RealtimeRequest(history))
        assert written(service) == [
            "Bob: How was your weekend?",
            "Alice: Mulisa, who is here?",
            "Bob is here.",
            "Carol: And who was here?",
            "assistant",
        ] or written(service)[1:3] == ["Alice says:", "user"]
        assert service.connections[-1].errors == []


async def test_a_session_is_replaced_before_its_end_while_she_talks_on_and_on() -> None:
    service = voice(max_session=2.0)
    config = SpeechSessionConfig(max_age=0.5, first_wait=0.05, longest_wait=0.2)
    async with a_session(service, config) as session:
        for _ in range(10):
            assert (await ask(session))[0] == "Bob is here."
            await asyncio.sleep(0.2)
        assert len(service.connections) > 3
        codes = [error["code"] for connection in service.connections for error in connection.errors]
        assert codes == [], "none of them expired"


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "invalid_api_key", "refuses the key.*check OPENAI_API_KEY"),
        (403, "forbidden", "refuses the key"),
        (404, "not_found", "no such model or address"),
        (429, "insufficient_quota", "check plan and billing"),
    ],
)
async def test_what_only_people_can_mend_is_told_when_it_is_loaded(
    status: int, code: str, words: str
) -> None:
    service = voice()
    service.faults.next(CONNECTION, Fault("status", status=status, code=code))
    async with service.serving() as url:
        realtime = OpenAIRealtime(base_url=f"{url}/v1", api_key=service.key)
        with pytest.raises(ProviderUnavailable, match=words) as failure:
            await realtime.load(lambda *_: None)
        assert not failure.value.retryable
        await realtime.aclose()


async def test_a_wrong_key_and_a_wrong_model_are_told_apart() -> None:
    service = voice()
    async with service.serving() as url:
        wrong_key = OpenAIRealtime(base_url=f"{url}/v1", api_key="wrong")
        with pytest.raises(ProviderUnavailable, match="OPENAI_API_KEY"):
            await wrong_key.load(lambda *_: None)
        wrong_model = OpenAIRealtime("gpt-9", f"{url}/v1", service.key)
        with pytest.raises(ProviderUnavailable, match="gpt-9.*--realtime NAME:MODEL"):
            await wrong_model.load(lambda *_: None)
        await wrong_key.aclose()
        await wrong_model.aclose()


async def test_without_key_and_address_it_says_what_to_set() -> None:
    with pytest.raises(ProviderUnavailable, match="OPENAI_API_KEY"):
        await OpenAIRealtime().load(lambda *_: None)


async def test_a_service_that_is_away_is_no_error_before_it_is_needed() -> None:
    realtime = OpenAIRealtime(base_url="http://127.0.0.1:9/v1", api_key="canary", config=QUICK)
    async with running(realtime) as session:
        with pytest.raises(ProviderUnavailable, match="cannot reach"):
            await ask(session)


async def test_what_is_used_is_accounted_for() -> None:
    account, service = Account(), voice()
    with working_for(account):
        async with a_session(service) as session:
            await ask(session)
    assert account.spent["tokens"] == 120
    assert account.spent["seconds"] == pytest.approx(0.5, abs=0.02)


async def test_the_key_is_nowhere_to_be_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service = voice()
    async with a_session(service) as session:
        await ask(session)
        service.key = "changed"
        service.connections[-1]._request.transport.abort()  # type: ignore[union-attr]
        with suppress(ProviderError, TimeoutError):
            await ask(session)
        session.heard(None, 0.0)
    assert "canary" not in caplog.text
