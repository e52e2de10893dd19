"""The UDP sockets of the one port: one to each address of ours, telling packets apart (RFC 7983).

A packet of media costs a look-up of its source; only a peer that has proved by a check that it
receives there is found. Checks are found by the name in them, all else is a stranger's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mulisa.sfu.datagrams import BATCH, address_of, datagrams_of
from mulisa.wire import stun
from mulisa.wire.srtp import PACKET_BYTES, PacketBuffer

if TYPE_CHECKING:
    from mulisa.sfu.peer import PeerConnection

SOCKET_BUFFER_BYTES: Final = 4_194_304
"""Asked for in both directions; the kernel grants what its limits allow."""
MAX_BATCHES: Final = 4
"""Read before others of the loop have their turn."""

logger = logging.getLogger(__name__)

FindPeer: TypeAlias = "Callable[[bytes], PeerConnection | None]"
"""By the ufrag of ours that a check names."""


@dataclass(slots=True)
class PortCounters:
    """What the port had to drop."""

    strangers: int = 0
    """Packets of nobody: no known ufrag, or from an address that nobody proved to have."""
    forged: int = 0
    """Checks for a known ufrag whose sender does not know its password."""
    contested: int = 0
    """Checks for one connection from an address over which another one is alive."""
    malformed: int = 0
    """Longer than any packet of WebRTC, empty, or of no protocol of ours."""
    unsent: int = 0
    """Not sent because a socket was full or its network refused."""


class UdpSocket:
    """One address of ours."""

    def __init__(self, sock: socket.socket, find_peer: FindPeer, counters: PortCounters) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.peers: dict[bytes, PeerConnection] = {}
        """Whose the packets from an address (a sockaddr) are."""
        self._find_peer = find_peer
        self._counters = counters
        self._datagrams = datagrams_of(sock)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.fd, self._read)

    def close(self) -> None:
        """Idempotent."""
        if self.sock.fileno() >= 0:
            self._loop.remove_reader(self.fd)
            self.sock.close()

    def send(self, data: bytes | bytearray | memoryview, address: tuple[Any, ...]) -> bool:
        """One datagram; False, and counted, if it could not be sent at once."""
        try:
            self.sock.sendto(data, address)
        except OSError:
            self._counters.unsent += 1
            return False
        return True

    def _read(self) -> None:
        for _ in range(MAX_BATCHES):
            if self._datagrams.receive(self._receive) < BATCH:
                return

    def _receive(self, buffer: PacketBuffer, length: int, sockaddr: bytes) -> None:
        if length >= PACKET_BYTES or not length:
            self._counters.malformed += 1
        elif buffer.data[0] < 4:
            self._receive_check(bytes(buffer.view[:length]), sockaddr)
        elif (peer := self.peers.get(sockaddr)) is None:
            self._counters.strangers += 1
        elif not peer.receive(buffer, length):
            self._counters.malformed += 1

    def _receive_check(self, data: bytes, sockaddr: bytes) -> None:
        ufrag = stun.local_ufrag(data)
        peer = None if ufrag is None else self._find_peer(ufrag)
        if ufrag is None or peer is None:
            self._counters.strangers += 1
            return
        path, owner = UdpPath(self, sockaddr), self.peers.get(sockaddr, peer)
        if owner is not peer and owner.lives_over(path):
            self._counters.contested += 1  # who forges a source takes nobody's address
        elif not peer.receive_check(data, ufrag, path):
            self._counters.forged += 1


@dataclass(frozen=True, slots=True)
class UdpPath:
    """A `mulisa.sfu.path.Path` over a socket that all peers share."""

    socket: UdpSocket
    sockaddr: bytes
    address: tuple[Any, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "address", address_of(self.sockaddr))

    @property
    def fd(self) -> int:
        """Of Path."""
        return self.socket.fd

    @property
    def host(self) -> str:
        """Of Path."""
        return str(self.address[0])

    @property
    def port(self) -> int:
        """Of Path."""
        return int(self.address[1])

    def send(self, data: bytes | bytearray | memoryview) -> bool:
        """Of Path."""
        return self.socket.send(data, self.address)

    def bind(self, peer: PeerConnection) -> None:
        """Of Path; an address that changes hands is lost to who had it, and is heard no more."""
        before = self.socket.peers.get(self.sockaddr)
        self.socket.peers[self.sockaddr] = peer
        if before is not None and before is not peer:
            before.forget(self)

    def unbind(self, peer: PeerConnection) -> None:
        """Of Path."""
        if self.socket.peers.get(self.sockaddr) is peer:
            del self.socket.peers[self.sockaddr]


def open_socket(host: str, port: int) -> socket.socket:
    """A non-blocking UDP socket with large buffers. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with suppress(OSError):  # macOS refuses more than its limit instead of granting that
                sock.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock
