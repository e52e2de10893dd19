"""A language model by a LiveKit plugin."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any, Final

from mulisa.core.account import check_budget, spend
from mulisa.core.provider import (
    ChatRequest,
    Delta,
    Message,
    Progress,
    TextDelta,
    ToolCall,
    ToolSpec,
)
from mulisa.providers.livekit_agents.plugin import Plugin, pieces
from mulisa.providers.openai.chat_completions import parse_arguments

TRIAL: Final = ChatRequest((Message("user", "Say yes."),))
"""Asked once while it loads."""


class LiveKitLLM:
    """A language model of a plugin."""

    def __init__(self, plugin: str = "") -> None:
        """`plugin` is ``NAME``, ``NAME/MODEL`` or ``NAME/MODEL?OPTION=VALUE``."""
        self.plugin: Final = Plugin("LLM", plugin)

    @property
    def label(self) -> str:
        """Plugin and model."""
        return self.plugin.label

    async def load(self, progress: Progress) -> None:
        """Import the plugin, check its key with the beginning of one answer.

        Raises ProviderUnavailable, and ConfigError for options that it has not.
        """
        await self.plugin.load(progress, self._try)

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Stream one step: text as it comes, then the tool calls.

        Raises ProviderTimeout after 10 s without a further delta, ProviderError.
        """
        plugin = self.plugin
        check_budget()
        calls: list[Any] = []
        with plugin.translation:
            async with aclosing(pieces(self._begin(request))) as chunks:
                async for chunk in chunks:
                    if chunk.usage is not None:
                        spend(plugin.name, "tokens", chunk.usage.total_tokens)
                    if chunk.delta is not None:
                        calls += chunk.delta.tool_calls
                        if chunk.delta.content:
                            yield TextDelta(chunk.delta.content)
        for number, call in enumerate(calls):
            arguments = parse_arguments(call.name, call.arguments)
            yield ToolCall(call.call_id or f"call_{number}", call.name, arguments)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        await self.plugin.aclose()

    def _begin(self, request: ChatRequest) -> Any:
        plugin = self.plugin
        wire = plugin.agents.llm
        items = [
            item
            for number, message in enumerate(request.messages)
            for item in _items(wire, f"m{number}", message)
        ]
        return plugin.call(
            plugin.engine.chat,
            chat_ctx=wire.ChatContext(items),
            tools=[_tool(wire, tool) for tool in request.tools],
            conn_options=plugin.options,
        )

    async def _try(self) -> None:
        async with aclosing(self.chat(TRIAL)) as deltas:
            async for _ in deltas:
                return


def _items(wire: Any, item_id: str, message: Message) -> Iterator[Any]:
    """What LiveKit makes of one message: calls and their results are items of their own."""
    if message.role == "tool":
        yield wire.FunctionCallOutput(
            call_id=message.call_id, name=message.name, output=message.content, is_error=False
        )
        return
    content = message.content
    if message.role == "user" and message.name:
        content = f"{message.name}: {content}"
    if content or not message.tool_calls:
        yield wire.ChatMessage(id=item_id, role=message.role, content=[content])
    for number, call in enumerate(message.tool_calls):
        yield wire.FunctionCall(
            id=f"{item_id}/{number}",
            group_id=item_id,
            call_id=call.call_id,
            name=call.name,
            arguments=json.dumps(dict(call.arguments)),
        )


def _tool(wire: Any, tool: ToolSpec) -> Any:
    async def run() -> None:
        """Never called: the caller runs its tools itself."""

    schema = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return wire.function_tool(run, raw_schema=schema)
