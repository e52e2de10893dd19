"""A Speech resource of Azure: where it is, what languages are called there, and its errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.core.secrets import conceal

ENGINE: Final = "Azure"
"""What it is called where its use is counted."""
CONNECT_TIMEOUT: Final = 3.0
ANSWER_TIMEOUT: Final = 5.0
"""Seconds until the first byte of an answer, and between two of them."""
LONGEST_PATIENCE: Final = 3600.0
"""Seconds; a service that wants to be left alone for longer is not believed."""
DEFAULT_LOCALE: Final = "en-US"

_REGION: Final = re.compile(r"[a-z0-9-]{1,40}")
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_REGIONAL_ENDPOINT: Final = re.compile(
    r"https://([a-z0-9-]+)\.api\.cognitive\.(microsoft\.com|azure\.cn|microsoft\.us)/?"
)
"""What the portal shows as the endpoint of a resource without a name of its own."""
_LOCALES: Final = {
    "ar": "ar-EG",
    "cs": "cs-CZ",
    "da": "da-DK",
    "el": "el-GR",
    "en": "en-US",
    "he": "he-IL",
    "hi": "hi-IN",
    "ja": "ja-JP",
    "ko": "ko-KR",
    "nb": "nb-NO",
    "pt": "pt-BR",
    "sv": "sv-SE",
    "uk": "uk-UA",
    "vi": "vi-VN",
    "zh": "zh-CN",
}
"""Of languages whose locale is not the language doubled, as in de-DE."""
_SPEECH_HOSTS: Final = {"china": "speech.azure.cn", "usgov": "speech.azure.us"}
_TOKEN_HOSTS: Final = {"china": "api.cognitive.azure.cn", "usgov": "api.cognitive.microsoft.us"}


def to_locale(language: str) -> str:
    """A language as Azure names it (BCP 47): ``de`` is de-DE, none is en-US.

    Raises ProviderUnavailable for what is no language.
    """
    if not language:
        return DEFAULT_LOCALE
    if not _LANGUAGE.fullmatch(language):
        raise ProviderUnavailable(f"{language!r} is no language: name one like en-US or de")
    short = language.lower()
    return language if "-" in language else _LOCALES.get(short, f"{short}-{short.upper()}")


@dataclass(frozen=True, slots=True)
class SpeechResource:
    """One key, and the region or the endpoint that it belongs to. Never shows the key."""

    region: str
    endpoint: str
    key: str = field(repr=False)

    @classmethod
    def of(cls, region: str, endpoint: str, key: str) -> SpeechResource:
        """From settings as people write them; a regional endpoint is its region."""
        regional = _REGIONAL_ENDPOINT.fullmatch(endpoint.strip().lower())
        if regional is not None:
            region, endpoint = regional[1], ""
        return cls(region.replace(" ", "").lower(), endpoint.strip().rstrip("/"), key.strip())

    @property
    def where(self) -> str:
        """For people: ``Azure Speech (westeurope)``."""
        return f"Azure Speech ({conceal(self.endpoint or self.region)})"

    @property
    def setting(self) -> str:
        """The variable that says where it is."""
        return "AZURE_SPEECH_ENDPOINT" if self.endpoint else "AZURE_SPEECH_REGION"

    @property
    def token_url(self) -> str:
        """Gives a token for a right key."""
        return f"{self.endpoint or self._host(_TOKEN_HOSTS, '', 'api.cognitive.microsoft.com')}" + (
            "/sts/v1.0/issueToken"
        )

    @property
    def synthesis_url(self) -> str:
        """Speaks SSML."""
        return f"{self._synthesis_root}/v1"

    @property
    def voices_url(self) -> str:
        """Lists the voices, for a right key."""
        return f"{self._synthesis_root}/voices/list"

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        key = {"Ocp-Apim-Subscription-Key": self.key} if self.key else {}
        return {"User-Agent": "mulisa"} | key

    def check_settings(self) -> None:
        """Raises ProviderUnavailable when something is missing or cannot be right."""
        if not (self.region or self.endpoint):
            raise ProviderUnavailable(
                "Azure Speech is not configured: set AZURE_SPEECH_KEY and AZURE_SPEECH_REGION"
            )
        if self.region and not self.endpoint and not self.key:
            raise ProviderUnavailable(f"{self.where} needs a key: set AZURE_SPEECH_KEY")
        if not self.key.isascii() or not self.key.isprintable():
            raise ProviderUnavailable(f"the key of {self.where} is none; check AZURE_SPEECH_KEY")
        if not self.endpoint and not _REGION.fullmatch(self.region):
            raise ProviderUnavailable(
                f"{self.region!r} is no region of Azure: name one like westeurope;"
                " check AZURE_SPEECH_REGION"
            )
        if self.endpoint and not re.match(r"(https?|wss?)://[^\s/]+", self.endpoint):
            raise ProviderUnavailable(
                f"{self.endpoint!r} is no endpoint: it begins with https://;"
                " check AZURE_SPEECH_ENDPOINT"
            )

    @asynccontextmanager
    async def answered(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request that was not refused.

        Raises ProviderTimeout, ProviderUnavailable, ProviderError, also from within.
        """
        with self.translation():
            async with await self._request(session, method, url, headers, body) as response:
                if response.status != 200:
                    said = await _beginning_of(response)
                    raise self.refusal(response.status, said, response.headers.get("Retry-After"))
                yield response

    async def _request(
        self,
        session: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes,
    ) -> aiohttp.ClientResponse:
        sent = self.headers | dict(headers or {})
        try:
            return await session.request(method, url, headers=sent, data=body)
        except aiohttp.ServerDisconnectedError:
            # A connection that was kept open was closed in this moment.
            return await session.request(method, url, headers=sent, data=body)

    def translation(self) -> _Translation:
        """What aiohttp raises inside becomes ours."""
        return _Translation(self)

    def refusal(self, status: int, said: str, retry_after: str | None = None) -> ProviderError:
        """What an HTTP status other than 200 means."""
        is_used_up = "quota" in said.lower()
        said = f": {self.without_key(said)}" if said else ""
        match status:
            case 403 | 429 if is_used_up:
                return ProviderUnavailable(
                    f"the quota of {self.where} is used up{said}; check the pricing tier of the"
                    " resource"
                )
            case 401 | 403:
                return ProviderUnavailable(
                    f"{self.where} refuses the key{said}; check AZURE_SPEECH_KEY, and that"
                    f" {self.setting} is where the key is from"
                )
            case 404:
                return ProviderUnavailable(
                    f"{self.where} has no such address{said}; check {self.setting}"
                )
            case 429:
                return ProviderUnavailable(
                    f"{self.where} has had enough of us{said}; try again later, or raise the"
                    " limit of the resource",
                    retryable=True,
                    retry_after=_seconds(retry_after),
                )
            case _:
                return ProviderError(
                    f"{self.where} answered {status}{said}", retryable=status >= 500
                )

    def unreachable(self, reason: object) -> ProviderUnavailable:
        """No connection, or one that is lost."""
        return ProviderUnavailable(
            f"cannot reach {self.where}: {self.without_key(str(reason))};"
            f" is there a network, and is {self.setting} right?",
            retryable=True,
        )

    def without_key(self, said: str) -> str:
        """What a service said, on one line, short and without our key."""
        said = said.replace(self.key, "***") if self.key else said
        return " ".join(said.split())[:300]

    @property
    def _synthesis_root(self) -> str:
        if self.endpoint:
            return f"{self.endpoint}/tts/cognitiveservices"
        return f"{self._host(_SPEECH_HOSTS, 'tts.', 'speech.microsoft.com')}/cognitiveservices"

    def _host(self, hosts: dict[str, str], prefix: str, usual: str) -> str:
        """Some countries have a cloud of their own."""
        cloud = next(
            (host for start, host in hosts.items() if self.region.startswith(start)), usual
        )
        return f"https://{self.region}.{prefix}{cloud}"


class _Translation:
    def __init__(self, resource: SpeechResource) -> None:
        self._resource = resource

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        match error:
            case TimeoutError():  # aiohttp's are too
                raise ProviderTimeout(f"{self._resource.where} did not answer in time") from error
            case aiohttp.ClientConnectionError():
                raise self._resource.unreachable(error) from error
            case aiohttp.ClientError() | ValueError():
                said = self._resource.without_key(str(error))
                raise ProviderError(f"{self._resource.where} sent no answer: {said}") from error


def _seconds(retry_after: str | None) -> float | None:
    """Of the header Retry-After; None for none, for a date and for more than an hour."""
    if retry_after is None or not re.fullmatch(r"\d{1,4}", retry_after):
        return None
    return min(float(retry_after), LONGEST_PATIENCE) or None


async def _beginning_of(response: aiohttp.ClientResponse) -> str:
    """Of what is text; the reason for anything else."""
    try:
        async with asyncio.timeout(1.0):
            body = await response.content.read(500)
    except (aiohttp.ClientError, TimeoutError):
        body = b""
    return body.decode("utf-8", "replace") or str(response.reason or "")


def open_session() -> aiohttp.ClientSession:
    """For requests to a resource; keeps connections open between them."""
    times = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_TIMEOUT, connect=CONNECT_TIMEOUT, sock_read=ANSWER_TIMEOUT
    )
    return aiohttp.ClientSession(timeout=times, trust_env=True)
