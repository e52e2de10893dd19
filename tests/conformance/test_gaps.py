"""What is not sent is no loss: nothing is made up over a mute, DTX and a new subscription."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from tests.browser.people import until
from tests.conformance.browser_client import BrowserClient
from tests.conformance.clients import PATIENCE, hears, sees
from tests.conformance.conftest import Join
from tests.conformance.python_client import PythonClient

pytestmark = pytest.mark.browser

GAP = 2.0
"""Seconds for which nothing is to be heard."""
SPEECH = 1.0
MORE = 9_600
"""Samples (0.2 s) that who has come back may make up more than who stayed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a listener's jitter buffer says of alice's track."""

    lost: int
    """Packets."""
    invented: int
    """Samples made up for what did not come in time, but for silence."""
    silence: int
    """Samples of silence in place of what did not come."""


async def test_nothing_is_made_up_over_a_mute_dtx_and_a_new_subscription(python_join: Join) -> None:
    alice: PythonClient = await python_join("alice")
    bob: BrowserClient = await python_join("bob", sdk="browser")
    carol: BrowserClient = await python_join("carol", sdk="browser")
    await alice.publish(440.0, dtx=True)
    await asyncio.gather(*(hears(each, "alice", 440.0) for each in (bob, carol)))

    await alice.set_muted(True)
    await hears(bob, "alice", 0.0)
    await is_quiet(bob)
    await alice.set_muted(False)
    await hears(bob, "alice", 440.0)
    assert (await heard(bob)).lost == 0

    await alice.set_tone(0.0)
    await hears(bob, "alice", 0.0)
    before = await heard(bob)
    await asyncio.sleep(GAP)
    assert await heard(bob) == before  # comfort noise is nothing made up
    await alice.set_tone(600.0)
    await hears(bob, "alice", 600.0)
    assert (await heard(bob)).lost == 0

    await bob.subscribe("alice", False)
    await sees(bob, lambda view: not view.is_subscribed("alice"), "no track")
    await bob.subscribe("alice", True)
    stayed = await heard(carol)
    await hears(bob, "alice", 600.0)
    await asyncio.sleep(SPEECH)
    again, stays = await heard(bob), await heard(carol)
    assert again.lost == stays.lost == 0
    assert again.invented <= stays.invented - stayed.invented + MORE


async def is_quiet(listener: BrowserClient) -> None:
    """Nothing comes, and once the last sound has faded nothing is invented in its place."""
    begin = await heard(listener)
    faded = await until(
        lambda: heard(listener),
        lambda now: now.silence > begin.silence,
        "the last sound to fade",
        PATIENCE,
    )
    await asyncio.sleep(GAP)
    quiet = await heard(listener)
    assert quiet.silence > faded.silence
    assert (quiet.lost, quiet.invented) == (0, faded.invented)


async def heard(listener: BrowserClient) -> Heard:
    """Until now, since the subscription."""
    inbound = await listener.inbound("alice")
    silence = inbound["silentConcealedSamples"]
    return Heard(inbound["packetsLost"], inbound["concealedSamples"] - silence, silence)
