"""Responses: what is sent, and how its events become text and tool calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from mulisa.core.errors import ProviderError
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta
from mulisa.providers.openai.chat_completions import call_of, text_of
from mulisa.providers.openai.connection import Tokens, opened, told

if TYPE_CHECKING:
    from openai import AsyncOpenAI


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
                case "response.output_text.delta" | "response.refusal.delta" if event.delta:
                    yield TextDelta(text_of(event.delta))
                case "response.output_item.done" if event.item.type == "function_call":
                    item = event.item
                    yield call_of(item.call_id, item.name, item.arguments)
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
        return told(self._where, getattr(error, "code", ""), said)


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
