"""Words after a silence: no later than others."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.browser_client import BrowserClient
from tests.conformance.clients import hears
from tests.conformance.conftest import Join
from tests.conformance.python_client import PythonClient

pytestmark = pytest.mark.browser

SILENCE = 8.0
"""Seconds."""
LATER = 0.3
"""Seconds by which the first words may come later than words in between."""
TONES = (600.0, 440.0, 800.0)


async def test_after_a_long_silence_words_come_as_soon_as_others(python_join: Join) -> None:
    alice: PythonClient = await python_join("alice")
    bob: BrowserClient = await python_join("bob", sdk="browser")
    await alice.publish(440.0)
    await hears(bob, "alice", 440.0)
    usual = [await _delay(alice, bob, tone) for tone in TONES]
    voice = alice.voices["voice"]
    voice.captures.clear()  # as of somebody who is silent and is not recorded
    await hears(bob, "alice", 0.0)
    await asyncio.sleep(SILENCE)
    voice.captures.set()
    first = await _delay(alice, bob, 1000.0)
    print(first, usual)
    assert first < max(usual) + LATER, (first, usual)


async def _delay(speaker: PythonClient, listener: BrowserClient, tone: float) -> float:
    """Seconds from saying to hearing, the same for every tone."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await speaker.set_tone(tone)
    await hears(listener, speaker.identity, tone)
    return loop.time() - begin
