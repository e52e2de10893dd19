"""What the forwarding path counts; it only grows. Pure."""

from __future__ import annotations

from collections import Counter


class Counters:
    """Of all rooms."""

    __slots__ = (
        "bytes_forwarded",
        "bytes_received",
        "dropped",
        "packets_forwarded",
        "packets_received",
    )

    def __init__(self) -> None:
        self.packets_received = self.bytes_received = 0
        """From publishers, whether they could be forwarded or not."""
        self.packets_forwarded = self.bytes_forwarded = 0
        """To all subscribers together; bytes of payload."""
        self.dropped: Counter[str] = Counter()
        """Packets that were not forwarded, by the reason."""

    @property
    def packets_dropped(self) -> int:
        """For whatever reason."""
        return self.dropped.total()

    def drop(self, reason: str, packets: int = 1) -> None:
        """Packets were not forwarded."""
        self.dropped[reason] += packets

    def forward(self, packets: int, payload_bytes: int) -> None:
        """A packet went out to so many subscribers."""
        self.packets_forwarded += packets
        self.bytes_forwarded += packets * payload_bytes
