"""Both ends of a connection without a network between them: real SRTP, packets kept in a list."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from aiortc.rtcrtpparameters import RTCRtpHeaderExtensionParameters, RTCRtpParameters
from aiortc.rtp import HeaderExtensionsMap, RtcpPacket, RtpPacket

from mulisa.core.room import ParticipantSid, RoomName
from mulisa.sfu.forward import Forwarder, LoudestConfig, RtpSession
from mulisa.sfu.media import AUDIO_LEVEL, MID, RTP_STREAM_ID, Codec, Inbound, Outbound, TrackSid
from mulisa.wire.srtp import AES_128_GCM, PacketBuffer, SrtpContexts, SrtpKeys, SrtpProfile

if TYPE_CHECKING:
    from mulisa.sfu.peer import PeerConnection

ROOM = RoomName("room")
OPUS = Codec("opus", 111, 48000, 2, feedback=frozenset({"nack"}))
RED = Codec("red", 63, 48000, 2, "111/111")
VP8 = Codec("vp8", 96, 90000, feedback=frozenset({"nack", "nack pli"}))
UPSTREAM_IDS = {MID: 4, AUDIO_LEVEL: 1, RTP_STREAM_ID: 10}
LEVEL_ID = 7
"""Of the subscribers, other than the publishers'."""


def keys(profile: SrtpProfile = AES_128_GCM) -> tuple[SrtpContexts, SrtpContexts]:
    """Ours and the client's contexts of one connection."""
    size = profile.key_bytes + profile.salt_bytes
    up, down = os.urandom(size), os.urandom(size)
    return SrtpContexts(SrtpKeys(profile, down, up)), SrtpContexts(SrtpKeys(profile, up, down))


@dataclass(eq=False)
class RecordingPath:
    """A way without a socket for batches, as ICE-TCP's is one."""

    fd: int | None = None
    sockaddr: bytes = b""
    host: str = "127.0.0.1"
    port: int = 9
    socket: socket.socket | None = None
    packets: list[bytes] = field(default_factory=list)

    def send(self, data: bytes | bytearray | memoryview) -> bool:
        if self.socket is not None:
            return self.socket.sendto(data, (self.host, self.port)) == len(data)
        self.packets.append(bytes(data))
        return True

    def bind(self, peer: PeerConnection) -> None: ...

    def unbind(self, peer: PeerConnection) -> None: ...


class FakePeer:
    """A connected `PeerConnection`, as far as the forwarding path sees it, and its client."""

    def __init__(self, profile: SrtpProfile = AES_128_GCM) -> None:
        ours, self.client = keys(profile)
        self.srtp: SrtpContexts | None = ours
        self.path: RecordingPath | None = RecordingPath()
        self.on_rtp: Callable[[bytearray, int], None]
        self.on_rtcp: Callable[[bytes], None]
        self.rtcp: list[bytes] = []
        self._buffer = bytearray(2048)

    def send_rtcp(self, data: bytes) -> None:
        self.rtcp.append(data)

    def publish(self, packet: bytes) -> None:
        """The client's packet, which was decrypted."""
        self._buffer[: len(packet)] = packet
        self.on_rtp(self._buffer, len(packet))

    def take_encrypted(self) -> list[bytes]:
        assert self.path is not None
        packets, self.path.packets = self.path.packets, []
        return packets

    def take(self) -> list[RtpPacket]:
        """What the client received since the last call."""
        return [self.decrypt(packet) for packet in self.take_encrypted()]

    def decrypt(self, packet: bytes) -> RtpPacket:
        buffer = PacketBuffer()
        buffer.data[: len(packet)] = packet
        length = self.client.unprotect_rtp(buffer, len(packet))
        assert length, "the client cannot authenticate a packet, or had it before"
        return RtpPacket.parse(bytes(buffer.data[:length]), extensions({AUDIO_LEVEL: LEVEL_ID}))

    def take_rtcp(self) -> list[Any]:
        packets, self.rtcp = self.rtcp, []
        return [packet for compound in packets for packet in RtcpPacket.parse(compound)]


def extensions(ids: dict[str, int]) -> HeaderExtensionsMap:
    parameters = RTCRtpParameters(
        headerExtensions=[RTCRtpHeaderExtensionParameters(uri=uri, id=i) for uri, i in ids.items()]
    )
    mapping = HeaderExtensionsMap()
    mapping.configure(parameters)
    return mapping


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """A forwarder, its clock, and who is on it."""

    def __init__(self, loudest: LoudestConfig | None = None) -> None:
        self.clock = Clock()
        self.forwarder = Forwarder(loudest=loudest or LoudestConfig(), now=self.clock)
        self._names = 0

    def join(self, profile: SrtpProfile = AES_128_GCM) -> tuple[FakePeer, RtpSession]:
        self._names += 1
        peer = FakePeer(profile)
        sid = ParticipantSid(f"PA_{self._names}")
        return peer, self.forwarder.session(cast("PeerConnection", peer), sid)

    def publisher(self, *tracks: Inbound) -> FakePeer:
        peer, session = self.join()
        session.publish(tracks, ROOM)
        return peer

    def subscriber(self, *tracks: Outbound) -> FakePeer:
        peer, session = self.join()
        session.subscribe(tracks)
        return peer


def audio(name: str = "TR_a", *codecs: Codec, mid: str = "0", ssrcs: Iterable[int] = ()) -> Inbound:
    return Inbound(
        TrackSid(name), "audio", mid, codecs or (OPUS,), tuple(ssrcs), extensions=UPSTREAM_IDS
    )


def to_audio(
    name: str = "TR_a", *codecs: Codec, ssrc: int = 5000, level: int = LEVEL_ID
) -> Outbound:
    ids = {AUDIO_LEVEL: level} if level else {}
    return Outbound(TrackSid(name), "audio", "3", ssrc, codecs or (OPUS,), ids)


def video(name: str = "TR_v", *codecs: Codec, rids: Iterable[str] = ()) -> Inbound:
    ids = {MID: 4, RTP_STREAM_ID: 10}
    return Inbound(TrackSid(name), "video", "1", codecs or (VP8,), (), tuple(rids), ids)


def to_video(name: str = "TR_v", *codecs: Codec, ssrc: int = 6000) -> Outbound:
    return Outbound(TrackSid(name), "video", "4", ssrc, codecs or (VP8,))


class Voice:
    """A publisher's stream of 20 ms packets, which moves the clock on as it speaks."""

    def __init__(
        self,
        stage: Stage,
        peer: FakePeer,
        *,
        ssrc: int = 1000,
        mid: str | None = "0",
        sequence: int = 65530,
        timestamp: int = 2**32 - 3000,
        payload_type: int = 111,
    ) -> None:
        self._stage = stage
        self._peer = peer
        self.packet = RtpPacket(payload_type, 0, sequence, timestamp, ssrc)
        self.mid = mid
        self.level: tuple[bool, int] | None = (True, 30)
        self.rid: str | None = None

    def make(self, payload: bytes = b"opus", *, marker: int = 0) -> bytes:
        """The next packet; the stream's numbers go on."""
        packet = self.packet
        packet.payload, packet.marker = payload, marker
        packet.extensions.mid = self.mid
        packet.extensions.audio_level = self.level
        packet.extensions.rtp_stream_id = self.rid
        data = packet.serialize(extensions(UPSTREAM_IDS))
        packet.sequence_number = (packet.sequence_number + 1) & 0xFFFF
        packet.timestamp = (packet.timestamp + 960) & 0xFFFFFFFF
        return data

    def speak(self, packets: int = 1, payload: bytes = b"opus") -> None:
        for _ in range(packets):
            self._stage.clock.now += 0.02
            self._peer.publish(self.make(payload))

    def lose(self, packets: int = 1) -> list[bytes]:
        """Packets that do not arrive, or later."""
        lost = []
        for _ in range(packets):
            self._stage.clock.now += 0.02
            lost.append(self.make())
        return lost
