"""Which pair of candidates is taken, between connections of aioice on a network in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import pytest
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import CandidatePair, Connection, StunProtocol

from mulisa.transport.mesh.selection import ABANDONED, Selection

pytestmark = pytest.mark.unit

Address: TypeAlias = tuple[str, int]
DELAY = 0.03
"""Seconds that a datagram takes."""
PATIENCE = 100.0
"""Longer than aioice repeats a check (63.5 s)."""
HOST, RELAY = "host", "relay"
DIRECT = "host to host"


class Network:
    """Datagrams between addresses. Direct ones, between hosts, may be stopped on their way."""

    def __init__(self) -> None:
        self.blocked = False
        """Direct datagrams are lost."""
        self.punched: set[tuple[Address, Address]] | None = None
        """If not None, everybody is behind a NAT: an answer passes, and nothing else."""
        self.relays = True
        self.n_sent_direct = 0
        self._ends: dict[Address, StunProtocol] = {}

    def open(self, protocol: StunProtocol) -> Address:
        address = (f"10.0.0.{len(self._ends) + 1}", 1)
        self._ends[address] = protocol
        return address

    def close(self, address: Address) -> None:
        self._ends.pop(address).connection_lost(None)

    def send(self, data: bytes, source: Address, target: Address) -> None:
        if target in self._ends and self._passes(source, target):
            arrive = self._ends[target].datagram_received
            asyncio.get_running_loop().call_later(DELAY, arrive, data, source)

    def _passes(self, source: Address, target: Address) -> bool:
        if any(self._ends[each].local_candidate.type == RELAY for each in (source, target)):
            return self.relays
        self.n_sent_direct += 1
        if self.punched is not None:
            self.punched.add((source, target))
            return (target, source) in self.punched
        return not self.blocked


class Socket(asyncio.DatagramTransport):
    """Of one address."""

    def __init__(self, network: Network, address: Address) -> None:
        super().__init__()
        self._network, self._address = network, address

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._network.send(bytes(data), self._address, addr)

    def close(self) -> None:
        self._network.close(self._address)


class End:
    """A connection with an address of its own and one at a relay."""

    def __init__(self, network: Network, *, is_controlling: bool, selects: bool) -> None:
        self.ice = Connection(ice_controlling=is_controlling)
        self.ice._local_candidates_end = True
        self.selection = Selection(self.ice) if selects else None
        self.candidates = {kind: self._open(network, kind) for kind in (HOST, RELAY)}

    def _open(self, network: Network, kind: str) -> Candidate:
        protocol = StunProtocol(self.ice)
        address = network.open(protocol)
        protocol.connection_made(Socket(network, address))
        priority, foundation = candidate_priority(1, kind), candidate_foundation(kind, "udp", "")
        protocol.local_candidate = Candidate(foundation, 1, "udp", priority, *address, kind)
        self.ice._protocols.append(protocol)
        return protocol.local_candidate

    async def told_of(self, other: End, *kinds: str) -> None:
        self.ice.remote_username = other.ice.local_username
        self.ice.remote_password = other.ice.local_password
        for kind in kinds:
            await self.ice.add_remote_candidate(other.candidates[kind])

    @property
    def pair(self) -> CandidatePair:
        return self.ice._nominated[1]

    @property
    def way(self) -> str:
        return f"{self.pair.local_candidate.type} to {self.pair.remote_candidate.type}"

    def pair_with(self, other: End, kind: str) -> CandidatePair:
        """Our host candidate and theirs of this kind."""
        here, there = self.candidates[HOST], other.candidates[kind]
        for pair in self.ice._check_list:
            if pair.local_candidate is here and pair.remote_addr == (there.host, there.port):
                return pair
        raise AssertionError("there is no such pair")

    def check(self, other: End, kind: str) -> None:
        """As a browser does: from our candidate of this kind, nominating where we control."""
        protocol = next(
            each for each in self.ice._protocols if each.local_candidate is self.candidates[kind]
        )
        pair = CandidatePair(protocol, other.candidates[HOST])
        request = self.ice.build_request(pair, nominate=True)
        request.add_message_integrity(other.ice.local_password.encode())
        protocol.send_stun(request, pair.remote_addr)


Ends: TypeAlias = tuple[End, End]


@asynccontextmanager
async def ends(
    network: Network, *, is_controlling: bool, peer_selects: bool = True
) -> AsyncIterator[Ends]:
    """Ours and the peer's, which is plain aioice unless it selects as we do."""
    ours = End(network, is_controlling=is_controlling, selects=True)
    peer = End(network, is_controlling=not is_controlling, selects=peer_selects)
    try:
        yield ours, peer
    finally:
        for end in (ours, peer):
            if end.selection is not None:
                await end.selection.aclose()
            await end.ice.close()


async def connect(ends: Ends, *kinds: str) -> None:
    await tell(ends, *kinds)
    await asyncio.gather(*(end.ice.connect() for end in ends))


async def tell(ends: Ends, *kinds: str) -> None:
    for one, other in (ends, ends[::-1]):
        await one.told_of(other, *kinds)


async def until_direct(ends: Ends) -> None:
    async with asyncio.timeout(PATIENCE):
        while any(end.way != DIRECT for end in ends):  # noqa: ASYNC110 - in virtual time
            await asyncio.sleep(DELAY)


controlling = pytest.mark.parametrize("is_controlling", [True, False], ids=["leads", "follows"])


@pytest.fixture
def network() -> Network:
    return Network()


@controlling
async def test_a_direct_path_that_comes_later_is_taken(
    is_controlling: bool, network: Network
) -> None:
    network.blocked = True
    async with ends(network, is_controlling=is_controlling) as both:
        await connect(both, HOST, RELAY)
        assert all(RELAY in end.way for end in both)
        network.blocked = False
        await until_direct(both)


@controlling
async def test_candidates_that_come_later_are_tried_through_both_nats(
    is_controlling: bool, network: Network
) -> None:
    network.punched = set()
    async with ends(network, is_controlling=is_controlling) as both:
        await connect(both, RELAY)
        assert all(RELAY in end.way for end in both)
        await tell(both, HOST)
        await until_direct(both)


@controlling
async def test_a_check_that_a_nat_stopped_is_made_again_when_the_peer_has_opened_it(
    is_controlling: bool, network: Network
) -> None:
    """At once, and not when aioice would repeat it, after 0.5 s."""
    loop = asyncio.get_running_loop()
    network.punched, network.relays = set(), False
    async with ends(network, is_controlling=is_controlling, peer_selects=False) as both:
        begun = loop.time()
        await tell(both, HOST)
        async with asyncio.TaskGroup() as tasks:
            for end in both:
                tasks.create_task(end.ice.connect())
                await asyncio.sleep(2 * DELAY)
        assert loop.time() - begun < 10 * DELAY
        await until_direct(both)


@controlling
async def test_a_worse_pair_does_not_take_over_while_the_better_one_is_used(
    is_controlling: bool, network: Network
) -> None:
    """As when a browser has asked for the relay as well before it knew the direct path."""
    async with ends(network, is_controlling=is_controlling, peer_selects=False) as (ours, peer):
        await connect((ours, peer), HOST, RELAY)
        assert ours.way == DIRECT
        for _ in range(5):
            peer.check(ours, HOST)
            await asyncio.sleep(ABANDONED / 2)
            peer.check(ours, RELAY)
            await asyncio.sleep(ABANDONED / 4)
            assert ours.pair_with(peer, RELAY).nominated
            assert ours.way == DIRECT


@controlling
async def test_a_worse_pair_takes_over_when_the_better_one_is_abandoned(
    is_controlling: bool, network: Network
) -> None:
    async with ends(network, is_controlling=is_controlling, peer_selects=False) as (ours, peer):
        await connect((ours, peer), HOST, RELAY)
        network.blocked = True
        await asyncio.sleep(ABANDONED)
        peer.check(ours, RELAY)
        await asyncio.sleep(4 * DELAY)
        assert ours.way == "host to relay"
        network.blocked = False
        peer.check(ours, HOST)
        await asyncio.sleep(4 * DELAY)
        assert ours.way == DIRECT


async def test_a_relay_that_was_taken_for_better_gives_way_when_it_is_known(
    network: Network,
) -> None:
    """Its first check comes before its candidate does, and claims to be reflexive."""
    async with ends(network, is_controlling=True, peer_selects=False) as (ours, peer):
        peer.candidates[HOST].priority = candidate_priority(1, "srflx")
        await tell((ours, peer), HOST)
        peer.check(ours, RELAY)
        await asyncio.gather(ours.ice.connect(), peer.ice.connect())
        await asyncio.sleep(4 * DELAY)
        assert ours.way == "host to prflx"
        await ours.told_of(peer, RELAY)
        assert ours.way == "host to relay"
        peer.check(ours, HOST)
        await asyncio.sleep(4 * DELAY)
        assert ours.way == DIRECT


@controlling
async def test_without_a_direct_path_nothing_takes_longer_and_trying_has_an_end(
    is_controlling: bool, network: Network
) -> None:
    loop = asyncio.get_running_loop()
    network.blocked = True
    begun = loop.time()
    async with ends(network, is_controlling=is_controlling) as both:
        await connect(both, HOST, RELAY)
        assert loop.time() - begun < 10 * DELAY
        direct = both[0].pair_with(both[1], HOST)
        async with asyncio.timeout(PATIENCE):
            while direct.state is not CandidatePair.State.FAILED:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(1.0)
        n_sent = network.n_sent_direct
        await asyncio.sleep(PATIENCE)
        assert network.n_sent_direct == n_sent
        assert all(RELAY in end.way for end in both)
