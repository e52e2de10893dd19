"""Speech by OpenAI's audio interface, or by a server that is compatible with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from mulisa.core.account import check_budget, spend
from mulisa.core.audio import Samples
from mulisa.core.errors import ConfigError, ProviderError, ProviderUnavailable
from mulisa.core.provider import Progress
from mulisa.providers.openai.connection import (
    ANSWER_TIMEOUT,
    connect,
    listed_models,
    openai_service,
    timed,
    warn_if_gone,
)
from mulisa.providers.openai.sound import RATE_HZ, Sound

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEFAULT_MODEL: Final = "gpt-4o-mini-tts"
DEFAULT_VOICE: Final = "coral"
ANOTHER: Final = "--tts local, --tts azure or --tts openai:MODEL"
"""OpenAI ends all its voices of this interface in January 2027, and names none that follow."""
PIECE_BYTES: Final = RATE_HZ // 10 * 2
"""100 ms."""


class OpenAITTS:
    """A voice, streamed as raw samples while it is synthesised."""

    def __init__(self, model: str = "", base_url: str = "", api_key: str = "") -> None:
        """`model` is ``MODEL``, ``MODEL/VOICE`` or ``/VOICE``."""
        model, _, voice = model.partition("/")
        if "/" in voice:
            raise ConfigError(f"{voice!r} is no voice; write openai:MODEL/VOICE")
        self._model = model or DEFAULT_MODEL
        self._voice = voice or DEFAULT_VOICE
        self._base_url = base_url
        self._api_key = api_key
        self._client: AsyncOpenAI | None = None
        self._service = openai_service(base_url, ANOTHER)

    @property
    def label(self) -> str:
        """Model, voice and where it speaks."""
        return f"{self._model}, {self._voice} ({self._service.where})"

    @property
    def sample_rate_hz(self) -> int:
        """24 kHz."""
        return RATE_HZ

    async def load(self, progress: Progress) -> None:
        """Connect and check the key. Raises ProviderUnavailable."""
        progress(f"asking {self._service.where}", None)
        if not self._base_url and not self._api_key:
            raise ProviderUnavailable("OpenAI's voices need a key; set OPENAI_API_KEY")
        await self.aclose()
        self._client = await asyncio.to_thread(connect, self._base_url, self._api_key)
        models = await listed_models(self._client, self._service)
        warn_if_gone(self._model, models, self._service)

    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        """Speak one clause or sentence.

        Raises ProviderTimeout after 3 s without a connection or 10 s without a further piece,
        ProviderUnavailable when the service refuses us or the budget is spent, ProviderError for
        anything else.
        """
        check_budget()
        if self._client is None:
            raise ProviderUnavailable(f"the connection to {self._service.where} is not loaded")
        with self._service.translation():
            async for samples in self._stream(self._client, text):
                if len(samples):
                    yield samples

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _stream(self, client: AsyncOpenAI, text: str) -> AsyncIterator[Samples]:
        deadline = asyncio.get_running_loop().time() + ANSWER_TIMEOUT
        asked = client.audio.speech.with_streaming_response.create(
            model=self._model, voice=self._voice, input=text, response_format="pcm"
        )
        async with AsyncExitStack() as stack:
            async with asyncio.timeout_at(deadline):
                response = await stack.enter_async_context(asked)
            content_type = response.headers.get("content-type", "")
            if "json" in content_type or content_type.startswith("text/"):
                raise ProviderError(f"{self._service.where} sent no sound")
            spend(self._service.name, "characters", len(text))
            sound = Sound(self._service.where, content_type)
            async for piece in timed(aiter(response.iter_bytes(PIECE_BYTES)), deadline):
                yield sound.push(piece)
            yield sound.end()
