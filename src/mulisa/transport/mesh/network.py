"""What an agent is told of the network that its machine is in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeshNetwork:
    """How peers elsewhere reach this machine."""

    public_address: str = ""
    """Where a one-to-one NAT leads to us, port by port."""
    ports: tuple[int, int] | None = None
    """First and last UDP port that connections may have, where a firewall lets only those in."""
