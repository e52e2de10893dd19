"""The connection to an OpenAI-compatible service, and its errors in our words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import urlsplit

from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, TextDelta
from mulisa.core.secrets import conceal

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

log = logging.getLogger(__name__)

CONNECT_TIMEOUT: Final = 3.0
ANSWER_TIMEOUT: Final = 10.0
"""Seconds until the first byte of an answer, and between two of them."""
LONGEST_PATIENCE: Final = 3600.0
"""Seconds; a service that wants to be left alone for longer is not believed."""
CHARS_PER_TOKEN: Final = 4
"""Of English text, about."""
SPENT: Final = "insufficient_quota"
"""The code of an error that money mends."""
NO_KEY: Final = "none"
"""Sent to servers that ask for no key: the SDK wants one, and so do headers."""
OWN_HOST: Final = "api.openai.com"
"""Regions have their own in front of it."""


def connect(base_url: str, api_key: str) -> AsyncOpenAI:
    """A client that never tries again by itself. Blocks for a while (imports the SDK)."""
    from openai import AsyncOpenAI, Timeout

    return AsyncOpenAI(
        api_key=api_key or NO_KEY,
        base_url=base_url or None,
        max_retries=0,
        timeout=Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT),
    )


class NotThere(ProviderUnavailable):
    """The service does not have what it was asked for: an address, an interface, a model."""


Stream: TypeAlias = AsyncIterator[Any]


class Tokens:
    """What one answer takes: as the service tells at its end, until then as far as is known.

    An answer that is interrupted is paid for, too, and some servers tell nothing.
    """

    def __init__(self, request: ChatRequest) -> None:
        self._told = 0.0
        self._chars = sum(len(message.content) for message in request.messages)
        self._is_answered = False

    def add(self, delta: Delta) -> None:
        """A piece of the answer."""
        self._is_answered = True
        self._chars += len(delta.text) if isinstance(delta, TextDelta) else len(str(delta))

    def tell(self, total: object) -> None:
        """The service's own count so far."""
        if isinstance(total, int | float):
            self._told = max(self._told, total)

    @property
    def used(self) -> float:
        """Tokens; nothing while there is no answer."""
        estimate = self._chars / CHARS_PER_TOKEN if self._is_answered else 0.0
        return self._told or estimate


@dataclass(frozen=True, slots=True)
class Service:
    """Whom we talk to, and what its settings are called."""

    name: str
    """The vendor, as on its invoice: ``OpenAI``."""
    where: str
    """For people: the vendor, or the address of a compatible server."""
    key: str
    """The setting of its key."""
    url: str
    """The setting of its address."""
    another: str
    """How another model is named: ``--tts openai:MODEL``."""
    is_compatible: bool = False
    """It speaks the vendor's protocol, and is not the vendor's own."""

    def translation(self) -> Translation:
        """A context that turns what the SDK raises into our errors."""
        return Translation(self)


def openai_service(base_url: str, another: str) -> Service:
    """OpenAI, or what speaks its protocol at `base_url`, if there is one.

    `another` is how another model is named.
    """
    where = conceal(base_url) or "OpenAI"
    is_compatible = bool(base_url) and not _is_own(base_url)
    return Service("OpenAI", where, "OPENAI_API_KEY", "OPENAI_BASE_URL", another, is_compatible)


def _is_own(base_url: str) -> bool:
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:  # no address at all
        return False
    return f".{host}".endswith(f".{OWN_HOST}")


async def listed_models(client: AsyncOpenAI, service: Service) -> set[str]:
    """Ask for the list of models, which costs nothing and needs the key; empty if there is none.

    Raises ProviderUnavailable if the service refuses us. One that is out of reach now may come
    back before it is needed; one that has no such list may have everything else.
    """
    from openai import BadRequestError, NotFoundError

    try:
        with service.translation():
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    return {model.id for model in (await client.models.list()).data}
            except (BadRequestError, NotFoundError):
                return set()
    except ProviderError as error:
        if not error.retryable:
            raise
        log.warning("%s; it is asked again when it is needed", error)
    return set()


def warn_if_gone(model: str, models: set[str], service: Service) -> None:
    """OpenAI takes models away; better to know it before somebody speaks."""
    if models and model not in models and not service.is_compatible:
        log.warning(
            "%s has no %s any more; name another: %s", service.where, model, service.another
        )


async def opened(asked: Awaitable[Any]) -> Stream:
    """A streamed answer, of which each piece may take `ANSWER_TIMEOUT`, the first one with the
    time until the answer began. Raises TimeoutError and what the SDK raises.
    """
    deadline = asyncio.get_running_loop().time() + ANSWER_TIMEOUT
    async with asyncio.timeout_at(deadline):
        stream = await asked
    return _closing(stream, deadline)


async def timed(pieces: Stream, deadline: float | None) -> Stream:
    """The same pieces; TimeoutError when the first one is not there at `deadline` (the loop's
    clock), or a further one takes longer than `ANSWER_TIMEOUT`. Who takes them may take its time.
    """
    while (piece := await _next(pieces, deadline)) is not None:
        deadline = None
        yield piece


async def _closing(stream: Any, deadline: float | None) -> Stream:
    async with stream:
        async for piece in timed(aiter(stream), deadline):
            yield piece


async def _next(pieces: Stream, deadline: float | None) -> Any:
    """The next piece, or None at the end."""
    if deadline is None:
        deadline = asyncio.get_running_loop().time() + ANSWER_TIMEOUT
    async with asyncio.timeout_at(deadline):
        return await anext(pieces, None)


class Translation:
    """Turns what the SDK raises into our errors, with the mend for those that have one."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ProviderError):
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> ProviderError:
        import openai

        service, where = self._service, self._service.where
        match error:
            case TimeoutError() | openai.APITimeoutError():
                return ProviderTimeout(f"{where} did not answer in time")
            case openai.APIConnectionError():
                return ProviderUnavailable(
                    f"cannot reach {where}: {error.__cause__ or error}; is it running,"
                    f" and is {service.url} right?",
                    retryable=True,
                )
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return ProviderUnavailable(
                    f"{where} refuses the key: {said_by(error)}; check {service.key}"
                )
            case openai.RateLimitError():
                if error.code == SPENT:
                    return told(where, error.code, said_by(error), _retry_after(error))
                return ProviderUnavailable(
                    f"{where} has had enough of us: {said_by(error)}; try again later",
                    retryable=True,
                    retry_after=_retry_after(error),
                )
            case openai.NotFoundError():
                return NotThere(
                    f"{where} has no such model or address: {said_by(error)};"
                    f" name another, as in {service.another}, or check {service.url}"
                )
            case openai.APIStatusError():
                return ProviderError(
                    f"{where} answered {error.status_code}: {said_by(error)}",
                    retryable=error.status_code >= 500,
                    retry_after=_retry_after(error),
                )
            case openai.APIError(body=dict()):
                return told(where, error.code, said_by(error))
            case _:
                return ProviderError(f"{where} sent what is no answer: {said_by(error)}")


def told(where: str, code: object, said: str, retry_after: float | None = None) -> ProviderError:
    """What a service says in place of an answer, or in the middle of one."""
    if code == SPENT:
        mend = "check plan and billing of the account"
        return ProviderUnavailable(
            f"{where} has had enough of us: {said}; {mend}", retry_after=retry_after
        )
    return ProviderError(f"{where} could not answer: {said}")


def _retry_after(error: APIStatusError) -> float | None:
    """Seconds, of the header Retry-After (RFC 9110, section 10.2.3); None without a number."""
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 < seconds < LONGEST_PATIENCE else None


def said_by(error: Exception) -> str:
    """What the service said itself, on one line."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(said or error or type(error).__name__).split())[:300]
