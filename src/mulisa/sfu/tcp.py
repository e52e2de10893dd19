"""ICE over TCP for clients whose network passes no UDP: passive candidates (RFC 6544, RFC 4571).

Each packet goes behind its length in two bytes. A connection has a few seconds to carry a check
that is authentic; a reader that falls behind loses media, as it would over UDP.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final, cast

from mulisa.sfu.udp import FindPeer, PortCounters
from mulisa.wire import stun
from mulisa.wire.srtp import PACKET_BYTES, PacketBuffer

if TYPE_CHECKING:
    from mulisa.sfu.peer import PeerConnection

MAX_STRANGERS: Final = 128
"""Connections that have not carried an authentic check yet."""
MAX_STRANGERS_OF_ONE: Final = 32
"""Of these, from one address: whoever only holds connections keeps nobody else out."""
CHECK_TIME: Final = 10.0
"""Seconds that a connection has to carry one."""
MAX_WAITING_BYTES: Final = 65_536
"""Of packets that wait for a slow reader; what is beyond it is dropped."""

_buffer: Final = PacketBuffer()


class TcpListener:
    """Accepts connections at one address of ours."""

    def __init__(self, find_peer: FindPeer, counters: PortCounters) -> None:
        self.find_peer = find_peer
        self.counters = counters
        self.strangers: set[TcpPath] = set()
        self.connections: set[TcpPath] = set()
        self._server: asyncio.Server | None = None

    async def open(self, sock: socket.socket) -> None:
        """Accept from a bound socket on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: TcpPath(self), sock=sock)

    def has_room_for(self, host: str) -> bool:
        """Whether one more stranger may come from this address."""
        same = sum(each.host == host for each in self.strangers)
        return len(self.strangers) < MAX_STRANGERS and same < MAX_STRANGERS_OF_ONE

    def close(self) -> None:
        """Close the listener and every connection. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self.connections):
            connection.close()


class TcpPath(asyncio.Protocol):
    """One connection of a client: a `mulisa.sfu.path.Path`, and the reader of what it sends."""

    fd: Final = None
    sockaddr: Final = b""

    def __init__(self, listener: TcpListener) -> None:
        self.host, self.port = "", 0
        self._listener = listener
        self._received = bytearray()
        self._peer: PeerConnection | None = None
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        name: tuple[Any, ...] | None = transport.get_extra_info("peername")
        self._listener.connections.add(self)
        if name is None or not self._listener.has_room_for(name[0]):
            self.close()
            return
        self.host, self.port = name[0], name[1]
        self._listener.strangers.add(self)
        self._deadline = asyncio.get_running_loop().call_later(CHECK_TIME, self.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio.Protocol."""
        self._listener.connections.discard(self)
        self._settle()
        peer, self._peer, self._transport = self._peer, None, None
        if peer is not None:
            peer.forget(self)

    def data_received(self, data: bytes) -> None:
        """Of asyncio.Protocol."""
        self._received += data
        position = 0
        while self._transport is not None and len(self._received) >= position + 2:
            length = int.from_bytes(self._received[position : position + 2], "big")
            if length >= PACKET_BYTES:
                self._listener.counters.malformed += 1
                self.close()
                return
            end = position + 2 + length
            if len(self._received) < end:
                break
            self._receive(self._received[position + 2 : end])
            position = end
        del self._received[:position]

    def send(self, data: bytes | bytearray | memoryview) -> bool:
        """Of Path."""
        transport = self._transport
        if transport is None or transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            self._listener.counters.unsent += 1
            return False
        transport.write(len(data).to_bytes(2, "big") + bytes(data))
        return True

    def bind(self, peer: PeerConnection) -> None:
        """Of Path."""
        if self._peer is not None and self._peer is not peer:
            self._peer.forget(self)
        self._peer = peer
        self._settle()

    def unbind(self, peer: PeerConnection) -> None:
        """Of Path: a connection serves one peer and ends with it, once what was sent is out."""
        if self._peer is peer:
            self._peer = None
            self.close()

    def close(self) -> None:
        """Idempotent; what waits is still sent if its reader takes it soon."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        transport.close()
        if transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(CHECK_TIME, transport.abort)

    def _settle(self) -> None:
        """No stranger any more."""
        self._listener.strangers.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _receive(self, packet: bytearray) -> None:
        counters = self._listener.counters
        if not packet:
            counters.malformed += 1
        elif packet[0] < 4:
            self._receive_check(bytes(packet))
        elif self._peer is None:
            counters.strangers += 1
            self.close()
        else:
            _buffer.data[: len(packet)] = packet
            if not self._peer.receive(_buffer, len(packet)):
                counters.malformed += 1

    def _receive_check(self, data: bytes) -> None:
        ufrag = stun.local_ufrag(data)
        peer = None if ufrag is None else self._listener.find_peer(ufrag)
        if ufrag is None or peer is None:
            self._listener.counters.strangers += 1
        elif not peer.receive_check(data, ufrag, self):
            self._listener.counters.forged += 1
        else:
            return
        if self._peer is None:
            self.close()
