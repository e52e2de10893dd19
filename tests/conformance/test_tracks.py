"""Tracks: published, muted, subscribed and taken back; and what is heard of them."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.clients import (
    A_WHILE,
    FEW,
    Client,
    hears,
    sees,
)
from tests.conformance.conftest import BOTH_SDKS, Join

pytestmark = pytest.mark.browser


async def packets_in_a_while(client: Client) -> int:
    """How many come from now on."""
    before = await client.packets()
    await asyncio.sleep(A_WHILE)
    return await client.packets() - before


@BOTH_SDKS
async def test_each_hears_the_others_and_nobody_else(join: Join) -> None:
    tones = {"alice": 440.0, "bob": 600.0, "carol": 900.0}
    clients = {each: await join(each) for each in tones}
    for identity, client in clients.items():
        await client.publish(tones[identity])
    for identity, client in clients.items():
        for other in tones.keys() - {identity}:
            await hears(client, other, tones[other])
        assert (await client.view()).others.keys() == tones.keys() - {identity}


@pytest.mark.parametrize("sdk", ["python"])
async def test_the_two_sdks_hear_each_other(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob", sdk="browser")
    await alice.publish(440.0)
    await bob.publish(600.0)
    await hears(bob, "alice", 440.0)
    await hears(alice, "bob", 600.0)


async def test_who_comes_later_hears_at_once(join: Join) -> None:
    alice = await join("alice")
    await alice.publish(440.0)
    await alice.publish(660.0, "music", source="screen_share_audio")
    bob = await join("bob")
    await hears(bob, "alice", 440.0)
    await hears(bob, "alice", 660.0, "music")
    tracks = (await bob.view()).others["alice"].tracks
    assert (tracks["voice"].source, tracks["music"].source) == ("microphone", "screen_share_audio")
    assert {each.kind for each in tracks.values()} == {"audio"}


async def test_a_track_that_is_taken_back_is_gone(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob")
    await alice.publish(440.0)
    await hears(bob, "alice", 440.0)
    await alice.unpublish()
    await sees(bob, lambda view: view.track("alice") is None, "no track")
    assert "unsubscribed voice" in (await bob.view()).events
    assert await packets_in_a_while(bob) < FEW
    await alice.publish(550.0)
    await hears(bob, "alice", 550.0)


async def test_muting_is_told_and_heard(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob")
    await alice.publish(440.0)
    await hears(bob, "alice", 440.0)
    for frequency in (550.0, 660.0):
        await alice.set_muted(True)
        await sees(bob, lambda view: view.is_muted("alice"), "mute")
        await hears(bob, "alice", 0.0)
        await alice.set_tone(frequency)
        await alice.set_muted(False)
        await sees(bob, lambda view: view.is_muted("alice") is False, "unmute")
        await hears(bob, "alice", frequency)


async def test_a_track_is_subscribed_and_unsubscribed_by_itself(join: Join) -> None:
    alice, bob, carol = await join("alice"), await join("bob"), await join("carol")
    await alice.publish(440.0)
    await hears(bob, "alice", 440.0)
    await hears(carol, "alice", 440.0)
    await bob.subscribe("alice", False)
    await sees(bob, lambda view: not view.is_subscribed("alice"), "the track leave")
    assert await packets_in_a_while(bob) < FEW
    await hears(carol, "alice", 440.0)
    await alice.set_tone(600.0)
    await bob.subscribe("alice", True)
    await hears(bob, "alice", 600.0)


async def test_who_subscribes_to_nothing_gets_what_they_ask_for(join: Join) -> None:
    alice, carol = await join("alice"), await join("carol")
    await alice.publish(440.0)
    await carol.publish(600.0)
    key = "auto_subscribe" if join.sdk == "python" else "connect"
    bob = await join("bob", options={key: {"autoSubscribe": False} if key == "connect" else False})
    await sees(bob, lambda view: view.track("alice") and view.track("carol"), "both tracks")
    await bob.subscribe("carol", True)
    await hears(bob, "carol", 600.0)
    assert not (await bob.view()).is_subscribed("alice")
    assert await bob.pitch("alice") == 0.0


async def test_a_publisher_says_who_may_subscribe(join: Join) -> None:
    alice, bob, carol = await join("alice"), await join("bob"), await join("carol")
    await alice.publish(440.0)
    await hears(bob, "alice", 440.0)
    await hears(carol, "alice", 440.0)
    await alice.allow("carol")
    await alice.describe(metadata="only carol")
    await sees(bob, lambda view: view.others["alice"].metadata == "only carol", "the barrier")
    assert await packets_in_a_while(bob) < FEW
    await hears(carol, "alice", 440.0)
    await alice.allow(everybody=True)
    await alice.set_tone(600.0)
    await hears(bob, "alice", 600.0)


async def test_sequence_and_time_go_on_over_mute_and_resubscription(python_join: Join) -> None:
    alice = await python_join("alice")
    bob = await python_join("bob", sdk="browser")
    await alice.publish(440.0)
    await hears(bob, "alice", 440.0)
    for frequency in (550.0, 660.0):
        await alice.set_muted(True)
        await sees(bob, lambda view: view.is_muted("alice"), "mute")
        await hears(bob, "alice", 0.0)
        await alice.set_tone(frequency)
        await alice.set_muted(False)
        await hears(bob, "alice", frequency)
    (inbound,) = await bob.stats("inbound-rtp")
    assert inbound["packetsLost"] <= 2, inbound
