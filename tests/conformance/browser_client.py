"""A client of livekit-client in Chromium, as it comes; several share a page (`page/page.js`)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Page

from tests.browser.people import browser_at
from tests.conformance.clients import ClientError, Data, Publication, Seen, View

PAGE = Path(__file__).parent / "page"
SDK = PAGE.parents[2] / "web" / "node_modules" / "livekit-client" / "dist"


@asynccontextmanager
async def page_for_clients(chromium: str, *flags: str) -> AsyncIterator[Page]:
    """A page in a fresh browser in which clients can be made."""
    async with _hosted() as url, browser_at(chromium, *flags) as browser:
        page = await browser.new_page()
        await page.goto(url)
        yield page


class BrowserClient:
    """See `Client`. Enter it to join."""

    def __init__(
        self,
        page: Page,
        url: str,
        token: str,
        identity: str,
        *,
        connect: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """`options` are `RoomOptions` of livekit-client (and `e2eeKey`), `connect` those of
        `connect`.
        """
        self.identity = identity
        self._page = page
        self._given = [url, token, options, connect or {}]

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave()

    async def join(self) -> None:
        """Raises ClientError when refused."""
        try:
            await self._page.evaluate("given => join(...given)", [self.identity, *self._given])
        except PlaywrightError as error:
            raise ClientError(error.message) from error

    async def leave(self) -> None:
        """See `Client`."""
        await self._do("leave")

    async def publish(self, frequency: float, name: str = "voice", **options: Any) -> str:
        """See `Client`."""
        source = options.pop("source", "microphone")
        sid: str = await self._do("publish", frequency, name, source, options)
        return sid

    async def publish_video(self, name: str = "picture", **options: Any) -> str:
        """Send a moving picture until the end.

        `options` are `TrackPublishOptions`, and `hue`: its colour in degrees, or it changes.
        """
        sid: str = await self._do("publishVideo", name, options)
        return sid

    async def hue(self, identity: str, name: str = "picture") -> float | None:
        """The colour of somebody's picture in degrees; None while nothing is seen."""
        found: float | None = await self._do("hue", identity, name)
        return found

    async def unpublish(self, name: str = "voice") -> None:
        """See `Client`."""
        await self._do("unpublish", name)

    async def set_muted(self, is_muted: bool, name: str = "voice") -> None:
        """See `Client`."""
        await self._do("setMuted", name, is_muted)

    async def set_tone(self, frequency: float, name: str = "voice") -> None:
        """See `Client`."""
        await self._do("setTone", name, frequency)

    async def pitch(self, identity: str, name: str = "voice") -> float:
        """See `Client`."""
        return float(await self._do("pitch", identity, name))

    async def packets(self) -> int:
        """See `Client`."""
        return int(await self._do("packets"))

    async def stats(self, kind: str) -> list[dict[str, Any]]:
        """The browser's reports of this type (`RTCStatsType`) of all connections."""
        reports: list[dict[str, Any]] = await self._do("stats")
        return [each for each in reports if each["type"] == kind]

    async def inbound(self, identity: str, name: str = "voice") -> dict[str, Any]:
        """The browser's report about one track that is received."""
        report: dict[str, Any] = await self._do("inbound", identity, name)
        return report

    async def subscribe(self, identity: str, is_wanted: bool, name: str = "voice") -> None:
        """See `Client`."""
        await self._page.evaluate(
            "([me, who, name, wanted]) =>"
            " client(me, 'publication', who, name).setSubscribed(wanted)",
            [self.identity, identity, name, is_wanted],
        )

    async def allow(self, *identities: str, everybody: bool = False) -> None:
        """See `Client`."""
        await self._page.evaluate(
            "([me, everybody, who]) => clients.get(me).room.localParticipant"
            ".setTrackSubscriptionPermissions(everybody, who.map(participantIdentity =>"
            " ({participantIdentity, allowAll: true})))",
            [self.identity, everybody, list(identities)],
        )

    async def send(self, text: str, *to: str, topic: str = "", is_reliable: bool = True) -> None:
        """See `Client`."""
        await self._do("send", text, list(to), topic, is_reliable)

    async def send_text(self, text: str, *to: str, topic: str = "topic") -> None:
        """See `Client`."""
        await self._do("sendText", text, list(to), topic)

    async def answer(self, method: str) -> None:
        """See `Client`."""
        await self._do("answer", method)

    async def call(self, identity: str, method: str, payload: str) -> str:
        """See `Client`."""
        return str(await self._do("call", identity, method, payload))

    async def describe(
        self,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: dict[str, str] | None = None,
    ) -> None:
        """See `Client`."""
        await self._do("describe", {"name": name, "metadata": metadata, "attributes": attributes})

    async def view(self) -> View:
        """See `Client`."""
        found: dict[str, Any] = json.loads(
            await self._page.evaluate(
                "me => JSON.stringify(client(me, 'view'))",
                self.identity,
            )
        )
        return View(
            **found
            | {
                "me": _seen(found["me"]),
                "others": {who: _seen(each) for who, each in found["others"].items()},
                "data": [Data(**each) for each in found["data"]],
                "texts": [(sender, topic, text) for sender, topic, text in found["texts"]],
            }
        )

    async def _do(self, method: str, *given: Any) -> Any:
        try:
            return await self._page.evaluate(
                "given => client(...given)", [self.identity, method, *given]
            )
        except PlaywrightError as error:
            raise ClientError(error.message) from error


def _seen(found: dict[str, Any]) -> Seen:
    tracks = {name: Publication(**each) for name, each in found["tracks"].items()}
    return Seen(**found | {"tracks": tracks})


@asynccontextmanager
async def _hosted() -> AsyncIterator[str]:
    """The page over HTTP; its URL."""
    app = web.Application()
    app.router.add_static("/livekit", SDK)
    app.router.add_static("/", PAGE)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}/index.html"
    finally:
        await runner.cleanup()
