"""Where a room of mediasoup's demo application is. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mulisa.core.errors import ConfigError
from mulisa.core.room import Identity, RoomName

_OURS: Final = ("roomId", "peerId")


def room_url(url: str, room: RoomName, identity: Identity) -> str:
    """The address at which this participant finds this room. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("ws", "wss") and bool(parts.hostname)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConfigError(
            f"{url!r} is no WebSocket of a mediasoup application; it is like wss://HOST:4443"
        )
    query = [(key, value) for key, value in parse_qsl(parts.query) if key not in _OURS]
    query += [("roomId", room), ("peerId", identity)]
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", urlencode(query), ""))
