"""The candidates that tell clients of our addresses (RFC 8445, 5.1; RFC 6544)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from mulisa.wire.description import Candidate

_UDP_PREFERENCE: Final = 126
_TCP_PREFERENCE: Final = 90
_PASSIVE: Final = 4
"""Direction preference of a passive host candidate (RFC 6544, 4.2)."""


def candidates(addresses: Sequence[str], port: int, *, tcp: bool) -> tuple[Candidate, ...]:
    """Host candidates, the first address preferred, every UDP one before any over TCP."""
    made = [_candidate("udp", rank, each, port) for rank, each in enumerate(addresses)]
    if tcp:
        made += [_candidate("tcp", rank, each, port) for rank, each in enumerate(addresses)]
    return tuple(made)


def _candidate(protocol: Literal["udp", "tcp"], rank: int, address: str, port: int) -> Candidate:
    if protocol == "udp":
        kind, local = _UDP_PREFERENCE, 65_535 - rank
    else:
        kind, local = _TCP_PREFERENCE, (_PASSIVE << 13) + 8191 - rank
    priority = (kind << 24) + (local << 8) + 255  # component 1 (RFC 8445, 5.1.2.1)
    return Candidate(address, port, protocol, priority, f"{kind}{rank}")
