"""Words after a silence: no later than others."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.browser_client import BrowserClient
from tests.conformance.clients import hears
from tests.conformance.conftest import Join
from tests.conformance.python_client import PythonClient

pytestmark = pytest.mark.browser

PAUSE = 0.25
"""Seconds."""
LATER = 0.3
"""Seconds by which words after a silence may come later than words after a pause."""
TONES = (600.0, 440.0, 800.0)


@pytest.mark.slow
@pytest.mark.parametrize("silence", [4.0, 20.0])
async def test_after_a_long_silence_words_come_as_soon_as_after_a_pause(
    python_join: Join, silence: float
) -> None:
    alice: PythonClient = await python_join("alice")
    bob: BrowserClient = await python_join("bob", sdk="browser")
    await alice.publish(440.0)
    await hears(bob, "alice", 440.0)
    usual = [await _delay(alice, bob, tone, PAUSE) for tone in TONES]
    late = await _delay(alice, bob, 1000.0, silence)
    assert late < max(usual) + LATER, (late, usual)


async def _delay(
    speaker: PythonClient, listener: BrowserClient, tone: float, silence: float
) -> float:
    """Seconds from speaking to hearing, when nothing was recorded for so long before that.

    Meanwhile the RTP time of the track stands still.
    """
    loop = asyncio.get_running_loop()
    voice = speaker.voices["voice"]
    voice.captures.clear()
    await asyncio.sleep(silence)
    await speaker.set_tone(tone)
    begin = loop.time()
    voice.captures.set()
    await hears(listener, speaker.identity, tone)
    return loop.time() - begin
