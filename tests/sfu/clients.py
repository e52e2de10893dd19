"""Clients of an `RtcPort` without signalling: one made of our own parts, and a stock aiortc one."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Collection, Sequence
from struct import pack
from types import TracebackType
from typing import Any, Self

from aiortc import RTCPeerConnection, RTCSessionDescription

from mulisa.sfu.peer import PeerConnection
from mulisa.sfu.port import RtcPort
from mulisa.wire import stun
from mulisa.wire.description import Candidate, Fingerprint, IceCredentials
from mulisa.wire.dtls import Certificate, DtlsConnection, our_certificate
from mulisa.wire.srtp import PacketBuffer, SrtpContexts

LIMIT = 30.0
"""Seconds for anything to happen, on a machine that may be busy."""
CERTIFICATE = Certificate.generate()
THEIR_CREDENTIALS = IceCredentials("them", "their password, 24 bytes")


class Observer:
    """Remembers what it is told; `told` waits for the next thing."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self._heard = 0
        self._news = asyncio.Event()

    def connected(self) -> None:
        self._note("connected")

    def path_changed(self) -> None:
        self._note("path_changed")

    def failed(self, reason: str) -> None:
        self._note("failed", reason)

    def channel_opened(self, label: str) -> None:
        self._note("opened", label)

    def data_received(self, label: str, data: bytes) -> None:
        self._note("data", label, data)

    def _note(self, *event: Any) -> None:
        self.events.append(event)
        self._news.set()

    async def told(self) -> tuple[Any, ...]:
        """The next event."""
        async with asyncio.timeout(LIMIT):
            while len(self.events) == self._heard:
                self._news.clear()
                await self._news.wait()
        self._heard += 1
        return self.events[self._heard - 1]


class UdpWire(asyncio.DatagramProtocol):
    """A socket of a client's."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, port: RtcPort, host: str = "127.0.0.1") -> UdpWire:
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_datagram_endpoint(cls, remote_addr=(host, port.port))
        return wire

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.received.put_nowait(data)

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.sendto(data)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()


class TcpWire(asyncio.Protocol):
    """A client's TCP connection (RFC 4571)."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.transport: Any = None
        self._bytes = b""

    @classmethod
    async def open(cls, port: RtcPort, host: str = "127.0.0.1") -> TcpWire:
        loop = asyncio.get_running_loop()
        _, wire = await loop.create_connection(cls, host, port.port)
        return wire

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        while len(self._bytes) >= 2:
            end = 2 + int.from_bytes(self._bytes[:2], "big")
            if len(self._bytes) < end:
                return
            self.received.put_nowait(self._bytes[2:end])
            self._bytes = self._bytes[end:]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def send(self, data: bytes) -> None:
        self.transport.write(len(data).to_bytes(2, "big") + data)

    def close(self) -> None:
        self.transport.close()


Wire = UdpWire | TcpWire


class BareClient:
    """The other end of one connection, step by step; `connect` does all of them."""

    def __init__(self, port: RtcPort, wire: Wire) -> None:
        self.observer = Observer()
        self.peer: PeerConnection = port.connect(self.observer)
        self.wire = wire
        self.dtls = DtlsConnection("client", CERTIFICATE.context())
        self.dtls.expect(our_certificate().fingerprint)
        self.srtp: SrtpContexts | None = None
        self.rtp: list[bytes] = []
        """What the SFU's forwarding path would get."""
        self.peer.on_rtp = lambda buffer, length: self.rtp.append(bytes(buffer[:length]))
        self._buffer = PacketBuffer()

    @classmethod
    async def connected(cls, port: RtcPort, wire: Wire | None = None) -> BareClient:
        """One that is connected, over UDP unless told otherwise."""
        client = cls(port, wire or await UdpWire.open(port))
        client.describe()
        await client.connect()
        return client

    def describe(self, fingerprint: Fingerprint = CERTIFICATE.fingerprint) -> None:
        """Tell the SFU's end what our description says."""
        self.peer.set_remote(THEIR_CREDENTIALS, fingerprint)

    def check(self, credentials: IceCredentials | None = None) -> bytes:
        """A check that nominates."""
        ours = credentials or self.peer.local
        username, pwd = f"{ours.ufrag}:{THEIR_CREDENTIALS.ufrag}", ours.pwd.encode()
        return stun.request(secrets.token_bytes(12), username, pwd, priority=1, tie=2)

    async def connect(self) -> None:
        """Check, then DTLS until both ends are done."""
        await self.nominate()
        await self.shake_hands()
        assert await self.observer.told() == ("connected",)

    async def nominate(self, wire: Wire | None = None) -> bytes:
        """Check over a wire until that is answered; the answer."""
        self.wire = wire or self.wire
        self.wire.send(self.check())
        return await self.arrival(lambda packet: packet[0] < 4)

    async def shake_hands(self, lost: Collection[int] = ()) -> None:
        """DTLS as a client, until our end of it is established.

        Of the datagrams that arrive, those of these numbers (from 0) are lost.
        """
        self.dtls.start()
        count = 0
        while not self.dtls.is_established:
            self.send_dtls()
            datagram = await self._dtls_arrival()
            if count not in lost:
                self.dtls.receive(datagram)
            count += 1
        self.send_dtls()
        self.srtp = SrtpContexts(self.dtls.srtp_keys())

    def send_dtls(self) -> None:
        """What DTLS has to say."""
        for datagram in self.dtls.outgoing():
            self.wire.send(datagram)

    async def _dtls_arrival(self) -> bytes:
        """The next datagram of DTLS; ours are repeated meanwhile."""
        async with asyncio.timeout(LIMIT):
            while True:
                try:
                    async with asyncio.timeout(self.dtls.timeout()):
                        return await self.arrival(lambda packet: 19 < packet[0] < 64)
                except TimeoutError:
                    self.dtls.handle_timeout()
                    self.send_dtls()

    async def arrival(self, is_it: Callable[[bytes], bool] = lambda packet: True) -> bytes:
        """The next packet of this kind."""
        async with asyncio.timeout(LIMIT):
            while not is_it(packet := await self.wire.received.get()):
                pass
        return packet

    def protected(self, sequence: int, ssrc: int = 1, payload: bytes = b"speech") -> bytes:
        """An SRTP packet."""
        assert self.srtp is not None
        packet = rtp(sequence, ssrc, payload)
        self._buffer.data[: len(packet)] = packet
        length = self.srtp.protect_rtp(self._buffer, len(packet))
        return bytes(self._buffer.data[:length])

    async def speak(self, sequence: int) -> None:
        """Send a packet of media and wait until the SFU has it, sending it again if it is lost."""
        self.wire.send(self.protected(sequence))
        async with asyncio.timeout(LIMIT):
            while rtp(sequence) not in self.rtp:
                await self.nominate()  # its answer comes after what was sent before

    def understood(self, packet: bytes) -> bytes:
        """An RTP packet of the SFU, decrypted."""
        assert self.srtp is not None
        self._buffer.data[: len(packet)] = packet
        length = self.srtp.unprotect_rtp(self._buffer, len(packet))
        return bytes(self._buffer.data[:length])

    def close(self) -> None:
        """Both ends, without a word."""
        self.peer.close()
        self.wire.close()


def rtp(sequence: int, ssrc: int = 1, payload: bytes = b"speech") -> bytes:
    """As `BareClient.protected` sends it."""
    return pack("!BBHII", 0x80, 111, sequence, 960 * sequence, ssrc) + payload


def send_rtp(peer: PeerConnection, packet: bytes) -> None:
    """Send media to a client, as the forwarding path does."""
    assert peer.srtp is not None and peer.path is not None
    buffer = PacketBuffer()
    buffer.data[: len(packet)] = packet
    length = peer.srtp.protect_rtp(buffer, len(packet))
    assert peer.path.send(buffer.view[:length])


class StockClient:
    """An `RTCPeerConnection` of aiortc's, which offers and gets a hand-made answer."""

    def __init__(self, port: RtcPort) -> None:
        self.observer = Observer()
        self.peer = port.connect(self.observer)
        self.pc = RTCPeerConnection()
        self._port = port

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.pc.close()
        self.peer.close()

    async def negotiate(self, host: str = "127.0.0.1") -> None:
        """Offer and answer; the client then connects by itself."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        offer = self.pc.localDescription.sdp
        chosen = [each for each in self._port.candidates if each.address == host]
        answer = RTCSessionDescription(answer_to(offer, self.peer, chosen[:1]), "answer")
        await self.pc.setRemoteDescription(answer)


def answer_to(offer: str, peer: PeerConnection, candidates: Sequence[Candidate]) -> str:
    """The offer turned round, with our transport in it; tells the peer of the offer's."""
    credentials = IceCredentials(found(offer, "ice-ufrag:(.*)"), found(offer, "ice-pwd:(.*)"))
    peer.set_remote(credentials, Fingerprint("sha-256", found(offer, "fingerprint:sha-256 (.*)")))
    turned = {"a=sendrecv": "a=recvonly", "a=sendonly": "a=recvonly", "a=recvonly": "a=sendonly"}
    theirs = ("a=candidate", "a=end-of", "a=ice-", "a=fingerprint", "a=setup", "a=ssrc", "a=msid:")
    lines: list[str] = []
    for line in offer.splitlines():
        if line.startswith("m=") and "a=ice-lite" not in lines:
            lines.append("a=ice-lite")
        if not line.startswith(theirs):
            lines.append(turned.get(line, line))
        if line.startswith("a=mid"):
            lines += transport_of(peer, candidates)
    return "\r\n".join(lines) + "\r\n"


def transport_of(peer: PeerConnection, candidates: Sequence[Candidate]) -> list[str]:
    """What an m-line of ours says of ICE and DTLS."""
    lines = [
        f"a=ice-ufrag:{peer.local.ufrag}",
        f"a=ice-pwd:{peer.local.pwd}",
        f"a=fingerprint:{peer.fingerprint.algorithm} {peer.fingerprint.value}",
        "a=setup:passive",
    ]
    for each in candidates:
        end = " tcptype passive" if each.protocol == "tcp" else ""
        address = f"{each.protocol} {each.priority} {each.address} {each.port} typ host{end}"
        lines.append(f"a=candidate:{each.foundation} 1 {address}")
    return [*lines, "a=end-of-candidates"]


def found(text: str, pattern: str) -> str:
    """What the pattern's group matches."""
    match = re.search(pattern, text)
    assert match is not None
    return match[1].strip()
