"""Tells URLs what happens on the embedded SFU, as LiveKit's webhooks do, signed as they are.

Each URL gets all events in order. One that does not take them is tried again for a while; a
bounded number waits meanwhile, and of what is dropped the next one says how much it was.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from google.protobuf.json_format import MessageToJson
from livekit.protocol.webhook import WebhookEvent
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_chain,
    wait_fixed,
)

from mulisa.ending import within
from mulisa.server.tokens import TokenIssuer, utc_now
from mulisa.sfu.events import Report

logger = logging.getLogger(__name__)

RETRY_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try."""
MAX_WAITING: Final = 1000
"""Events that wait for one URL."""
ANSWER_TIME: Final = 5.0
FLUSH_TIME: Final = 2.0
"""Seconds that what waits has when the gateway ends."""

_CONTENT_TYPE: Final = "application/webhook+json"
_OURS_ONLY: Final = ("participant_updated",)
_MAY_PASS: Final = (408, 425, 429)
"""Refusals that another try may not meet, besides those of 500 and more."""


class _Refused(Exception):
    """The URL did not take an event, and will not."""


class _NotNow(_Refused):
    """Another try may help."""


def event_of(report: Report, at: datetime) -> WebhookEvent | None:
    """What a webhook says of it; None for what LiveKit has no webhook for."""
    if report.event in _OURS_ONLY:
        return None
    event = WebhookEvent(
        event=report.event,
        id=f"EV_{secrets.token_hex(6)}",
        created_at=int(at.timestamp()),
        room=report.room,
    )
    if report.participant is not None:
        event.participant.CopyFrom(report.participant)
    if report.track is not None:
        event.track.CopyFrom(report.track)
    return event


class Webhooks:
    """Belongs to one event loop; `delivering` does the work."""

    def __init__(self, urls: Iterable[str], issuer: TokenIssuer) -> None:
        self._recipients = [_Recipient(url, issuer) for url in urls]

    def tell(self, report: Report) -> None:
        """Queue it for every URL."""
        if not self._recipients:
            return
        event = event_of(report, utc_now())
        if event is not None:
            for recipient in self._recipients:
                recipient.put(event)

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        """While inside, what is told is delivered; what waits at the end has a little time."""
        if not self._recipients:
            yield
            return
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIME)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            tasks = [
                asyncio.create_task(recipient.deliver(http), name=f"webhook {recipient.host}")
                for recipient in self._recipients
            ]
            try:
                yield
            finally:
                await asyncio.gather(
                    *(within(FLUSH_TIME, recipient.join()) for recipient in self._recipients)
                )
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


class _Recipient:
    """One URL."""

    def __init__(self, url: str, issuer: TokenIssuer) -> None:
        self.host = urlsplit(url).hostname or ""
        """For people and logs: the rest of a URL may be a secret."""
        self._url = url
        self._issuer = issuer
        self._queue: asyncio.Queue[WebhookEvent] = asyncio.Queue(MAX_WAITING)
        self._dropped = 0

    def put(self, event: WebhookEvent) -> None:
        """Queue it, or count it as dropped."""
        if self._queue.full():
            self._dropped += 1
            return
        counted = WebhookEvent()
        counted.CopyFrom(event)
        counted.num_dropped, self._dropped = self._dropped, 0
        self._queue.put_nowait(counted)

    async def join(self) -> None:
        """Wait until nothing waits."""
        await self._queue.join()

    async def deliver(self, http: aiohttp.ClientSession) -> None:
        """One event after the other, until cancelled."""
        while True:
            event = await self._queue.get()
            try:
                await self._post(http, event)
            finally:
                self._queue.task_done()

    async def _post(self, http: aiohttp.ClientSession, event: WebhookEvent) -> None:
        body = MessageToJson(event, indent=None).encode()
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_NotNow),
            stop=stop_after_attempt(1 + len(RETRY_PAUSES)),
            wait=wait_chain(*map(wait_fixed, RETRY_PAUSES)),
            reraise=True,
        )
        try:
            await retrying(self._try, http, body)
        except _Refused as refusal:
            self._dropped += 1
            logger.warning("the webhook at %s was not told: %s", self.host, refusal)

    async def _try(self, http: aiohttp.ClientSession, body: bytes) -> None:
        headers = {
            "Content-Type": _CONTENT_TYPE,
            "Authorization": self._issuer.sign_body(body, utc_now()),
        }
        try:
            async with http.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        except TimeoutError as error:
            raise _NotNow("it does not answer") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _NotNow(type(error).__name__) from error
        if status >= 500 or status in _MAY_PASS:
            raise _NotNow(f"it answers {status}")
        if status >= 300:
            raise _Refused(f"it answers {status}")
