"""Sockets that are cut, servers that are restarted, and being shown the door."""

from __future__ import annotations

import asyncio

import pytest
from livekit import api, rtc

from tests.conformance.clients import hears, sees, subscribes
from tests.conformance.conftest import BOTH_SDKS, Join, ServerFactory
from tests.network import TcpProxy

pytestmark = pytest.mark.browser


@BOTH_SDKS
async def test_a_cut_socket_is_resumed_and_the_voice_goes_on(join: Join) -> None:
    async with TcpProxy(("127.0.0.1", join.server.port)) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}"
        alice, bob = await join("alice", url=url), await join("bob")
        await alice.publish(440.0)
        await bob.publish(600.0)
        await hears(bob, "alice", 440.0)
        await hears(alice, "bob", 600.0)
        before = await alice.view()
        assert proxy.cut() == 1
        before_packets = await bob.packets()
        await sees(alice, lambda view: "reconnected" in view.events, "the socket come back")
        assert await bob.packets() - before_packets > 25, "the voice stopped meanwhile"
        after = await alice.view()
        assert (after.me.sid, after.room_sid) == (before.me.sid, before.room_sid)
        assert "left alice" not in (await bob.view()).events
        await alice.set_tone(500.0)
        await bob.set_tone(700.0)
        await hears(bob, "alice", 500.0)
        await hears(alice, "bob", 700.0)
        await alice.send("one")
        await bob.send("two")
        await sees(bob, lambda view: view.data, "alice's message")
        await sees(alice, lambda view: view.data, "bob's message")
        carol = await join("carol")
        await carol.publish(900.0)
        await hears(alice, "carol", 900.0)
        await alice.leave()


async def test_what_happened_while_the_socket_was_gone_is_told(join: Join) -> None:
    async with TcpProxy(("127.0.0.1", join.server.port)) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}"
        alice, bob = await join("alice", url=url), await join("bob")
        await sees(alice, lambda view: "bob" in view.others, "bob")
        await sees(bob, lambda view: "alice" in view.others, "alice")
        proxy.cut()
        await bob.describe(attributes={"colour": "green"})
        await bob.publish(600.0)
        await sees(alice, lambda view: "reconnected" in view.events, "the socket come back")
        await hears(alice, "bob", 600.0)
        assert (await alice.view()).others["bob"].attributes == {"colour": "green"}
        await alice.leave()


async def test_a_full_reconnect_publishes_again(python_join: Join) -> None:
    alice, bob = await python_join("alice"), await python_join("bob")
    await alice.publish(440.0)
    await bob.publish(600.0)
    await hears(bob, "alice", 440.0)
    old = (await bob.view()).others["alice"].sid
    await alice.room.simulate_scenario(rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    await sees(alice, lambda view: "reconnected" in view.events, "itself in the room again")
    await sees(
        bob, lambda view: view.others.get("alice") and view.others["alice"].sid != old, "the new"
    )
    await alice.set_tone(500.0)
    await hears(bob, "alice", 500.0)
    await hears(alice, "bob", 600.0)
    assert len((await bob.view()).others) == 1


async def test_clients_of_a_restarted_server_heal_by_themselves(
    own_server: ServerFactory, join: Join
) -> None:
    join.server = own_server()
    alice, bob = await join("alice"), await join("bob")
    await alice.publish(440.0)
    await bob.publish(600.0)
    await hears(bob, "alice", 440.0)
    await asyncio.to_thread(join.server.restart)
    for client in (alice, bob):
        await sees(client, lambda view: "reconnected" in view.events, "the server again")
    await alice.set_tone(500.0)
    await hears(bob, "alice", 500.0)
    await hears(alice, "bob", 600.0)


async def test_who_is_removed_does_not_come_back(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob")
    await sees(bob, lambda view: "alice" in view.others, "alice")
    async with join.server.api() as livekit:
        who = api.RoomParticipantIdentity(room=join.room, identity="alice")
        await livekit.room.remove_participant(who)
    await sees(alice, lambda view: view.reason == "PARTICIPANT_REMOVED", "the door")
    await sees(bob, lambda view: not view.others, "alice leave")


async def test_a_room_that_is_deleted_is_left_by_all(join: Join) -> None:
    alice, bob = await join("alice"), await join("bob")
    async with join.server.api() as livekit:
        await livekit.room.delete_room(api.DeleteRoomRequest(room=join.room))
    for client in (alice, bob):
        await sees(client, lambda view: view.reason == "ROOM_DELETED", "the end")


@pytest.mark.slow
async def test_a_token_that_has_expired_does_not_end_a_stay(join: Join) -> None:
    async with TcpProxy(("127.0.0.1", join.server.port)) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}"
        alice, bob = await join("alice", url=url, ttl=2.0), await join("bob")
        await alice.publish(440.0)
        await subscribes(bob, "alice")
        await asyncio.sleep(3.5)
        proxy.cut()
        await sees(alice, lambda view: "reconnected" in view.events, "the socket come back")
        await hears(bob, "alice", 440.0)
        await alice.leave()
