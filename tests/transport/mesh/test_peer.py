"""One connection of the mesh, to a peer that means harm."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from struct import pack

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from mulisa.core.room import Identity
from mulisa.transport.mesh.network import MeshNetwork
from mulisa.transport.mesh.peer import Peer, PeerEvent, PeerText, PeerTextOpen
from mulisa.transport.mesh.voice import Voice
from mulisa.transport.text import CHANNEL_ID, CHANNEL_LABEL
from mulisa.wire.sctp_limits import LimitedSctp
from tests.wire.test_sctp import chunk_of, packet_of

pytestmark = pytest.mark.network

PATIENCE = 30.0


class Mallory:
    """A stock client with an open channel to our peer; it can also write packets of its own."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[PeerEvent] = asyncio.Queue()
        self.rtc = RTCPeerConnection()
        self.channel = self.rtc.createDataChannel(CHANNEL_LABEL, negotiated=True, id=CHANNEL_ID)
        self.peer = Peer(
            "c1",
            Identity("mallory"),
            voice=Voice(),
            audio="inactive",
            ice_servers=[],
            network=MeshNetwork(),
            report=lambda _, event: self.events.put_nowait(event),
        )

    @property
    def ours(self) -> LimitedSctp:
        found = self.peer._rtc.sctp
        assert isinstance(found, LimitedSctp), "stock aiortc can be hung by a packet"
        return found

    async def connect(self) -> None:
        offer = await self.peer.offer()
        await self.rtc.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
        await self.rtc.setLocalDescription(await self.rtc.createAnswer())
        await self.peer.accept("answer", self.rtc.localDescription.sdp)
        await self.until(lambda event: isinstance(event, PeerTextOpen))

    async def until(self, is_wanted: Callable[[PeerEvent], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not is_wanted(await self.events.get()):
                pass

    async def write(self, *chunks: bytes) -> None:
        await self.channel.transport.transport._send_data(
            packet_of(self.ours._local_verification_tag, *chunks)
        )


@asynccontextmanager
async def mallory() -> AsyncIterator[Mallory]:
    found = Mallory()
    try:
        await found.connect()
        yield found
    finally:
        await found.rtc.close()
        await found.peer.aclose()


@pytest.mark.timeout(60)
async def test_packets_that_would_hang_aiortc_do_no_harm() -> None:
    async with mallory() as someone:
        cumulative = someone.ours._last_sacked_tsn
        await someone.write(chunk_of(4, pack("!HH", 1, 0)))  # a parameter of length 0
        for _ in range(100):  # 1.8 billion gaps
            gaps = pack("!HH", 1, 65535) * 280
            await someone.write(chunk_of(3, pack("!LLHH", cumulative, 0, 280, 0) + gaps))
        someone.channel.send("still there")
        await someone.until(lambda event: event == PeerText("still there"))
        assert someone.ours.unsound == 1


@pytest.mark.parametrize("datagram", [b"", b"\x80", bytes([20]) * 3000, bytes([128]) * 3000])
async def test_a_datagram_of_a_stranger_does_not_end_a_connection(datagram: bytes) -> None:
    async with mallory() as someone:
        ice = someone.ours.transport.transport._connection
        for pair in ice._nominated.values():
            address = pair.local_candidate.host, pair.local_candidate.port
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            with socket.socket(family, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(datagram, address)
        someone.channel.send("still there")
        await someone.until(lambda event: event == PeerText("still there"))
        assert someone.peer.is_connected
