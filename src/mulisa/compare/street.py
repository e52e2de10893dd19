"""A street of people behind NATs of all kinds, and what they find on the internet."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from mulisa.compare.browser import Person, person_in
from mulisa.compare.coturn import TurnServer, turn_program
from mulisa.compare.homes import browsers_in, gateway, operator_at
from mulisa.compare.internet import Internet, internet
from mulisa.compare.server import keys
from mulisa.compare.ways import Nat, numbered

_TURN_PORT: Final = 3478
_SCRIPTED: Final = ("--stt", "scripted", "--llm", "scripted", "--tts", "scripted")


@dataclass(frozen=True, slots=True)
class Gateway:
    """One of two that differ in the servers that they tell people of."""

    url: str
    operator: aiohttp.ClientSession
    has_turn: bool
    """STUN alone otherwise."""


class Street:
    """People behind NATs of all kinds, a browser each, and two gateways on the internet."""

    def __init__(self, people: dict[tuple[Nat, int], Person], gateways: Sequence[Gateway]) -> None:
        self.people = people
        """By their NAT, and a number for those whose are alike."""
        self.gateways = gateways

    def inhabitants(self, nats: Sequence[Nat]) -> list[Person]:
        """One for each of these."""
        return [self.people[who] for who in numbered(nats)]


@asynccontextmanager
async def street_of(calls: Collection[Sequence[Nat]]) -> AsyncIterator[Street]:
    """Enough people for each of these calls. Raises ConfigError where something is missing."""
    async with AsyncExitStack() as stack:
        program = turn_program()
        net = stack.enter_context(internet())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gateways = await _gateways(stack, net, program, folder)
        who = sorted({(nat, number) for call in calls for nat, number in numbered(call)})
        homes = {each: net.home(each[0])[0] for each in who}
        urls = [each.url for each in gateways]
        browsers = await stack.enter_async_context(browsers_in(homes, urls, folder))
        people = {
            (nat, number): await person_in(browser, f"{nat}-{number}")
            for (nat, number), browser in browsers.items()
        }
        yield Street(people, gateways)


async def _gateways(
    stack: AsyncExitStack, net: Internet, program: str, folder: Path
) -> list[Gateway]:
    """And a TURN server, in front of them."""
    relay, secret = net.host("relay", 20), secrets.token_hex(16)
    turn = TurnServer(
        program,
        folder,
        address=relay.address,
        port=_TURN_PORT,
        tls_port=_TURN_PORT + 1,
        secret=secret,
        prefix=relay.prefix,
    )
    stack.callback(turn.stop)
    made = []
    for number, servers in ((10, ("stun",)), (11, ("stun", "udp", "tcp"))):
        host = net.host(f"server{number}", number)
        given = [part for each in servers for part in ("--ice-server", turn.url(each))]
        options = (*_SCRIPTED, "--turn-secret", secret, *given)
        data, environment = folder / host.name, keys() | {"MULISA_VAD": "scripted"}
        url = await stack.enter_async_context(gateway(host, data, environment, *options))
        operator = await stack.enter_async_context(operator_at(host))
        made.append(Gateway(url, operator, "udp" in servers))
    return made
