"""The WebSocket of a realtime session, through the SDK, and its errors in our words."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.providers.openai.connection import CONNECT_TIMEOUT, NotThere, Service, Translation

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.resources.realtime.realtime import AsyncRealtimeConnection

MAX_MESSAGE: Final = 2**24
"""Bytes; an audio delta has some 10 kB."""
SEND_TIMEOUT: Final = 10.0
CLOSE_TIMEOUT: Final = 1.0
"""Seconds; who does not answer a farewell shall not keep us."""

wire_log = logging.getLogger(f"{__name__}.wire")
wire_log.setLevel(logging.INFO)
"""Of the WebSocket library, which would write the key among the headers at DEBUG."""


class SocketTranslation(Translation):
    """Also what the WebSocket raises."""

    def _translated(self, error: Exception) -> ProviderError:
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

        where = self._service.where
        match error:
            case InvalidStatus(response=response):
                return self._refused(response.status_code, said_in(bytes(response.body or b"")))
            case ConnectionClosed(rcvd=frame):
                reason = f": {frame.code} {frame.reason}".rstrip() if frame else ""
                return ProviderUnavailable(f"{where} ended the session{reason}", retryable=True)
            case InvalidHandshake():
                return NotThere(f"{where} speaks no WebSocket here; check the address")
            case OSError() if not isinstance(error, TimeoutError):
                return ProviderUnavailable(
                    f"cannot reach {where}: {error}; is it running, and is its address right?",
                    retryable=True,
                )
            case _:
                return super()._translated(error)

    def _refused(self, status: int, said: str) -> ProviderError:
        where = self._service.where
        match status:
            case 403 if self._service.is_compatible:  # of ASGI servers also "no such route"
                return NotThere(
                    f"{where} has no WebSocket here, or refuses the key: {said}; check"
                    f" {self._service.url} and {self._service.key}"
                )
            case 401 | 403:
                return ProviderUnavailable(
                    f"{where} refuses the key: {said}; check {self._service.key}"
                )
            case 400 | 404 | 405 | 501:
                return NotThere(
                    f"{where} has no such model or address: {said}; name another, as in"
                    f" {self._service.another}, or check {self._service.url}"
                )
            case 429:
                spent = "quota" in said
                mend = "check plan and billing of the account" if spent else "try again later"
                return ProviderUnavailable(
                    f"{where} has had enough of us: {said}; {mend}", retryable=not spent
                )
            case _:
                return ProviderUnavailable(
                    f"{where} answered {status}: {said}", retryable=status >= 500
                )


class Socket:
    """One session's connection: JSON objects in both directions."""

    def __init__(self, connection: AsyncRealtimeConnection, translation: Translation) -> None:
        self._connection = connection
        self._translation = translation

    async def send(self, event: Mapping[str, Any]) -> None:
        """Raises ProviderError when the connection is lost or stuck."""
        with self._translation:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._connection.send_raw(json.dumps(event))

    async def receive(self) -> dict[str, Any]:
        """The next event. Raises ProviderError when there will be none, or for garbage."""
        with self._translation:
            event = json.loads(await self._connection.recv_bytes())
            if not isinstance(event, dict):
                raise ValueError("no object")
            return event

    async def aclose(self) -> None:
        """Idempotent."""
        with suppress(ProviderError), self._translation:
            await self._connection.close()


async def open_socket(
    client: AsyncOpenAI,
    service: Service,
    model: str = "",
    query: Mapping[str, object] | None = None,
    headers: Mapping[str, Any] | None = None,
) -> Socket:
    """Connect to `client`'s realtime endpoint, if there is a `model`, to that one.

    Raises ProviderError.
    """
    from openai import omit

    translation = SocketTranslation(service)
    with translation:
        options: Any = {
            "max_size": MAX_MESSAGE,
            "close_timeout": CLOSE_TIMEOUT,
            "compression": None,
            "logger": wire_log,
        }
        async with asyncio.timeout(CONNECT_TIMEOUT):
            connection = await client.realtime.connect(
                model=model or omit,
                extra_query=dict(query or {}),
                extra_headers=dict(headers or {}),
                websocket_connection_options=options,
            ).enter()
    return Socket(connection, translation)


def said_in(body: bytes) -> str:
    """What a service said when it refused, on one line."""
    try:
        error = json.loads(body)["error"]
        said = f"{error.get('message')} ({error.get('code') or error.get('type')})"
    except (ValueError, LookupError, TypeError, AttributeError):
        said = body.decode(errors="replace") or "it does not say why"
    return " ".join(said.split())[:300]
