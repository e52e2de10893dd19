"""Language models over both of OpenAI's interfaces, by the official SDK, against one service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mulisa.core.account import Account, check_budget, spend, working_for
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta, ToolCall, ToolSpec
from mulisa.providers.openai.connection import Tokens
from mulisa.providers.openai.llm import OpenAILLM, _default
from tests.services.faults import Fault
from tests.services.openai_service import KEY, OpenAIService

pytestmark = pytest.mark.network

CALL = ToolCall("call_1", "who_is_here", {"room": "é", "n": [1, 2]})
TOOL = ToolSpec("who_is_here", "People", {"type": "object", "properties": {}})
TALK = (
    Message("system", "be brief"),
    Message("user", "who is here?", name="Zoë van Dijk"),
    Message("assistant", "", tool_calls=(CALL,)),
    Message("tool", '{"people": 2}', name="who_is_here", call_id="call_1"),
)
INTERFACES = pytest.mark.parametrize("model", ["some-model", "responses/some-model"])


@asynccontextmanager
async def asking(service: OpenAIService, model: str) -> AsyncIterator[OpenAILLM]:
    async with service.serving() as url:
        llm = OpenAILLM(model, base_url=url, api_key=KEY)
        try:
            await llm.load(lambda *_: None)
            yield llm
        finally:
            await llm.aclose()


async def reply(llm: OpenAILLM, *messages: Message) -> list[Delta]:
    return [delta async for delta in llm.chat(ChatRequest(messages or TALK, (TOOL,)))]


@INTERFACES
async def test_text_then_calls(model: str) -> None:
    service = OpenAIService(lambda body: ["Let me ", "look.", CALL])
    async with asking(service, model) as llm:
        assert await reply(llm) == [TextDelta("Let me "), TextDelta("look."), CALL]
        assert llm.label.startswith("some-model (http")


@INTERFACES
async def test_a_whole_talk_is_understood(model: str) -> None:
    service = OpenAIService()
    async with asking(service, model) as llm:
        answer = await reply(llm)
        assert answer == [TextDelta('{"people": '), TextDelta("2} ")]
        await reply(llm, *TALK[:2])
    first, second = service.bodies("responses" if "responses" in model else "chat")
    assert first["model"] == "some-model"
    said = (second.get("messages") or second["input"])[-1]
    assert said["content"] == "Zoë van Dijk: who is here?"
    assert first.get("store") is (False if "responses" in model else None)


@INTERFACES
async def test_tokens_are_counted_and_the_budget_holds(model: str) -> None:
    used: list[tuple[str, str]] = []
    account = Account({"tokens": 1}, on_spent=lambda engine, unit, _: used.append((engine, unit)))
    async with asking(OpenAIService(), model) as llm:
        with working_for(account):
            await reply(llm)
            with pytest.raises(ProviderUnavailable, match="--budget"):
                await reply(llm)
    assert account.spent["tokens"] > 10
    assert used == [("OpenAI", "tokens")]


@INTERFACES
async def test_an_interrupted_answer_is_paid_for_too(model: str) -> None:
    service = OpenAIService(lambda body: ["word " * 40, "word " * 40])
    endpoint = "responses" if "responses" in model else "chat"
    service.faults.next(endpoint, Fault("silence", after=5 if model.startswith("resp") else 3))
    account = Account()
    async with asking(service, model) as llm, asyncio.timeout(10):
        with working_for(account):
            deltas = llm.chat(ChatRequest(TALK))
            await anext(deltas)
            await deltas.aclose()  # type: ignore[attr-defined]
    assert 40 < account.spent["tokens"] < 200


async def test_a_count_that_nobody_believes() -> None:
    tokens = Tokens(ChatRequest(TALK))
    tokens.add(TextDelta("hello there"))
    for total in (7, 12, 12.0, 11, "many", None):
        tokens.tell(total)
    assert tokens.used == 12, "running totals are no sum"
    tokens.tell(float("inf"))
    account = Account(budget={"tokens": 10})
    with working_for(account):
        spend("OpenAI", "tokens", tokens.used)
        check_budget()
    assert account.spent["tokens"] == 0


async def test_what_is_free_has_no_budget() -> None:
    account = Account(budget={"tokens": 0})
    async with OpenAIService().serving() as url:
        llm = OpenAILLM("m", base_url=url, api_key=KEY, free="yes")
        await llm.load(lambda *_: None)
        with working_for(account):
            assert await reply(llm)
        await llm.aclose()
    assert account.spent["tokens"] == 0


async def test_a_server_that_does_not_count() -> None:
    service = OpenAIService(knows_usage=False)
    async with asking(service, "m") as llm:
        assert await reply(llm)
        assert await reply(llm)
    asked = ["stream_options" in body for body in service.bodies("chat")]
    assert asked == [True, False, False], "it is not asked for it again"


@pytest.mark.parametrize("knows_usage", [True, False])
async def test_a_model_that_cannot_think_and_have_tools(knows_usage: bool) -> None:
    service = OpenAIService(knows_usage=knows_usage, thinks=True)
    async with asking(service, "m") as llm:
        assert await reply(llm)
        assert await reply(llm)
    asked = [body.get("reasoning_effort") for body in service.bodies("chat")]
    assert asked[-2:] == ["none", "none"] and len(asked) == 4 - knows_usage


async def test_what_is_refused_to_several_at_once_fails_nobody() -> None:
    service = OpenAIService(knows_usage=False, thinks=True)
    async with asking(service, "m") as llm:
        assert all(await asyncio.gather(*(reply(llm) for _ in range(4))))
        n_asked = len(service.bodies("chat"))
        assert await reply(llm)
    assert len(service.bodies("chat")) == n_asked + 1


@pytest.mark.parametrize(
    ("models", "model"),
    [
        ((), "gpt-4.1-mini"),
        (("gpt-5.4-mini", "gpt-4.1-mini"), "gpt-4.1-mini"),
        (("gpt-5.6-sol", "gpt-5.4-mini"), "gpt-5.4-mini"),
        (("gpt-7-mini",), "gpt-4.1-mini"),
    ],
)
def test_when_the_default_is_gone_its_successor_answers(
    models: tuple[str, ...], model: str
) -> None:
    assert _default(models) == model


@INTERFACES
@pytest.mark.parametrize("kind", ["cut", "garbage"])
@pytest.mark.parametrize("after", [0, 3])
async def test_a_broken_answer_is_an_error_and_the_next_is_whole(
    model: str, kind: Any, after: int
) -> None:
    service = OpenAIService()
    endpoint = "responses" if "responses" in model else "chat"
    service.faults.next(endpoint, Fault(kind, after=after))
    async with asking(service, model) as llm, asyncio.timeout(10):
        with pytest.raises(ProviderError):
            await reply(llm)
        assert await reply(llm)


@INTERFACES
async def test_a_service_that_wants_to_be_left_alone(model: str) -> None:
    service = OpenAIService()
    endpoint = "responses" if "responses" in model else "chat"
    service.faults.next(endpoint, Fault("status", status=429, code="rate_limit", delay=20))
    async with asking(service, model) as llm:
        with pytest.raises(ProviderUnavailable, match="later") as caught:
            await reply(llm)
    assert caught.value.retryable
    assert caught.value.retry_after == 20


@INTERFACES
async def test_who_leaves_ends_the_answer(model: str) -> None:
    service = OpenAIService(lambda body: [f"word{number} " for number in range(50)])
    endpoint = "responses" if "responses" in model else "chat"
    service.faults.next(endpoint, Fault("latency", delay=0.05))
    async with asking(service, model) as llm, asyncio.timeout(10):
        deltas = llm.chat(ChatRequest(TALK))
        assert await anext(deltas) == TextDelta("word0 ")
        await deltas.aclose()  # type: ignore[attr-defined]
        await service.cancelled.wait()
