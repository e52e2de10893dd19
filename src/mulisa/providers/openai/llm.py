"""Any LLM that speaks OpenAI's chat completions: OpenAI, Ollama, vLLM, llama.cpp and the like."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, Message, Progress, TextDelta, ToolCall
from mulisa.providers.openai.connection import ANSWER_TIMEOUT, Translation, connect

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

DEFAULT_MODEL: Final = "gpt-4.1-mini"

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]+")


class OpenAILLM:
    """A language model behind an OpenAI-compatible endpoint.

    Without `base_url` it is OpenAI, which needs `api_key`. Without `model` it is gpt-4.1-mini,
    or, elsewhere, the first that the server has.
    """

    def __init__(self, model: str = "", base_url: str = "", api_key: str = "") -> None:
        self._model = model
        self._base_url = base_url
        self._api_key = api_key
        self._client: AsyncOpenAI | None = None

    @property
    def label(self) -> str:
        """Model and where it runs."""
        return f"{self._model or 'a model'} ({self._where})"

    async def load(self, progress: Progress) -> None:
        """Connect, check the key and find the model. Raises ProviderUnavailable.

        A server that is out of reach now is no error: it may come back before it is needed.
        """
        progress(f"asking {self._where}", None)
        if not self._base_url and not self._api_key:
            raise ProviderUnavailable(
                "no language model is configured: set OPENAI_API_KEY, or OPENAI_BASE_URL for a"
                " server of your own, or use --llm concierge, which needs neither"
            )
        await self.aclose()
        self._client = await asyncio.to_thread(connect, self._base_url, self._api_key)
        try:
            await self._choose_model()
        except ProviderError as error:
            if not error.retryable:
                raise
            log.warning("%s; it is asked again when somebody speaks", error)
            progress(f"{self._where} does not answer yet", None)

    async def _choose_model(self) -> None:
        models = await self._list_models()
        if not self._model:
            self._model = DEFAULT_MODEL if not self._base_url else next(iter(models), "")
        if not self._model:
            raise ProviderUnavailable(
                f"{self._where} does not say which models it has: name one, --llm openai:MODEL"
            )

    async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Stream one step: text as it comes, then the tool calls, complete.

        Raises ProviderTimeout after 3 s without a connection or 10 s without a further delta,
        ProviderUnavailable when the server refuses us, ProviderError for anything else.
        """
        client = self._loaded()
        if not self._model:
            await self._choose_model()
        calls = _CallAssembly()
        finished = False
        with Translation(self._where):
            deadline: float | None = asyncio.get_running_loop().time() + ANSWER_TIMEOUT
            async with asyncio.timeout_at(deadline):
                stream = await client.chat.completions.create(**self._body(request))
            async with stream:
                chunks = aiter(stream)
                while chunk := await _next(chunks, deadline):
                    deadline = None
                    for choice in chunk.choices[:1]:
                        finished = finished or choice.finish_reason is not None
                        calls.add(choice.delta.tool_calls or [])
                        if choice.delta.content:
                            yield TextDelta(choice.delta.content)
        if not finished:
            raise ProviderError(f"{self._where} ended its answer in the middle")
        for call in calls.complete():
            yield call

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def _where(self) -> str:
        return self._base_url or "OpenAI"

    def _loaded(self) -> AsyncOpenAI:
        if self._client is None:
            raise ProviderUnavailable(f"the connection to {self._where} is not loaded")
        return self._client

    async def _list_models(self) -> list[str]:
        from openai import BadRequestError, NotFoundError

        client = self._loaded()
        with Translation(self._where):
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    page = await client.models.list()
            except (BadRequestError, NotFoundError):
                return []  # chat is all that we need, and all that some servers have
        return [model.id for model in page.data or () if "embed" not in model.id]

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
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
class _PartialCall:
    index: int | None
    call_id: str
    name: str = ""
    arguments: str = ""


class _CallAssembly:
    """Puts tool calls together whose name and arguments arrive in pieces.

    Pieces belong to the call of their index. Some servers give every call index 0, or none;
    a new id is a new call then.
    """

    def __init__(self) -> None:
        self._calls: list[_PartialCall] = []

    def add(self, deltas: list[Any]) -> None:
        for delta in deltas:
            call = self._call_of(delta)
            if delta.function is not None:
                call.name += delta.function.name or ""
                call.arguments += delta.function.arguments or ""

    def complete(self) -> list[ToolCall]:
        """All calls, in order. Raises ProviderError if one cannot be read."""
        return [
            ToolCall(call.call_id or f"call_{number}", call.name, _parse_arguments(call))
            for number, call in enumerate(self._calls)
        ]

    def _call_of(self, delta: Any) -> _PartialCall:
        for call in reversed(self._calls):
            if call.index == delta.index and delta.id in (None, "", call.call_id):
                return call
        self._calls.append(_PartialCall(delta.index, delta.id or ""))
        return self._calls[-1]


def _parse_arguments(call: _PartialCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError as error:
        raise ProviderError(f"the model called {call.name!r} with broken JSON") from error
    if not isinstance(arguments, dict) or not call.name:
        raise ProviderError(f"the model called {call.name!r} with {type(arguments).__name__}")
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


async def _next(chunks: AsyncIterator[Any], deadline: float | None) -> Any:
    """The next chunk, or None at the end; raises TimeoutError."""
    if deadline is None:
        deadline = asyncio.get_running_loop().time() + ANSWER_TIMEOUT
    async with asyncio.timeout_at(deadline):
        return await anext(chunks, None)
