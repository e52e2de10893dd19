"""Networks that fail on purpose: UDP whose packets are lost or late, a TCP path that is cut."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeAlias, cast

Address: TypeAlias = tuple[str, int]
Receive: TypeAlias = Callable[[bytes, Address], None]
READ_BYTES = 65536
UNASSIGNED_PORTS = (11_000, 16_000)
"""Below those that systems give to sockets by themselves: Linux from 32768, gVisor from 16000."""
RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""`struct linger`: closing sends RST."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port that nobody has on any interface, and that the system gives to nobody by itself.

    So it stays free while a server that has it is stopped and started again.
    """
    while True:
        port = random.randrange(*UNASSIGNED_PORTS)
        with socket.socket(socket.AF_INET, kind) as probe, suppress(OSError):
            probe.bind(("", port))
            return port


def udp_socket() -> socket.socket:
    """One of this machine; bound to nothing."""
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


class UdpRelay:
    """A UDP address in front of another one, in both directions of a network that is not good.

    `loss` of the packets vanish, the others are held up for `delay` seconds, `jitter` more or less
    (evenly distributed, so they overtake each other). What befalls which one is decided by the seed
    and the order of arrival. Everybody who sends here has a socket of their own towards `target`,
    so the target tells them apart. Enter to open.
    """

    def __init__(
        self,
        listen: Address,
        target: Address,
        *,
        seed: int,
        loss: float = 0.0,
        delay: float = 0.0,
        jitter: float = 0.0,
        new_socket: Callable[[], socket.socket] = udp_socket,
    ) -> None:
        """`new_socket` may make those of another host."""
        self.loss = loss
        """Fraction, 0 to 1; this and the next two may be changed at any time."""
        self.delay = delay
        self.jitter = jitter
        """At most `delay`."""
        self.forwarded = 0
        self.lost = 0
        self.rtp_sent: Counter[Address] = Counter()
        """RTP packets that were forwarded to each client."""
        self._listen = listen
        self._target = target
        self._new_socket = new_socket
        self._seed = seed
        self._random = random.Random(seed)
        self._front: asyncio.DatagramTransport | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._paths: dict[Address, asyncio.DatagramTransport] = {}
        self._waiting: dict[Address, list[bytes]] = {}
        self._on_the_way: dict[Callable[[], None], asyncio.TimerHandle] = {}

    def __str__(self) -> str:
        counts = f"{self.lost} lost, {self.forwarded} forwarded"
        delay = f"{self.delay * 1000:.0f} +- {self.jitter * 1000:.0f} ms"
        return f"a loss of {self.loss:.0%}, delay {delay}, with seed {self._seed}: {counts}"

    @property
    def address(self) -> Address:
        """Where it listens."""
        assert self._front is not None
        return cast(Address, self._front.get_extra_info("sockname"))

    async def __aenter__(self) -> Self:
        front = self._socket()
        front.bind(self._listen)
        self._front = await _endpoint(self._from_client, front)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._on_the_way.values():
            handle.cancel()
        if self._opening:
            await asyncio.wait(self._opening)
        for transport in (self._front, *self._paths.values()):
            assert transport is not None
            transport.close()
        await asyncio.sleep(0)  # the loop closes sockets in its next round

    def _socket(self) -> socket.socket:
        made = self._new_socket()
        made.setblocking(False)
        return made

    def _from_client(self, data: bytes, client: Address) -> None:
        self._carry(lambda: self._to_target(data, client))

    def _to_target(self, data: bytes, client: Address) -> None:
        if path := self._paths.get(client):
            path.sendto(data)
            return
        waiting = self._waiting.setdefault(client, [])
        waiting.append(data)
        if len(waiting) == 1:
            opening = asyncio.get_running_loop().create_task(self._open(client))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, client: Address) -> None:
        towards = self._socket()
        towards.connect(self._target)
        path = await _endpoint(lambda data, _: self._from_target(data, client), towards)
        self._paths[client] = path
        for data in self._waiting.pop(client):
            path.sendto(data)

    def _from_target(self, data: bytes, client: Address) -> None:
        self._carry(lambda: self._to_client(data, client))

    def _to_client(self, data: bytes, client: Address) -> None:
        assert self._front is not None
        self._front.sendto(data, client)
        self.rtp_sent[client] += _is_rtp(data)

    def _carry(self, deliver: Callable[[], None]) -> None:
        """Now, later or never."""
        if self._random.random() < self.loss:
            self.lost += 1
            return
        self.forwarded += 1
        if not self.delay:
            deliver()
            return
        late = self.delay + self.jitter * self._random.uniform(-1.0, 1.0)
        handle = asyncio.get_running_loop().call_later(late, self._deliver, deliver)
        self._on_the_way[deliver] = handle

    def _deliver(self, deliver: Callable[[], None]) -> None:
        del self._on_the_way[deliver]
        deliver()


class TcpProxy:
    """A TCP port in front of another one, whose connections can be cut. Enter to open."""

    is_open = True
    """False: whoever connects is sent away at once."""

    def __init__(self, target: Address, port: int = 0) -> None:
        self.accepted = 0
        """Connections so far."""
        self._target = target
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: dict[int, tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self, client_ports: Collection[int] | None = None) -> int:
        """Reset every connection, or those from these ports, as a router does that was restarted.

        Returns how many there were.
        """
        if client_ports is None:
            client_ports = self._connections
        ends = [self._connections[port] for port in client_ports if port in self._connections]
        for writer in itertools.chain.from_iterable(ends):
            end: socket.socket = writer.get_extra_info("socket")
            if end.fileno() < 0:
                continue  # closed by itself a moment ago
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
            writer.transport.abort()
        return len(ends)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.transport.abort()
            return
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        client_port: int = writer.get_extra_info("peername")[1]
        self._connections[client_port] = (writer, far_writer)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_copy(reader, far_writer))
                tasks.create_task(_copy(far_reader, writer))
        finally:
            del self._connections[client_port]
            writer.transport.abort()
            far_writer.transport.abort()


class _Receiver(asyncio.DatagramProtocol):
    """Gives each datagram to a function; a port that is closed at the far end is silence."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._receive(data, addr)

    def error_received(self, exc: Exception) -> None:
        pass


async def _endpoint(receive: Receive, sock: socket.socket) -> asyncio.DatagramTransport:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Receiver(receive), sock=sock)
    return transport


def _is_rtp(data: bytes) -> bool:
    """Neither STUN nor DTLS (RFC 7983, 7) nor RTCP (RFC 5761, 4)."""
    return len(data) > 12 and 128 <= data[0] < 192 and not 192 <= data[1] <= 223


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either end is closed; then that is passed on."""
    try:
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
