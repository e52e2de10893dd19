"""Language models of plugins, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mulisa.core.account import Account, working_for
from mulisa.core.errors import BudgetSpent, ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta, ToolCall, ToolSpec
from mulisa.providers.livekit_agents import LiveKitLLM
from tests.providers.livekit_agents.conftest import Loaded

pytestmark = pytest.mark.unit

TOOL = ToolSpec("who_is_here", "People", {"type": "object", "properties": {}})
HELLO = (Message("user", "hello you", name="Zoë"),)


async def reply(llm: LiveKitLLM, *messages: Message) -> list[Delta]:
    return [delta async for delta in llm.chat(ChatRequest(messages or HELLO, (TOOL,)))]


async def test_text_comes_piece_by_piece(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitLLM, "fake/clever?temperature=0.5") as llm:
        assert fake.made[-1].temperature == 0.5
        assert await reply(llm) == [TextDelta("Zoë: "), TextDelta("hello "), TextDelta("you ")]


async def test_what_the_plugin_is_told(fake: Any, loaded: Loaded) -> None:
    calls = (ToolCall("c1", "who_is_here", {"n": [1]}), ToolCall("c2", "who_is_here", {}))
    talk = (
        Message("system", "be brief"),
        *HELLO,
        Message("assistant", "Let me see.", tool_calls=calls),
        Message("tool", '{"people": 2}', name="who_is_here", call_id="c1"),
        Message("tool", "{}", name="who_is_here", call_id="c2"),
        Message("assistant", "Two."),
        Message("user", "thanks"),
    )
    async with loaded(LiveKitLLM, "fake") as llm:
        await reply(llm, *talk)
        stream = fake.streams[-1]
        sent, _ = stream.chat_ctx.to_provider_format("openai")
        assert [tool.info.raw_schema["name"] for tool in stream.tools] == ["who_is_here"]
    wanted = [
        {"id": c, "type": "function", "function": {"name": "who_is_here", "arguments": arguments}}
        for c, arguments in (("c1", '{"n": [1]}'), ("c2", "{}"))
    ]
    assert sent == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "Zoë: hello you"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": wanted},
        {"role": "tool", "tool_call_id": "c1", "content": '{"people": 2}'},
        {"role": "tool", "tool_call_id": "c2", "content": "{}"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "thanks"},
    ]


async def test_tool_calls_come_last(fake: Any, loaded: Loaded) -> None:
    from livekit.agents.llm import FunctionToolCall

    async def call(stream: Any) -> None:
        stream.send("", FunctionToolCall(name="a", arguments='{"n": 1}', call_id="c1"))
        stream.send("Let me see.")
        stream.send("", FunctionToolCall(name="b", arguments="", call_id=""))

    async with loaded(LiveKitLLM, "fake") as llm:
        fake.think = call
        assert await reply(llm) == [
            TextDelta("Let me see."),
            ToolCall("c1", "a", {"n": 1}),
            ToolCall("call_1", "b", {}),
        ]


@pytest.mark.parametrize("arguments", ["{broken", "[1]"])
async def test_a_call_that_nobody_can_read(arguments: str, fake: Any, loaded: Loaded) -> None:
    from livekit.agents.llm import FunctionToolCall

    async def call(stream: Any) -> None:
        stream.send("", FunctionToolCall(name="a", arguments=arguments, call_id="c1"))

    async with loaded(LiveKitLLM, "fake") as llm:
        fake.think = call
        with pytest.raises(ProviderError, match="'a'"):
            await reply(llm)


async def test_one_that_breaks_off(fake: Any, loaded: Loaded) -> None:
    from livekit.agents import APIConnectionError

    async def break_off(stream: Any) -> None:
        stream.send("Half an")
        await asyncio.sleep(0.1)
        raise APIConnectionError("reset")

    heard: list[Delta] = []
    async with loaded(LiveKitLLM, "fake") as llm:
        fake.think = break_off
        before = len(fake.streams)
        with pytest.raises(ProviderUnavailable, match="cannot reach fake"):
            async for delta in llm.chat(ChatRequest(HELLO)):
                heard.append(delta)
        assert len(fake.streams) == before + 1, "the plugin does not try again by itself"
    assert heard == [TextDelta("Half an")]


@pytest.mark.parametrize("says", ["", "Half an"])
async def test_one_that_falls_silent(says: str, fake: Any, loaded: Loaded) -> None:
    async def wait(stream: Any) -> None:
        if says:
            stream.send(says)
        await asyncio.Event().wait()

    async with loaded(LiveKitLLM, "fake") as llm:
        fake.think = wait
        with pytest.raises(ProviderTimeout):
            await reply(llm)


async def test_cancelling_ends_it(fake: Any, loaded: Loaded) -> None:
    async def wait(stream: Any) -> None:
        await asyncio.Event().wait()

    async with loaded(LiveKitLLM, "fake") as llm:
        fake.think = wait
        asking = asyncio.create_task(reply(llm))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert asking.cancelled() and fake.streams[-1].main.done()


async def test_tokens_are_counted_and_the_budget_holds(fake: Any, loaded: Loaded) -> None:
    account = Account({"tokens": 40})
    async with loaded(LiveKitLLM, "fake") as llm:
        with working_for(account):
            await reply(llm)
            assert account.spent["tokens"] == 42
            with pytest.raises(BudgetSpent):
                await reply(llm)
