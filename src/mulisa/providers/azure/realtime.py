"""Speech to speech with Azure Voice Live, which speaks OpenAI's realtime protocol."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import Progress, RealtimeSession
from mulisa.providers.openai.connection import Service, connect
from mulisa.providers.openai.dialects import VoiceLiveDialect
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

ENGINE: Final = "Azure"
DEFAULT_MODEL: Final = "gpt-realtime"
DEFAULT_VOICE: Final = "en-US-Ava:DragonHDLatestNeural"
DEFAULT_API_VERSION: Final = "2025-10-01"
MAX_AGE: Final = 25 * 60.0
"""Seconds; Azure ends a session after 30 minutes."""
_KEY: Final = "AZURE_VOICE_LIVE_API_KEY"
_ENDPOINT: Final = "AZURE_VOICE_LIVE_ENDPOINT"
_MEND: Final = f"check {_ENDPOINT} and {_KEY}"


class AzureVoiceLive:
    """A model that hears and speaks, with a voice of its own or one of Azure's."""

    def __init__(
        self,
        model: str = "",
        endpoint: str = "",
        api_key: str = "",
        api_version: str = "",
        config: SpeechSessionConfig | None = None,
    ) -> None:
        """`model` may be followed by a voice: ``gpt-4o/en-US-AvaNeural``, ``gpt-realtime/marin``.

        `endpoint` is that of the resource: ``https://NAME.services.ai.azure.com``.
        """
        name, _, voice = model.partition("/")
        self._model = name or DEFAULT_MODEL
        self._dialect = VoiceLiveDialect(voice or DEFAULT_VOICE)
        self._base_url = _base_url(endpoint)
        self._api_key = api_key
        self._api_version = api_version or DEFAULT_API_VERSION
        self._config = config or SpeechSessionConfig(max_age=MAX_AGE)
        self._client: AsyncOpenAI | None = None

    @property
    def label(self) -> str:
        """Model, voice and where it runs."""
        return f"{self._model}, voice {self._dialect.voice} ({self._where})"

    async def load(self, progress: Progress) -> None:
        """Begin a session and end it, which checks key and model. Raises ProviderUnavailable.

        A service that is out of reach now is no error: it may come back before it is needed.
        """
        progress(f"asking {self._where}", None)
        if not self._base_url or not self._api_key:
            raise ProviderUnavailable(
                "Azure Voice Live needs an endpoint (https://NAME.services.ai.azure.com) and a"
                f" key: {_MEND}"
            )
        await self.aclose()
        self._client = await asyncio.to_thread(connect, self._base_url, self._api_key)
        try:
            await check(self._open, self._dialect, ENGINE)
        except ProviderError as error:
            if not error.retryable:
                raise
            log.warning("%s; it is asked again when somebody speaks", error)
            progress(f"{self._where} does not answer yet", None)

    def session(self) -> RealtimeSession:
        """For one room."""
        return SpeechSession(self._open, self._dialect, ENGINE, self._config)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @property
    def _where(self) -> str:
        return f"Azure Voice Live at {urlsplit(self._base_url).netloc or 'no address'}"

    async def _open(self) -> Wire:
        from openai import Omit

        if self._client is None:
            raise ProviderUnavailable(f"the connection to {self._where} is not loaded")
        return await open_socket(
            self._client,
            Service(ENGINE, self._where, _KEY, _ENDPOINT),
            self._model,
            query={"api-version": self._api_version},
            headers={"api-key": self._api_key, "Authorization": Omit()},
        )


def _base_url(endpoint: str) -> str:
    """To which the SDK appends ``/realtime``; empty if there is no endpoint."""
    parts = urlsplit(endpoint.strip())
    if not parts.netloc:
        return ""
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    return f"{scheme}://{parts.netloc}/voice-live"
