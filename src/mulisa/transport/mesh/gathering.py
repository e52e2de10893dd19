"""Our own candidates towards one peer: those of this machine at once, others as they are found.

aioice hands out nothing before everything is gathered, so a STUN or TURN server that does not
answer would hold up every connection by 5 s. It still does all checks; only where it would gather
we do, and what is found later joins its check list and is trickled to the peer (RFC 8838).
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol, server_reflexive_candidate
from aioice.stun import TransactionError
from aioice.turn import UDP_SOCKET_BUFFER_SIZE

from mulisa.transport.mesh.ice_servers import COMPONENT, UsableServers, first_relay
from mulisa.transport.mesh.network import MeshNetwork
from mulisa.transport.mesh.signaling import IceServer
from mulisa.wire.addresses import local_addresses

GATHERING_TIME: Final = 10.0
"""Seconds after which servers that do not answer are not waited for any more."""
MOST_PREFERRED: Final = 65_535
"""Local preference of the first address (RFC 8445, 5.1.2.1)."""
Address: TypeAlias = tuple[str, int]

_ANYWHERE: Final = 9
"""The discard port: nothing is sent there."""


class Gathering:
    """Of one connection, whose gathering it takes over when it is made."""

    def __init__(
        self,
        connection: Connection,
        servers: Sequence[IceServer],
        network: MeshNetwork,
        found: Callable[[Candidate | None], None],
    ) -> None:
        """`found` is told of each candidate that comes after the first ones, and None at the end.

        It is called from within the loop and only enqueues.
        """
        self._connection = connection
        self._servers = UsableServers.of(servers)
        self._network = network
        self._found = found
        self._known: set[Address] = set()
        self._asking: asyncio.Task[None] | None = None
        self._is_closed = False
        connection.get_component_candidates = self._begin  # type: ignore[method-assign]

    @property
    def is_over(self) -> bool:
        """No more candidates will be found."""
        return self._asking is not None and self._asking.done()

    async def aclose(self) -> None:
        """Ask no server any more. Idempotent; comes before the connection is closed."""
        self._is_closed = True
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _begin(self, component: int, addresses: list[str], timeout: int = 5) -> list[Any]:
        """In place of aioice's: this machine's candidates; servers are asked in the background."""
        assert component == COMPONENT
        protocols = [
            protocol
            for rank, address in enumerate(_host_addresses())
            if (protocol := await self._open(address, MOST_PREFERRED - rank)) is not None
        ]
        self._connection._protocols += protocols
        candidates = [protocol.local_candidate for protocol in protocols]
        candidates += self._public(candidates)
        self._known = {(each.host, each.port) for each in candidates}
        if not self._is_closed:
            self._asking = asyncio.create_task(self._ask(protocols), name="asking ICE servers")
        return candidates

    async def _open(self, address: str, preference: int) -> StunProtocol | None:
        """A socket there; None if the address has gone, or no port of ours is free."""
        loop = asyncio.get_running_loop()
        for port in self._ports():
            try:
                transport, protocol = await loop.create_datagram_endpoint(
                    lambda: StunProtocol(self._connection), local_addr=(address, port)
                )
            except OSError:
                continue
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_SOCKET_BUFFER_SIZE
            )
            host, port = transport.get_extra_info("sockname")[:2]
            protocol.local_candidate = Candidate(
                foundation=candidate_foundation("host", "udp", host),
                component=COMPONENT,
                transport="udp",
                priority=candidate_priority(COMPONENT, "host", preference),
                host=host,
                port=port,
                type="host",
            )
            return protocol
        return None

    def _ports(self) -> Iterable[int]:
        if self._network.ports is None:
            return (0,)
        first, last = self._network.ports
        return random.sample(range(first, last + 1), last + 1 - first)

    def _public(self, hosts: Sequence[Candidate]) -> list[Candidate]:
        """The public address, as the mapped one of that candidate from which packets go there."""
        public = self._network.public_address
        if not public or any(host.host == public for host in hosts):
            return []
        version, source = ip_address(public).version, _source_towards(public)
        bases = [host for host in hosts if ip_address(host.host).version == version]
        bases.sort(key=lambda host: host.host != source)
        return [_reflexive(host, (public, host.port)) for host in bases[:1]]

    async def _ask(self, protocols: Sequence[StunProtocol]) -> None:
        try:
            async with asyncio.timeout(GATHERING_TIME), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._relay())
                for protocol in protocols:
                    if ip_address(protocol.local_candidate.host).version == 4:
                        for server in self._servers.stun:
                            asking = self._reflect(protocol, (server.host, server.port))
                            tasks.create_task(asking)
        except TimeoutError:
            pass
        self._found(None)

    async def _reflect(self, protocol: StunProtocol, server: Address) -> None:
        """Learn as whom this server sees us."""
        try:
            mapped, _ = await server_reflexive_candidate(protocol, server)
        except (OSError, TransactionError, KeyError):
            return
        if self._is_news((mapped.host, mapped.port)):
            self._tell(_reflexive(protocol.local_candidate, (mapped.host, mapped.port)))

    async def _relay(self) -> None:
        relay = await first_relay(self._servers.turn, self._connection)
        if relay is None:
            return
        candidate, protocol = relay
        self._connection._protocols.append(protocol)
        for remote in self._connection._remote_candidates:
            self._connection._pair_remote_candidate(remote)
        self._connection.sort_check_list()
        self._tell(candidate)

    def _is_news(self, address: Address) -> bool:
        """What is redundant is told once (RFC 8445, 5.1.3)."""
        is_news = address not in self._known
        self._known.add(address)
        return is_news

    def _tell(self, candidate: Candidate) -> None:
        self._connection._local_candidates.append(candidate)
        self._found(candidate)


def _host_addresses() -> list[str]:
    """Ours that somebody else may reach; loopback only on a machine that has nothing else."""
    addresses = local_addresses("")
    return [each for each in addresses if not ip_address(each).is_loopback] or addresses


def _source_towards(address: str) -> str:
    """Our address in packets to that one; empty if there is no way."""
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, _ANYWHERE))
        except OSError:
            return ""
        host: str = probe.getsockname()[0]
        return host


def _reflexive(base: Candidate, mapped: Address) -> Candidate:
    preference = base.priority >> 8 & MOST_PREFERRED
    return Candidate(
        foundation=candidate_foundation("srflx", "udp", base.host),
        component=COMPONENT,
        transport="udp",
        priority=candidate_priority(COMPONENT, "srflx", preference),
        host=mapped[0],
        port=mapped[1],
        type="srflx",
        related_address=base.host,
        related_port=base.port,
    )
