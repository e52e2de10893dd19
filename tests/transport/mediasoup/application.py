"""A mediasoup application in Python, for one client: the demo's words and real media ends.

It does what a test tells it, also what no application would.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from itertools import count
from typing import Any, cast

from aiohttp import WSMsgType, web
from aiortc import RTCDataChannel
from aiortc.rtcdatachannel import RTCDataChannelParameters
from aiortc.rtcsctptransport import RTCSctpTransport

from mulisa.wire import rtcp, stun
from mulisa.wire.description import Fingerprint
from mulisa.wire.dtls import DtlsConnection, our_certificate
from mulisa.wire.rtp import RtpHeader
from mulisa.wire.sctp import SCTP_PORT, run
from mulisa.wire.srtp import PacketBuffer, SrtpContexts
from tests.transport.mesh.rooms import PATIENCE
from tests.wire.test_sctp import TheirWire

ROUTER = {
    "codecs": [
        {
            "kind": "audio",
            "mimeType": "audio/opus",
            "clockRate": 48_000,
            "channels": 2,
            "preferredPayloadType": 100,
        }
    ],
    "headerExtensions": [
        {"kind": "audio", "uri": "urn:ietf:params:rtp-hdrext:ssrc-audio-level", "preferredId": 10}
    ],
}
PASSWORD = b"passwordpasswordpassword"


class LiteEndpoint(asyncio.DatagramProtocol):
    """The server's end of a WebRtcTransport: ICE-lite, DTLS server, SRTP."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.packets: list[tuple[int, int, int, bytes]] = []
        """SSRC, sequence, level extension and payload of what came."""
        self.reports: list[rtcp.RtcpPacket] = []
        self.is_deaf = False
        """Answers nothing any more."""
        self._dtls = DtlsConnection("server")
        self._srtp: SrtpContexts | None = None
        self._buffer, self._header = PacketBuffer(), RtpHeader()
        self._transport: asyncio.DatagramTransport | None = None
        self._peer: tuple[str, int] | None = None
        self.sctp: RTCSctpTransport | None = None
        """Our end of data channels, which makes the association, once there is one."""

    async def open(self) -> None:
        """On a free port of loopback."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))

    def channel(self, stream: int, received: Callable[[object], None]) -> RTCDataChannel:
        """A data channel that both ends know of."""
        assert self.sctp is not None
        parameters = RTCDataChannelParameters(negotiated=True, id=stream)
        channel = RTCDataChannel(self.sctp, parameters)
        channel.on("message", received)
        return channel

    def options(self) -> dict[str, Any]:
        """As ``createWebRtcTransport`` answers."""
        assert self._transport is not None
        port = self._transport.get_extra_info("sockname")[1]
        ours = our_certificate().fingerprint
        candidate = {"foundation": "udp", "ip": "127.0.0.1", "port": port, "protocol": "udp"}
        return {
            "id": self.name,
            "iceParameters": {"usernameFragment": self.name, "password": PASSWORD.decode()},
            "iceCandidates": [candidate | {"priority": 1_000}],
            "dtlsParameters": {
                "role": "auto",
                "fingerprints": [{"algorithm": ours.algorithm, "value": ours.value}],
            },
        }

    def expect(self, dtls_parameters: dict[str, Any]) -> None:
        """As ``connectWebRtcTransport``."""
        (fingerprint,) = dtls_parameters["fingerprints"]
        self._dtls.expect(Fingerprint(fingerprint["algorithm"], fingerprint["value"]))

    def send_rtp(self, ssrc: int, sequence: int, timestamp: int, payload: bytes) -> None:
        """One packet with payload type 100."""
        assert self._srtp is not None
        packet = b"\x80\x64" + sequence.to_bytes(2, "big") + timestamp.to_bytes(4, "big")
        packet += ssrc.to_bytes(4, "big") + payload
        self._buffer.view[: len(packet)] = packet
        size = self._srtp.protect_rtp(self._buffer, len(packet))
        self._send(bytes(self._buffer.view[:size]))

    def send_rtcp(self, packet: bytes) -> None:
        """A compound packet."""
        assert self._srtp is not None
        self._send(self._srtp.protect_rtcp(packet))

    def send_raw(self, datagram: bytes) -> None:
        """Anything."""
        self._send(datagram)

    def close(self, *, in_order: bool = True) -> None:
        """Idempotent."""
        if self.sctp is not None:
            self.sctp._set_state(self.sctp.State.CLOSED)
        if in_order:
            self._dtls.close()
            self._flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.DatagramProtocol`."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """See `asyncio.DatagramProtocol`."""
        if self.is_deaf:
            return
        self._peer = addr[0], addr[1]
        if data[0] < 4:
            check = stun.read_check(data, PASSWORD)
            self._send(stun.success(check.transaction, addr[0], addr[1], PASSWORD))
        elif 20 <= data[0] <= 63:
            for packet in self._dtls.receive(data):
                assert self.sctp is not None
                run(self.sctp._handle_data(packet))
            self._flush()
            if self._dtls.is_established and self._srtp is None:
                self._srtp = SrtpContexts(self._dtls.srtp_keys())
                self.sctp = RTCSctpTransport(TheirWire(self._send_data))  # type: ignore[arg-type]
                run(self.sctp.start(None, SCTP_PORT))
        elif self._srtp is not None:
            self._receive(data)

    def _receive(self, data: bytes) -> None:
        assert self._srtp is not None
        self._buffer.view[: len(data)] = data
        if 192 <= data[1] <= 223:
            compound = self._srtp.unprotect_rtcp(self._buffer, len(data))
            self.reports += rtcp.parse(compound)
            return
        size = self._srtp.unprotect_rtp(self._buffer, len(data))
        header = self._header
        assert header.read(self._buffer.view, size)
        payload = bytes(self._buffer.view[header.payload_start : header.payload_end])
        level = header.first_byte(self._buffer.view, 1)
        self.packets.append((header.ssrc, header.sequence, level, payload))

    def _send_data(self, packet: bytes) -> None:
        self._dtls.send(packet)
        self._flush()

    def _flush(self) -> None:
        for datagram in self._dtls.outgoing():
            self._send(datagram)

    def _send(self, datagram: bytes) -> None:
        if self._transport is not None and self._peer is not None:
            self._transport.sendto(datagram, self._peer)


class Application:
    """What the client finds at `url`; its last connection is the one that is spoken to."""

    def __init__(self) -> None:
        self.url = ""
        self.endpoints: dict[str, LiteEndpoint] = {}
        """By direction, of the last connection: send and recv, from the client's side."""
        self.asked: list[tuple[str, Any]] = []
        """Requests and notifications of the client, oldest first."""
        self.connections = 0
        self.is_newer = False
        """Speaks as the demo does since it became TypeScript."""
        self.has_data = False
        """Its transports carry data channels."""
        self.status = 0
        """HTTP by which everybody is refused; 0 is nobody."""
        self.joined: dict[str, Any] = {"peers": [], "abilities": ["listeners", "text", "ready"]}
        self.answers: dict[str, Callable[[Any], Any]] = {}
        """What is said in place of the usual answer; an exception's text is a refusal."""
        self._socket: web.WebSocketResponse | None = None
        self._pending: dict[int, asyncio.Future[bool]] = {}
        self._numbers = count(1)
        self._all: list[LiteEndpoint] = []

    async def notify(self, method: str, **data: Any) -> None:
        """Tell the client."""
        await self.send({"notification": True, "method": method, "data": data})

    async def offer(self, peer: str, consumer: str, ssrc: int, **changes: Any) -> bool:
        """Ask the client to consume; whether it does."""
        codec = {"mimeType": "audio/opus", "payloadType": 100, "clockRate": 48_000, "channels": 2}
        data = {
            "peerId": peer,
            "producerId": f"p-{consumer}",
            "id": consumer,
            "kind": "audio",
            "rtpParameters": {"codecs": [codec], "encodings": [{"ssrc": ssrc}]},
            "producerPaused": False,
        }
        if self.is_newer:
            data["consumerId"] = data.pop("id")
        return await self.request("newConsumer", data | changes)

    async def offer_data(self, peer: str, consumer: str, stream: int, **changes: Any) -> bool:
        """Ask the client to consume what somebody writes; whether it does."""
        data = {
            "peerId": peer,
            "dataProducerId": f"p-{consumer}",
            "dataConsumerId" if self.is_newer else "id": consumer,
            "sctpStreamParameters": {"streamId": stream, "ordered": True},
            "label": "chat",
            "protocol": "",
        }
        return await self.request("newDataConsumer", data | changes)

    async def request(self, method: str, data: Any) -> bool:
        """Whether the client grants it."""
        number = next(self._numbers)
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending[number] = answered
        await self.send({"request": True, "id": number, "method": method, "data": data})
        async with asyncio.timeout(PATIENCE):
            return await answered

    async def send(self, message: object) -> None:
        """Any JSON."""
        await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        """Anything."""
        assert self._socket is not None
        await self._socket.send_str(text)

    async def close(self, code: int) -> None:
        """The WebSocket alone."""
        assert self._socket is not None
        await self._socket.close(code=code)

    def methods(self) -> list[str]:
        """What was asked so far."""
        return [method for method, _ in self.asked]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One client."""
        if self.status:
            return web.Response(status=self.status)
        socket = web.WebSocketResponse(protocols=("protoo",))
        await socket.prepare(request)
        self._socket = socket
        self.connections += 1
        async for frame in socket:
            if frame.type is WSMsgType.TEXT:
                await self._receive(socket, json.loads(frame.data))
        return socket

    async def _receive(self, socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
        if message.get("response"):
            self._pending.pop(message["id"]).set_result(bool(message.get("ok")))
            return
        method, data = message["method"], message.get("data") or {}
        self.asked.append((method, data))
        if not message.get("request"):
            return
        answer = {"response": True, "id": message["id"]}
        try:
            own = self.answers.get(method)
            found = own(data) if own else await self._usual(method, data)
            found = await found if isawaitable(found) else found
            answer |= {"ok": True, "data": found}
        except RuntimeError as refusal:
            answer |= {"ok": False, "errorCode": 500, "errorReason": str(refusal)}
        with suppress(ConnectionError):
            await socket.send_str(json.dumps(answer))

    async def _usual(self, method: str, data: dict[str, Any]) -> Any:
        match method:
            case "getRouterRtpCapabilities":
                return {"routerRtpCapabilities": ROUTER} if self.is_newer else ROUTER
            case "createWebRtcTransport":
                direction = "send" if data["producing"] else "recv"
                endpoint = LiteEndpoint(f"t{len(self._all)}")
                self._all.append(endpoint)
                self.endpoints[direction] = endpoint
                await endpoint.open()
                options = endpoint.options()
                if self.has_data:
                    options["sctpParameters"] = {"port": SCTP_PORT, "OS": 128, "MIS": 128}
                if self.is_newer:
                    options["transportId"] = options.pop("id")
                return options
            case "connectWebRtcTransport":
                found = [each for each in self._all if each.name == data["transportId"]]
                found[0].expect(data["dtlsParameters"])
            case "join":
                return self.joined
            case "produceData":
                return {"dataProducerId" if self.is_newer else "id": f"data{len(self.asked)}"}
            case "produce":
                return {"producerId" if self.is_newer else "id": f"producer{len(self.asked)}"}
        return {}

    def end(self) -> None:
        """Close all media ends."""
        for endpoint in self._all:
            endpoint.close()


@asynccontextmanager
async def application() -> AsyncIterator[Application]:
    """Serve until the block ends."""
    serving = Application()
    app = web.Application()
    app.router.add_get("/", serving.handle)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    serving.url = f"ws://{host}:{port}"
    try:
        yield serving
    finally:
        serving.end()
        await runner.cleanup()
