"""A track's packets as its subscribers get them, and the last of them, kept for a while. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

NO_LEVEL: Final = -1


class Packet(NamedTuple):
    """One packet of a track, placed by its `Timeline`, before each subscriber's own numbers."""

    number: int
    timestamp: int
    codec: str
    is_marked: bool
    level: int
    """The byte of RFC 6464 (voice activity bit, minus dBov), or `NO_LEVEL`."""
    payload: bytes
    primary: int
    """Where its primary block begins, if it is RED."""
    begins_run: bool
    """Nothing before it belongs to its time: redundancy in it is left out."""
    at: float
    """When it came."""
    descriptor: bytes = b""
    """Its dependency descriptor, which goes on as it came; empty if it needs none."""


class PacketCache:
    """The newest packets by their number: to send again what was lost, and a voice's onset."""

    __slots__ = ("_mask", "_packets")

    def __init__(self, size: int) -> None:
        if size & (size - 1):
            raise ValueError(f"the size of a cache is a power of two, not {size}")
        self._mask = size - 1
        self._packets: list[Packet | None] = [None] * size

    def put(self, packet: Packet) -> None:
        """Keep a packet, in place of the one that is `size` older."""
        self._packets[packet.number & self._mask] = packet

    def get(self, number: int) -> Packet | None:
        """The packet of that number, if it came and is still there."""
        packet = self._packets[number & self._mask]
        return packet if packet is not None and packet.number == number else None

    def since(self, at: float, first: int, newest: int) -> Iterator[Packet]:
        """What came at `at` or later with a number from `first` to `newest`, in that order."""
        for number in range(max(first, newest - self._mask), newest + 1):
            packet = self.get(number)
            if packet is not None and packet.at >= at:
                yield packet

    def clear(self) -> None:
        """Forget all: what is sent again must be the very packet that was sent."""
        self._packets = [None] * len(self._packets)
