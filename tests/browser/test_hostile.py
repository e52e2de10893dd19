"""A peer that sends nonsense harms nobody but itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
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
    (question,) = await studio.speak(ALICE, "Mulisa, who is in the call?")
    async with browser_at(chromium) as browser:
        alice = await person_in(browser, "Alice")
        errors: list[str] = []
        alice.page.on("pageerror", lambda error: errors.append(str(error)))
        await alice.enter(server.url, ROOM)
        await alice.mulisa_is("listening")
        async with _hostile_peer(server) as (mallory, others):
            await _send_garbage(mallory)
            await _send_false_descriptions(mallory, others)
            flood = asyncio.create_task(_flood(mallory))
            await alice.ask(question)
            await flood
            await alice.reads("Mulisa")
        await alice.sees("Mallory", count=0)
        async with _hostile_peer(server) as (mallory, _):
            await mallory.socket.send_str("x" * 1_000_000)
            await _closed(mallory)
            assert mallory.socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
        await alice.sees("Mallory", count=0)
        await alice.mulisa_is("listening")
    assert errors == []


@dataclass
class _Mallory:
    """A socket in the room, read all the time: who answers no ping is taken for gone."""

    socket: aiohttp.ClientWebSocketResponse
    messages: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    is_gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self) -> None:
        """Until the socket is closed."""
        with suppress(ConnectionError):  # a ping could not be answered any more
            async for received in self.socket:
                if received.type is aiohttp.WSMsgType.TEXT:
                    self.messages.put_nowait(json.loads(received.data))
        self.is_gone.set()

    async def next(self, kind: str) -> dict[str, Any]:
        """The next message of this type."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.messages.get())["type"] != kind:
                pass
        return message


@asynccontextmanager
async def _hostile_peer(server: Server) -> AsyncIterator[tuple[_Mallory, list[str]]]:
    """Somebody in the room, and the sids of all others there."""
    admission = await server.admit(ROOM, "Mallory")
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(
            f"{admission['url']}/mesh",
            params={"access_token": admission["token"]},
        ) as socket,
        asyncio.TaskGroup() as reading,
    ):
        mallory = _Mallory(socket)
        reader = reading.create_task(mallory.read())
        joined = await mallory.next("joined")
        yield mallory, [participant["sid"] for participant in joined["participants"]]
        reader.cancel()


async def _send_garbage(mallory: _Mallory) -> None:
    for text, code in GARBAGE:
        await mallory.socket.send_str(text)
        assert (await mallory.next("error"))["code"] == code, text[:80]
    await mallory.socket.send_bytes(b"\xff\xfe")
    assert (await mallory.next("error"))["code"] == "bad_message"


async def _send_false_descriptions(mallory: _Mallory, others: list[str]) -> None:
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
            await mallory.socket.send_str(json.dumps(message))
    await mallory.socket.send_str(
        '{"type": "offer", "to": "x", "connection": "abcdefgh", "sdp": "hello"}'
    )
    assert (await mallory.next("error"))["code"] == "bad_message"


async def _flood(mallory: _Mallory) -> None:
    """Send until one is put out.

    The reason given may be lost: a socket that is closed while more arrives is reset, which
    discards what its client has not read yet.
    """
    with suppress(ConnectionError):
        for number in range(FLOOD):
            await mallory.socket.send_str(
                json.dumps({"type": "update", "name": f"Mallory {number}"})
            )
    await _closed(mallory)


async def _closed(mallory: _Mallory) -> None:
    async with asyncio.timeout(PATIENCE):
        await mallory.is_gone.wait()
