"""Browsers of other machines: a microphone over https, and over http the reason for none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mulisa.server.config import PAGE_FOLDER
from mulisa.server.selfmade import self_made_files
from tests.browser.people import browser_at, person_in
from tests.browser.server import Server
from tests.browser.speech import BOB, Studio
from tests.certificates import spki_fingerprint
from tests.server.gateways import config, running_gateway

pytestmark = pytest.mark.browser

ELSEWHERE = "talk.test"
"""For a browser that is told where it is; unlike localhost it is nothing special."""
RESOLVE = f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"
HALF_A_SECOND = 25
"""Packets of 20 ms."""
DEVICE = "--use-fake-device-for-media-stream"


@pytest.mark.slow
async def test_a_call_over_https_with_a_self_made_certificate(
    studio: Studio, chromium: str, tmp_path: Path
) -> None:
    (question,) = await studio.speak(BOB, "Who is in the call?")
    server = Server(
        tmp_path, "--tls", "auto", "--host", "127.0.0.1", "--llm", "concierge", topology="sfu"
    )
    try:
        server.wait_for("agent_ready")
        accepted = spki_fingerprint(self_made_files(tmp_path))
        base = server.url.replace("localhost", ELSEWHERE)
        async with browser_at(
            chromium, RESOLVE, f"--ignore-certificate-errors-spki-list={accepted}"
        ) as browser:
            for topology in ("sfu", "mesh"):
                bob = await person_in(browser, "Bob")
                await bob.enter(base, topology, f"&topology={topology}")
                assert await bob.page.evaluate("isSecureContext")
                await bob.mulisa_is("listening")
                await bob.ask(question)
                await bob.reads("Mulisa", "Bob", "alone")
                assert await bob.packets_of("mulisa") >= HALF_A_SECOND
                await bob.page.close()
    finally:
        code = server.stop()
    assert code == 0


async def test_without_https_the_page_says_why_there_is_no_microphone(
    chromium: str, tmp_path: Path
) -> None:
    async with (
        running_gateway(config(tmp_path, agent=False, page_folder=PAGE_FOLDER)) as gateway,
        browser_at(chromium, RESOLVE, DEVICE) as browser,
    ):
        bob = await person_in(browser, "Bob", has_microphone=False)
        await bob.page.goto(f"http://{ELSEWHERE}:{gateway.server.port}/r/standup")
        advice = bob.page.get_by_test_id("mic-problem")
        text = await advice.inner_text()
        assert "https://" in text and "mulisa serve --tls auto" in text
        assert await advice.get_by_role("button").count() == 0, "trying again is in vain"
        await bob.page.get_by_test_id("name").fill("Bob")
        await bob.page.get_by_test_id("join").click()
        await bob.sees("Bob")
