"""Azure's neural voices, streamed.

Over the REST interface rather than the Speech SDK: its connection stays open between sentences,
so the first audio comes as soon as over the SDK's WebSocket; and cancelling closes the response
at once, while the SDK's synthesiser is stopped by a call that blocks, and leaves threads behind.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import AsyncIterator
from typing import Final
from xml.sax.saxutils import escape, quoteattr

import aiohttp
import numpy as np

from mulisa.core.account import check_budget, spend
from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.core.provider import Progress
from mulisa.providers.azure.resource import ENGINE, SpeechResource, open_session, to_locale

log = logging.getLogger(__name__)

DEFAULT_VOICE: Final = "en-US-AvaMultilingualNeural"
"""Speaks the language of its text."""
OUTPUT_FORMAT: Final = "raw-24khz-16bit-mono-pcm"
SAMPLE_RATE_HZ: Final = 24_000
SSML_HEADERS: Final = {
    "Content-Type": "application/ssml+xml",
    "X-Microsoft-OutputFormat": OUTPUT_FORMAT,
}

_VOICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_-]{0,99}")
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NOT_AUDIO: Final = ("text/", "application/json", "application/xml")


class AzureTTS:
    """A neural voice of an Azure Speech resource.

    Without `voice` it is Ava, who speaks many languages, or, with a `language`, the first voice
    that the resource has for it. Needs `region` or `endpoint`, and `api_key`.
    """

    def __init__(
        self,
        voice: str = "",
        region: str = "",
        endpoint: str = "",
        api_key: str = "",
        language: str = "",
    ) -> None:
        self._wanted = voice
        self._voice = voice or DEFAULT_VOICE
        self._language = language
        self._resource = SpeechResource.of(region, endpoint, api_key)
        self._session: aiohttp.ClientSession | None = None

    @property
    def label(self) -> str:
        """The voice and where it is."""
        return f"{self._voice} ({self._resource.where})"

    @property
    def sample_rate_hz(self) -> int:
        """24 kHz."""
        return SAMPLE_RATE_HZ

    async def load(self, progress: Progress) -> None:
        """Check the key and the voice with one call. Raises ProviderUnavailable.

        A service that is out of reach now is no error: it may come back before it is needed.
        """
        self._resource.check_settings()
        to_locale(self._language)
        if not _VOICE.fullmatch(self._voice):
            raise self._no_such_voice([])
        await self.aclose()
        self._session = open_session()
        progress(f"asking {self._resource.where}", None)
        try:
            self._choose(await self._list_voices(self._session))
        except ProviderError as error:
            if not error.retryable:
                raise
            log.warning("%s; it is asked again when Mulisa speaks", error)
            progress(f"{self._resource.where} does not answer yet", None)

    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        """Speak one clause or sentence: mono int16 at 24 kHz, as it comes.

        Raises ProviderTimeout after 3 s without a connection or 5 s without further audio,
        ProviderUnavailable when the service refuses us, ProviderError for anything else.
        """
        if self._session is None:
            raise ProviderUnavailable(f"the connection to {self._resource.where} is not loaded")
        text = _NOT_XML.sub(" ", text).strip()
        if not text:
            return
        check_budget()
        spend(ENGINE, "characters", len(text))
        ssml = self._ssml(text).encode()
        async with self._resource.answered(
            self._session, "POST", self._resource.synthesis_url, SSML_HEADERS, ssml
        ) as response:
            if response.content_type.startswith(_NOT_AUDIO):
                raise ProviderError(f"{self._resource.where} sent {response.content_type}")
            async for samples in self._samples(response):
                yield samples

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _samples(self, response: aiohttp.ClientResponse) -> AsyncIterator[Samples]:
        half, heard = b"", False
        async for chunk in response.content.iter_any():
            data = half + chunk
            whole = len(data) & ~1
            half = data[whole:]
            if whole:
                heard = True
                yield np.frombuffer(data[:whole], "<i2").astype(np.int16)
        if not heard:
            raise ProviderError(f"{self._resource.where} said nothing")

    def _ssml(self, text: str) -> str:
        spoken = re.match(r"[a-z]{2,3}-[A-Z]{2}(?=-)", self._voice)
        locale = spoken[0] if spoken else to_locale(self._language)
        return (
            '<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis"'
            f" xml:lang={quoteattr(locale)}><voice name={quoteattr(self._voice)}>"
            f"{escape(text)}</voice></speak>"
        )

    async def _list_voices(self, session: aiohttp.ClientSession) -> list[tuple[str, str]]:
        """Name and locale of each."""
        async with self._resource.answered(session, "GET", self._resource.voices_url) as response:
            listed = await response.json(content_type=None)
        if not isinstance(listed, list):
            raise ProviderError(f"{self._resource.where} sent no list of voices")
        voices = [voice for voice in listed if isinstance(voice, dict)]
        return [(str(voice.get("ShortName")), str(voice.get("Locale"))) for voice in voices]

    def _choose(self, voices: list[tuple[str, str]]) -> None:
        names = [name for name, _ in voices]
        if self._wanted:
            if names and self._wanted not in names:
                raise self._no_such_voice(names)
        elif self._language:
            locale = to_locale(self._language)
            fitting = [name for name, spoken in voices if spoken.lower() == locale.lower()]
            self._voice = next(filter(_VOICE.fullmatch, fitting), DEFAULT_VOICE)

    def _no_such_voice(self, names: list[str]) -> ProviderUnavailable:
        close = difflib.get_close_matches(self._wanted, names) or [DEFAULT_VOICE]
        return ProviderUnavailable(
            f"{self._resource.where} has no voice {self._wanted!r}; name one like"
            f" --tts azure:{close[0]}"
        )
