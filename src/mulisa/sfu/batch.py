"""Many packets written side by side, encrypted in place, and sent with one system call.

`Scratch` is the only memory that packets are written to; `Batch` says which of its rows go where.
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
HEADERS: Final = (12, HEAD)
"""Lengths of our headers: without and with an audio level."""
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


def _open_libc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = _ffi.dlopen(None)
    return libc if hasattr(libc, "sendmmsg") else None


_libc = _open_libc()


class Scratch:
    """`ROWS` rows of `WIDTH` bytes; packet i of a batch is in row i, its payload at `HEAD`."""

    def __init__(self) -> None:
        self.rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]] = np.zeros(
            (ROWS, WIDTH), np.uint8
        )
        self.lengths: np.ndarray[tuple[int], np.dtype[np.int32]] = np.zeros(ROWS, np.int32)
        """Of the packets, headers and (once protected) tags included."""
        self.address = self.rows.ctypes.data
        self.pointers = {size: self._pointers(size) for size in HEADERS}
        """To each row's packet, by the length of its header."""
        lengths = srtp.ffi.cast("int *", self.lengths.ctypes.data)
        self.length_pointers = [lengths + row for row in range(ROWS)]

    def _pointers(self, header_bytes: int) -> list[Any]:
        return [srtp.ffi.cast("void *", self.address_of(row, header_bytes)) for row in range(ROWS)]

    def address_of(self, row: int, header_bytes: int) -> int:
        """Where the packet of a row begins."""
        return self.address + row * WIDTH + HEAD - header_bytes


class Batch:
    """Where the first rows of the scratch go: one path per row, rows of one socket together."""

    def __init__(
        self, scratch: Scratch, headers: Sequence[int], peers: Sequence[PeerConnection]
    ) -> None:
        """`headers` are the bytes of each row's header; every peer has a path and keys."""
        self._scratch = scratch
        self._headers = headers
        self._paths = [peer.path for peer in peers if peer.path is not None]
        self._keys = [peer.srtp for peer in peers if peer.srtp is not None]
        self._contexts = [keys.outbound for keys in self._keys]
        self._pointers = [scratch.pointers[size][row] for row, size in enumerate(headers)]
        self._length_pointers = scratch.length_pointers[: len(headers)]
        self._runs = _runs(self._paths)
        if _libc is not None:
            self._address([scratch.address_of(row, size) for row, size in enumerate(headers)])

    def _address(self, addresses: Sequence[int]) -> None:
        """Fill in the system call's arrays: all but the packets' lengths stays as it is."""
        count = len(addresses)
        names = b"".join((path.sockaddr or b"").ljust(_NAME_BYTES, b"\0") for path in self._paths)
        self._names = _ffi.from_buffer(names)
        self._vectors = _ffi.new("struct iovec[]", count)
        self._messages = _ffi.new("struct mmsghdr[]", count)
        vectors = np.frombuffer(_ffi.buffer(self._vectors), np.uintp).reshape(count, 2)
        vectors[:, 0] = addresses
        self._sizes = vectors[:, 1]
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
        statuses = list(
            map(srtp.protect_in_place, self._contexts, self._pointers, self._length_pointers)
        )
        if any(statuses):
            return self._send_singly(row for row, failed in enumerate(statuses) if not failed)
        if _libc is None:
            return self._send_singly(range(len(self._paths)))
        self._sizes[:] = self._scratch.lengths[: len(self._paths)]
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
            length = int(self._scratch.lengths[row])
            sent += self._paths[row].send(self._scratch.rows[row, start : start + length].tobytes())
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
