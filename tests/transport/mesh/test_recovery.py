"""Sockets that are cut, and gateways that die, under two transports that go on talking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from mulisa.core.errors import ConnectionLost
from mulisa.core.events import (
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
)
from mulisa.core.room import Identity
from mulisa.transport.mesh import relay, vigil
from mulisa.transport.mesh.outcome import ParticipantEntered, ParticipantGone
from mulisa.transport.mesh.transport import MeshTransport
from tests.network import TcpProxy, free_port
from tests.transport.mesh.rooms import (
    PATIENCE,
    Gateway,
    Witness,
    gateway,
    hear,
    pitch,
    say,
    token,
    tone,
)

pytestmark = pytest.mark.network

ALICE, MULISA = Identity("alice"), Identity("mulisa")
SECRET = "secret"


class Call:
    """Alice and Mulisa, each behind a proxy of their own, who hear each other."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.to_alice = TcpProxy(("127.0.0.1", port))
        self.to_mulisa = TcpProxy(("127.0.0.1", port))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Call]:
        """Until the block ends."""
        async with (
            self.to_alice,
            self.to_mulisa,
            MeshTransport(self._url(self.to_alice), token(ALICE)) as self.alice,
            MeshTransport(self._url(self.to_mulisa), token(MULISA, "agent")) as self.mulisa,
        ):
            self.at_alice, self.at_mulisa = Witness(self.alice), Witness(self.mulisa)
            await self.at_mulisa.until(TrackSubscribed(ALICE))
            await self.at_alice.until(TrackSubscribed(MULISA))
            yield self

    @staticmethod
    def _url(proxy: TcpProxy) -> str:
        return f"ws://127.0.0.1:{proxy.port}"

    def connections(self) -> list[object]:
        """What must be the same afterwards: stays and the connection between them."""
        return [
            self.alice.local.sid,
            self.mulisa.local.sid,
            *(pair._peer for pair in self.alice._pairs.values()),
            *(pair._peer for pair in self.mulisa._pairs.values()),
        ]

    async def check_voice(self, frequency_hz: float) -> None:
        """What Mulisa says reaches Alice."""
        hearing = asyncio.create_task(self._hear_tone(frequency_hz))
        await say(self.mulisa, tone(frequency_hz, 60))
        await hearing

    async def _hear_tone(self, frequency_hz: float) -> None:
        """What was said before may still be in the queue."""
        while pitch(await hear(self.alice, MULISA, 10)) != pytest.approx(frequency_hz, abs=10.0):
            pass

    async def check_signalling(self, who: str) -> None:
        """What Mulisa says of herself goes through the gateway to Alice."""
        await self.mulisa.set_attributes({"who": who})
        async with asyncio.timeout(PATIENCE):
            while self.alice.participants[MULISA].attributes.get("who") != who:
                await self.at_alice.until(ParticipantUpdated)


@asynccontextmanager
async def call(room: Gateway) -> AsyncIterator[Call]:
    port = int(room.url.rsplit(":", 1)[1])
    async with Call(port).running() as running:
        yield running


async def test_a_cut_socket_is_resumed_and_no_connection_is_touched() -> None:
    async with gateway() as room, call(room) as both:
        before = both.connections()
        room.happened.clear()
        both.to_mulisa.is_open = False
        assert both.to_mulisa.cut() == 1
        await both.mulisa.set_attributes({"said": "while it was cut"})
        await both.check_voice(500.0)
        both.to_mulisa.is_open = True
        await both.at_alice.until(ParticipantUpdated)
        assert both.alice.participants[MULISA].attributes["said"] == "while it was cut"
        await both.check_signalling("again")
        assert both.connections() == before
        changes = (ParticipantEntered, ParticipantGone)
        assert not any(isinstance(event, changes) for event in room.happened)
        assert not any(isinstance(event, ParticipantLeft) for event in both.at_alice.seen)


async def test_whose_signalling_alone_is_cut_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "UNWITNESSED_FOR", 1.0)
    monkeypatch.setattr(vigil, "WITNESS_INTERVAL", 0.4)
    monkeypatch.setattr("mulisa.transport.mesh.transport.LOOK_INTERVAL", 0.1)
    async with gateway() as room, call(room) as both:
        before = both.connections()
        both.to_alice.is_open = False
        assert both.to_alice.cut() == 1
        await asyncio.gather(both.check_voice(500.0), say(both.alice, tone(700.0, 150)))
        assert [stay.participant.identity for stay in room.endpoint.rooms()[0].stays] == [
            ALICE,
            MULISA,
        ]
        both.to_alice.is_open = True
        await both.check_signalling("again")
        assert both.connections() == before


async def test_who_sends_neither_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "UNWITNESSED_FOR", 1.0)
    monkeypatch.setattr(vigil, "FRESH", 0.5)
    async with gateway() as room, call(room) as both:
        both.to_alice.is_open = False
        for pair in both.alice._pairs.values():
            assert pair._peer is not None
            await pair._peer.aclose()
        both.to_alice.cut()
        left = await both.at_mulisa.until(ParticipantLeft)
        assert isinstance(left, ParticipantLeft) and left.participant.identity == ALICE


async def test_a_restarted_gateway_finds_everything_as_it_was() -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        async with gateway(port=port, secret=SECRET) as room:
            both = await stack.enter_async_context(call(room))
            await both.mulisa.set_attributes({"kept": "yes"})
            await both.at_alice.until(ParticipantUpdated)
            before = both.connections()
            kill(both)
        await both.check_voice(500.0)
        async with gateway(port=port, secret=SECRET):
            reopen(both)
            await both.check_signalling("again")
            assert both.alice.participants[MULISA].attributes["kept"] == "yes"
            assert both.connections() == before
            await both.check_voice(700.0)
    assert not any(isinstance(event, ParticipantLeft) for event in both.at_alice.seen)


async def test_a_gateway_that_knows_nobody_gets_everybody_anew() -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        async with gateway(port=port) as room:
            both = await stack.enter_async_context(call(room))
            before = both.connections()
            kill(both)
        async with gateway(port=port):
            reopen(both)
            await both.at_alice.until(ParticipantLeft, ParticipantJoined, TrackSubscribed(MULISA))
            await both.at_mulisa.until(TrackSubscribed(ALICE))
            assert not set(before) & set(both.connections())
            await both.check_voice(700.0)


def kill(both: Call) -> None:
    """From here on the gateway is as good as dead to both."""
    for proxy in (both.to_alice, both.to_mulisa):
        proxy.is_open = False
        proxy.cut()


def reopen(both: Call) -> None:
    for proxy in (both.to_alice, both.to_mulisa):
        proxy.is_open = True


async def test_who_was_removed_does_not_come_back() -> None:
    async with gateway() as room, room.transport("alice") as alice:
        room.endpoint.remove(alice.room, ALICE)
        async with asyncio.timeout(PATIENCE):
            assert [event async for event in alice.events()] == []


async def test_who_is_not_let_in_again_has_lost_the_connection() -> None:
    async with gateway() as room, call(room) as both:
        both.alice._link._token = "expired"
        both.to_alice.cut()
        with pytest.raises(ConnectionLost, match="token was refused"):
            await both.at_alice.until(ParticipantJoined, ParticipantJoined)
        assert both.alice.participants == {}
