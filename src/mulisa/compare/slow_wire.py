"""A wire that takes time: what goes through is late, by more or less, as its seed says.

The kernel may have no netem, so frames are carried by this process, between the two interfaces of
a namespace (packet(7)). Everything goes through: any topology, UDP and TCP, IPv4 and IPv6.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from mulisa.compare.internet import FAR, NEAR
from mulisa.compare.namespaces import Namespace

_ALL_FRAMES: Final = 0x0003
"""ETH_P_ALL."""
_SOL_PACKET: Final = 263
_PACKET_VNET_HDR: Final = 15
"""Frames come and go with what the kernel has left undone of them: checksums, segments."""
_PACKET_IGNORE_OUTGOING: Final = 23
_BUFFER_BYTES: Final = 4 << 20
_LARGEST_FRAME: Final = 1 << 17
_ROUND: Final = 64
"""Frames that are read before others get a turn."""
_CONGESTED: Final = (errno.EAGAIN, errno.ENOBUFS)


class SlowWire:
    """Between a host and the internet (`Internet.host_on_a_wire`). Enter to open.

    Each frame is held up for `delay` seconds, `jitter` more or less (evenly distributed, so they
    overtake each other). How long which one waits is decided by the seed and the order of arrival.
    """

    def __init__(self, wire: Namespace, *, seed: int) -> None:
        self.delay = 0.0
        """Seconds; this and the next one may be changed at any time."""
        self.jitter = 0.0
        """At most `delay`."""
        self.carried = 0
        """Frames so far."""
        self._wire = wire
        self._random = random.Random(seed)
        self._ends: list[socket.socket] = []
        self._on_the_way: dict[int, asyncio.TimerHandle] = {}

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        near, far = self._open(NEAR), self._open(FAR)
        loop.add_reader(near, self._carrier(near, far))
        loop.add_reader(far, self._carrier(far, near))
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._on_the_way.values():
            handle.cancel()
        for end in self._ends:
            asyncio.get_running_loop().remove_reader(end)
            end.close()

    def _open(self, interface: str) -> socket.socket:
        end = self._wire.socket(socket.SOCK_RAW, socket.AF_PACKET)
        self._ends.append(end)
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        end.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        end.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        end.bind((interface, _ALL_FRAMES))
        return end

    def _carrier(self, source: socket.socket, target: socket.socket) -> Callable[[], None]:
        def carry() -> None:
            for _ in range(_ROUND):
                try:
                    frame = source.recv(_LARGEST_FRAME)
                except BlockingIOError:
                    return
                self._carry(frame, target)

        return carry

    def _carry(self, frame: bytes, target: socket.socket) -> None:
        """Now or later."""
        number, self.carried = self.carried, self.carried + 1
        if not self.delay:
            _send(target, frame)
            return
        late = self.delay + self.jitter * self._random.uniform(-1.0, 1.0)
        loop = asyncio.get_running_loop()
        self._on_the_way[number] = loop.call_later(late, self._deliver, number, frame, target)

    def _deliver(self, number: int, frame: bytes, target: socket.socket) -> None:
        del self._on_the_way[number]
        _send(target, frame)


def _send(target: socket.socket, frame: bytes) -> None:
    """As a network does: what does not fit is lost."""
    try:
        target.send(frame)
    except OSError as error:
        if error.errno not in _CONGESTED:
            raise
