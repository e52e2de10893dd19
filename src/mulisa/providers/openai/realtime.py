"""Speech to speech with OpenAI's Realtime API, and with whatever speaks it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import Progress, RealtimeSession
from mulisa.providers.openai.connection import connect, openai_service
from mulisa.providers.openai.dialects import Dialect, OpenAIDialect
from mulisa.providers.openai.socket import open_socket
from mulisa.providers.openai.speech_session import (
    SpeechSession,
    SpeechSessionConfig,
    Wire,
    check,
)

if TYPE_CHECKING:
    from openai import AsyncOpenAI

log = logging.getLogger(__name__)

DEFAULT_MODEL: Final = "gpt-realtime-1.5"
DEFAULT_VOICE: Final = "marin"


class OpenAIRealtime:
    """A model that hears and speaks, behind OpenAI's or a compatible realtime endpoint."""

    def __init__(
        self,
        model: str = "",
        base_url: str = "",
        api_key: str = "",
        config: SpeechSessionConfig | None = None,
    ) -> None:
        """`model` may be followed by a voice: ``gpt-realtime-1.5/cedar``."""
        name, _, voice = model.partition("/")
        self._model = name or DEFAULT_MODEL
        self._dialect: Dialect = OpenAIDialect(voice or DEFAULT_VOICE)
        self._base_url = base_url
        self._api_key = api_key
        self._config = config or SpeechSessionConfig()
        self._client: AsyncOpenAI | None = None
        self._service = openai_service(base_url, "--realtime openai:MODEL")

    @property
    def label(self) -> str:
        """Model, voice and where it runs."""
        return f"{self._model}, voice {self._dialect.voice} ({self._where})"

    async def load(self, progress: Progress) -> None:
        """Begin a session and end it, which checks key and model. Raises ProviderUnavailable.

        A service that is out of reach now is no error: it may come back before it is needed.
        """
        progress(f"asking {self._where}", None)
        if not self._base_url and not self._api_key:
            raise ProviderUnavailable(
                "OpenAI needs a key for speech-to-speech: set OPENAI_API_KEY, or OPENAI_BASE_URL"
                " for a server of your own, or leave --realtime out"
            )
        await self.aclose()
        self._client = await asyncio.to_thread(connect, self._base_url, self._api_key)
        try:
            await check(self._open, self._dialect, self._service.name)
        except ProviderError as error:
            if not error.retryable:
                raise
            log.warning("%s; it is asked again when somebody speaks", error)
            progress(f"{self._where} does not answer yet", None)

    def session(self) -> RealtimeSession:
        """For one room."""
        return SpeechSession(self._open, self._dialect, self._service.name, self._config)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def _where(self) -> str:
        return self._service.where

    async def _open(self) -> Wire:
        if self._client is None:
            raise ProviderUnavailable(f"the connection to {self._where} is not loaded")
        return await open_socket(self._client, self._service, self._model)
