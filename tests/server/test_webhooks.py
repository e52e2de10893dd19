"""Webhooks, as LiveKit's own receiver reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from livekit.api import TokenVerifier, WebhookReceiver
from livekit.protocol.models import ParticipantInfo, Room, TrackInfo
from livekit.protocol.webhook import WebhookEvent

from mulisa.server import webhooks
from mulisa.server.tokens import TokenIssuer
from mulisa.server.webhooks import Webhooks
from mulisa.sfu.events import Report

pytestmark = pytest.mark.network

SECRET = "a-secret-that-is-long-enough-for-anybody"
ROOM = Room(name="standup", sid="RM_1", num_participants=1)
ALICE = ParticipantInfo(sid="PA_1", identity="alice-7f3k", state=ParticipantInfo.ACTIVE)
TRACK = TrackInfo(sid="TR_1", name="microphone")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "RETRY_PAUSES", (0.01, 0.02))


@dataclass
class Listener:
    """Somebody's HTTP server; `status` is what it says to the next request."""

    url: str = ""
    status: Callable[[int], int] = lambda number: 200
    bodies: list[str] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.text())
        self.headers.append(request.headers)
        self.heard.set()
        return web.Response(status=self.status(len(self.bodies)))

    async def events(self, number: int) -> list[WebhookEvent]:
        """What came, once it is so many requests; each is checked as LiveKit's receiver does."""
        async with asyncio.timeout(10):
            while len(self.bodies) < number:
                self.heard.clear()
                await self.heard.wait()
        receiver = WebhookReceiver(TokenVerifier("key", SECRET))
        return [
            receiver.receive(body, headers["Authorization"])
            for body, headers in zip(self.bodies, self.headers, strict=True)
        ]


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    app = web.Application()
    app.router.add_post("/hook", listener.handle)
    async with TestServer(app) as server:
        listener.url = f"http://127.0.0.1:{server.port}/hook"
        yield listener


@asynccontextmanager
async def telling(*urls: str) -> AsyncIterator[Webhooks]:
    told = Webhooks(urls, TokenIssuer("key", SECRET))
    async with told.delivering():
        yield told


async def test_livekits_receiver_accepts_what_we_send(listener: Listener) -> None:
    async with telling(listener.url) as told:
        told.tell(Report("room_started", ROOM))
        told.tell(Report("participant_joined", ROOM, ALICE))
        told.tell(Report("participant_updated", ROOM, ALICE))
        told.tell(Report("track_published", ROOM, ALICE, TRACK))
        started, joined, published = await listener.events(3)
    assert [started.event, joined.event, published.event] == [
        *("room_started", "participant_joined", "track_published")
    ]
    assert started.room == ROOM and not started.HasField("participant")
    assert joined.participant == ALICE
    assert published.track == TRACK
    assert started.id.startswith("EV_") and started.id != joined.id
    assert listener.headers[0]["Content-Type"] == "application/webhook+json"
    body = json.loads(listener.bodies[0])
    assert body["room"]["numParticipants"] == 1, "names are those of protojson"
    assert isinstance(body["createdAt"], str), "a 64 bit number is text in protojson"


async def test_another_secret_is_noticed(listener: Listener) -> None:
    async with telling(listener.url) as told:
        told.tell(Report("room_started", ROOM))
        await listener.events(1)
    receiver = WebhookReceiver(TokenVerifier("key", SECRET + "!"))
    with pytest.raises(Exception, match="Signature"):
        receiver.receive(listener.bodies[0], listener.headers[0]["Authorization"])
    forged = listener.bodies[0].replace("standup", "retro")
    with pytest.raises(Exception, match="hash mismatch"):
        WebhookReceiver(TokenVerifier("key", SECRET)).receive(
            forged, listener.headers[0]["Authorization"]
        )


async def test_what_fails_is_tried_again_and_order_is_kept(listener: Listener) -> None:
    listener.status = lambda number: 503 if number <= 2 else 200
    async with telling(listener.url) as told:
        told.tell(Report("room_started", ROOM))
        told.tell(Report("room_finished", ROOM))
        events = await listener.events(4)
    assert [event.event for event in events] == [*3 * ["room_started"], "room_finished"]
    assert len({event.id for event in events}) == 2


async def test_a_refusal_is_final(listener: Listener) -> None:
    listener.status = lambda number: 400 if number == 1 else 200
    async with telling(listener.url) as told:
        told.tell(Report("room_started", ROOM))
        await listener.events(1)
        told.tell(Report("room_finished", ROOM))
        events = await listener.events(2)
    assert [event.event for event in events] == ["room_started", "room_finished"]


async def test_one_that_is_away_delays_nobody_else_and_nothing_grows(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "RETRY_PAUSES", (60.0,))
    monkeypatch.setattr(webhooks, "FLUSH_TIME", 0.05)
    away = f"http://127.0.0.1:{unused_port()}/hook"
    async with telling(away, listener.url) as told:
        for _ in range(5):
            told.tell(Report("room_started", ROOM))
        assert len(await listener.events(5)) == 5


async def test_of_what_was_dropped_the_next_one_says_how_much(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MAX_WAITING", 2)
    async with telling(listener.url) as told:
        for _ in range(5):
            told.tell(Report("room_started", ROOM))
        await listener.events(2)
        told.tell(Report("room_finished", ROOM))
        events = await listener.events(3)
    assert [event.num_dropped for event in events] == [0, 0, 3]


async def test_what_waits_when_the_gateway_ends_is_still_sent(listener: Listener) -> None:
    async with telling(listener.url) as told:
        told.tell(Report("room_started", ROOM))
        told.tell(Report("room_finished", ROOM))
    assert [event.event for event in await listener.events(2)] == ["room_started", "room_finished"]
