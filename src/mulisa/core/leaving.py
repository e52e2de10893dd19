"""How long it may take to go: who waits for somebody waits longer than they do. Seconds."""

from __future__ import annotations

from typing import Final

LAST_WORDS: Final = 10.0
"""She stays in a room for the words of what was said when she is sent away."""
LEAVING: Final = LAST_WORDS + 2.0
"""Until her session in a room is over: its last words are written down and shown."""
ENDING: Final = LEAVING + 3.0
"""Until her process has ended: sessions, then engines. After that it is killed."""
