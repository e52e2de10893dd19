"""The networks that tests break lose what they shall lose, and nothing else."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import cast

import pytest

from tests.network import Address, TcpProxy, UdpRelay

pytestmark = pytest.mark.network

PACKETS = 400
LOSS = 0.1
DELAY = 0.02
JITTER = 0.01
BURST = 100
"""Packets that a socket takes at once."""


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.transport.sendto(data, addr)


class _Client(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.received.put_nowait(data)


async def test_udp_packets_are_lost_by_the_seed() -> None:
    assert await _losses(seed=7) == await _losses(seed=7)
    lost = await _losses(seed=7)
    assert 0.5 * LOSS < len(lost) / PACKETS < 4 * LOSS, "there and back"
    assert await _losses(seed=8) != lost


async def _losses(seed: int) -> list[int]:
    """Which of the packets did not come back."""
    loop = asyncio.get_running_loop()
    echo, _ = await loop.create_datagram_endpoint(_Echo, local_addr=("127.0.0.1", 0))
    target = echo.get_extra_info("sockname")
    try:
        async with UdpRelay(("127.0.0.1", 0), target, seed=seed, loss=LOSS) as relay:
            transport, client = await loop.create_datagram_endpoint(
                _Client, remote_addr=relay.address
            )
            lost = []
            for number in range(PACKETS):
                before = relay.lost
                transport.sendto(number.to_bytes(2))
                async with asyncio.timeout(5):
                    while relay.lost == before and client.received.empty():  # noqa: ASYNC110
                        await asyncio.sleep(0)
                if relay.lost > before:
                    lost.append(number)
                else:
                    assert client.received.get_nowait() == number.to_bytes(2)
            transport.close()
    finally:
        echo.close()
    await asyncio.sleep(0)
    return lost


async def test_udp_packets_are_late_by_the_seed() -> None:
    """They overtake each other, and none comes earlier than it may."""
    order, fastest = await _lateness(seed=7)
    assert sorted(order) == list(range(BURST)) != order
    assert fastest >= 2 * (DELAY - JITTER), "there and back"
    assert (await _lateness(seed=7, jitter=0.0))[0] == list(range(BURST))


async def _lateness(seed: int, jitter: float = JITTER) -> tuple[list[int], float]:
    """In which order the packets came back, and the fewest seconds that one took."""
    loop = asyncio.get_running_loop()
    echo, _ = await loop.create_datagram_endpoint(_Echo, local_addr=("127.0.0.1", 0))
    network = UdpRelay(
        ("127.0.0.1", 0), echo.get_extra_info("sockname"), seed=seed, delay=DELAY, jitter=jitter
    )
    order: list[int] = []
    took: list[float] = []
    sent: dict[int, float] = {}
    async with network:
        transport, client = await loop.create_datagram_endpoint(
            _Client, remote_addr=network.address
        )
        for number in range(BURST):
            sent[number] = loop.time()
            transport.sendto(number.to_bytes(2))
        async with asyncio.timeout(5):
            while len(order) < BURST:
                order.append(int.from_bytes(await client.received.get()))
                took.append(loop.time() - sent[order[-1]])
        transport.close()
    echo.close()
    await asyncio.sleep(0)
    return order, min(took)


async def test_tcp_connections_are_cut_and_made_anew() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):
            while data := await reader.read(100):
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, TcpProxy(server.sockets[0].getsockname()) as proxy:
        for attempt in (1, 2):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            assert proxy.accepted == attempt
            port = writer.get_extra_info("sockname")[1]
            assert proxy.cut([port + 1]) == 0
            assert proxy.cut([port] if attempt == 1 else None) == 1
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()


async def test_who_ends_a_tcp_connection_gets_the_rest() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())
        writer.close()

    server = await asyncio.start_server(answer_at_the_end, "127.0.0.1", 0)
    async with server, TcpProxy(server.sockets[0].getsockname()) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"all of it")
        writer.write_eof()
        assert await reader.read() == b"all of it"
        writer.close()
