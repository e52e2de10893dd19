from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.sfu.datagrams import (
    BATCH,
    BatchedDatagrams,
    Datagrams,
    SingleDatagrams,
    address_of,
    sockaddr_of,
)
from mulisa.wire.srtp import PACKET_BYTES, PacketBuffer

pytestmark = pytest.mark.network

PORTS = st.integers(0, 65535)


@given(st.ip_addresses(v=4), PORTS)
def test_addresses_survive_both_ways(host: object, port: int) -> None:
    sockaddr = sockaddr_of(socket.AF_INET, (str(host), port))
    assert len(sockaddr) == 16
    assert address_of(sockaddr) == (str(host), port)


@given(st.ip_addresses(v=6), PORTS, st.integers(0, 2**20 - 1), st.integers(0, 2**32 - 1))
def test_longer_addresses_survive_both_ways(host: object, port: int, flow: int, scope: int) -> None:
    sockaddr = sockaddr_of(socket.AF_INET6, (str(host), port, flow, scope))
    assert len(sockaddr) == 28
    found = address_of(sockaddr)
    same = socket.inet_pton(socket.AF_INET6, str(host))
    assert socket.inet_pton(socket.AF_INET6, found[0]) == same
    assert found[1:] == (port, flow, scope)


@pytest.fixture(params=["127.0.0.1", "::1"])
def sockets(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A receiver, and a sender that is connected to it."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with (
        socket.socket(family, socket.SOCK_DGRAM) as receiver,
        socket.socket(family, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setblocking(False)
        receiver.bind((request.param, 0))
        sender.connect(receiver.getsockname())
        yield receiver, sender


@pytest.mark.parametrize("kind", [BatchedDatagrams, SingleDatagrams])
def test_whatever_waits_is_read_with_its_source(
    sockets: tuple[socket.socket, socket.socket], kind: Callable[[socket.socket], Datagrams]
) -> None:
    receiver, sender = sockets
    datagrams = kind(receiver)
    sent = [bytes([number]) * number for number in range(BATCH + 3)]
    for packet in sent:
        sender.send(packet)
    found: list[bytes] = []
    sources: set[bytes] = set()

    def handle(buffer: PacketBuffer, length: int, source: bytes) -> None:
        found.append(bytes(buffer.view[:length]))
        sources.add(source)

    assert datagrams.receive(handle) == BATCH
    assert datagrams.receive(handle) == 3
    assert datagrams.receive(handle) == 0
    assert found == sent
    assert sources == {sockaddr_of(sender.family, sender.getsockname())}


@pytest.mark.parametrize("kind", [BatchedDatagrams, SingleDatagrams])
def test_a_datagram_that_is_too_long_fills_its_buffer(
    sockets: tuple[socket.socket, socket.socket], kind: Callable[[socket.socket], Datagrams]
) -> None:
    receiver, sender = sockets
    sender.send(bytes(PACKET_BYTES + 1))
    lengths: list[int] = []
    kind(receiver).receive(lambda buffer, length, source: lengths.append(length))
    assert lengths == [PACKET_BYTES]
