"""Real people of a comparison: pages of a headless Chromium, each with a microphone of its own.

One Chromium has one fake microphone for all its pages, so a page's `getUserMedia` is given a track
made by WebAudio instead (``probe.js``); what is played into it is what the person says.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

from playwright.async_api import Browser, Error, Page, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeout

from mulisa.core.audio import Samples
from mulisa.core.errors import ConfigError, MulisaError

FLAGS: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
"""It talks to nobody but our own server."""
PATIENCE: Final = 60.0
"""Seconds any one thing may take; nothing is measured by it."""
_MOST_SHOWN: Final = 70
"""Characters of what was seen that help a reader."""
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_HOW_TO_GET: Final = (
    "there is no Chromium here; install one ('apt-get install chromium', or "
    "'playwright install --with-deps chromium'), or name yours in MULISA_CHROMIUM"
)
_DRIVER_GONE: Final = "Connection closed while reading from the driver"
_NOTE_KEY: Final = """
addEventListener("keydown", () => { window.compare.pressedAt = Date.now(); },
                 {once: true, capture: true});
"""
T = TypeVar("T")


class WaitedInVain(MulisaError):
    """It was never so."""


def chromium() -> str:
    """MULISA_CHROMIUM, the browser that `make` found, or one on the PATH; empty without any."""
    note = Path(sys.prefix, ".chromium")
    noted = note.read_text().strip() if note.exists() else ""
    wanted = (os.environ.get("MULISA_CHROMIUM", ""), noted, *_NAMES)
    return next((found for name in wanted if name and (found := shutil.which(name))), "")


@asynccontextmanager
async def browser_at(path: str = "", *flags: str) -> AsyncIterator[Browser]:
    """A fresh headless browser, Playwright's own without a path.

    `flags` add to or overrule `FLAGS`. Raises ConfigError if there is none.
    """
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(
                executable_path=path or None, args=[*FLAGS, *flags]
            )
        except Error as error:
            raise ConfigError(path and f"{path} does not start" or _HOW_TO_GET) from error
        try:
            yield browser
        finally:
            await browser.close()


def report_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """As ever, but for what Playwright leaves behind when a terminal's Ctrl-C ends its driver."""
    if _DRIVER_GONE not in str(context.get("exception", "")):
        loop.default_exception_handler(context)


async def person_in(browser: Browser, name: str) -> Person:
    """Somebody new, with a storage of their own and a microphone that is silent so far.

    Their page does not move for show: without a GPU that costs as much as the call itself.
    """
    context = await browser.new_context(
        viewport={"width": 800, "height": 600}, bypass_csp=True, reduced_motion="reduce"
    )
    script = resources.files(__package__).joinpath("probe.js").read_text()
    await context.add_init_script(script)
    return Person(await context.new_page(), name)


class Person:
    """Somebody with a page. Times are seconds since 1970."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.name = name
        self.identity = ""
        """By which the others know this person, once they are in the room."""

    async def enter(self, base_url: str, room: str, options: str = "") -> None:
        """Join and wait until one is in the room; `options` are added to the link."""
        await self.page.goto(f"{base_url}/r/{room}?name={self.name}&join=1{options}")
        self.identity = await until(
            lambda: self.page.evaluate("window.mulisa.identity ?? ''"),
            bool,
            f"{self.name} to be in the room",
        )

    async def leave(self) -> None:
        """Close the page as people do: with the room's button, then the window."""
        await self.page.get_by_test_id("leave").click()
        await self.page.context.close()

    async def load(self, speech: dict[str, Samples]) -> None:
        """Learn what to say: 48 kHz samples by a name."""
        for key, samples in speech.items():
            pcm = base64.b64encode(samples.astype("<i2").tobytes()).decode()
            await self.page.evaluate("given => window.compare.load(...given)", [key, pcm])

    async def say(self, key: str) -> list[Span]:
        """Speak; when it was audible, once it is over."""
        return _spans(await self.page.evaluate("key => window.compare.say(key)", key))

    async def hush(self) -> None:
        """Fall silent in the middle of a word."""
        await self.page.evaluate("window.compare.hush()")

    async def write(self, text: str) -> float:
        """Type a message to everybody; when it was sent."""
        field = self.page.get_by_test_id("chat-input")
        await field.fill(text)
        await self.page.evaluate(_NOTE_KEY)
        await field.press("Enter")
        return float(await self.page.evaluate("window.compare.pressedAt")) / 1000

    async def listen(self, identity: str) -> None:
        """Note from now on when this participant is audible."""
        await self.page.evaluate("who => window.compare.listen(who)", identity)

    async def heard(self, identity: str) -> list[Span]:
        """When this participant was audible."""
        return _spans(await self.page.evaluate("who => window.compare.heard(who)", identity))

    async def hears(self, identity: str) -> float:
        """When this participant's voice could be heard here; waits for it."""
        at: float = await self.page.evaluate("who => window.compare.hears(who)", identity)
        return at / 1000

    async def packets_of(self, identity: str) -> int:
        """How many packets of somebody's voice have arrived by now."""
        count: int = await self.page.evaluate("who => window.compare.packets(who)", identity)
        return count

    async def mulisa_is(self, state: str) -> None:
        """Wait until her state reads so."""
        shown = self.page.get_by_test_id("agent-state").first
        await until(
            lambda: shown.text_content(timeout=PATIENCE * 1000),
            lambda text: (text or "").strip() == state,
            f"Mulisa {state}",
        )


Span = tuple[float, float | None]
"""When sound began and when it ended; None while it goes on."""


def _spans(found: list[tuple[float, float | None]]) -> list[Span]:
    return [(begin / 1000, end and end / 1000) for begin, end in found]


async def until(
    look: Callable[[], Coroutine[Any, Any, T]],
    is_so: Callable[[T], bool],
    what: str,
    seconds: float = PATIENCE,
) -> T:
    """Look again and again until it is so; says what was seen last if it never is."""
    seen: Any = None
    try:
        async with asyncio.timeout(seconds):
            while not is_so(found := await look()):  # noqa: ASYNC110 - a page tells nobody
                seen = found
                await asyncio.sleep(0.05)
    except (TimeoutError, PlaywrightTimeout) as error:
        last = f"last seen: {seen!r}"
        is_short = len(last) <= _MOST_SHOWN
        in_vain = WaitedInVain(f"waited for {what}" + (f"; {last}" if is_short else ""))
        if not is_short:
            in_vain.add_note(last)
        raise in_vain from error
    return found
