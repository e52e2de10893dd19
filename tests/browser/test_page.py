"""The page on a small screen, by keyboard, and for those who do not see it."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.browser.people import browser_at, person_in, until
from tests.browser.server import Server

pytestmark = pytest.mark.browser

PHONE = 320
"""CSS pixels; what WCAG 2.2 (1.4.10, reflow) asks for."""
TAB_STOPS = 40
UNLABELLED = """
[...document.querySelectorAll("input, select, textarea, button, audio[controls]")].filter((field) =>
  field.checkVisibility() && ![
    field.getAttribute("aria-label"), field.title, field.innerText, field.labels?.[0]?.innerText
  ].some((name) => name?.trim())
).map((field) => field.outerHTML)
"""
FOCUS = """
(() => {
  const focused = document.activeElement;
  if (focused === null || focused === document.body) return null;
  const style = getComputedStyle(focused);
  const ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  return [focused.dataset.testid ?? focused.tagName, ring || style.boxShadow !== "none"];
})()
"""


async def test_on_a_phone_by_keyboard_alone(server: Server, chromium: str) -> None:
    async with browser_at(chromium) as browser:
        alice = await person_in(browser, "Alice", width=PHONE)
        page = alice.page
        await page.goto(f"{server.url}/r/phone")
        name = page.get_by_test_id("name")
        await until(
            lambda: name.evaluate("field => field === document.activeElement"),
            bool,
            "the name to have the focus",
        )
        await _is_sound(page)
        await page.keyboard.type("Alice")
        await page.keyboard.press("Enter")
        await alice.sees("Alice")
        await alice.mulisa_is("listening")
        await _is_sound(page)

        mute = page.get_by_test_id("mute")
        for pressed in ("true", "false"):
            await page.keyboard.press("m")
            await until(
                lambda: mute.get_attribute("aria-pressed"),
                lambda now, wanted=pressed: now == wanted,  # type: ignore[misc]
                f"mute: {pressed}",
            )
        stops = await _tab_to(page, "chat-input")
        assert all(is_visible for _, is_visible in stops), stops
        await page.keyboard.type("Mmm, who is in the call?")
        await page.keyboard.press("Enter")
        assert await mute.get_attribute("aria-pressed") == "false", "typing is not a shortcut"
        await alice.reads("Mulisa")
        await _is_sound(page)


async def _is_sound(page: Page) -> None:
    """One heading, names for all controls, nothing to scroll sideways for."""
    assert await page.locator("h1:visible").count() == 1
    assert await page.evaluate(UNLABELLED) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE


async def _tab_to(page: Page, testid: str) -> list[tuple[str, bool]]:
    """Press Tab until this has the focus; each stop, and whether one sees that it has it."""
    stops = []
    for _ in range(TAB_STOPS):
        await page.keyboard.press("Tab")
        if focused := await page.evaluate(FOCUS):
            stops.append((str(focused[0]), bool(focused[1])))
            if focused[0] == testid:
                return stops
    raise AssertionError(f"no {testid} among the tab stops {stops}")
