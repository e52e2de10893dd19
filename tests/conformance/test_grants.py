"""What a token allows, and nothing else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import aiohttp
import jwt
import pytest

from tests.conformance.clients import (
    FEW,
    Client,
    ClientError,
    hears,
    sees,
)
from tests.conformance.conftest import BOTH_SDKS, Join
from tests.conformance.test_tracks import packets_in_a_while
from tests.sfu_server import KEY, SECRET, SfuServer

pytestmark = pytest.mark.browser

REFUSAL = 2.0
"""Seconds in which what is allowed has long happened."""


async def refused(attempt: Any) -> None:
    """Fails, or is not done in a time in which it would be (clients wait 10 s for an answer)."""
    with pytest.raises((ClientError, TimeoutError)):
        async with asyncio.timeout(REFUSAL):
            await attempt


async def status(server: SfuServer, token: str, path: str = "/rtc/validate") -> int:
    """How the server answers who asks whether this token is good."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession() as http,
        http.get(server.http_url + path, headers=headers) as response,
    ):
        return response.status


async def test_only_good_tokens_open_the_door(server: SfuServer, room: str) -> None:
    good = server.token("alice", room)
    claims = jwt.decode(good, SECRET, algorithms=["HS256"])

    def signed(secret: str = SECRET, **changed: Any) -> str:
        return jwt.encode(claims | changed, secret, algorithm="HS256")

    assert await status(server, good) == 200
    for path in ("/rtc/validate", "/rtc/v1/validate"):
        for bad in (
            "",
            "nonsense",
            good[:-2],
            signed("another-secret-that-is-long-enough-for-sha256"),
            signed(iss="APIunknown"),
            signed(exp=1_000_000_000),
            signed(video=claims["video"] | {"roomJoin": False}),
            jwt.encode(claims, "", algorithm="none"),
        ):
            assert await status(server, bad, path) in (400, 401), bad
    assert claims["iss"] == KEY


async def test_a_browser_is_told_why_it_is_refused(python_join: Join) -> None:
    for sdk in ("python", "browser"):
        with pytest.raises(ClientError, match="401|denied|not allow"):
            await python_join("alice", sdk=sdk, room_join=False)


@BOTH_SDKS
async def test_who_may_not_publish_does_not(join: Join) -> None:
    alice, bob = await join("alice", can_publish=False), await join("bob")
    assert not (await alice.view()).can_publish
    await refused(alice.publish(440.0))
    await bob.publish(600.0)
    await hears(alice, "bob", 600.0)
    await alice.send("still here")
    view = await sees(bob, lambda view: view.data, "the message")
    assert not view.others["alice"].tracks


async def test_only_granted_sources_are_published(join: Join) -> None:
    alice = await join("alice", can_publish_sources=["microphone"])
    bob = await join("bob")
    await refused(alice.publish(440.0, "music", source="screen_share_audio"))
    await alice.publish(550.0)
    await hears(bob, "alice", 550.0)
    assert (await bob.view()).others["alice"].tracks.keys() == {"voice"}


async def test_who_may_not_subscribe_hears_nobody(join: Join) -> None:
    alice = await join("alice")
    await alice.publish(440.0)
    bob = await join("bob", can_subscribe=False)
    carol = await join("carol")
    await hears(carol, "alice", 440.0)
    await sees(bob, lambda view: "alice" in view.others, "alice")
    await alice.send("barrier")
    await sees(bob, lambda view: view.data, "the barrier")
    assert not (await bob.view()).is_subscribed("alice")
    assert await packets_in_a_while(bob) < FEW


async def test_who_may_not_send_data_is_not_heard(join: Join) -> None:
    alice, bob = await join("alice", can_publish_data=False), await join("bob")
    carol = await join("carol")
    with suppress(ClientError, TimeoutError):  # the SDK may know it too
        async with asyncio.timeout(REFUSAL):
            await alice.send("forbidden")
            await alice.send("forbidden", is_reliable=False)
    await alice.publish(440.0)
    await hears(bob, "alice", 440.0)  # what alice sends does come
    await carol.send("allowed")
    view = await sees(bob, lambda view: view.data, "carol's message")
    assert [each.text for each in view.data] == ["allowed"]


async def test_metadata_is_changed_only_by_who_may(join: Join) -> None:
    alice = await join("alice", can_update_own_metadata=False, metadata="as given")
    bob = await join("bob")
    with suppress(ClientError):  # as the SDK likes
        await alice.describe(metadata="changed")
    with suppress(ClientError):
        await alice.describe(attributes={"changed": "yes"})
    await alice.send("barrier")
    view = await sees(bob, lambda view: view.data, "the barrier")
    assert view.others["alice"].metadata == "as given"
    assert view.others["alice"].attributes == {}


async def test_who_is_hidden_is_not_seen_and_sees(join: Join) -> None:
    alice = await join("alice")
    ghost: Client = await join("ghost", hidden=True)
    bob = await join("bob")
    await bob.publish(440.0)
    await hears(ghost, "bob", 440.0)
    for client in (alice, bob):
        await sees(client, lambda view: view.others, "the other one")
        assert "ghost" not in (await client.view()).others


async def test_a_token_is_for_one_room(python_join: Join) -> None:
    token = python_join.server.token("alice", "another room")
    alice = await python_join("alice", token=token)
    bob = await python_join("bob")
    assert (await alice.view()).room_name == "another room"
    assert not (await bob.view()).others
