"""The one port of the SFU: every client's media comes through it, over UDP or else over TCP."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from mulisa.core.errors import ConfigError
from mulisa.sfu.addresses import candidates
from mulisa.sfu.peer import PeerConnection, PeerObserver
from mulisa.sfu.tcp import TcpListener
from mulisa.sfu.udp import PortCounters, UdpSocket, open_socket
from mulisa.wire.addresses import local_addresses, parse_address
from mulisa.wire.description import Candidate

__all__ = ["Candidate", "PortCounters", "RtcPort"]

CONSENT_INTERVAL: Final = 1.0
"""Seconds between looks at who is silent."""
_PORT_TRIES: Final = 20
"""For a port number that is free at every address, where any will do."""
_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""An address that the machine lists and does not have (any more, or not yet)."""

logger = logging.getLogger(__name__)


class RtcPort:
    """UDP and TCP sockets with one port number at every address of ours; made by `open`."""

    def __init__(self) -> None:
        self.port = 0
        self.candidates: tuple[Candidate, ...] = ()
        """What our descriptions say."""
        self.counters = PortCounters()
        self._by_ufrag: dict[bytes, PeerConnection] = {}
        self._ufrags: dict[PeerConnection, tuple[bytes, ...]] = {}
        self._sockets: list[UdpSocket] = []
        self._listeners: list[TcpListener] = []
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(
        cls, host: str = "0.0.0.0", port: int = 0, public_address: str = "", *, tcp: bool = True
    ) -> Self:
        """Listen at `host` (0.0.0.0 and ::: everywhere) on one port number; 0 takes a free one.

        Clients elsewhere are sent to `public_address`, if there is one: a 1:1 NAT leads it here.
        Raises ConfigError if the port is taken, or the host is no address of this machine.
        """
        public = [parse_address(public_address)] if public_address else []
        addresses = local_addresses(host)
        sockets, streams, number = _bind(addresses, port, tcp=tcp)
        self = cls()
        self.port = number
        self._sockets = [UdpSocket(each, self.find, self.counters) for each in sockets]
        for stream in streams:
            listener = TcpListener(self.find, self.counters)
            self._listeners.append(listener)
            await listener.open(stream)
        told = [sock.getsockname()[0] for sock in sockets]
        self.candidates = candidates(list(dict.fromkeys(public + told)), number, tcp=tcp)
        self._timer = self._loop.call_later(CONSENT_INTERVAL, self._check_consent)
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def peers(self) -> Sequence[PeerConnection]:
        """All that are not closed."""
        return tuple(self._ufrags)

    def connect(self, observer: PeerObserver) -> PeerConnection:
        """Our end of a new connection; waits for its client's checks."""
        return PeerConnection(self, observer)

    def find(self, ufrag: bytes) -> PeerConnection | None:
        """Whom a check is for."""
        return self._by_ufrag.get(ufrag)

    def rename(self, peer: PeerConnection, ufrags: tuple[bytes, ...]) -> None:
        """Of PeerNames: these are the peer's from now on; none when it is closed."""
        before = self._ufrags.get(peer, ())
        if before == ufrags:
            return
        for ufrag in before:
            del self._by_ufrag[ufrag]
        for ufrag in ufrags:
            self._by_ufrag[ufrag] = peer
        if ufrags:
            self._ufrags[peer] = ufrags
        else:
            del self._ufrags[peer]

    async def aclose(self) -> None:
        """Close every connection and the port. Idempotent; the observers are told nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for peer in self.peers:
            peer.close()
        for listener in self._listeners:
            listener.close()
        for sock in self._sockets:
            sock.close()
        await asyncio.sleep(0)  # TCP transports close in the loop's next turn

    def _check_consent(self) -> None:
        self._timer = self._loop.call_later(CONSENT_INTERVAL, self._check_consent)
        now = self._loop.time()
        for peer in self.peers:
            peer.check_consent(now)


def _bind(
    addresses: list[str], port: int, *, tcp: bool
) -> tuple[list[socket.socket], list[socket.socket], int]:
    """UDP and TCP sockets at every address, all with one number; it is returned last."""
    for _ in range(1 if port else _PORT_TRIES):
        opened: list[socket.socket] = []
        try:
            udp, number = _bind_udp(addresses, port, opened)
            streams = [_listen(each, number, opened) for each in _hosts(udp)] if tcp else []
        except OSError as error:
            for sock in opened:
                sock.close()
            if port or error.errno != errno.EADDRINUSE:
                raise _refused(addresses, port, error) from error
        else:
            return udp, streams, number
    raise ConfigError(f"no port number is free at all of {', '.join(addresses)}")


def _bind_udp(
    addresses: list[str], port: int, opened: list[socket.socket]
) -> tuple[list[socket.socket], int]:
    udp: list[socket.socket] = []
    for address in addresses:
        try:
            sock = open_socket(address, port)
        except OSError as error:
            if error.errno in _ABSENT and len(addresses) > 1:
                logger.info("an address of this machine cannot be used: %s", error.strerror)
                continue
            raise
        opened.append(sock)
        udp.append(sock)
        port = sock.getsockname()[1]
    if not udp:
        raise OSError(errno.EADDRNOTAVAIL, "none of the machine's addresses can be used")
    return udp, port


def _hosts(sockets: list[socket.socket]) -> list[str]:
    return [sock.getsockname()[0] for sock in sockets]


def _listen(address: str, port: int, opened: list[socket.socket]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    opened.append(sock)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind((address, port))
    sock.listen()  # only now is a number that somebody else listens at refused
    return sock


def _refused(addresses: list[str], port: int, error: OSError) -> ConfigError:
    where = f"port {port} at {', '.join(addresses)}" if port else ", ".join(addresses)
    return ConfigError(
        f"cannot listen for media at {where}: {error.strerror}; choose another with --rtc-port"
    )
