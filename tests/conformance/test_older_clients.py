"""Clients with two connections, as they were before one was enough."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.clients import Client, hears, sees, subscribes
from tests.conformance.conftest import BOTH_SDKS, Join
from tests.network import TcpProxy

pytestmark = pytest.mark.browser


def two_connections(sdk: str) -> dict[str, Any]:
    """Room options."""
    return {"single_peer_connection" if sdk == "python" else "singlePeerConnection": False}


@BOTH_SDKS
async def test_old_and_new_hear_each_other(join: Join) -> None:
    old: Client = await join("old", options=two_connections(join.sdk))
    new: Client = await join("new", sdk="python")
    await new.publish(600.0)
    await hears(old, "new", 600.0)
    await old.publish(440.0)
    await hears(new, "old", 440.0)
    older = await join("older", options=two_connections(join.sdk))
    await older.publish(800.0)
    for client, other, tone in (
        (older, "old", 440.0),
        (older, "new", 600.0),
        (old, "older", 800.0),
        (new, "older", 800.0),
    ):
        await hears(client, other, tone)
    await old.send("one")
    await new.send("two", is_reliable=False)
    view = await sees(older, lambda view: len(view.data) == 2, "both packets")
    assert {(each.sender, each.text) for each in view.data} == {("old", "one"), ("new", "two")}
    await new.unpublish()
    await sees(old, lambda view: view.track("new") is None, "no track")
    await old.subscribe("older", False)
    await sees(old, lambda view: not view.is_subscribed("older"), "the track leave")
    await new.publish(500.0)
    await hears(old, "new", 500.0)


async def test_who_only_listens_has_data_too(join: Join) -> None:
    old: Client = await join("old", options=two_connections(join.sdk))
    older: Client = await join("older", options=two_connections(join.sdk))
    await sees(older, lambda view: "old" in view.others, "the other one")
    await old.send("hello")
    await sees(older, lambda view: view.data, "the packet")
    await older.answer("greet")
    assert await old.call("older", "greet", "hello") == "older: hello"


async def test_a_cut_socket_is_resumed_with_both(join: Join) -> None:
    async with TcpProxy(("127.0.0.1", join.server.port)) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}"
        old = await join("old", url=url, options=two_connections(join.sdk))
        new = await join("new", sdk="python")
        await old.publish(440.0)
        await new.publish(600.0)
        await hears(new, "old", 440.0)
        await hears(old, "new", 600.0)
        sid = (await old.view()).me.sid
        proxy.cut()
        await sees(old, lambda view: "reconnected" in view.events, "the socket come back")
        assert (await old.view()).me.sid == sid
        await old.set_tone(500.0)
        await new.set_tone(700.0)
        await hears(new, "old", 500.0)
        await hears(old, "new", 700.0)
        late = await join("late", sdk="python")
        await late.publish(900.0)
        await subscribes(old, "late")
        await hears(old, "late", 900.0)
        await old.leave()
