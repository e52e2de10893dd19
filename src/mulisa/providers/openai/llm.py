"""Any LLM that speaks OpenAI's protocols: OpenAI, Ollama, vLLM, llama.cpp and the like."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from mulisa.core.account import check_budget, spend
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, Progress
from mulisa.providers.openai.chat_completions import ChatCompletions
from mulisa.providers.openai.connection import (
    ANSWER_TIMEOUT,
    Tokens,
    connect,
    openai_service,
    warn_if_gone,
)
from mulisa.providers.openai.responses import Responses

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

DEFAULT_MODEL: Final = "gpt-4.1-mini"
SUCCESSOR: Final = "gpt-5.4-mini"
"""Of the default, which OpenAI may end in January 2027; taken once only this one is there."""
RESPONSES: Final = "responses/"
"""In front of a model: it is asked by the Responses interface."""


class OpenAILLM:
    """A language model behind an OpenAI-compatible endpoint.

    Without `base_url` it is OpenAI, which needs `api_key`. Without `model` it is gpt-4.1-mini
    (gpt-5.4-mini when OpenAI has ended that), or, elsewhere, the first that the server has.

    It is asked by chat completions: every service has them, they carry the speakers' names as a
    field of their own, and what they lack (OpenAI's own tools, memory at the service, reasoning
    between calls) has no place in a spoken answer. ``responses/MODEL`` asks by Responses, which
    some models of OpenAI demand; nobody else is ever asked so without these words.
    """

    def __init__(
        self, model: str = "", base_url: str = "", api_key: str = "", free: str = ""
    ) -> None:
        """With anything for `free` it costs nothing: no budget holds for it."""
        self._model = model.removeprefix(RESPONSES)
        self._base_url = base_url
        self._api_key = api_key
        self._is_free = bool(free)
        self._client: AsyncOpenAI | None = None
        self._service = openai_service(base_url, "--llm openai:MODEL")
        has_responses = model.startswith(RESPONSES)
        self._interface: ChatCompletions | Responses = (
            Responses(self._where) if has_responses else ChatCompletions(self._where)
        )

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
        self._client = await asyncio.to_thread(self._connect)
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
            is_elsewhere = self._service.is_compatible
            self._model = next(iter(models), "") if is_elsewhere else _default(models)
        if not self._model:
            raise ProviderUnavailable(
                f"{self._where} does not say which models it has: name one, --llm openai:MODEL"
            )
        warn_if_gone(self._model, set(models), self._service)

    async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """Stream one step: text as it comes, then the tool calls, complete.

        Raises ProviderTimeout after 3 s without a connection or 10 s without a further delta,
        ProviderUnavailable when the server refuses us or the budget is spent, ProviderError for
        anything else.
        """
        if not self._is_free:
            check_budget()
        client = self._loaded()
        if not self._model:
            await self._choose_model()

        tokens = Tokens(request)
        try:
            with self._service.translation():
                async for delta in self._interface.deltas(client, self._model, request, tokens):
                    tokens.add(delta)
                    yield delta
        finally:
            if not self._is_free:
                spend(self._service.name, "tokens", tokens.used)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def _where(self) -> str:
        return self._service.where

    def _connect(self) -> AsyncOpenAI:
        return connect(self._base_url, self._api_key)

    def _loaded(self) -> AsyncOpenAI:
        if self._client is None:
            raise ProviderUnavailable(f"the connection to {self._where} is not loaded")
        return self._client

    async def _list_models(self) -> list[str]:
        from openai import BadRequestError, NotFoundError

        client = self._loaded()
        with self._service.translation():
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    page = await client.models.list()
            except (BadRequestError, NotFoundError):
                return []  # chat is all that we need, and all that some servers have
        return [model.id for model in page.data or () if "embed" not in model.id]


def _default(models: Sequence[str]) -> str:
    """Of OpenAI's, which are not always told."""
    return SUCCESSOR if SUCCESSOR in models and DEFAULT_MODEL not in models else DEFAULT_MODEL
