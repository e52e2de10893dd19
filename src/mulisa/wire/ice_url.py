"""Addresses of STUN and TURN servers as people write them (RFC 7064, 3.1; RFC 7065, 3.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, Self, TypeAlias, cast

from mulisa.core.errors import ConfigError

Scheme: TypeAlias = Literal["stun", "stuns", "turn", "turns"]
IceTransport: TypeAlias = Literal["udp", "tcp"]

PORT: Final = 3478
TLS_PORT: Final = 5349

_URL: Final = re.compile(
    r"(?P<scheme>stuns?|turns?):"
    r"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s\[\]:?/@]+))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:\?transport=(?P<transport>udp|tcp))?"
)


@dataclass(frozen=True, slots=True)
class IceUrl:
    """``stun:HOST[:PORT]`` or ``turn:HOST[:PORT][?transport=udp|tcp]``; ``turns`` is TLS."""

    scheme: Scheme
    host: str
    """A name, an IPv4 address, or an IPv6 address without its brackets."""
    port: int
    transport: IceTransport

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ConfigError."""
        match = _URL.fullmatch(text)
        if match is None or (match["transport"] and text.startswith("stun")):
            raise ConfigError(
                f"{text!r} is no ICE server; write stun:HOST:PORT, or "
                "turn:HOST:PORT?transport=udp, with transport=tcp or turns: for TCP and TLS"
            )
        scheme = cast(Scheme, match["scheme"])
        is_secure = scheme.endswith("s")
        port = int(match["port"] or (TLS_PORT if is_secure else PORT))
        if not 0 < port < 65536:
            raise ConfigError(f"{text!r} has a port that is no number from 1 to 65535")
        transport = cast(IceTransport, match["transport"] or ("tcp" if is_secure else "udp"))
        return cls(scheme, match["literal"] or match["host"], port, transport)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        query = f"?transport={self.transport}" if self.is_relay else ""
        return f"{self.scheme}:{host}:{self.port}{query}"

    @property
    def is_relay(self) -> bool:
        """A TURN server."""
        return self.scheme.startswith("turn")

    @property
    def is_secure(self) -> bool:
        """Reached by TLS (or, over UDP, by DTLS)."""
        return self.scheme.endswith("s")
