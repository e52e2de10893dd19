"""Chat completions: what is sent, and how a streamed answer is put together.

The oldest of OpenAI's interfaces to its models, and the one that every compatible server has.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mulisa.core.errors import ProviderError
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta, ToolCall
from mulisa.providers.openai.connection import Stream, Tokens, opened
from mulisa.providers.openai.thoughts import Spoken

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]+")


class ChatCompletions:
    """One service's chat completions."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._tells_usage = True
        """Until the service says that it does not know ``stream_options``."""
        self._may_think = True
        """Until the service says that its model cannot think and have tools. Nobody would wait
        for its thoughts anyway."""

    async def deltas(
        self, client: AsyncOpenAI, model: str, request: ChatRequest, tokens: Tokens
    ) -> AsyncIterator[Delta]:
        """Text as it comes, then the tool calls, complete; raises what the SDK raises, and
        ProviderError for an answer that ends in the middle or holds a call nobody can read.
        """
        stream = await self._open(client, model, request)
        calls = CallAssembly()
        spoken = Spoken()
        finished = False
        async for chunk in stream:
            if chunk.usage:
                tokens.tell(chunk.usage.total_tokens)
            for choice in (chunk.choices or ())[:1]:
                finished = finished or choice.finish_reason is not None
                calls.add(choice.delta.tool_calls or [])
                said = choice.delta.content or choice.delta.refusal
                if said and (aloud := spoken.push(text_of(said))):
                    yield TextDelta(aloud)
        if not finished:
            raise ProviderError(f"{self._where} ended its answer in the middle")
        if aloud := spoken.end():
            yield TextDelta(aloud)
        for call in calls.complete():
            yield call

    async def _open(self, client: AsyncOpenAI, model: str, request: ChatRequest) -> Stream:
        from openai import BadRequestError, UnprocessableEntityError

        body = _body(model, request)
        while True:
            options = self._options()
            try:
                return await opened(client.chat.completions.create(**body, **options))
            except (BadRequestError, UnprocessableEntityError) as error:
                if not self._learns_from(str(error), options):
                    raise

    def _options(self) -> dict[str, Any]:
        usage = {"stream_options": {"include_usage": True}} if self._tells_usage else {}
        return usage if self._may_think else usage | {"reasoning_effort": "none"}

    def _learns_from(self, refusal: str, options: Mapping[str, Any]) -> bool:
        """Whether there is another way to ask, which is taken from now on. Others may have
        learnt the same while this request was under way.
        """
        if "stream_options" in refusal and "stream_options" in options:
            self._tells_usage = False
        elif "reasoning_effort" in refusal and "reasoning_effort" not in options:
            self._may_think = False
        else:
            return False
        return True


def _body(model: str, request: ChatRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model,
        "messages": [_to_wire(message) for message in request.messages],
        "stream": True,
    }
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": dict(tool.parameters),
                },
            }
            for tool in request.tools
        ]
    return body


@dataclass(slots=True)
class PartialCall:
    """A call of which more may come."""

    index: int | None
    call_id: str
    name: str = ""
    arguments: str = ""

    def complete(self, number: int) -> ToolCall:
        """Raises ProviderError if it cannot be read."""
        return call_of(self.call_id or f"call_{number}", self.name, self.arguments)


class CallAssembly:
    """Puts tool calls together whose name and arguments arrive in pieces.

    Pieces belong to the call of their index. Some servers give every call index 0, or none;
    a new id is a new call then.
    """

    def __init__(self) -> None:
        self._calls: list[PartialCall] = []

    def add(self, deltas: list[Any]) -> None:
        """The next pieces, as the SDK gives them."""
        for delta in deltas:
            call = self._call_of(delta)
            if delta.function is not None:
                call.name += delta.function.name or ""
                call.arguments += delta.function.arguments or ""

    def complete(self) -> list[ToolCall]:
        """All calls, in order. Raises ProviderError if one cannot be read."""
        return [call.complete(number) for number, call in enumerate(self._calls)]

    def _call_of(self, delta: Any) -> PartialCall:
        for call in reversed(self._calls):
            if call.index == delta.index and delta.id in (None, "", call.call_id):
                return call
        self._calls.append(PartialCall(delta.index, delta.id or ""))
        return self._calls[-1]


def text_of(said: object) -> str:
    """What can be spoken, shown and sent on. Raises ProviderError."""
    try:
        if isinstance(said, str) and said.encode():
            return said
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    raise ProviderError(f"the model said what is no text: {said!r:.60}")


def call_of(call_id: object, name: object, arguments: object) -> ToolCall:
    """A call as the service words it. Raises ProviderError."""
    called = text_of(name)
    return ToolCall(text_of(call_id), called, parse_arguments(called, text_of(arguments or "{}")))


def parse_arguments(name: str, text: str) -> dict[str, Any]:
    """What a tool is called with; JSON again when it is sent on. Raises ProviderError."""
    try:
        arguments = json.loads(text or "{}")
        json.dumps(arguments, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ProviderError(f"the model called {name!r} with broken JSON") from error
    if not isinstance(arguments, dict) or not name:
        raise ProviderError(f"the model called {name!r} with {type(arguments).__name__}")
    return arguments


def _to_wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.role == "tool":
        wire["tool_call_id"] = message.call_id
    elif message.role == "user" and message.name:
        wire["content"] = f"{message.name}: {message.content}"
        if name := _wire_name(message.name):
            wire["name"] = name
    elif message.tool_calls:
        wire["content"] = message.content or None
        wire["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments))},
            }
            for call in message.tool_calls
        ]
    return wire


def _wire_name(name: str) -> str:
    """A name as the API accepts it: 1 to 64 of ``a-zA-Z0-9_-``, or none of it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return _NOT_IN_A_NAME.sub("_", plain).strip("_")[:64]
