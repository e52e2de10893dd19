"""Webhooks: told in order, and signed as `livekit.api.WebhookReceiver` checks it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from livekit import api

from tests.browser.people import until
from tests.conformance.clients import PATIENCE
from tests.conformance.conftest import Join, ServerFactory
from tests.sfu_server import KEY, SECRET

pytestmark = pytest.mark.network


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[str, list[api.WebhookEvent]]]:
    """Its URL, and what has come there with a good signature."""
    received: list[api.WebhookEvent] = []
    verified = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))

    async def take(request: web.Request) -> web.Response:
        assert request.content_type == "application/webhook+json"
        body = await request.text()
        received.append(verified.receive(body, request.headers["Authorization"]))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", received
    finally:
        await runner.cleanup()


async def test_a_stay_is_told_from_beginning_to_end(
    own_server: ServerFactory, python_join: Join
) -> None:
    async with receiver() as (url, received):
        python_join.server = await asyncio.to_thread(
            own_server, "--webhook", url, config={"webhook": {"api_key": KEY, "urls": [url]}}
        )
        alice = await python_join("alice")
        sid = await alice.publish(440.0)

        async def events() -> list[str]:
            return [each.event for each in received]

        await until(events, lambda names: "track_published" in names, "a track", PATIENCE)
        await alice.unpublish()
        await until(events, lambda names: "track_unpublished" in names, "no track", PATIENCE)
        await alice.leave()
        await until(events, lambda names: "participant_left" in names, "a leaving", PATIENCE)
        async with python_join.server.api() as livekit:
            await livekit.room.delete_room(api.DeleteRoomRequest(room=python_join.room))
        await until(events, lambda names: "room_finished" in names, "the end", PATIENCE)
    by_name = {each.event: each for each in received}
    assert await events() == [
        "room_started",
        "participant_joined",
        "track_published",
        "track_unpublished",
        "participant_left",
        "room_finished",
    ]
    assert {each.room.name for each in received} == {python_join.room}
    assert len({each.room.sid for each in received}) == 1
    assert len({each.id for each in received}) == len(received)
    assert by_name["participant_joined"].participant.identity == "alice"
    assert by_name["track_published"].track.sid == sid
    assert by_name["track_unpublished"].track.sid == sid
