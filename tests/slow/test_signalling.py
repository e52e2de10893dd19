"""Five thousand random messages of several sockets, while two people talk in the same room."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Callable
from typing import Any

import aiohttp
import numpy as np
import pytest

from mulisa.core.audio import SAMPLE_RATE_HZ, Samples
from tests.browser.people import until
from tests.browser.server import Server
from tests.slow.talkers import MULISA, Talker, talker_in

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(600)]

ROOM = "fuzz"
MESSAGES = 5_000
ATTACKERS = 5
MAX_STAY = 480
"""Messages; 400 are allowed at once, and from 450 on their sender is put out."""
MOST = 0.8
"""Of the messages must have been read; the others came after their sender was put out."""
SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\n"
    "a=rtpmap:96 opus/48000/2\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\na=setup:actpass\r\na=rtcp-mux\r\n"
)
CANDIDATE = "candidate:1 1 udp 2122260223 127.0.0.1 9 typ host"


async def test_random_messages_harm_nobody(server: Server) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    agent = server.agent()
    async with talker_in(server, ROOM, "Alice") as alice, talker_in(server, ROOM, "Bob") as bob:
        await alice.meets(bob.identity, MULISA)
        await bob.meets(alice.identity, MULISA)
        speaking = [asyncio.create_task(_hum(person)) for person in (alice, bob)]
        try:
            await asyncio.gather(
                *(
                    _attack(server, random.Random(f"{seed} {number}"), MESSAGES // ATTACKERS)
                    for number in range(ATTACKERS)
                )
            )
            for listener, speaker in ((alice, bob), (bob, alice)):
                await listener.hears_more_of(speaker.identity, 50)
        finally:
            for task in speaking:
                task.cancel()
            await asyncio.wait(speaking)
        assert await _messages_read(server) > MOST * MESSAGES
        assert not alice.is_out and not bob.is_out, f"seed {seed}"
        bystanders = {alice.identity, bob.identity, MULISA}
        assert not bystanders & (alice.lost | bob.lost), f"seed {seed}: a connection ended"
        assert server.agent().pid == agent.pid, f"seed {seed}: she died"
        await until(
            lambda: server.participants(ROOM), lambda here: len(here) == 3, "the attackers to go"
        )
        await alice.write("Mulisa, who is in the call?")
        await alice.is_answered_in_chat(1)


async def _messages_read(server: Server) -> float:
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/metrics") as response:
        lines = (await response.text()).splitlines()
    (line,) = [line for line in lines if line.startswith("mulisa_signalling_messages_total ")]
    return float(line.split()[1])


async def _hum(person: Talker) -> None:
    """A tone, for ever: sound that is no speech."""
    while True:
        await person.say(_tone(1.0))


async def _attack(server: Server, rng: random.Random, count: int) -> None:
    """Send so many messages, in stays of about as many as are allowed at once."""
    admission = await server.admit(ROOM, "Mallory")
    sent = 0
    async with aiohttp.ClientSession() as http:
        while sent < count:
            async with http.ws_connect(
                f"{admission['url']}/mesh", params={"access_token": admission["token"]}
            ) as socket:
                joined = await socket.receive_json()
                sids = [participant["sid"] for participant in joined["participants"]]
                reading = asyncio.create_task(_read(socket))
                stay = min(count, sent + rng.randrange(300, MAX_STAY))
                try:
                    while sent < stay and not socket.closed:
                        sent += 1
                        await _send_something(socket, rng, sids)
                except ConnectionError:
                    pass  # put out
                finally:
                    reading.cancel()
                    await asyncio.wait({reading})


async def _read(socket: aiohttp.ClientWebSocketResponse) -> None:
    """Whatever comes is JSON with a type."""
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            assert "type" in json.loads(message.data)


async def _send_something(
    socket: aiohttp.ClientWebSocketResponse, rng: random.Random, sids: list[str]
) -> None:
    kind = rng.random()
    if kind < 0.02:
        await socket.send_bytes(rng.randbytes(rng.randrange(200)))
    elif kind < 0.03:
        await socket.send_str("x" * rng.randrange(60_000, 200_000))
    else:
        text = json.dumps(_message(rng, sids))
        await socket.send_str(_mutated(rng, text) if rng.random() < 0.4 else text)


def _message(rng: random.Random, sids: list[str]) -> dict[str, Any]:
    """A message as the protocol has it, or nearly."""
    to = rng.choice([*sids, "PA_0000000000000000", "", 7])
    connection = rng.choice(["mallory1", "mallory2", _letters(rng, 16), "short", None])
    pair = {"to": to, "connection": connection}
    kinds: list[Callable[[], dict[str, Any]]] = [
        lambda: {"type": "offer", "sdp": _sdp(rng)} | pair,
        lambda: {"type": "answer", "sdp": _sdp(rng)} | pair,
        lambda: {"type": "candidate", "candidate": _candidate(rng)} | pair,
        lambda: {"type": "update", "muted": rng.choice([True, False, None, 3])},
        lambda: {"type": "update", "name": _letters(rng, rng.randrange(80))},
        lambda: {"type": "update", "attributes": {_letters(rng, 3): _letters(rng, 50)}},
        lambda: {"type": "update", "attributes": {"lk.agent.state": "speaking"}},
        lambda: {"type": rng.choice(["joined", "closing", "participant_left", "", None])} | pair,
    ]
    return rng.choice(kinds)()


def _sdp(rng: random.Random) -> str:
    lines = SDP.splitlines(keepends=True)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(lines))
        lines[at] = rng.choice(["", lines[at] * 2, _mutated(rng, lines[at])])
    return "".join(lines)


def _candidate(rng: random.Random) -> dict[str, Any] | None:
    if rng.random() < 0.2:
        return None
    return {
        "candidate": rng.choice([CANDIDATE, "", _mutated(rng, CANDIDATE)]),
        "sdpMid": rng.choice(["0", "1", None]),
        "sdpMLineIndex": rng.choice([0, 1, -1, 70_000, None]),
    }


def _mutated(rng: random.Random, text: str) -> str:
    """With a few characters replaced, removed or doubled."""
    characters = list(text)
    for _ in range(rng.randrange(1, 5)):
        if not characters:
            break
        at = rng.randrange(len(characters))
        characters[at] = rng.choice(["", characters[at] * 2, chr(rng.randrange(1, 0x2FF)), "\\"])
    return "".join(characters)


def _letters(rng: random.Random, length: int) -> str:
    """Letters and digits."""
    return "".join(rng.choices("abcdefghijkLMNOP0123456789", k=length))


def _tone(seconds: float) -> Samples:
    at = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (3000 * np.sin(2 * np.pi * 440 * at)).astype(np.int16)
