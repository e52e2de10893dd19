"""The connection to an OpenAI-compatible service, and its errors in our words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT_TIMEOUT: Final = 3.0
ANSWER_TIMEOUT: Final = 10.0
"""Seconds until the first byte of an answer, and between two of them."""
NO_KEY: Final = "none"
"""Sent to servers that ask for no key: the SDK wants one, and so do headers."""


def connect(base_url: str, api_key: str) -> AsyncOpenAI:
    """A client that never tries again by itself. Blocks for a while (imports the SDK)."""
    from openai import AsyncOpenAI, Timeout

    return AsyncOpenAI(
        api_key=api_key or NO_KEY,
        base_url=base_url or None,
        max_retries=0,
        timeout=Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT),
    )


class Translation:
    """Turns what the SDK raises into our errors, with the mend for those that have one."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ProviderError):
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> ProviderError:
        import openai

        where = self._where
        match error:
            case TimeoutError() | openai.APITimeoutError():
                return ProviderTimeout(f"{where} did not answer in time")
            case openai.APIConnectionError():
                return ProviderUnavailable(
                    f"cannot reach {where}: {error.__cause__ or error}; is it running,"
                    " and is OPENAI_BASE_URL right?",
                    retryable=True,
                )
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                return ProviderUnavailable(
                    f"{where} refuses the key: {said_by(error)}; check OPENAI_API_KEY"
                )
            case openai.RateLimitError():
                spent = error.code == "insufficient_quota"
                mend = "check plan and billing of the account" if spent else "try again later"
                return ProviderUnavailable(
                    f"{where} has had enough of us: {said_by(error)}; {mend}", retryable=not spent
                )
            case openai.NotFoundError():
                return ProviderUnavailable(
                    f"{where} has no such model or address: {said_by(error)};"
                    " check --llm openai:MODEL and OPENAI_BASE_URL"
                )
            case openai.APIStatusError():
                return ProviderError(
                    f"{where} answered {error.status_code}: {said_by(error)}",
                    retryable=error.status_code >= 500,
                )
            case _:
                return ProviderError(f"{where} sent what is no answer: {said_by(error)}")


def said_by(error: Exception) -> str:
    """What the service said itself, on one line."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    return " ".join(str(said or error or type(error).__name__).split())[:300]
