"""Whether a peer hears what we send: from its own reports, and from our packets that left. Pure.

A pair may be connected and yet carry no voice. Who hears us says so once a second
(``mulisa.reception``); who says three times that nothing came, while we were sending, does not.
"""

from __future__ import annotations

from typing import Final

MIN_PACKETS: Final = 20
"""Of ours between two reports: less than half a second of speech proves nothing."""
MAX_MISSED: Final = 3


class Unheard:
    """What one connection's peer says of our voice on it."""

    def __init__(self) -> None:
        self._sent = 0
        self._missed = 0

    @property
    def is_unheard(self) -> bool:
        """We spoke, and nothing arrived. Speech in between may pause for as long as it likes."""
        return self._missed >= MAX_MISSED

    def report(self, heard: bool, sent: int) -> None:
        """`heard`: our voice came in the last second; `sent`: our packets so far."""
        since, self._sent = sent - self._sent, sent
        if heard:
            self._missed = 0
        elif since >= MIN_PACKETS:
            self._missed += 1
