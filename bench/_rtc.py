"""Bare clients of LiveKit's protocol: real signalling, ICE, DTLS-SRTP and RTP, and no sound.

An SDK decodes, mixes and resamples what it gets, so that a hundred of them need a machine of their
own. A bare client counts: each packet by the sequence number in its clear header, and each fiftieth
one decrypted and compared with what was sent. All clients of a `Crowd` are on one event loop.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final, Self

import aiohttp
from bench._rtc_link import PROFILES, Link
from bench._rtc_sdp import LEVEL_EXTENSION, OPUS, Sent, Theirs, candidates, offer, read_answer
from cffi import FFI  # type: ignore[import-untyped]
from livekit.protocol import models, rtc

PACKET_DURATION: Final = 0.02
PACKET_TICKS: Final = 960
PAYLOAD_BYTES: Final = 80
PATIENCE: Final = 30.0
_READ_EVERY: Final = 0.01
_REPORT_EVERY: Final = 5.0
_SAMPLE_EVERY: Final = 50
_PROTOCOL: Final = 17
_HEADER: Final = struct.Struct("!BBHII")
_STAMP: Final = struct.Struct("!BHI")
"""A table-of-contents byte of Opus (CELT, fullband, 20 ms), who sent it, and the how manieth."""
_TOC: Final = 0xF8
_FILLING: Final = secrets.token_bytes(PAYLOAD_BYTES - _STAMP.size)
_LEVEL: Final = struct.pack("!HHBB2x", 0xBEDE, 1, LEVEL_EXTENSION << 4, 0x80 | 20)


class Stream:
    """What came of one track; sequence numbers are those of the clear headers."""

    __slots__ = ("decrypted", "highest", "lowest", "packets", "wrong")

    def __init__(self, sequence: int) -> None:
        self.lowest = self.highest = sequence
        self.packets = 0
        self.decrypted = 0
        self.wrong = 0
        """Decrypted to something else than what publishers send."""

    def note(self, sequence: int) -> None:
        """A packet came."""
        ahead = (sequence - self.highest + 0x8000 & 0xFFFF) - 0x8000
        if ahead > 0:
            self.highest += ahead
        self.packets += 1

    @property
    def missing(self) -> int:
        """Sequence numbers that were passed over: what the server did not send on, or lost."""
        return self.highest - self.lowest + 1 - self.packets


class Client:
    """A participant with one peer connection (signalling v1) that publishes, or hears everybody."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        token: str,
        number: int = 0,
        profiles: Sequence[str] = tuple(PROFILES),
    ) -> None:
        """`number` tells publishers apart; `profiles` are those of SRTP that it offers."""
        self.link = Link(self._on_rtp, self._on_rtcp, profiles)
        self.streams: dict[int, Stream] = {}
        self.nacks = 0
        """Times that the server missed packets of ours."""
        self.sent = 0
        self._http, self._url, self._token, self._number = http, url, token, number
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._tracks: list[Sent] = []
        self._receiving = 0
        self._versions = count(1)
        self._is_offering = self._is_stale = False
        self._theirs: Theirs | None = None
        self._candidates: list[tuple[str, int]] = []
        self._answered = asyncio.Event()
        self._published: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._sequence = secrets.randbits(15)
        self._ticks = secrets.randbits(31)
        self._spoke_at = 0.0

    async def join(self, *, is_publisher: bool, receiving: int = 0) -> None:
        """Return once packets can go to and fro; with `receiving` m-lines from the beginning."""
        self._receiving = receiving
        settings = rtc.ConnectionSettings(auto_subscribe=not is_publisher)
        info = models.ClientInfo(sdk=models.ClientInfo.PYTHON, version="1.2.1", protocol=_PROTOCOL)
        request = rtc.JoinRequest(
            client_info=info, connection_settings=settings, publisher_offer=self._next_offer()
        )
        self._is_offering = True
        wrapped = rtc.WrappedJoinRequest(join_request=request.SerializeToString())
        parameter = base64.urlsafe_b64encode(wrapped.SerializeToString()).decode()
        self._socket = await self._http.ws_connect(
            f"{self._url}/rtc/v1",
            params={"join_request": parameter},
            headers={"Authorization": f"Bearer {self._token}"},
        )
        self._tasks.append(asyncio.create_task(self._listen(self._socket)))
        self._tasks.append(asyncio.create_task(self._keep()))
        async with asyncio.timeout(PATIENCE):
            await self.link.connected.wait()
            if self.link.failure:
                raise self.link.failure
            await self.link.channels_open.wait()
            if is_publisher:
                await self._publish()

    def speak(self) -> None:
        """Send 20 ms of voice, as loud as a person's."""
        now = asyncio.get_running_loop().time()
        is_first = now - self._spoke_at > 5 * PACKET_DURATION
        if is_first and self._spoke_at:
            self._ticks += round((now - self._spoke_at - PACKET_DURATION) * 48_000)
        self._spoke_at = now
        self._sequence, self._ticks = self._sequence + 1, self._ticks + PACKET_TICKS
        second = OPUS | (0x80 if is_first else 0)
        head = _HEADER.pack(
            0x90,
            second,
            self._sequence & 0xFFFF,
            self._ticks & 0xFFFFFFFF,
            self._tracks[0].ssrc,
        )
        self.sent += 1
        self.link.send_rtp(head + _LEVEL + _STAMP.pack(_TOC, self._number, self.sent) + _FILLING)

    async def leave(self) -> None:
        """Say so, and forget everything."""
        if self._socket and not self._socket.closed:
            with suppress(ConnectionError):
                leave = rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED)
                await self._send(rtc.SignalRequest(leave=leave))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._socket:
            await self._socket.close()
        self.link.close()

    def _next_offer(self) -> rtc.SessionDescription:
        version = next(self._versions)
        sdp = offer(self.link.ours, version, self._tracks, self._receiving)
        return rtc.SessionDescription(type="offer", sdp=sdp, id=version)

    async def _publish(self) -> None:
        track = Sent(f"cid-{secrets.token_hex(8)}", secrets.randbits(31))
        request = rtc.AddTrackRequest(
            cid=track.cid,
            name="microphone",
            type=models.TrackType.AUDIO,
            source=models.TrackSource.MICROPHONE,
            disable_red=True,
        )
        await self._send(rtc.SignalRequest(add_track=request))
        self._tracks.append(track)
        await self._negotiate()
        await self._published
        while self._is_offering:
            await self._answered.wait()

    async def _negotiate(self) -> None:
        """One offer at a time."""
        if self._is_offering:
            self._is_stale = True
            return
        self._is_offering, self._is_stale = True, False
        self._answered.clear()
        await self._send(rtc.SignalRequest(offer=self._next_offer()))

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for frame in socket:
            if frame.type == aiohttp.WSMsgType.BINARY:
                await self._receive(rtc.SignalResponse.FromString(frame.data))

    async def _receive(self, response: rtc.SignalResponse) -> None:
        match response.WhichOneof("message"):
            case "answer":
                await self._on_answer(response.answer.sdp)
            case "trickle":
                self._candidates += candidates([response.trickle.candidateInit])
                self._connect()
            case "media_sections_requirement":
                self._receiving += response.media_sections_requirement.num_audios
                await self._negotiate()
            case "track_published" if not self._published.done():
                self._published.set_result(response.track_published.track.sid)
            case "leave":
                self._fail(f"it sent us away: {response.leave}")

    async def _on_answer(self, sdp: str) -> None:
        self._is_offering = False
        self._answered.set()
        self._theirs = read_answer(sdp)
        self._candidates += self._theirs.candidates
        self._connect()
        if self._is_stale:
            await self._negotiate()

    def _connect(self) -> None:
        if self._theirs and self._candidates:
            self.link.connect(self._theirs, self._candidates[0])

    def _fail(self, why: str) -> None:
        self.link.failure = ConnectionError(why)
        self.link.connected.set()

    async def _keep(self) -> None:
        """Signalling pings and reports, at the times that libwebrtc has for them."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_REPORT_EVERY * (0.5 + secrets.randbelow(1000) / 1000))
            ping = rtc.Ping(timestamp=round(loop.time() * 1000))
            await self._send(rtc.SignalRequest(ping_req=ping))
            if self.link.outbound:
                self._report()

    def _report(self) -> None:
        """Sender reports with a track, receiver reports with streams (RFC 3550, 6.4)."""
        assert self.link.outbound
        if self._tracks:
            body = struct.pack(
                "!IIIIII",
                self._tracks[0].ssrc,
                0,
                0,
                self._ticks & 0xFFFFFFFF,
                self.sent,
                self.sent * PAYLOAD_BYTES,
            )
            self.link.send_rtcp(struct.pack("!BBH", 0x80, 200, 6) + body)
        if self.streams:
            blocks = [
                struct.pack("!IIIIII", ssrc, 0, stream.highest & 0xFFFFFFFF, 0, 0, 0)
                for ssrc, stream in list(self.streams.items())[:31]
            ]
            head = struct.pack("!BBHI", 0x80 | len(blocks), 201, 1 + 6 * len(blocks), 1)
            self.link.send_rtcp(head + b"".join(blocks))

    def _on_rtp(self, datagram: bytes) -> None:
        _, _, sequence, _, ssrc = _HEADER.unpack_from(datagram)
        stream = self.streams.get(ssrc)
        if stream is None:
            stream = self.streams[ssrc] = Stream(sequence)
        stream.note(sequence)
        if stream.packets % _SAMPLE_EVERY == 1 and self.link.inbound:
            self._sample(stream, datagram)

    def _sample(self, stream: Stream, datagram: bytes) -> None:
        assert self.link.inbound
        packet = self.link.inbound.unprotect(datagram)
        stream.decrypted += 1
        payload = packet[-PAYLOAD_BYTES:]
        if payload[0] != _TOC or payload[_STAMP.size :] != _FILLING:
            stream.wrong += 1

    def _on_rtcp(self, datagram: bytes) -> None:
        if self.link.inbound:
            packet = self.link.inbound.unprotect_rtcp(datagram)
            self.nacks += packet[1] == 205 and packet[0] & 31 == 1

    async def _send(self, request: rtc.SignalRequest) -> None:
        assert self._socket
        await self._socket.send_bytes(request.SerializeToString())


class Crowd:
    """The clients of one room. Enter it; `join` as often as wanted."""

    def __init__(
        self,
        url: str,
        profiles: Sequence[str] = tuple(PROFILES),
        make: Callable[..., Client] = Client,
    ) -> None:
        """`profiles` are those of SRTP that its clients offer; those of browsers by default.

        `make` makes a client as `Client` is made: one of another protocol.
        """
        self._make = make
        self.publishers: list[Client] = []
        self.subscribers: list[Client] = []
        self._url, self._profiles = url, profiles
        self._batch = Batch()
        self._http: aiohttp.ClientSession
        self._reading: asyncio.Task[None]

    async def join(self, tokens: Sequence[str], *, is_publisher: bool) -> None:
        """They come one after the other."""
        group = self.publishers if is_publisher else self.subscribers
        for token in tokens:
            client = self._make(self._http, self._url, token, len(group), self._profiles)
            group.append(client)
            await client.join(
                is_publisher=is_publisher, receiving=0 if is_publisher else len(self.publishers)
            )

    async def speak(self, packets: int) -> None:
        """All publishers send so many packets, 20 ms apart, evenly spread over the 20 ms."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        step = PACKET_DURATION / len(self.publishers)
        for number in range(packets * len(self.publishers)):
            await asyncio.sleep(max(0.0, begin + number * step - loop.time()))
            self.publishers[number % len(self.publishers)].speak()

    async def until_all_hear_all(self) -> None:
        """Speak until every subscriber has a stream of every publisher. Raises TimeoutError."""
        async with asyncio.timeout(PATIENCE):
            while any(len(one.streams) < len(self.publishers) for one in self.subscribers):
                await self.speak(1)
                await asyncio.sleep(PACKET_DURATION)

    async def until_quiet(self, seconds: float) -> None:
        """Nothing has come for so long: what was sent is there, or lost."""
        before = -1
        while (now := self.summed()["packets"]) != before:
            before = now
            await asyncio.sleep(seconds)

    def summed(self) -> Counter[str]:
        """Over the streams of all subscribers."""
        total: Counter[str] = Counter()
        for client in self.subscribers:
            for stream in client.streams.values():
                for name in ("packets", "missing", "decrypted", "wrong"):
                    total[name] += getattr(stream, name)
        return total

    def refused(self) -> int:
        """Packets of publishers that our own kernel did not take."""
        return sum(client.link.refused for client in self.publishers)

    def nacks(self) -> int:
        """Times that the server missed packets of publishers."""
        return sum(client.nacks for client in self.publishers)

    def ports(self) -> set[int]:
        """Where subscribers receive."""
        return {client.link.ours.port for client in self.subscribers}

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for client in (*self.publishers, *self.subscribers):
                self._batch.read(client.link)
                client.link.keep(loop.time())
            await asyncio.sleep(_READ_EVERY)

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reading.cancel()
        try:
            with suppress(asyncio.CancelledError):
                await self._reading
        finally:
            for client in (*self.subscribers, *self.publishers):
                await client.leave()
            await self._http.close()


class Batch:
    """Reads what waits at a socket with few system calls."""

    _ROWS: Final = 64
    _ROW_BYTES: Final = 2048
    _NAME_BYTES: Final = 16
    """Of a ``sockaddr_in``."""

    def __init__(self) -> None:
        ffi = FFI()
        ffi.cdef(
            "struct iovec { void *base; size_t length; };"
            "struct msghdr { void *name; unsigned int name_length; struct iovec *rows;"
            " size_t row_count; void *control; size_t control_length; int flags; };"
            "struct mmsghdr { struct msghdr header; unsigned int length; };"
            "int recvmmsg(int fd, struct mmsghdr *v, unsigned int n, int flags, void *timeout);"
        )
        self._recvmmsg = ffi.dlopen(None).recvmmsg
        self._null = ffi.NULL
        self._memory = ffi.new("char[]", self._ROWS * self._ROW_BYTES)
        self._bytes = ffi.buffer(self._memory)
        self._rows = ffi.new("struct iovec[]", self._ROWS)
        self._messages = ffi.new("struct mmsghdr[]", self._ROWS)
        self._names = ffi.new("char[]", self._ROWS * self._NAME_BYTES)
        self._sources = ffi.buffer(self._names)
        for number in range(self._ROWS):
            self._messages[number].header.name = self._names + number * self._NAME_BYTES
            self._messages[number].header.name_length = self._NAME_BYTES
            self._rows[number].base = self._memory + number * self._ROW_BYTES
            self._rows[number].length = self._ROW_BYTES
            self._messages[number].header.rows = self._rows + number
            self._messages[number].header.row_count = 1

    def read(self, link: Link) -> None:
        """Give the link everything."""
        descriptor = link.socket.fileno()
        if descriptor < 0:
            return
        while True:
            found = self._recvmmsg(descriptor, self._messages, self._ROWS, 0x40, self._null)
            for number in range(found):
                begin = number * self._ROW_BYTES
                source = number * self._NAME_BYTES
                link.receive(
                    self._bytes[begin : begin + self._messages[number].length],
                    self._sources[source : source + self._NAME_BYTES],
                )
            if found < self._ROWS:
                return


def kernel_drops(ports: set[int]) -> int:
    """Datagrams that the kernel dropped at these UDP ports, as their sockets were full."""
    drops = 0
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) in ports:
                drops += int(fields[-1])
    return drops
