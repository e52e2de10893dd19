"""What goes through a slow wire is as late as it shall be, and whole."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from mulisa.compare.internet import Internet
from mulisa.compare.namespaces import Namespace
from mulisa.compare.slow_wire import SlowWire
from tests.namespaces import internet

pytestmark = [pytest.mark.slow, pytest.mark.network]

PORT = 9000
DELAY = 0.050
JITTER = 0.030
DATAGRAMS = 100
MUCH = bytes(range(256)) * 8000


@pytest.fixture(scope="module")
def net() -> Iterator[Internet]:
    with internet() as made:
        yield made


@pytest.fixture(scope="module")
def hosts(net: Internet) -> tuple[Namespace, Namespace, Namespace]:
    return (*net.host_on_a_wire("alice", 30), net.host("server", 10))


@asynccontextmanager
async def sockets(*made: socket.socket) -> AsyncIterator[None]:
    try:
        for each in made:
            each.setblocking(False)
        yield
    finally:
        for each in made:
            each.close()


async def travel_times(alice: Namespace, server: Namespace) -> list[float]:
    """Of datagrams from her to it, in seconds, as they arrive."""
    loop = asyncio.get_running_loop()
    here, there = alice.socket(socket.SOCK_DGRAM), server.socket(socket.SOCK_DGRAM)
    async with sockets(here, there):
        there.bind((server.address, PORT))
        here.connect((server.address, PORT))
        sent, took = {}, []
        for number in range(DATAGRAMS):
            sent[number] = loop.time()
            here.send(bytes([number]))
        for _ in range(DATAGRAMS):
            async with asyncio.timeout(30):
                data = await loop.sock_recv(there, 1)
            took.append(loop.time() - sent[data[0]])
    return took


async def test_datagrams_are_late(hosts: tuple[Namespace, Namespace, Namespace]) -> None:
    alice, between, server = hosts
    async with SlowWire(between, seed=1) as wire:
        await travel_times(alice, server)
        wire.delay, wire.jitter = DELAY, JITTER
        took = await travel_times(alice, server)
    assert min(took) >= DELAY - JITTER
    assert max(took) - min(took) >= JITTER, "they differ, by up to twice that"


async def test_much_over_tcp_arrives_whole(hosts: tuple[Namespace, Namespace, Namespace]) -> None:
    alice, between, server = hosts
    loop = asyncio.get_running_loop()
    listening, here = server.socket(socket.SOCK_STREAM), alice.socket(socket.SOCK_STREAM)
    async with SlowWire(between, seed=1), sockets(listening, here), asyncio.timeout(60):
        listening.bind((server.address, PORT))
        listening.listen()
        accepting = asyncio.create_task(loop.sock_accept(listening))
        await loop.sock_connect(here, (server.address, PORT))
        there, _ = await accepting
        async with sockets(there):
            sending = asyncio.create_task(loop.sock_sendall(here, MUCH))
            received = bytearray()
            while len(received) < len(MUCH):
                received += await loop.sock_recv(there, 1 << 16)
            await sending
    assert bytes(received) == MUCH
