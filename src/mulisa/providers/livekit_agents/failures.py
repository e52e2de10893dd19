"""What a plugin raises, in our words, with the mend for what has one."""

from __future__ import annotations

import re
from typing import Any, Final

from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable

MAX_SAID: Final = 300
"""Characters of what a service says itself."""
_QUOTA: Final = re.compile(r"quota|billing|credit|balance|\bplan\b", re.IGNORECASE)


class Translation:
    """A context that turns what a plugin raises into our errors."""

    def __init__(self, agents: Any, where: str, key: str) -> None:
        """`agents` is the module `livekit.agents`; `key` is the variable that holds the key."""
        self._agents = agents
        self._where = where
        self._key = key or "its key"

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ProviderError):
            raise self.translated(error) from error

    def translated(self, error: Exception) -> ProviderError:
        """The same, as an error of ours."""
        agents, where = self._agents, self._where
        match error:
            case ProviderError():
                return error
            case TimeoutError() | agents.APITimeoutError():
                return ProviderTimeout(f"{where} did not answer in time")
            case _ if (answer := _answer(error)) is not None:
                return self._refused(_status(answer) or 0, said_by(answer))
            case agents.APIStatusError():
                return self._refused(error.status_code, said_by(error))
            case agents.APIConnectionError():
                return ProviderUnavailable(
                    f"cannot reach {where}: {said_by(error)}; is this machine online?",
                    retryable=True,
                )
            case agents.APIError():
                return ProviderError(
                    f"{where} failed: {said_by(error)}", retryable=bool(error.retryable)
                )
            case _:
                return ProviderError(f"{where} failed: {type(error).__name__}: {said_by(error)}")

    def _refused(self, status: int, said: str) -> ProviderError:
        """By HTTP's status; a WebSocket's close code (1000 and above) is a lost connection."""
        where = self._where
        if status in (401, 403):
            return ProviderUnavailable(f"{where} refuses the key: {said}; check {self._key}")
        if status == 402 or (status == 429 and _QUOTA.search(said)):
            return ProviderUnavailable(
                f"{where} has had enough of us: {said}; check plan and billing of the account"
            )
        if status == 429:
            return ProviderUnavailable(
                f"{where} has had enough of us: {said}; try again later", retryable=True
            )
        if status == 404:
            return ProviderUnavailable(
                f"{where} has no such model, voice or address: {said}; name another"
            )
        answered = f"answered {status}" if 0 < status < 1000 else "hung up"
        is_ours = 400 <= status < 500 and status != 408
        return ProviderError(f"{where} {answered}: {said}", retryable=not is_ours)


def _answer(error: BaseException | None) -> Exception | None:
    """HTTP's own refusal, which some plugins let through, or hide behind a lost connection."""
    while isinstance(error, Exception):
        if 400 <= (_status(error) or 0) < 600:
            return error
        error = error.__cause__
    return None


def _status(error: Exception) -> int | None:
    """As `livekit.agents` and SDKs call it, or as aiohttp does."""
    for name in ("status_code", "status"):
        if isinstance(status := getattr(error, name, None), int):
            return status
    return None


def said_by(error: Exception) -> str:
    """What was said, on one line."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    cause = str(error) if _status(error) is None else ""  # some status's text has the address
    said = said or cause or getattr(error, "message", "") or type(error).__name__
    return " ".join(str(said).split())[:MAX_SAID]
