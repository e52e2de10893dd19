"""Microphones that change in a call, push-to-talk, and sound that waits for a click."""

from __future__ import annotations

import pytest

from tests.browser.people import Person, browser_at, person_in, until
from tests.browser.server import Server
from tests.browser.test_microphone import DENY, DEVICE

pytestmark = pytest.mark.browser

BLOCKED = "--autoplay-policy=document-user-activation-required"
SENT = """
(() => {
  const sent = Object.values(window.mulisa.connections).flatMap((connection) =>
    connection.getSenders().flatMap(({track}) => track?.kind === "audio" ? [track.label] : [])
  );
  return [...new Set(sent)];
})()
"""
"""Labels of the microphones whose sound leaves on any connection."""
AGREED = """
(() => {
  const connections = Object.values(window.mulisa.connections);
  if (connections.some(({connectionState}) => connectionState !== "connected")) return "";
  return connections.map(({localDescription}) => localDescription.sdp.split("\\n")[1]).join();
})()
"""
"""The `o=` lines, which count the negotiations (RFC 8829, 5.2.2); empty until all are connected."""
PULL_OUT = """
for (const connection of Object.values(window.mulisa.connections)) {
  for (const {track} of connection.getSenders()) {
    track?.stop();
    track?.dispatchEvent(new Event("ended"));
  }
}
"""
"""What a page sees of a headset that is pulled out."""
TELL_REFUSALS = """
(() => {
  const {play} = HTMLMediaElement.prototype;
  HTMLMediaElement.prototype.play = function () {
    const playing = play.call(this);
    playing.catch(({name}) => console.info(name));
    return playing;
  };
})();
"""
PLAYS = """
(async () => {
  const audio = document.querySelector("audio[data-identity=mulisa]");
  if (audio === null) return null;
  const before = audio.currentTime;
  await new Promise((resolve) => setTimeout(resolve, 200));
  return audio.currentTime > before;
})()
"""


async def test_another_microphone_and_push_to_talk(server: Server, chromium: str) -> None:
    async with browser_at(chromium, DEVICE) as browser:
        alice = await person_in(browser, "Alice", has_microphone=False)  # a fake one that beeps
        bob = await person_in(browser, "Bob")
        await alice.enter(server.url, "switching")
        await bob.enter(server.url, "switching")
        identity = await alice.identity()
        await bob.hears_on(identity)
        await alice.mulisa_is("listening")
        page = alice.page
        agreed = await until(lambda: page.evaluate(AGREED), bool, "all connections to be there")

        await page.get_by_role("button", name="Devices").click()
        await page.get_by_test_id("microphones").select_option(label="Fake Audio Input 2")
        await _sends(alice, "Fake Audio Input 2")
        await _speaks_to(bob, identity, "true")
        await page.keyboard.press("Escape")

        await page.evaluate(PULL_OUT)
        await _sends(alice, "Fake Default Audio Input")
        news = await page.get_by_test_id("device-news").inner_text()
        assert "Fake Audio Input 2 is gone. Your microphone is now Fake" in news, news
        await bob.hears_on(identity)
        assert await page.evaluate(AGREED) == agreed, "no renegotiation"

        await page.get_by_test_id("mute").click()
        await _speaks_to(bob, identity, "false")
        await page.keyboard.down("Space")  # the focus is still on the button that was clicked
        await _speaks_to(bob, identity, "true")
        await page.keyboard.up("Space")
        await _speaks_to(bob, identity, "false")
        assert await page.get_by_test_id("mute").get_attribute("aria-pressed") == "true"


async def test_sound_that_the_browser_holds_back_comes_with_a_click(
    server: Server, chromium: str
) -> None:
    async with browser_at(chromium, DEVICE, DENY, BLOCKED) as browser:
        bob = await person_in(browser, "Bob", has_microphone=False)
        await bob.page.add_init_script(TELL_REFUSALS)
        # Whatever Playwright looks at counts as a gesture, so it looks when this has happened.
        async with bob.page.expect_console_message(lambda said: said.text == "NotAllowedError"):
            await bob.page.goto(f"{server.url}/r/clicking?name=Bob&join=1")
        button = bob.page.get_by_test_id("unblock")
        await button.wait_for()
        await bob.mulisa_is("listening")
        await button.click()
        await until(lambda: bob.page.evaluate(PLAYS), bool, "Mulisa to be played")
        assert await button.count() == 0


async def _sends(person: Person, label: str) -> None:
    """Wait until it is this microphone, and no other, that everybody gets."""
    await until(
        lambda: person.page.evaluate(SENT),
        lambda labels: len(labels) == 1 and label in labels[0],
        f"{label} to be sent",
    )


async def _speaks_to(listener: Person, identity: str, speaking: str) -> None:
    """Wait until the listener's page shows so, which goes by what arrives there."""
    tile = listener.page.locator(f'[data-testid="participant"][data-identity="{identity}"]')
    await until(
        lambda: tile.get_attribute("data-speaking"),
        lambda shown: shown == speaking,
        f"speaking: {speaking}",
    )
