"""Many packets written side by side, encrypted in place, and sent with one system call.

Where the system has no sendmmsg, rows go out one by one over their path.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from cffi import FFI  # type: ignore[import-untyped]

from mulisa.wire import srtp

if TYPE_CHECKING:
    from mulisa.sfu.path import Path
    from mulisa.sfu.peer import PeerConnection

HEAD: Final = 20
"""Where every row's payload begins: behind the longest header that we write."""
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

    def __init__(self, headers: Sequence[int], peers: Sequence[PeerConnection]) -> None:
        """`headers` are the bytes of each row's header; every peer has a path and keys."""
        count = len(headers)
        self.rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]] = np.zeros(
            (count, WIDTH), np.uint8
        )
        """Each row's payload is at `HEAD`, its header right before it."""
        self._vectors = _ffi.new("struct iovec[]", count)
        vectors = np.frombuffer(_ffi.buffer(self._vectors), np.uintp).reshape(count, 2)
        self.sizes = vectors[:, 1]
        """Bytes of each row's packet; protecting it adds those of the tag."""
        self._headers = headers
        self._paths = [peer.path for peer in peers if peer.path is not None]
        self._keys = [peer.srtp for peer in peers if peer.srtp is not None]
        self._contexts = [keys.outbound for keys in self._keys]
        self._runs = _runs(self._paths)
        first = self.rows.ctypes.data + HEAD
        vectors[:, 0] = [first + WIDTH * row - size for row, size in enumerate(headers)]
        self._packets = [srtp.ffi.cast("void *", int(start)) for start in vectors[:, 0]]
        sizes = vectors.ctypes.data + _SIZE_AT
        self._lengths = [
            srtp.ffi.cast("int *", sizes + _ffi.sizeof("struct iovec") * row)
            for row in range(count)
        ]
        if _libc is not None:
            self._address()

    def _address(self) -> None:
        """Fill in the system call's array: all but the packets' sizes stays as it is."""
        count = len(self._paths)
        names = b"".join(path.sockaddr.ljust(_NAME_BYTES, b"\0") for path in self._paths)
        self._names = _ffi.from_buffer(names)
        self._messages = _ffi.new("struct mmsghdr[]", count)
        name = int(_ffi.cast("uintptr_t", self._names))
        vector = int(_ffi.cast("uintptr_t", self._vectors))
        steps = np.arange(count, dtype=np.uintp)
        self._field("msg_name", np.uintp)[:] = name + steps * np.uintp(_NAME_BYTES)
        self._field("msg_namelen", np.uint32)[:] = [len(path.sockaddr) for path in self._paths]
        self._field("msg_iov", np.uintp)[:] = vector + steps * np.uintp(_ffi.sizeof("struct iovec"))
        self._field("msg_iovlen", np.uintp)[:] = 1

    def _field(self, name: str, dtype: type) -> np.ndarray[Any, Any]:
        return np.ndarray(
            (len(self._paths),),
            dtype,
            buffer=_ffi.buffer(self._messages),
            offset=_ffi.offsetof("struct msghdr", name),
            strides=(_ffi.sizeof("struct mmsghdr"),),
        )

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
            start = HEAD - self._headers[row]
            packet = self.rows[row, start : start + int(self.sizes[row])]
            sent += self._paths[row].send(packet.tobytes())
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
