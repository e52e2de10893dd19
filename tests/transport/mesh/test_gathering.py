"""Candidates of ours, against coturn on loopback and servers that do not answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing

import pytest
from aioice.candidate import Candidate
from aioice.ice import Connection

from mulisa.compare.coturn import RELAY_PORTS
from mulisa.transport.mesh.gathering import Gathering
from mulisa.transport.mesh.ice_probe import probe
from mulisa.transport.mesh.ice_servers import UsableServers
from mulisa.transport.mesh.network import MeshNetwork
from mulisa.transport.mesh.signaling import IceServer
from tests.turn_server import CREDENTIAL, USERNAME, TurnServer, turn_server

pytestmark = pytest.mark.network

PATIENCE = 20.0
HERE = MeshNetwork()


@pytest.fixture(scope="module")
def coturn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TurnServer]:
    with turn_server(tmp_path_factory.mktemp("coturn")) as server:
        yield server


class Found:
    """What a connection has gathered."""

    def __init__(self, servers: list[IceServer], network: MeshNetwork) -> None:
        self.connection = Connection(ice_controlling=True)
        self.news: asyncio.Queue[Candidate | None] = asyncio.Queue()
        self.gathering = Gathering(self.connection, servers, network, self.news.put_nowait)

    async def until(self, kind: str) -> Candidate:
        async with asyncio.timeout(PATIENCE):
            while (found := await self.news.get()) is not None:
                if found.type == kind:
                    return found
        raise AssertionError(f"no {kind} candidate")


@asynccontextmanager
async def gathered(servers: list[IceServer], network: MeshNetwork = HERE) -> AsyncIterator[Found]:
    found = Found(servers, network)
    try:
        await found.connection.gather_candidates()
        yield found
    finally:
        await found.gathering.aclose()
        await found.connection.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A port that takes datagrams and never answers."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def turn(*urls: str, credential: str = CREDENTIAL) -> IceServer:
    return IceServer(urls=list(urls), username=USERNAME, credential=credential)


async def test_servers_that_do_not_answer_hold_up_nothing(silent: str) -> None:
    servers = [IceServer(urls=f"stun:{silent}"), turn(f"turn:{silent}")]
    async with gathered(servers) as found:
        assert {each.type for each in found.connection.local_candidates} == {"host"}
        assert not found.gathering.is_over
        assert found.news.empty()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_a_relay_is_found_over(
    transport: str, coturn: TurnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(coturn.files.certificate))
    await coturn.answers()
    async with gathered([turn(coturn.url(transport))]) as found:
        relay = await found.until("relay")
        assert relay.port in RELAY_PORTS
        assert relay in found.connection.local_candidates


async def test_the_next_server_is_tried_when_one_is_dead_or_refuses(
    coturn: TurnServer, silent: str
) -> None:
    await coturn.answers()
    servers = [
        turn(f"turn:{silent}", "turn:127.0.0.1:9?transport=tcp"),
        turn(coturn.url("udp"), credential="wrong"),
        turn(coturn.url("tcp")),
    ]
    async with gathered(servers) as found:
        assert (await found.until("relay")).port in RELAY_PORTS
        assert [each.type for each in found.connection.local_candidates].count("relay") == 1


async def test_a_relay_that_comes_late_joins_the_checks(coturn: TurnServer) -> None:
    await coturn.answers()
    async with gathered([turn(coturn.url("udp"))]) as found:
        remote = Candidate("1", 1, "udp", 1, "127.0.0.1", 9, "host")
        await found.connection.add_remote_candidate(remote)
        relay = await found.until("relay")
        assert relay in [pair.local_candidate for pair in found.connection._check_list]


async def test_a_probe_tells_what_each_server_is_good_for(coturn: TurnServer, silent: str) -> None:
    await coturn.answers()
    here = coturn.url("udp").removeprefix("turn:").partition("?")[0]
    good = [IceServer(urls=f"stun:{here}"), turn(coturn.url("udp"))]
    refused = [turn(coturn.url("tcp"), credential="wrong"), turn(f"turn:{silent}?transport=tcp")]
    answers = {str(each.url): each for each in await probe([*good, *refused])}
    assert [each.address for each in answers.values()] == ["127.0.0.1", "127.0.0.1", "", ""]
    assert "401" in answers[coturn.url("tcp")].problem
    assert answers[f"turn:{silent}?transport=tcp"].problem


async def test_ports_are_those_that_the_firewall_lets_through() -> None:
    ports = (15_300, 15_307)
    async with gathered([], MeshNetwork(ports=ports)) as found:
        candidates = found.connection.local_candidates
        assert candidates
        assert all(ports[0] <= each.port <= ports[1] for each in candidates)


async def test_the_public_address_is_told_with_the_port_behind_it() -> None:
    async with gathered([], MeshNetwork(public_address="203.0.113.7")) as found:
        hosts = [each for each in found.connection.local_candidates if each.type == "host"]
        (public,) = [each for each in found.connection.local_candidates if each.type != "host"]
        assert (public.host, public.type) == ("203.0.113.7", "srflx")
        assert (public.related_address, public.port) in [(each.host, each.port) for each in hosts]
        assert public.priority < min(each.priority for each in hosts)


def test_what_aioice_cannot_use_is_left_to_browsers_and_udp_goes_first() -> None:
    usable = UsableServers.of(
        [
            IceServer(urls=["stun:a.example", "stuns:a.example", "nonsense"]),
            turn("turns:b.example", "turn:b.example?transport=tcp", "turn:b.example"),
            turn("turns:c.example?transport=udp", "turn:[2001:db8::1]:9"),
        ]
    )
    assert [(each.host, each.port) for each in usable.stun] == [
        ("a.example", 3478),
        ("b.example", 3478),
        ("2001:db8::1", 9),
    ]
    assert [str(each.url) for each in usable.turn] == [
        "turn:b.example:3478?transport=udp",
        "turn:[2001:db8::1]:9?transport=udp",
        "turn:b.example:3478?transport=tcp",
        "turns:b.example:5349?transport=tcp",
    ]
