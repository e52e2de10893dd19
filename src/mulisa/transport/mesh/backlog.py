"""What was sent and not yet acknowledged, so that a lost socket loses no message. Pure.

Both ends of a stay keep one: see "A lost socket" in docs/protocol.md.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from mulisa.core.errors import SignalingError

MAX_MESSAGES: Final = 512
MAX_BYTES: Final = 1024 * 1024


class Backlog:
    """Messages as they were sent, numbered from 1. When there are too many the oldest go."""

    def __init__(self) -> None:
        self.sent = 0
        """The number of the last message."""
        self._kept: deque[str] = deque()
        """The last ones, without a gap."""
        self._bytes = 0

    def add(self, message: str) -> None:
        """This is being sent."""
        self.sent += 1
        self._kept.append(message)
        self._bytes += len(message)
        while len(self._kept) > MAX_MESSAGES or self._bytes > MAX_BYTES:
            self._forget_oldest()

    def acknowledge(self, received: int) -> None:
        """The other side has so many of them. Raises SignalingError if there never were so many."""
        if received > self.sent:
            raise SignalingError(f"received: only {self.sent} messages were sent, not {received}")
        while self._kept and self._acknowledged < received:
            self._forget_oldest()

    def after(self, received: int) -> list[str] | None:
        """All that follow these; None if that cannot be told any more, or never could."""
        missing = self.sent - received
        if not 0 <= missing <= len(self._kept):
            return None
        return list(self._kept)[len(self._kept) - missing :]

    @property
    def _acknowledged(self) -> int:
        return self.sent - len(self._kept)

    def _forget_oldest(self) -> None:
        self._bytes -= len(self._kept.popleft())
