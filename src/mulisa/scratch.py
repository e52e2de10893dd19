"""Folders for what lives as long as its process, however that ends.

The owner holds a lock (`flock`) on its folder, which the kernel gives up with the process. So the
next one that starts can tell what a killed process left behind from what is in use, even in
another container, where process numbers mean nothing.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Self


class ScratchFolder:
    """A new empty folder ``mulisa-KIND-PID-RANDOM``; those that died of its kind are removed."""

    def __init__(self, kind: str, parent: str | None = None) -> None:
        """In `parent`, or in the system's folder for temporary files. Raises OSError."""
        place = Path(parent or tempfile.gettempdir())
        _remove_abandoned(place, kind)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"mulisa-{kind}-{os.getpid()}-", dir=place))
            lock = _lock(self.path)
            if lock is not None:
                break  # else one that starts just now took it for abandoned
        self._lock: int | None = lock

    def remove(self) -> None:
        """Remove it with all that is in it. Idempotent."""
        lock, self._lock = self._lock, None
        if lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def _remove_abandoned(place: Path, kind: str) -> None:
    ours = re.compile(rf"mulisa-{re.escape(kind)}-\d+-\w+")
    for path in place.iterdir():
        if ours.fullmatch(path.name) and (lock := _lock(path)) is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _lock(path: Path) -> int | None:
    """A descriptor that holds the lock; None if another has it, or the folder is not our own."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = os.fstat(descriptor)
        if locked.st_uid == os.geteuid() and os.path.samestat(locked, path.stat()):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
