"""Our own addresses, as others could name them."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

import ifaddr

from mulisa.core.errors import ConfigError

MAX_ADDRESSES: Final = 12
"""Told to clients: a machine of many containers has dozens, and clients try every one."""

Address: TypeAlias = IPv4Address | IPv6Address

_NAMES: Final = {"": "0.0.0.0", "localhost": "127.0.0.1"}


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


def _machine() -> Iterable[Address]:
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            address = ip_address(each.ip if isinstance(each.ip, str) else each.ip[0])
            if not address.is_link_local:
                yield address


def _rank(address: Address) -> tuple[bool, bool, int]:
    """Addresses that others can reach first, IPv4 before IPv6."""
    return address.is_loopback, not address.is_global, address.version
