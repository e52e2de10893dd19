"""The report in a real browser: it shows what is in it, loads nothing, and fits phone and paper."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page

from mulisa.compare.report import to_html
from tests.browser.people import browser_at
from tests.compare.test_report import hostile_result

pytestmark = pytest.mark.browser

WIDTHS = """() => [document.documentElement.scrollWidth, innerWidth]"""
TOO_WIDE = """() => [...document.querySelectorAll("figure svg, td, h1")].filter(
  (each) => each.getBoundingClientRect().right > innerWidth).length"""


async def test_the_report_is_whole_in_one_file(tmp_path: Path, chromium: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(to_html(hostile_result()))
    async with browser_at(chromium) as browser:
        page = await browser.new_page(viewport={"width": 320, "height": 640})
        loaded: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: loaded.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        await page.goto(file.as_uri())
        await page.wait_for_selector("#response svg")
        await check(page)
        assert loaded == [file.as_uri()]
        assert said == []


async def check(page: Page) -> None:
    """On a phone of 320 px, and its data when it is saved."""
    headline = await page.inner_text("h1")
    assert headline.startswith("For 4 people and Mulisa take an SFU:")
    remark = await page.inner_text("header .note:last-child")
    assert remark.startswith("</script><script>alert(1)</script>")
    assert "needs root" in await page.inner_text("#nats .missing")
    assert await page.locator("figure").count() == await page.locator("figure svg").count() > 10
    assert await page.evaluate(WIDTHS) == [320, 320]
    assert await page.evaluate(TOO_WIDE) == 0
    async with page.expect_download() as saving:
        await page.click("text=Save result.json")
    assert (await saving.value).suggested_filename == "result.json"
