"""Our own addresses, and the candidates that tell clients of them (RFC 8445, 5.1; RFC 6544)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Literal, TypeAlias

import ifaddr

from mulisa.core.errors import ConfigError
from mulisa.wire.description import Candidate

MAX_ADDRESSES: Final = 12
"""Told to clients: a machine of many containers has dozens, and clients try every one."""

Address: TypeAlias = IPv4Address | IPv6Address

_NAMES: Final = {"": "0.0.0.0", "localhost": "127.0.0.1"}
_UDP_PREFERENCE: Final = 126
_TCP_PREFERENCE: Final = 90
_PASSIVE: Final = 4
"""Direction preference of a passive host candidate (RFC 6544, 4.2)."""


def local_addresses(host: str) -> list[str]:
    """The addresses to listen at: one, or all of the machine's for 0.0.0.0, :: and nothing.

    Link-local ones are left out: nobody elsewhere could name them.
    Raises ConfigError if `host` is no address.
    """
    wanted = parse_address(_NAMES.get(host, host))
    if not ip_address(wanted).is_unspecified:
        return [wanted]
    return [str(each) for each in sorted(_machine(), key=_rank)][:MAX_ADDRESSES]


def parse_address(text: str) -> str:
    """An IP address in its usual spelling; raises ConfigError if this is none."""
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise ConfigError(f"{text!r} is no IP address, and clients need one") from error


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


def _machine() -> Iterable[Address]:
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            address = ip_address(each.ip if isinstance(each.ip, str) else each.ip[0])
            if not address.is_link_local:
                yield address


def _rank(address: Address) -> tuple[bool, bool, int]:
    """Addresses that others can reach first, IPv4 before IPv6."""
    return address.is_loopback, not address.is_global, address.version
