from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncIterator

import psutil  # type: ignore[import-untyped]
import pytest
from aiortc.mediastreams import AudioStreamTrack
from av import AudioFrame

from mulisa.core.errors import NegotiationError
from mulisa.sfu.ice import CONSENT_TIME
from mulisa.sfu.peer import CONNECT_TIME
from mulisa.sfu.port import RtcPort
from mulisa.wire import stun
from mulisa.wire.description import IceCredentials
from mulisa.wire.dtls import Certificate
from tests.sfu.clients import (
    CERTIFICATE,
    LIMIT,
    BareClient,
    StockClient,
    UdpWire,
    found,
    rtp,
    send_rtp,
)

pytestmark = pytest.mark.network

OPUS_SILENCE = b"\xf8\xff\xfe"


@pytest.fixture
async def port() -> AsyncIterator[RtcPort]:
    async with await RtcPort.open("127.0.0.1") as opened:
        yield opened


async def test_a_stock_client_sends_media_and_data(port: RtcPort) -> None:
    async with StockClient(port) as client:
        channel = client.pc.createDataChannel("_reliable")
        messages: asyncio.Queue[bytes] = asyncio.Queue()
        channel.on("message", messages.put_nowait)
        channel.on("open", lambda: channel.send(b"up"))
        client.pc.addTrack(AudioStreamTrack())
        packets: asyncio.Queue[bytes] = asyncio.Queue()
        reports: asyncio.Queue[bytes] = asyncio.Queue()
        client.peer.on_rtp = lambda buffer, length: packets.put_nowait(bytes(buffer[:length]))
        client.peer.on_rtcp = reports.put_nowait
        await client.negotiate()
        assert await client.observer.told() == ("connected",)
        assert await client.observer.told() == ("opened", "_reliable")
        assert await client.observer.told() == ("data", "_reliable", b"up")
        assert client.peer.send_data("_reliable", b"down" * 10_000)
        async with asyncio.timeout(LIMIT):
            assert await messages.get() == b"down" * 10_000
            sequences = [int.from_bytes((await packets.get())[2:4], "big") for _ in range(5)]
            assert (await reports.get())[1] in (200, 201)
        assert [(each - sequences[0]) % 65536 for each in sequences] == [0, 1, 2, 3, 4]
        assert client.peer.packets_received >= 6
        assert client.peer.bytes_sent > 40_000


async def test_a_stock_client_hears_what_is_sent_to_it(port: RtcPort) -> None:
    async with StockClient(port) as client:
        transceiver = client.pc.addTransceiver("audio", direction="recvonly")
        await client.negotiate()
        assert await client.observer.told() == ("connected",)
        payload_type = int(found(client.pc.localDescription.sdp, r"rtpmap:(\d+) opus"))
        frame = asyncio.ensure_future(transceiver.receiver.track.recv())
        sequence = 0
        async with asyncio.timeout(LIMIT):
            while not frame.done():
                packet = bytearray(rtp(sequence, ssrc=77, payload=OPUS_SILENCE))
                packet[1] = payload_type
                send_rtp(client.peer, bytes(packet))
                sequence += 1
                await asyncio.wait([frame], timeout=0.02)
        assert isinstance(frame.result(), AudioFrame)


async def test_media_goes_both_ways(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    await client.speak(1)
    send_rtp(client.peer, rtp(9))
    packet = await client.arrival(lambda packet: packet[0] >> 6 == 2)
    assert client.understood(packet) == rtp(9)
    client.close()


async def test_a_client_that_is_faster_than_its_description_connects(port: RtcPort) -> None:
    client = BareClient(port, await UdpWire.open(port))
    await client.nominate()
    await client.shake_hands()
    assert not client.peer.is_connected
    client.describe()
    assert await client.observer.told() == ("connected",)
    await client.speak(1)
    client.close()


@pytest.mark.parametrize("lost", [{0}, {1}, {0, 2}])
async def test_a_handshake_survives_losses(port: RtcPort, lost: set[int]) -> None:
    client = BareClient(port, await UdpWire.open(port))
    client.describe()
    await client.nominate()
    await client.shake_hands(lost)
    assert await client.observer.told() == ("connected",)
    await client.speak(1)
    client.close()


async def test_somebody_else_behind_the_description_is_refused(port: RtcPort) -> None:
    client = BareClient(port, await UdpWire.open(port))
    client.describe(Certificate.generate().fingerprint)
    await client.nominate()
    await client.shake_hands()
    event, reason = await client.observer.told()
    assert event == "failed" and "certificate" in reason
    assert client.peer.is_closed and port.peers == ()
    client.close()


async def test_a_fingerprint_cannot_change(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    client.peer.set_remote(IceCredentials("anew", "x" * 24), CERTIFICATE.fingerprint)
    with pytest.raises(NegotiationError, match="fingerprint"):
        client.describe(Certificate.generate().fingerprint)
    client.close()


async def test_a_client_that_moves_takes_its_media_along(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    before, first = client.wire, client.peer.path
    await client.nominate(await UdpWire.open(port))
    assert await client.observer.told() == ("path_changed",)
    assert client.peer.path != first
    await client.speak(1)
    send_rtp(client.peer, rtp(2))
    assert client.understood(await client.arrival(lambda each: each[0] >> 6 == 2)) == rtp(2)
    before.close()
    client.close()


async def test_an_ice_restart_keeps_keys_and_media(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    old, before = client.peer.local, client.wire
    new = client.peer.restart_ice()
    assert new == client.peer.local != old
    client.wire.send(client.check(old))
    await client.arrival(lambda packet: packet[0] < 4)
    await client.speak(1)
    await client.nominate(await UdpWire.open(port))
    assert await client.observer.told() == ("path_changed",)
    await client.speak(2)
    strangers = port.counters.strangers
    client.wire.send(client.check(old))
    await client.nominate()
    assert port.counters.strangers == strangers + 1, "the old generation is over"
    before.close()
    client.close()


async def test_who_falls_silent_has_failed(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    heard = client.peer.last_heard
    client.peer.check_consent(heard + CONSENT_TIME)
    assert client.peer.is_connected
    client.peer.check_consent(heard + CONSENT_TIME + 1)
    event, reason = await client.observer.told()
    assert (event, reason) == ("failed", "no check for too long")
    assert client.peer.path is None and client.peer.srtp is None
    client.close()


async def test_who_never_connects_has_failed(port: RtcPort) -> None:
    client = BareClient(port, await UdpWire.open(port))
    now = asyncio.get_running_loop().time()
    client.peer.check_consent(now + 1000)
    assert not client.peer.is_closed, "its description has not come"
    client.describe()
    client.peer.check_consent(now + CONNECT_TIME - 1)
    assert not client.peer.is_closed
    client.peer.check_consent(now + CONNECT_TIME + 60)
    assert (await client.observer.told())[0] == "failed"
    client.close()


async def test_a_client_that_says_goodbye_has_failed(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    client.dtls.close()
    for datagram in client.dtls.outgoing():
        client.wire.send(datagram)
    assert (await client.observer.told())[0] == "failed"
    client.close()


async def test_our_goodbye_reaches_the_client_and_nobody_is_told(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    client.peer.close()
    client.peer.close()
    client.dtls.receive(await client.arrival(lambda packet: packet[0] == 21))
    assert client.dtls.is_closed
    assert client.observer.events == [("connected",)]
    client.close()


async def test_a_packet_that_breaks_our_code_ends_its_connection_only(
    port: RtcPort, caplog: pytest.LogCaptureFixture
) -> None:
    broken, other = await BareClient.connected(port), await BareClient.connected(port)

    def raise_(buffer: bytearray, length: int) -> None:
        raise ZeroDivisionError

    broken.peer.on_rtp = raise_
    broken.wire.send(broken.protected(1))
    assert (await broken.observer.told())[0] == "failed"
    assert "ZeroDivisionError" in caplog.text
    await other.speak(1)
    broken.close()
    other.close()


async def test_a_message_that_breaks_our_code_ends_its_connection(
    port: RtcPort, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_(label: str, data: bytes) -> None:
        raise ZeroDivisionError

    async with StockClient(port) as client:
        monkeypatch.setattr(client.observer, "data_received", raise_)
        channel = client.pc.createDataChannel("_reliable")
        channel.on("open", lambda: channel.send(b"up"))
        await client.negotiate()
        assert await client.observer.told() == ("connected",)
        assert await client.observer.told() == ("opened", "_reliable")
        assert (await client.observer.told())[0] == "failed"
        assert "ZeroDivisionError" in caplog.text


async def test_nothing_is_left_of_a_closed_connection(port: RtcPort) -> None:
    client = await BareClient.connected(port)
    await client.speak(1)
    association = client.peer._association._dtls
    assert association is not None
    peer, openssl = weakref.ref(client.peer), weakref.ref(association._ssl)
    del association
    client.close()
    assert port.peers == () and not port._by_ufrag
    assert all(not each.peers for each in port._sockets)
    assert openssl() is None, "it is too big to wait for the collector"
    del client
    await asyncio.sleep(0)  # the loop's last callback held it
    gc.collect()
    assert peer() is None


@pytest.mark.parametrize("rounds", [300, pytest.param(6000, marks=pytest.mark.slow)])
async def test_a_call_goes_on_while_garbage_is_fired_at_the_port(
    port: RtcPort, rounds: int
) -> None:
    client = await BareClient.connected(port)
    stranger = await UdpWire.open(port)
    dice = random.Random(rounds)
    for sequence in range(1, rounds):
        for wire in (client.wire, stranger):
            for _ in range(5):
                wire.send(garbage(dice, client))
        await client.speak(sequence)
    assert client.observer.events == [("connected",)]
    assert port.counters.strangers and port.counters.forged and port.counters.malformed
    stranger.close()
    client.close()


def garbage(dice: random.Random, client: BareClient) -> bytes:
    """Something that looks a little like a packet of each protocol."""
    kind = dice.randrange(7)
    if kind == 0:
        return dice.randbytes(dice.randrange(1, 2500))
    if kind == 1:
        return bytes((dice.randrange(20, 64),)) + dice.randbytes(dice.randrange(100))
    if kind == 2:
        return bytes((dice.randrange(128, 192),)) + dice.randbytes(dice.randrange(100))
    if kind == 3:
        body = dice.randbytes(4 * dice.randrange(30))
        return stun._header.pack(1, len(body), stun.COOKIE, bytes(12)) + body
    if kind == 4:
        forged = IceCredentials(client.peer.local.ufrag, "x" * 24)
        return client.check(forged)
    if kind == 5:
        return rtp(dice.randrange(65_536), ssrc=dice.randrange(3)) + dice.randbytes(16)
    record = dice.randbytes(dice.randrange(60))
    return bytes((23, 254, 253, 0, 1)) + bytes(6) + len(record).to_bytes(2, "big") + record


async def come_and_go(port: RtcPort, rounds: int) -> None:
    for _ in range(rounds):
        clients = [await BareClient.connected(port) for _ in range(10)]
        for client in clients:
            await client.speak(1)
        assert len(port.peers) == 10
        for client in clients:
            client.close()
    assert port.peers == () and not port._by_ufrag
    assert all(not each.peers for each in port._sockets)


async def test_a_hundred_clients_come_and_go(port: RtcPort) -> None:
    await come_and_go(port, 10)


@pytest.mark.slow
async def test_clients_that_come_and_go_leave_no_memory(port: RtcPort) -> None:
    """A connection takes about 100 kB at each end; here 1000 of them would be 200 MB."""
    process = psutil.Process()
    await come_and_go(port, 50)
    gc.collect()
    before = process.memory_info().rss
    await come_and_go(port, 100)
    gc.collect()
    assert process.memory_info().rss - before < 20_000_000
