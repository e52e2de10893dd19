"""Many packets written side by side, encrypted in place, and sent with one system call.

Where the system has no sendmmsg, rows go out one by one over their path.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from cffi import FFI  # type: ignore[import-untyped]

from mulisa.wire import srtp

if TYPE_CHECKING:
    from mulisa.sfu.path import Path
    from mulisa.sfu.peer import PeerConnection

HEAD: Final = 20
"""Bytes of the longest header that we write where theirs was shorter. One with a dependency
descriptor may be longer than this, but not longer than it came.
"""
ROWS: Final = 64
"""Of one batch: as few as make a system call cheap, so that a newcomer changes few of them."""
WIDTH: Final = 1664
MAX_PAYLOAD: Final = 1500 - HEAD - 16
"""Bytes: with header and tag no packet is longer than 1500; `srtp.TRAILER` stays free behind it."""
_NAME_BYTES = 28
"""A socket address: that of IPv6 is the longer one."""

_ffi = FFI()
_ffi.cdef(
    """
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr {
        void *msg_name; unsigned int msg_namelen;
        struct iovec *msg_iov; size_t msg_iovlen;
        void *msg_control; size_t msg_controllen;
        int msg_flags;
    };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);
    """
)

_SIZE_AT: Final = _ffi.offsetof("struct iovec", "iov_len") + (
    0 if sys.byteorder == "little" else _ffi.sizeof("size_t") - _ffi.sizeof("int")
)
"""Of an iovec, the lower half of the size: libsrtp takes an int, and writes the new size there."""


def _open_libc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = _ffi.dlopen(None)
    return libc if hasattr(libc, "sendmmsg") else None


_libc = _open_libc()


class Batch:
    """Rows of memory with one packet each, and where they go: rows of one socket together."""

    def __init__(self, peers: Sequence[PeerConnection]) -> None:
        """Every peer has a path and keys."""
        count = len(peers)
        memory = bytearray(count * WIDTH)
        self.rows = memoryview(memory)
        """A row's packet begins at its number times `WIDTH`."""
        self._vectors = _ffi.new("struct iovec[]", count)
        self.sizes = memoryview(_ffi.buffer(self._vectors)).cast("B").cast("L")[1::2]
        """Bytes of each row's packet; protecting it adds those of the tag."""
        self._paths = [peer.path for peer in peers if peer.path is not None]
        self._keys = [peer.srtp for peer in peers if peer.srtp is not None]
        self._contexts = [keys.outbound for keys in self._keys]
        self._runs = _runs(self._paths)
        first = srtp.ffi.from_buffer(memory)
        self._packets = [first + WIDTH * row for row in range(count)]
        sizes = srtp.ffi.cast("char *", int(_ffi.cast("uintptr_t", self._vectors))) + _SIZE_AT
        step = _ffi.sizeof("struct iovec")
        self._lengths = [srtp.ffi.cast("int *", sizes + step * row) for row in range(count)]
        if _libc is not None:
            self._address(memory)

    def _address(self, memory: bytearray) -> None:
        """Fill in the system call's array: all but the packets' sizes stays as it is."""
        names = b"".join(path.sockaddr.ljust(_NAME_BYTES, b"\0") for path in self._paths)
        self._names = _ffi.from_buffer(names)
        self._messages = _ffi.new("struct mmsghdr[]", len(self._paths))
        first = _ffi.from_buffer(memory)
        for row, path in enumerate(self._paths):
            vector = self._vectors + row
            vector.iov_base = first + WIDTH * row
            header = self._messages[row].msg_hdr
            header.msg_name, header.msg_namelen = (
                self._names + _NAME_BYTES * row,
                len(path.sockaddr),
            )
            header.msg_iov, header.msg_iovlen = vector, 1

    def send(self) -> int:
        """Protect the packets that were written to the rows and send them; how many went out."""
        statuses = list(map(srtp.protect_in_place, self._contexts, self._packets, self._lengths))
        if any(statuses):
            return self._send_singly(row for row, failed in enumerate(statuses) if not failed)
        if _libc is None:
            return self._send_singly(range(len(self._paths)))
        sent = 0
        for fd, start, end in self._runs:
            if fd is None:
                sent += self._send_singly(range(start, end))
            else:
                sent += self._send_run(fd, start, end)
        return sent

    def _send_run(self, fd: int, start: int, end: int) -> int:
        """One system call; again behind a packet that the system refuses. A full socket ends it."""
        sent = 0
        while start < end:
            done = _libc.sendmmsg(fd, self._messages + start, end - start, 0)
            if done > 0:
                sent += done
                start += done
            elif _ffi.errno in (errno.EAGAIN, errno.ENOBUFS, errno.EBADF):
                break
            elif _ffi.errno != errno.EINTR:
                start += 1
        return sent

    def _send_singly(self, rows: Iterable[int]) -> int:
        sent = 0
        for row in rows:
            packet = self.rows[row * WIDTH : row * WIDTH + self.sizes[row]]
            sent += self._paths[row].send(bytes(packet))
        return sent


def _runs(paths: Sequence[Path]) -> list[tuple[int | None, int, int]]:
    """(descriptor, start, end) of rows that follow each other over one socket."""
    runs: list[tuple[int | None, int, int]] = []
    for row, path in enumerate(paths):
        if runs and runs[-1][0] == path.fd:
            runs[-1] = (path.fd, runs[-1][1], row + 1)
        else:
            runs.append((path.fd, row, row + 1))
    return runs
