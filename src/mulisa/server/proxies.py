"""Who asks, and at which address, when a reverse proxy stands in front of the gateway.

``X-Forwarded-For``, ``-Proto`` and ``-Host`` are believed when they come from a trusted proxy, and
``Forwarded`` (RFC 7239) when that sends none of them. What anybody else claims changes nothing;
that it was claimed at all still makes a request nobody's on this machine (`access.is_operator`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from multidict import CIMultiDictProxy

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

THIS_MACHINE: Final = ("127.0.0.0/8", "::1/128")
MAX_HOPS: Final = 32

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_PAIR: Final = re.compile(r'\s*([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*))\s*(?:;|$)')


@dataclass(frozen=True, slots=True)
class Origin:
    """A request as its client made it; what is None nobody said."""

    address: str | None = None
    scheme: str | None = None
    host: str | None = None


class TrustedProxies:
    """Those whose word counts: of this machine, and the ones named."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """Addresses or networks (``10.0.0.0/8``). Raises ValueError for anything else."""
        self._networks = [
            ipaddress.ip_network(each, strict=False) for each in (*THIS_MACHINE, *networks)
        ]

    def origin(self, peer: str | None, headers: CIMultiDictProxy[str]) -> Origin:
        """What the headers of a request that came from `peer` tell."""
        if not self._is_trusted(peer):
            return Origin()
        client = Origin()
        for client in reversed(_hops(headers)):
            if not self._is_trusted(client.address):
                break
        return client

    def middleware(self) -> Middleware:
        """For aiohttp, before all others: handlers see who really asks, and at which address."""

        @web.middleware
        async def as_asked(request: web.Request, handler: Handler) -> web.StreamResponse:
            origin = self.origin(request.remote, request.headers)
            if origin != Origin():
                request = request.clone(
                    scheme=origin.scheme or request.scheme,
                    host=origin.host or request.host,
                    remote=origin.address or request.remote or "",
                )
            return await handler(request)

        return as_asked

    def _is_trusted(self, text: str | None) -> bool:
        address = _address(text or "")
        return address is not None and any(address in network for network in self._networks)


def _hops(headers: CIMultiDictProxy[str]) -> Sequence[Origin]:
    """What each proxy said of whom it was asked by, the nearest to us last."""
    if any(f"X-Forwarded-{name}" in headers for name in ("For", "Proto", "Host")):
        return _x_forwarded(headers)
    elements = [each for line in headers.getall("Forwarded", ()) for each in _split(line, ",")]
    return [_forwarded(element) for element in elements[-MAX_HOPS:]]


def _x_forwarded(headers: CIMultiDictProxy[str]) -> Sequence[Origin]:
    """Proxies append to the addresses. Scheme and host are the client's if the first proxy said so;
    a client that lies about them deceives itself alone.
    """
    addresses = _values(headers, "X-Forwarded-For") or [""]
    scheme = _scheme(_values(headers, "X-Forwarded-Proto"))
    host = _host(_values(headers, "X-Forwarded-Host"))
    return [Origin(_bare(address), scheme, host) for address in addresses[-MAX_HOPS:]]


def _values(headers: CIMultiDictProxy[str], name: str) -> list[str]:
    return [each.strip() for line in headers.getall(name, ()) for each in line.split(",")]


def _forwarded(element: str) -> Origin:
    pairs: Mapping[str, str] = {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
        for name, quoted, plain in _PAIR.findall(element)
    }
    return Origin(
        _bare(pairs.get("for", "")),
        _scheme([pairs.get("proto", "")]),
        _host([pairs.get("host", "")]),
    )


def _split(text: str, separator: str) -> Iterator[str]:
    """At separators that are in no quoted string."""
    start, is_quoted, is_escaped = 0, False, False
    for at, char in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif is_quoted and char == "\\":
            is_escaped = True
        elif char == '"':
            is_quoted = not is_quoted
        elif char == separator and not is_quoted:
            yield text[start:at]
            start = at + 1
    yield text[start:]


def _bare(text: str) -> str | None:
    """The address alone, of ``192.0.2.1:47011`` and ``[2001:db8::1]:47011``, too."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    address = _address(text)
    return str(address) if address else None


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _scheme(values: Sequence[str]) -> str | None:
    """``ws`` and ``wss`` are what some proxies call an upgrade."""
    first = values[0].lower() if values else ""
    return {"http": "http", "https": "https", "ws": "http", "wss": "https"}.get(first)


def _host(values: Sequence[str]) -> str | None:
    first = values[0] if values else ""
    return first if _HOST.fullmatch(first) else None
