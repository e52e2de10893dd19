"""Reading whatever waits in a UDP socket, many datagrams to one system call (recvmmsg).

Where there is no recvmmsg (macOS), one call reads one datagram.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from cffi import FFI  # type: ignore[import-untyped]

from mulisa.wire.srtp import PACKET_BYTES, PacketBuffer

BATCH: Final = 32
"""Datagrams to one system call."""

Handle: TypeAlias = Callable[[PacketBuffer, int, bytes], None]
"""Takes a datagram in a buffer that is used again, its length, and its source as a sockaddr."""

_INET: Final = struct.Struct("=HH4s8x")
_INET6: Final = struct.Struct("=HHI16sI")
_DECLARATIONS: Final = """
struct iovec { void *iov_base; size_t iov_len; };
struct msghdr { void *msg_name; unsigned int msg_namelen; struct iovec *msg_iov;
  size_t msg_iovlen; void *msg_control; size_t msg_controllen; int msg_flags; };
struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
int recvmmsg(int fd, struct mmsghdr *vector, unsigned int count, int flags, void *timeout);
"""

_buffers: Final = [PacketBuffer() for _ in range(BATCH)]
"""Shared by all sockets: a datagram is done with before the next is read."""


def sockaddr_of(family: int, address: tuple[Any, ...]) -> bytes:
    """An address of Python's socket module as the kernel takes it (Linux's layout)."""
    host, port = socket.inet_pton(family, address[0].partition("%")[0]), socket.htons(address[1])
    if family == socket.AF_INET:
        return _INET.pack(family, port, host)
    return _INET6.pack(family, port, socket.htonl(address[2]), host, address[3])


def address_of(sockaddr: bytes) -> tuple[Any, ...]:
    """The same backwards, as `socket.sendto` takes it."""
    if len(sockaddr) == _INET.size:
        _, port, host = _INET.unpack(sockaddr)
        return socket.inet_ntop(socket.AF_INET, host), socket.ntohs(port)
    _, port, flow, host, scope = _INET6.unpack(sockaddr)
    return socket.inet_ntop(socket.AF_INET6, host), socket.ntohs(port), socket.ntohl(flow), scope


class BatchedDatagrams:
    """Up to `BATCH` datagrams of one socket to a system call."""

    def __init__(self, sock: socket.socket) -> None:
        libc, ffi = _libc()
        self._recvmmsg = libc.recvmmsg
        self._fd = sock.fileno()
        self._name_bytes = _INET.size if sock.family == socket.AF_INET else _INET6.size
        self._names = ffi.new("char[]", BATCH * self._name_bytes)
        self._vectors = ffi.new("struct iovec[]", BATCH)
        self._headers = ffi.new("struct mmsghdr[]", BATCH)
        self._name_view = ffi.buffer(self._names)
        self._words = memoryview(ffi.buffer(self._headers)).cast("B").cast("I")
        self._word_step = ffi.sizeof("struct mmsghdr") // 4
        self._word_offset = ffi.offsetof("struct mmsghdr", "msg_len") // 4
        for index in range(BATCH):
            self._aim(ffi, index)

    def _aim(self, ffi: Any, index: int) -> None:
        """Let the kernel write datagram `index` into its buffer."""
        self._vectors[index].iov_base = ffi.from_buffer(_buffers[index].data)
        self._vectors[index].iov_len = PACKET_BYTES
        header = self._headers[index].msg_hdr
        header.msg_name = self._names + index * self._name_bytes
        header.msg_namelen = self._name_bytes
        header.msg_iov = self._vectors + index
        header.msg_iovlen = 1

    def receive(self, handle: Handle) -> int:
        """Hand over what waits, at most `BATCH` datagrams; how many there were."""
        count: int = self._recvmmsg(self._fd, self._headers, BATCH, socket.MSG_DONTWAIT, _NULL)
        names, words, size = self._name_view, self._words, self._name_bytes
        for index in range(count):
            name, word = index * size, index * self._word_step + self._word_offset
            handle(_buffers[index], words[word], names[name : name + size])
        return max(count, 0)


class SingleDatagrams:
    """One datagram to a system call."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._family = sock.family

    def receive(self, handle: Handle) -> int:
        """Hand over what waits, at most `BATCH` datagrams; how many there were."""
        buffer = _buffers[0]
        for count in range(BATCH):
            try:
                length, address = self._sock.recvfrom_into(buffer.data)
            except OSError:
                return count
            handle(buffer, length, sockaddr_of(self._family, address))
        return BATCH


Datagrams: TypeAlias = BatchedDatagrams | SingleDatagrams


def datagrams_of(sock: socket.socket) -> Datagrams:
    """The best way of reading this socket, which must be non-blocking."""
    return BatchedDatagrams(sock) if sys.platform == "linux" else SingleDatagrams(sock)


_NULL: Any = FFI().NULL
_declared: list[tuple[Any, Any]] = []


def _libc() -> tuple[Any, Any]:
    """The C library this process has loaded, opened once."""
    if not _declared:
        ffi = FFI()
        ffi.cdef(_DECLARATIONS)
        _declared.append((ffi.dlopen(None), ffi))
    return _declared[0]
