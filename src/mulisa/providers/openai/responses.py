"""Responses: what is sent, and how its events become text and tool calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta, ToolCall
from mulisa.providers.openai.chat_completions import parse_arguments
from mulisa.providers.openai.connection import Tokens, opened

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_SPENT = "insufficient_quota"


class Responses:
    """One service's Responses; nothing is kept there (``store`` is false)."""

    def __init__(self, where: str) -> None:
        self._where = where

    async def deltas(
        self, client: AsyncOpenAI, model: str, request: ChatRequest, tokens: Tokens
    ) -> AsyncIterator[Delta]:
        """Text as it comes, each tool call when it is complete; raises as `ChatCompletions`."""
        async for event in await opened(client.responses.create(**_body(model, request))):
            match event.type:
                case "response.output_text.delta" if event.delta:
                    yield TextDelta(event.delta)
                case "response.output_item.done" if event.item.type == "function_call":
                    item = event.item
                    arguments = parse_arguments(item.name, item.arguments)
                    yield ToolCall(item.call_id, item.name, arguments)
                case "response.completed" | "response.incomplete":
                    if event.response.usage:
                        tokens.tell(event.response.usage.total_tokens)
                    return
                case "response.failed":
                    raise self._failure(event.response.error)
                case "error":
                    raise self._failure(event)
        raise ProviderError(f"{self._where} ended its answer in the middle")

    def _failure(self, error: Any) -> ProviderError:
        said = " ".join(str(getattr(error, "message", "") or "it says not why").split())[:300]
        if getattr(error, "code", "") == _SPENT:
            mend = "check plan and billing of the account"
            return ProviderUnavailable(f"{self._where} has had enough of us: {said}; {mend}")
        return ProviderError(f"{self._where} could not answer: {said}")


def _body(model: str, request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "input": [item for message in request.messages for item in _to_wire(message)],
        "stream": True,
        "store": False,
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
                "strict": False,
            }
            for tool in request.tools
        ]
    return body


def _to_wire(message: Message) -> Iterator[dict[str, Any]]:
    """A message and the calls in it are items of their own."""
    if message.role == "tool":
        yield {
            "type": "function_call_output",
            "call_id": message.call_id,
            "output": message.content,
        }
        return
    content = message.content
    if message.role == "user" and message.name:
        content = f"{message.name}: {content}"
    if content:
        yield {"role": message.role, "content": content}
    for call in message.tool_calls:
        yield {
            "type": "function_call",
            "call_id": call.call_id,
            "name": call.name,
            "arguments": json.dumps(dict(call.arguments)),
        }
