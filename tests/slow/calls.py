"""A call of two people and Mulisa on a LiveKit server, and a server behind a bad network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mulisa.core.audio import Samples
from tests.browser.people import Person, browser_at, person_in
from tests.browser.server import Server
from tests.browser.speech import word_error_rate
from tests.livekit_server import LiveKitServer
from tests.network import UdpRelay

ROOM = "call"
FRONT = "127.0.0.2"
"""The only address that the server tells its clients; a `UdpRelay` is there."""
BACK = "127.0.0.1"


class Call:
    """Alice, Bob and Mulisa in a room of a LiveKit server."""

    def __init__(self, server: Server, alice: Person, bob: Person) -> None:
        self.server = server
        self.alice = alice
        self.bob = bob

    async def bob_says(self, speech: Samples) -> None:
        """Bob says it, and Alice reads it."""
        before = len(await self.alice.captions("Bob"))
        await self.bob.say(speech)
        await self.alice.reads("Bob", count=before + 1)

    async def goes_on(self, question: Samples) -> None:
        """Both hear each other, and Alice is told what Bob said about the budget."""
        await self.alice.hears_on(await self.bob.identity())
        await self.bob.hears_on(await self.alice.identity())
        await self.alice.ask(question)
        answer = await self.alice.reads("Mulisa", "Friday")
        assert "bob" in answer.lower(), answer

    async def check_nothing_is_lost(self, *lines: str) -> None:
        """All that Bob said is written once, and shown once on Alice's page."""
        written = [x["text"] for x in await self.server.said(ROOM) if x["name"] == "Bob"]
        shown = [caption.text for caption in await self.alice.captions("Bob")]
        assert written == shown, (written, shown)
        assert len(written) == len(lines), written
        for line, text in zip(lines, written, strict=True):
            assert word_error_rate(line, text) <= 0.5, (line, text)


@asynccontextmanager
async def call_on(
    livekit: LiveKitServer, data: Path, chromium: str, url: str = ""
) -> AsyncIterator[Call]:
    """A call that has begun; `url` is the way to the server, if it is not the direct one."""
    server = Server(data, "--llm", "concierge", livekit=livekit, livekit_url=url)
    try:
        await asyncio.to_thread(server.wait_for, "agent_ready")
        async with browser_at(chromium) as browser:
            alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
            for person in (alice, bob):
                await person.enter(server.url, ROOM)
            await alice.sees("Bob")
            for person in (alice, bob):
                await person.mulisa_is("listening")
            yield Call(server, alice, bob)
    finally:
        code = server.stop()
    assert code == 0


@asynccontextmanager
async def livekit_behind_a_network(
    program: str, seed: int
) -> AsyncIterator[tuple[LiveKitServer, UdpRelay]]:
    """A server whose media, to and from everybody, goes through one relay."""
    config = {
        "rtc": {
            "node_ip": FRONT,
            "ips": {"includes": [f"{BACK}/32"]},
            "use_ice_lite": True,  # a full agent would find the direct way to its clients
            "tcp_port": 0,
        }
    }
    with LiveKitServer(program, config=config) as livekit:
        front, back = (FRONT, livekit.udp_port), (BACK, livekit.udp_port)
        async with UdpRelay(front, back, seed=seed) as network:
            yield livekit, network
