from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from mulisa.sfu import tcp
from mulisa.sfu.port import RtcPort
from mulisa.wire.description import IceCredentials
from tests.sfu.clients import LIMIT, BareClient, TcpWire, UdpWire, rtp, send_rtp

pytestmark = pytest.mark.network


@pytest.fixture
async def port() -> AsyncIterator[RtcPort]:
    async with await RtcPort.open("127.0.0.1") as opened:
        yield opened


async def ended(wire: TcpWire) -> None:
    async with asyncio.timeout(LIMIT):
        await wire.closed.wait()


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


async def test_media_goes_both_ways_over_tcp(port: RtcPort) -> None:
    client = await BareClient.connected(port, await TcpWire.open(port))
    await client.speak(1)
    send_rtp(client.peer, rtp(2))
    assert client.understood(await client.arrival(lambda each: each[0] >> 6 == 2)) == rtp(2)
    assert client.peer.path is not None
    assert (client.peer.path.fd, client.peer.path.sockaddr) == (None, b"")
    client.close()


async def test_packets_may_come_in_pieces_and_together(port: RtcPort) -> None:
    wire = await TcpWire.open(port)
    client = await BareClient.connected(port, wire)
    stream = b"".join(framed(client.protected(sequence)) for sequence in range(1, 6))
    for byte in stream[:-1]:
        wire.transport.write(bytes((byte,)))
        await asyncio.sleep(0)
    wire.transport.write(stream[-1:] + framed(client.protected(6)))
    await client.speak(7)
    assert client.rtp == [rtp(sequence) for sequence in range(1, 8)]
    client.close()


async def test_a_client_goes_from_udp_to_tcp_and_back(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    udp, stream = client.wire, await TcpWire.open(port)
    await client.nominate(stream)
    await client.speak(1)
    assert [await client.observer.told()] == [("path_changed",)]
    stream.close()
    assert await client.observer.told() == ("path_changed",), "what is gone is not sent to"
    client.wire = udp
    await client.speak(2)
    client.close()


async def test_a_client_whose_only_way_is_gone_may_come_back(port: RtcPort) -> None:
    wire = await TcpWire.open(port)
    client = await BareClient.connected(port, wire)
    wire.close()
    assert await client.observer.told() == ("path_changed",)
    assert client.peer.path is None
    client.peer.send_rtcp(rtp(1))
    await client.nominate(await TcpWire.open(port))
    await client.speak(2)
    client.close()


async def test_closing_the_connection_closes_its_tcp(port: RtcPort) -> None:
    wire = await TcpWire.open(port)
    client = await BareClient.connected(port, wire)
    client.peer.close()
    client.dtls.receive(await client.arrival(lambda packet: packet[0] == 21))
    assert client.dtls.is_closed, "the goodbye came before the end"
    await ended(wire)


@pytest.mark.parametrize(
    "packet", [b"GET / HTTP/1.1\r\n\r\n", bytes(30), bytes([128]) * 40, bytes([22]) * 40]
)
async def test_who_does_not_begin_with_a_check_is_shown_out(port: RtcPort, packet: bytes) -> None:
    wire = await TcpWire.open(port)
    wire.send(packet)
    await ended(wire)


async def test_who_does_not_know_a_password_is_shown_out(port: RtcPort) -> None:
    wire = await TcpWire.open(port)
    client = BareClient(port, wire)
    wire.send(client.check(IceCredentials(client.peer.local.ufrag, "x" * 24)))
    await ended(wire)
    assert port.counters.forged == 1
    client.close()


async def test_a_frame_longer_than_any_packet_ends_a_connection(port: RtcPort) -> None:
    client = await BareClient.connected(port, await TcpWire.open(port))
    assert isinstance(client.wire, TcpWire)
    client.wire.transport.write(b"\xff\xff" + bytes(10))
    await ended(client.wire)
    assert port.counters.malformed == 1
    client.close()


@pytest.mark.parametrize("limit", ["MAX_STRANGERS", "MAX_STRANGERS_OF_ONE"])
async def test_only_so_many_strangers_are_let_in(
    port: RtcPort, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(tcp, limit, 3)
    client = await BareClient.connected(port, await TcpWire.open(port))
    strangers = [await TcpWire.open(port) for _ in range(3)]
    await client.speak(1)  # by now they are let in
    refused = await TcpWire.open(port)
    await ended(refused)
    assert not any(each.closed.is_set() for each in strangers)
    await client.speak(2)
    strangers[0].close()
    await ended(strangers[0])
    await client.speak(3)
    await BareClient.connected(port, await TcpWire.open(port))
    for each in strangers:
        each.close()
    client.close()


async def test_a_stranger_who_says_nothing_is_shown_out(
    port: RtcPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "CHECK_TIME", 0.05)
    silent = await TcpWire.open(port)
    client = await BareClient.connected(port, await TcpWire.open(port))
    await ended(silent)
    await client.speak(1)
    client.close()


async def test_a_slow_reader_loses_packets_and_costs_no_memory(port: RtcPort) -> None:
    wire = await TcpWire.open(port)
    client = await BareClient.connected(port, wire)
    wire.transport.pause_reading()
    path = client.peer.path
    assert path is not None
    sent = 0
    while path.send(bytes(1000)):
        sent += 1
        assert sent < 100_000
    assert isinstance(path, tcp.TcpPath) and path._transport is not None
    assert path._transport.get_write_buffer_size() <= tcp.MAX_WAITING_BYTES + 1002
    assert port.counters.unsent == 1
    wire.transport.resume_reading()
    for _ in range(sent):
        await client.arrival()
    await client.speak(1)
    client.close()


async def test_a_call_over_tcp_goes_on_while_strangers_talk_nonsense(port: RtcPort) -> None:
    client = await BareClient.connected(port, await TcpWire.open(port))
    dice = random.Random(3)
    for sequence in range(1, 60):
        stranger = await TcpWire.open(port)
        nonsense = dice.randbytes(dice.randrange(2, 4000))
        is_framed = dice.random() < 0.5
        stranger.transport.write(framed(nonsense) if is_framed else nonsense)
        await client.speak(sequence)
        stranger.close()
        await ended(stranger)
    assert client.observer.events == [("connected",)]
    client.close()


async def test_udp_may_be_all_there_is() -> None:
    async with await RtcPort.open("127.0.0.1", tcp=False) as port:
        with pytest.raises(ConnectionRefusedError):
            await TcpWire.open(port)
        client = await BareClient.connected(port, await UdpWire.open(port))
        client.close()
