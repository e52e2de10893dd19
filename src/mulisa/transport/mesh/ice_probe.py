"""Asks each STUN and TURN server for what it is there for: our address, or one of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final

from aioice.candidate import Candidate
from aioice.ice import Connection, StunProtocol, server_reflexive_candidate
from aioice.stun import TransactionError

from mulisa.core.errors import TransportError
from mulisa.transport.mesh.ice_servers import COMPONENT, TurnServer, UsableServers
from mulisa.transport.mesh.signaling import IceServer
from mulisa.wire.ice_url import IceUrl

ANSWER_TIME: Final = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one server said."""

    url: IceUrl
    address: str = ""
    """Ours as it sees us, or the one that it would relay from; empty if it does not help."""
    problem: str = ""


async def probe(servers: Iterable[IceServer]) -> list[Answer]:
    """All of them at once, each by every URL that can be asked from here."""
    usable = UsableServers.of(servers)
    asking = [_answer(url, _reflected(url)) for url in usable.stun if not url.is_relay]
    asking += [_answer(server.url, _relayed(server)) for server in usable.turn]
    return await asyncio.gather(*asking)


async def _answer(url: IceUrl, asking: Coroutine[Any, Any, str]) -> Answer:
    try:
        async with asyncio.timeout(ANSWER_TIME):
            return Answer(url, await asking)
    except TimeoutError:
        return Answer(url, problem=f"does not answer within {ANSWER_TIME:.0f} s")
    except (TransportError, TransactionError, OSError, KeyError) as error:
        return Answer(url, problem=str(error) or type(error).__name__)


async def _reflected(url: IceUrl) -> str:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: StunProtocol(Connection(ice_controlling=True)), local_addr=("0.0.0.0", 0)
    )
    try:
        host, port = transport.get_extra_info("sockname")
        protocol.local_candidate = Candidate("", COMPONENT, "udp", 0, host, port, "host")
        mapped, _ = await server_reflexive_candidate(protocol, (url.host, url.port))
        return mapped.host
    finally:
        transport.close()


async def _relayed(server: TurnServer) -> str:
    candidate, protocol = await server.allocate(Connection(ice_controlling=True))
    await protocol.close()
    return candidate.host
