"""Connections whose path breaks, over real sockets: nobody leaves, nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from aioice import Connection
from aioice.ice import StunProtocol

from mulisa.core.audio import Samples, silence
from mulisa.core.events import ParticipantLeft
from mulisa.core.room import Identity
from mulisa.transport import path as path_module
from mulisa.transport.mesh.pair import Pair
from mulisa.transport.mesh.transport import MeshTransport
from tests.transport.mesh.rooms import PATIENCE, Witness, gateway, hear, pitch, say, tone
from tests.transport.mesh.test_transport import ALICE, BOB, MULISA, call

pytestmark = pytest.mark.network

SOONER = {"QUIET": 0.1, "UNANSWERED": 0.3, "ASK_INTERVAL": 0.1, "LOST_QUIET": 0.6}


class Cut:
    """Datagrams between two participants that do not arrive."""

    def __init__(self) -> None:
        self.ends: list[tuple[MeshTransport, Identity]] = []

    def between(self, one: MeshTransport, other: MeshTransport) -> None:
        self.ends = [(one, other.local.identity), (other, one.local.identity)]

    def end(self) -> None:
        self.ends.clear()

    def stops(self, ice: Connection) -> bool:
        return any(ice in connections_of(pair_of(*end)) for end in self.ends)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cut]:
    """Paths count as lost sooner, too."""
    for name, seconds in SOONER.items():
        monkeypatch.setattr(path_module, name, seconds)
    cutting = Cut()
    receive = StunProtocol.datagram_received

    def datagram_received(self: StunProtocol, data: bytes, address: tuple[str, int]) -> None:
        if not cutting.stops(self.receiver):
            receive(self, data, address)

    monkeypatch.setattr(StunProtocol, "datagram_received", datagram_received)
    yield cutting


def pair_of(transport: MeshTransport, identity: Identity) -> Pair:
    pair = transport._pair_of(identity)
    assert pair is not None
    return pair


def connections_of(pair: Pair) -> list[Connection]:
    return [peer._text.transport.transport.transport._connection for peer in pair._peers]


def names(pair: Pair) -> list[str]:
    return [peer.connection for peer in pair._peers]


async def until(transport: MeshTransport, is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        await transport._watch.until(is_so)


async def hears(listener: MeshTransport, speaker: MeshTransport, frequency_hz: float) -> None:
    """Something of that pitch arrives, once it has begun to."""
    speaking = asyncio.create_task(say(speaker, tone(frequency_hz, 500)))
    try:
        async with asyncio.timeout(PATIENCE):
            heard = False
            while not heard:  # frames end where the connection changes
                heard = await _has_heard(listener, speaker.local.identity, frequency_hz)
                await asyncio.sleep(0.02)
    finally:
        speaking.cancel()
        await asyncio.wait({speaking})


async def _has_heard(listener: MeshTransport, who: Identity, frequency_hz: float) -> bool:
    heard: list[Samples] = []
    async for frame in listener.frames(who):
        heard.append(frame.samples)
        if len(heard) == 25:
            return pitch(np.concatenate(heard[10:])) == pytest.approx(frequency_hz, abs=5.0)
    return False


def nobody_left(*witnesses: Witness) -> bool:
    return not any(isinstance(event, ParticipantLeft) for each in witnesses for event in each.seen)


async def test_a_path_that_returns_carries_until_the_new_connection_does(cut: Cut) -> None:
    async with gateway() as room, call(room, ALICE, BOB) as (transports, witnesses):
        alice, bob, mulisa = transports[ALICE], transports[BOB], transports[MULISA]
        with_alice, with_bob = pair_of(mulisa, ALICE), pair_of(mulisa, BOB)
        first, untouched = names(with_alice), names(with_bob)
        whisper = await mulisa.whisper(ALICE)

        cut.between(alice, mulisa)
        await until(mulisa, lambda: with_alice._former is not None)
        assert names(with_alice)[1:] == first, "the former one stays"
        assert with_alice.is_listening, "her voice goes on to it"
        await hears(mulisa, bob, 700.0)

        cut.end()
        await hears(mulisa, alice, 440.0)
        await until(mulisa, lambda: with_alice._former is None and with_alice.follows)
        assert names(with_alice) != first and len(names(with_alice)) == 1
        await until(alice, lambda: names(pair_of(alice, MULISA)) == names(with_alice))
        await hears(mulisa, alice, 550.0)
        await hears(alice, mulisa, 330.0)

        listening = asyncio.create_task(hear(alice, MULISA, 30))
        whisper(silence())  # ends what was said aloud
        await with_bob.pass_through()
        before = bob.stats(MULISA).packets_received
        for frame in tone(880.0, 40):
            whisper(frame)
            await asyncio.sleep(0.02)
        assert pitch((await listening)[9_600:]) == pytest.approx(880.0, abs=3.0)
        assert bob.stats(MULISA).packets_received == before
        assert names(with_bob) == untouched
        assert nobody_left(*witnesses.values())


async def test_who_is_taken_off_her_ears_meanwhile_stays_off(cut: Cut) -> None:
    async with gateway() as room, call(room, ALICE) as (transports, _):
        alice, mulisa = transports[ALICE], transports[MULISA]
        pair = pair_of(mulisa, ALICE)
        cut.between(alice, mulisa)
        await until(mulisa, lambda: pair._former is not None)
        hearing = asyncio.create_task(mulisa.hear(ALICE, False))
        await until(mulisa, lambda: pair._former is None)
        cut.end()
        await hearing
        await until(mulisa, lambda: pair.is_listening)
        received = mulisa.stats(ALICE).packets_received
        await say(alice, tone(440.0, 20))
        await mulisa.speak_to(frozenset())  # a round trip
        assert mulisa.stats(ALICE).packets_received == received
        await mulisa.speak_to(None)
        await mulisa.hear(ALICE, True)
        await hears(mulisa, alice, 440.0)


async def test_a_connection_on_which_she_is_not_heard_is_replaced() -> None:
    async with gateway() as room, call(room, ALICE) as (transports, witnesses):
        alice, mulisa = transports[ALICE], transports[MULISA]
        pair = pair_of(mulisa, ALICE)
        (first,) = names(pair)
        for _ in range(3):
            await say(mulisa, tone(440.0, 25))
            assert names(pair) == [first]
            await alice.send_reception(frozenset())
        await until(mulisa, lambda: first not in names(pair) and pair.is_listening)
        await hears(alice, mulisa, 330.0)
        assert nobody_left(*witnesses.values())


async def test_who_is_heard_or_silent_keeps_the_connection() -> None:
    async with gateway() as room, call(room, ALICE) as (transports, _):
        alice, mulisa = transports[ALICE], transports[MULISA]
        pair = pair_of(mulisa, ALICE)
        first = names(pair)
        for heard in (frozenset(), frozenset(), frozenset({MULISA}), frozenset()):
            await say(mulisa, tone(440.0, 25))
            await alice.send_reception(heard)
        for _ in range(5):
            await alice.send_reception(frozenset())
        await hears(mulisa, alice, 550.0)
        assert names(pair) == first
