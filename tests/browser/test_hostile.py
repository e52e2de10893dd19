"""A peer that sends nonsense harms nobody but itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.browser.conftest import MESH_ONLY
from tests.browser.people import browser_at, person_in
from tests.browser.server import Server
from tests.browser.speech import ALICE, Studio

pytestmark = pytest.mark.browser

ROOM = "hostile"
PATIENCE = 60.0
FLOOD = 2_000
"""Messages at once, of which 400 and 50 a second are allowed."""
NOT_SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\nm=audio 9 UDP/TLS/RTP/SAVPF banana\r\n"
"""Begins as SDP does, so that the gateway passes it on."""
GARBAGE = (
    ("\x00\x01 not JSON", "bad_message"),
    ("[" * 10_000, "bad_message"),
    ('{"type": "conquer"}', "bad_message"),
    ('{"type": "update", "attributes": {"lk.agent.state": 1}}', "bad_message"),
    (json.dumps({"type": "update", "name": "x" * 70_000}), "too_large"),
    (
        '{"type": "offer", "to": "PA_nobody", "connection": "abcdefgh", "sdp": "v=0"}',
        "unknown_participant",
    ),
)


@MESH_ONLY  # the gateway relays no signalling of an SFU room, and a LiveKit server checks its own
async def test_a_hostile_peer_disturbs_nobody(
    studio: Studio, server: Server, chromium: str
) -> None:
    first, second = await studio.speak(
        ALICE, "Mulisa, who is in the call?", "Mulisa, what can you do for us?"
    )
    async with browser_at(chromium) as browser:
        alice = await person_in(browser, "Alice")
        errors: list[str] = []
        alice.page.on("pageerror", lambda error: errors.append(str(error)))
        await alice.enter(server.url, ROOM)
        await alice.mulisa_is("listening")
        async with _hostile_peer(server) as (socket, others):
            await _send_garbage(socket)
            await _send_false_descriptions(socket, others)
            await alice.ask(first)
            await alice.reads("Mulisa")
            flood = asyncio.create_task(_flood(socket))
            await alice.ask(second)
            assert await flood == "too_fast"
            await alice.reads("Mulisa", count=2)
        await alice.sees("Mallory", count=0)
        async with _hostile_peer(server) as (socket, _):
            await socket.send_str("x" * 1_000_000)
            await _closed(socket)
            assert socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        await alice.sees("Mallory", count=0)
        await alice.mulisa_is("listening")
    assert errors == []


@asynccontextmanager
async def _hostile_peer(
    server: Server,
) -> AsyncIterator[tuple[aiohttp.ClientWebSocketResponse, list[str]]]:
    """A socket in the room, and the sids of all others there."""
    admission = await server.admit(ROOM, "Mallory")
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(
            f"{admission['url']}/mesh",
            params={"access_token": admission["token"]},
        ) as socket,
    ):
        joined = await _next(socket, "joined")
        yield socket, [participant["sid"] for participant in joined["participants"]]


async def _send_garbage(socket: aiohttp.ClientWebSocketResponse) -> None:
    for text, code in GARBAGE:
        await socket.send_str(text)
        assert (await _next(socket, "error"))["code"] == code, text[:80]
    await socket.send_bytes(b"\xff\xfe")
    assert (await _next(socket, "error"))["code"] == "bad_message"


async def _send_false_descriptions(
    socket: aiohttp.ClientWebSocketResponse, others: list[str]
) -> None:
    """As an offer, as an answer to nothing, as a candidate; none is an offence to the gateway."""
    assert len(others) == 2
    for sid in others:
        pair = {"to": sid, "connection": "mallory000"}
        candidate = {"candidate": "candidate:banana 1 udp x 0 y", "sdpMid": "0"}
        for message in (
            {"type": "offer", "sdp": NOT_SDP} | pair,
            {"type": "answer", "sdp": NOT_SDP} | pair,
            {"type": "candidate", "candidate": candidate} | pair,
        ):
            await socket.send_str(json.dumps(message))
    await socket.send_str('{"type": "offer", "to": "x", "connection": "abcdefgh", "sdp": "hello"}')
    assert (await _next(socket, "error"))["code"] == "bad_message"


async def _flood(socket: aiohttp.ClientWebSocketResponse) -> str:
    """Send until one is put out; the reason given."""
    try:
        for number in range(FLOOD):
            await socket.send_str(json.dumps({"type": "update", "name": f"Mallory {number}"}))
    except ConnectionError:
        pass  # what came before it is still to be read
    assert (await _next(socket, "error"))["code"] == "too_fast"
    return str((await _next(socket, "closing"))["reason"])


async def _next(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next message of this type."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                received = await socket.receive()
            except ConnectionError:
                continue  # a ping cannot be answered any more; what came after it is still there
            assert received.type == aiohttp.WSMsgType.TEXT, f"{received.type} before {kind}"
            message: dict[str, Any] = json.loads(received.data)
            if message["type"] == kind:
                return message


async def _closed(socket: aiohttp.ClientWebSocketResponse) -> None:
    async with asyncio.timeout(PATIENCE):
        async for _ in socket:
            pass
