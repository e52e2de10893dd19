from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from mulisa.core.errors import ConfigError
from mulisa.sfu import peer
from mulisa.sfu.port import RtcPort
from mulisa.wire.srtp import PACKET_BYTES
from tests.sfu.clients import LIMIT, BareClient, Observer, TcpWire, UdpWire

pytestmark = pytest.mark.network


@pytest.fixture
async def port() -> AsyncIterator[RtcPort]:
    async with await RtcPort.open("127.0.0.1") as opened:
        yield opened


async def test_udp_and_tcp_have_one_number(port: RtcPort) -> None:
    told = {(each.protocol, each.address, each.port) for each in port.candidates}
    assert told == {("udp", "127.0.0.1", port.port), ("tcp", "127.0.0.1", port.port)}
    wire = await TcpWire.open(port)
    wire.close()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_a_port_that_is_taken_is_an_error(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {number}.*--rtc-port"):
            await RtcPort.open("127.0.0.1", number)
        if kind == socket.SOCK_STREAM:
            async with await RtcPort.open("127.0.0.1", number, tcp=False) as without_tcp:
                assert without_tcp.port == number


async def test_an_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.77"):
        await RtcPort.open("192.0.2.77")


async def test_everywhere_is_at_every_address_with_one_number() -> None:
    async with await RtcPort.open("0.0.0.0", tcp=False) as port:
        assert {each.port for each in port.candidates} == {port.port}
        assert "127.0.0.1" in {each.address for each in port.candidates}
        for candidate in port.candidates:
            client = BareClient(port, await UdpWire.open(port, candidate.address))
            client.describe()
            await client.connect()
            await client.speak(1)
            client.close()


async def test_a_public_address_is_told_first_and_the_others_stay() -> None:
    async with await RtcPort.open("127.0.0.1", public_address="203.0.113.5") as port:
        udp = [each.address for each in port.candidates if each.protocol == "udp"]
        assert udp == ["203.0.113.5", "127.0.0.1"]


async def test_a_name_is_no_public_address() -> None:
    with pytest.raises(ConfigError, match=r"example\.org"):
        await RtcPort.open("127.0.0.1", public_address="example.org")


async def test_two_clients_with_one_name_never_meet(port: RtcPort) -> None:
    first, second = await BareClient.connected(port), await BareClient.connected(port)
    await first.speak(1)
    await second.speak(2)
    assert (len(first.rtp), len(second.rtp)) == (1, 1)
    first.close()
    await second.speak(3)
    second.close()


async def test_who_proved_nothing_is_not_heard(port: RtcPort) -> None:
    client, stranger = await BareClient.connected(port), await UdpWire.open(port)
    stranger.send(client.protected(1))
    await client.speak(2)
    assert len(client.rtp) == 1, "a packet is no client's because it could be decrypted"
    assert port.counters.strangers == 1
    stranger.close()
    client.close()


async def test_nobody_takes_the_address_of_a_connection_that_is_alive(port: RtcPort) -> None:
    first = await BareClient.connected(port)
    second = BareClient(port, first.wire)
    first.wire.send(second.check())  # as somebody would who can forge the address of another
    await first.speak(1)
    assert port.counters.contested == 1
    assert second.peer.path is None and second.peer.last_heard == 0
    second.close()
    first.close()


async def test_an_address_that_changes_hands_is_its_new_owners(
    port: RtcPort, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await BareClient.connected(port)
    monkeypatch.setattr(peer, "HOLD_TIME", 0.0)  # that long it has been silent
    second = await BareClient.connected(port, first.wire)
    await second.speak(1)
    assert first.peer.path is None, "who sends there now sends to the wrong one"
    first.peer.close()
    await second.speak(2)
    second.close()


async def test_an_address_is_free_once_its_connection_is_closed(port: RtcPort) -> None:
    first = await BareClient.connected(port)
    first.peer.close()
    second = await BareClient.connected(port, first.wire)
    await second.speak(1)
    second.close()


async def test_packets_too_long_or_of_no_protocol_are_counted(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    for packet in (bytes([100]), bytes([200]) * 30, bytes([128]) * PACKET_BYTES):
        client.wire.send(packet)
    await client.speak(1)
    assert port.counters.malformed == 3
    client.close()


async def test_closing_frees_the_number_and_every_connection() -> None:
    port = await RtcPort.open("127.0.0.1")
    client = await BareClient.connected(port)
    wire = await TcpWire.open(port)
    await port.aclose()
    await port.aclose()
    assert client.peer.is_closed
    async with asyncio.timeout(LIMIT):
        await wire.closed.wait()
    async with await RtcPort.open("127.0.0.1", port.port):
        pass
    client.close()


async def test_names_are_unique_among_many(port: RtcPort) -> None:
    peers = [port.connect(Observer()) for _ in range(500)]
    assert len({each.local.ufrag for each in peers}) == 500
    assert all(port.find(each.local.ufrag.encode()) is each for each in peers)
