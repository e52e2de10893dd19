"""STUN and TURN servers as Mulisa uses them herself: asked several at once, one relay taken.

aiortc takes the first of each kind and waits 5 s for one that does not answer. Here a relay is
the first of all TURN servers that allocates, those over UDP having a head start over TCP and
TLS, as connections are raced in RFC 8305.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aioice.candidate import Candidate
from aioice.ice import Connection, StunProtocol, relayed_candidate
from aioice.stun import TransactionError

from mulisa.core.errors import ConfigError, TransportError
from mulisa.transport.mesh.signaling import IceServer
from mulisa.wire.ice_url import IceUrl

logger = logging.getLogger(__name__)

HEAD_START: Final = 0.25
"""Seconds a TURN server has before the next one is asked as well (RFC 8305, 5)."""
COMPONENT: Final = 1
"""RTP, RTCP and all else share one (RFC 8843)."""


@dataclass(frozen=True, slots=True)
class TurnServer:
    """A TURN server that aioice can use, and what we are there."""

    url: IceUrl
    username: str
    credential: str = field(repr=False)

    async def allocate(self, connection: Connection) -> tuple[Candidate, StunProtocol]:
        """Get a relayed address for this connection. Raises TransportError.

        Cancelling frees what was got so far; the protocol is the caller's to close.
        """
        try:
            return await relayed_candidate(
                component=COMPONENT,
                hide_related_address=False,
                protocol_factory=lambda: StunProtocol(connection),
                turn_server=(self.url.host, self.url.port),
                turn_username=self.username,
                turn_password=self.credential,
                turn_ssl=self.url.is_secure,
                turn_transport=self.url.transport,
            )
        except (OSError, TransactionError, ValueError) as error:
            raise TransportError(f"{self.url}: {_reason(error)}") from error


@dataclass(frozen=True, slots=True)
class UsableServers:
    """What can be asked of a list of ICE servers."""

    stun: tuple[IceUrl, ...] = ()
    """Each tells our address over UDP; TURN servers do that as well, without credentials."""
    turn: tuple[TurnServer, ...] = ()
    """The fastest way of sending first: UDP, TCP, TLS."""

    @classmethod
    def of(cls, servers: Iterable[IceServer]) -> UsableServers:
        """Those that aioice has a way to; others (STUN over TLS, DTLS) are for browsers."""
        stun: dict[tuple[str, int], IceUrl] = {}
        turn: list[TurnServer] = []
        for server in servers:
            for url in _urls_of(server):
                if url.transport == "udp" and not url.is_secure:
                    stun.setdefault((url.host, url.port), url)
                if url.is_relay and not (url.is_secure and url.transport == "udp"):
                    turn.append(TurnServer(url, server.username or "", server.credential or ""))
        turn.sort(key=lambda each: (each.url.is_secure, each.url.transport == "tcp"))
        return cls(tuple(stun.values()), tuple(turn))


async def first_relay(
    servers: Sequence[TurnServer], connection: Connection
) -> tuple[Candidate, StunProtocol] | None:
    """The first address that any of them gives; None, and a warning, if none does.

    Cancelling frees everything; the protocol is the caller's to close.
    """
    waiting = list(servers)
    asked: set[asyncio.Task[tuple[Candidate, StunProtocol]]] = set()
    relays: list[tuple[Candidate, StunProtocol]] = []
    failures: list[str] = []
    try:
        while (waiting or asked) and not relays:
            if waiting:
                asked.add(asyncio.create_task(waiting.pop(0).allocate(connection)))
            timeout = HEAD_START if waiting else None
            done, asked = await asyncio.wait(
                asked, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if isinstance(error := task.exception(), TransportError):
                    failures.append(str(error))
                else:
                    relays.append(task.result())
    finally:
        for task in asked:
            task.cancel()
        if asked:
            await asyncio.wait(asked)
            relays += [task.result() for task in asked if _has_result(task)]
        for _, protocol in relays[1:]:
            protocol.transport.close()
    if not relays and servers:
        logger.warning("no TURN server gives us an address: %s", "; ".join(failures))
    return relays[0] if relays else None


def _urls_of(server: IceServer) -> list[IceUrl]:
    found = []
    for text in [server.urls] if isinstance(server.urls, str) else server.urls:
        try:
            found.append(IceUrl.parse(text))
        except ConfigError as error:
            logger.warning("an ICE server is ignored: %s", error)
    return found


def _has_result(task: asyncio.Task[tuple[Candidate, StunProtocol]]) -> bool:
    return not task.cancelled() and task.exception() is None


def _reason(error: Exception) -> str:
    """In words; aioice's errors over STUN hold the whole message, or nothing."""
    response = getattr(error, "response", None)
    if response is not None and "ERROR-CODE" in response.attributes:
        code, phrase = response.attributes["ERROR-CODE"]
        return f"it refuses: {code} {phrase}"
    if isinstance(error, TransactionError):
        return "it does not answer"
    return str(error) or type(error).__name__
