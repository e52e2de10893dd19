"""The NATs of the tests are what they are called (RFC 4787), seen by plain datagrams."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from mulisa.compare.internet import Internet
from mulisa.compare.namespaces import Namespace
from mulisa.compare.ways import Nat
from tests.namespaces import internet

pytestmark = [pytest.mark.slow, pytest.mark.network]

PATIENCE = 10.0
NEVER = 0.5
"""Seconds after which what has not come is taken for lost."""


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    with internet() as made:
        yield made


@pytest.fixture(scope="module")
def hosts(net: Internet) -> tuple[Namespace, Namespace]:
    return net.host("one", 10), net.host("two", 20)


def bound(host: Namespace, port: int) -> socket.socket:
    made = host.socket(socket.SOCK_DGRAM)
    made.bind(("0.0.0.0", port))
    return made


def received(end: socket.socket, is_expected: bool) -> tuple[bytes, tuple[str, int]] | None:
    end.settimeout(PATIENCE if is_expected else NEVER)
    try:
        data, (host, port) = end.recvfrom(100)
    except TimeoutError:
        return None
    return data, (host, port)


@pytest.mark.parametrize(
    ("nat", "maps_alike", "lets_strangers_in", "passes_udp"),
    [
        ("full-cone", True, True, True),
        ("port-restricted", True, False, True),
        ("symmetric", False, False, True),
        ("udp-blocked", True, False, False),
    ],
)
def test_a_nat(
    nat: Nat,
    maps_alike: bool,
    lets_strangers_in: bool,
    passes_udp: bool,
    net: Internet,
    hosts: tuple[Namespace, Namespace],
) -> None:
    (inside,) = net.home(nat)
    first, second = hosts
    with bound(inside, 4000) as client, bound(first, 5000) as one, bound(second, 5000) as two:
        client.sendto(b"hello", (first.address, 5000))
        seen = received(one, passes_udp)
        assert (seen is not None) is passes_udp
        if seen is None:
            return
        mapped = seen[1]
        two.sendto(b"unasked", mapped)
        assert (received(client, lets_strangers_in) is not None) is lets_strangers_in
        client.sendto(b"hello", (second.address, 5000))
        also = received(two, True)
        assert also is not None
        assert (also[1] == mapped) is maps_alike
        two.sendto(b"answer", also[1])
        answer = received(client, True)
        assert answer is not None and answer[0] == b"answer"


def test_tcp_passes_where_udp_does_not(net: Internet, hosts: tuple[Namespace, Namespace]) -> None:
    (inside,) = net.home("udp-blocked")
    with hosts[0].socket(socket.SOCK_STREAM) as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        with inside.socket(socket.SOCK_STREAM) as client:
            client.settimeout(5.0)
            client.connect((hosts[0].address, server.getsockname()[1]))


def test_what_shall_be_lost_is_lost(hosts: tuple[Namespace, Namespace]) -> None:
    first, second = hosts
    with bound(first, 6000) as one, bound(second, 6000) as two:
        counts = []
        for loss in (0.3, 1.0, 0.0):
            second.lose(loss)
            for _ in range(200):
                one.sendto(b"x", (second.address, 6000))
            counts.append(sum(1 for _ in iter(lambda: received(two, False), None)))
    assert 100 < counts[0] < 180
    assert counts[1:] == [0, 200]
