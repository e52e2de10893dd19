"""The way of our packets to a peer: over the shared UDP socket or a TCP connection of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mulisa.sfu.peer import PeerConnection


class Path(Protocol):
    """An address of a peer and what of ours reaches it. Equal paths are one path."""

    def __hash__(self) -> int: ...

    @property
    def fd(self) -> int | None:
        """The socket for batched sends; None where packets need framing: use `send`."""

    @property
    def sockaddr(self) -> bytes:
        """Their address as the kernel takes it; empty where `fd` is None."""

    @property
    def host(self) -> str:
        """Their address, an IPv6 one without its scope."""

    @property
    def port(self) -> int:
        """Their port."""

    def send(self, data: bytes | bytearray | memoryview) -> bool:
        """One packet; False if it was dropped because the way is full or gone."""

    def bind(self, peer: PeerConnection) -> None:
        """What comes from there is this peer's: it proved that by a check."""

    def unbind(self, peer: PeerConnection) -> None:
        """What comes from there is not this peer's any more."""
