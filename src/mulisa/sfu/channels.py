"""The data channels of one client: what waits for them, and what came over them. Pure."""

from __future__ import annotations

from typing import Final

from mulisa.sfu.allowance import Allowance
from mulisa.sfu.events import DataLabel, RoomConfig

_BYTES_OF_ONE: Final = 16_384
"""Of data, that count as one more packet: at 1,000 packets a second it is 8 MB at most."""


class Channels:
    """Reliable data waits until its channel opens, up to a limit; lossy data does not."""

    def __init__(self, config: RoomConfig, now: float) -> None:
        self._max_waiting_bytes = config.max_queued_bytes
        labels: tuple[DataLabel, ...] = ("_reliable", "_lossy")
        self._allowances = {
            label: Allowance(config.data_rate, config.data_burst, now) for label in labels
        }
        self._open: set[DataLabel] = set()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.last_sequence = 0
        """Of the reliable packets that this client sent."""

    def open(self, label: DataLabel) -> list[bytes]:
        """The channel can be written to; gives what waited for it, oldest first."""
        self._open.add(label)
        if label != "_reliable":
            return []
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return waiting

    def offer(self, label: DataLabel, data: bytes) -> bool | None:
        """What to do with data for this client: True: write it; None: it waits; False: drop it."""
        if label in self._open:
            return True
        if label != "_reliable" or self._waiting_bytes + len(data) > self._max_waiting_bytes:
            return False
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        return None

    def admits(self, label: DataLabel, size: int, now: float) -> bool:
        """Whether a packet of so many bytes from this client is within what it may send."""
        return self._allowances[label].take(now, 1 + size / _BYTES_OF_ONE)

    def is_new(self, sequence: int) -> bool:
        """Count a reliable packet of this client; False if it came before.

        Packets without a number (0) are never the same. Numbers only grow, as the channel is
        ordered; a client that resumes sends again what may not have arrived.
        """
        if sequence == 0:
            return True
        if sequence <= self.last_sequence:
            return False
        self.last_sequence = sequence
        return True
