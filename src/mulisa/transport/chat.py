"""What one participant may type: the rules that hold in every topology. Pure."""

from __future__ import annotations

import re
from typing import Final

MAX_CHAT_CHARS: Final = 4_000
CHAT_BURST: Final = 30.0
CHATS_PER_SECOND: Final = 2.0
"""What a peer may type: each message is judged, written to disk and shown to everybody."""

MESSAGE_ID_PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}$"
_MESSAGE_ID: Final = re.compile(MESSAGE_ID_PATTERN)


def is_message_id(text: str) -> bool:
    """Whether this names a chat message; see `mulisa.core.transport.ChatMessage`."""
    return _MESSAGE_ID.fullmatch(text) is not None


class Allowance:
    """A token bucket: `burst` at once, `per_second` for ever. Pure."""

    def __init__(self, burst: float = CHAT_BURST, per_second: float = CHATS_PER_SECOND) -> None:
        self._burst = self._left = burst
        self._per_second = per_second
        self._at: float | None = None

    def admits(self, now: float) -> bool:
        """Count one; False if it is one too many."""
        elapsed = 0.0 if self._at is None else now - self._at
        self._at = now
        self._left = min(self._burst, self._left + elapsed * self._per_second)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
