"""Who is in a room, what is known of them, and what changes."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.clients import hears, sees, subscribes
from tests.conformance.conftest import BOTH_SDKS, Join

pytestmark = pytest.mark.browser


@BOTH_SDKS
async def test_those_who_are_there_and_those_who_come_see_each_other(join: Join) -> None:
    alice = await join("alice", metadata="first", attributes={"colour": "red"})
    await alice.publish(440.0)
    bob = await join("bob", name="Robert")
    seen = await sees(bob, lambda view: view.track("alice"), "alice's track")
    assert seen.room_name == join.room
    assert seen.me.name == "Robert" and seen.me.sid.startswith("PA_")
    alice_there = seen.others["alice"]
    assert alice_there.metadata == "first" and alice_there.attributes == {"colour": "red"}
    assert alice_there.sid == (await alice.view()).me.sid
    assert alice_there.tracks["voice"].source == "microphone"
    seen = await sees(alice, lambda view: "bob" in view.others, "bob")
    assert seen.others["bob"].name == "Robert" and "joined bob" in seen.events
    assert seen.room_sid.startswith("RM_")
    await bob.leave()
    seen = await sees(alice, lambda view: not view.others, "bob leave")
    assert "left bob" in seen.events
    await sees(bob, lambda view: bool(view.reason), "that it has ended")


async def test_an_agent_is_known_as_one(join: Join) -> None:
    alice, _ = await join("alice"), await join("mulisa", kind="agent")
    await sees(alice, lambda view: "mulisa" in view.others, "the agent")
    assert (await alice.view()).others["mulisa"].is_agent


async def test_what_people_say_about_themselves_reaches_everybody(join: Join) -> None:
    alice, bob = await join("alice", attributes={"old": "1", "kept": "2"}), await join("bob")
    await sees(bob, lambda view: "alice" in view.others, "alice")
    await alice.describe(name="Alicia")
    await alice.describe(metadata="busy")
    await alice.describe(attributes={"colour": "blue", "old": ""})
    for client in (alice, bob):
        view = await sees(
            client,
            lambda view: "colour" in (view.others.get("alice") or view.me).attributes,
            "attributes",
        )
        seen = view.others.get("alice") or view.me
        assert seen.attributes == {"colour": "blue", "kept": "2"}
        assert (seen.name, seen.metadata) == ("Alicia", "busy")


async def test_who_speaks_is_told_the_loudest_first(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob")
    await alice.publish(440.0)
    await bob.publish(0.0)
    for client in (alice, bob):
        await sees(client, lambda view: view.speakers == ["alice"], "alice speak")
    await alice.set_tone(0.0)
    await bob.set_tone(700.0)
    for client in (alice, bob):
        await sees(client, lambda view: view.speakers == ["bob"], "bob alone speak")


async def test_connection_quality_is_told(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob")
    await alice.publish(440.0)
    await subscribes(bob, "alice")
    await hears(bob, "alice", 440.0)
    await sees(
        bob,
        lambda view: view.me.quality == "excellent" and view.others["alice"].quality == "excellent",
        "excellent connections",
    )


async def test_a_second_one_with_the_same_identity_takes_the_place(join: Join) -> None:
    bob, first = await join("bob"), await join("alice")
    await sees(bob, lambda view: "alice" in view.others, "alice")
    old = (await first.view()).me.sid
    second = await join("alice", sdk="python")
    await sees(first, lambda view: view.reason == "DUPLICATE_IDENTITY", "the door")
    new = (await second.view()).me.sid
    assert new != old
    await sees(
        bob, lambda view: view.others.get("alice") and view.others["alice"].sid == new, "the new"
    )
    await second.send("still here")
    seen = await sees(bob, lambda view: view.data, "the new one's message")
    assert [each.sender for each in seen.data] == ["alice"]
    assert {each.sid for each in seen.others.values()} == {new}


@pytest.mark.parametrize("sdk", ["python"])
async def test_twenty_people_all_hear_who_speaks(join: Join) -> None:
    speakers = [await join(f"speaker-{n}", options={"is_deaf": True}) for n in range(2)]
    for n, speaker in enumerate(speakers):
        await speaker.publish(400.0 + 200 * n)
    crowd = await asyncio.gather(*(join(f"listener-{n}") for n in range(18)))
    for listener in crowd:
        await subscribes(listener, "speaker-0", "speaker-1")
    for listener in crowd:
        view = await sees(listener, lambda view: len(view.others) == 19, "everybody")
        assert len({each.sid for each in view.others.values()}) == 19
        await hears(listener, "speaker-0", 400.0)
        await hears(listener, "speaker-1", 600.0)
