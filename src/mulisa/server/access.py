"""Who may read what: the holder of a room's token, and the operator.

The *operator* is whoever sits at the machine: a direct request from loopback. A reverse proxy
also comes from loopback, so any forwarding header makes a request somebody else's; and a page on
another site whose name was made to resolve to 127.0.0.1 (DNS rebinding) sends its own name as
Host, so the Host must be a loopback name as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from mulisa.core.errors import InputError, TokenError
from mulisa.core.room import RoomName
from mulisa.server.tokens import Grant, TokenVerifier

_FORWARDING: Final = ("Forwarded", "X-Real-Ip", "Via")
_FORWARDING_PREFIX: Final = "x-forwarded"


class NotAllowed(InputError):
    """A valid token, but not one for this."""


def is_operator(peer: str | None, headers: Mapping[str, str]) -> bool:
    """True for a direct request from this machine.

    `peer` is the address at the other end of the TCP connection; `headers` must look names up
    regardless of case, as aiohttp's do.
    """
    if peer is None or not _is_loopback(peer):
        return False
    if any(name in headers for name in _FORWARDING):
        return False
    if any(name.lower().startswith(_FORWARDING_PREFIX) for name in headers):
        return False
    return _names_loopback(headers.get("Host", ""))


def token_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The token of a request: ``Authorization: Bearer`` wins over ``?access_token=``."""
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return query.get("access_token") or None


def check_room_token(token: str | None, room: RoomName, verifier: TokenVerifier) -> Grant:
    """The grant of a token that lets its holder join `room`.

    Raises TokenError if there is no good token, NotAllowed if it is for something else.
    """
    if token is None:
        raise TokenError("this needs a token of the room: POST /api/rooms/{room}/token")
    grant = verifier.verify(token)
    if not grant.room_join or grant.room != room:
        raise NotAllowed("this token is not for that room")
    return grant


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _names_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)
