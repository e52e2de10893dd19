"""Speech to speech with Azure Voice Live, which speaks OpenAI's realtime protocol."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from mulisa.core.errors import ProviderUnavailable
from mulisa.core.provider import Progress
from mulisa.core.secrets import conceal
from mulisa.providers.openai.connection import Service
from mulisa.providers.openai.dialects import VoiceLiveDialect
from mulisa.providers.openai.realtime import OpenAIRealtime
from mulisa.providers.openai.socket import open_socket
from mulisa.providers.openai.speech_session import (
    SpeechSessionConfig,
    Wire,
)

ENGINE: Final = "Azure"
DEFAULT_MODEL: Final = "gpt-realtime"
DEFAULT_VOICE: Final = "en-US-Ava:DragonHDLatestNeural"
DEFAULT_API_VERSION: Final = "2025-10-01"
MAX_AGE: Final = 25 * 60.0
"""Seconds; Azure ends a session after 30 minutes."""
_KEY: Final = "AZURE_VOICE_LIVE_API_KEY"
_ENDPOINT: Final = "AZURE_VOICE_LIVE_ENDPOINT"


class AzureVoiceLive(OpenAIRealtime):
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
        config = config or SpeechSessionConfig(max_age=MAX_AGE)
        super().__init__(name or DEFAULT_MODEL, _base_url(endpoint), api_key, config)
        where = f"Azure Voice Live at {urlsplit(conceal(self._base_url)).netloc or 'no address'}"
        self._service = Service(ENGINE, where, _KEY, _ENDPOINT, "--realtime azure:MODEL")
        self._dialect = VoiceLiveDialect(voice or DEFAULT_VOICE)
        self._api_version = api_version or DEFAULT_API_VERSION

    async def load(self, progress: Progress) -> None:
        """Begin a session and end it, which checks key and model. Raises ProviderUnavailable.

        A service that is out of reach now is no error: it may come back before it is needed.
        """
        if not self._base_url or not self._api_key:
            raise ProviderUnavailable(
                "Azure Voice Live needs an endpoint (https://NAME.services.ai.azure.com) and a"
                f" key: check {_ENDPOINT} and {_KEY}"
            )
        await super().load(progress)

    async def _open(self) -> Wire:
        from openai import Omit

        if self._client is None:
            raise ProviderUnavailable(f"the connection to {self._where} is not loaded")
        return await open_socket(
            self._client,
            self._service,
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
