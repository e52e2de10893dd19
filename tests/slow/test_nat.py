"""People behind NATs of every kind, each with a browser of their own: who connects how.

Who needs none is what docs/networks.md says. With a relay everybody hears everybody; without
one those for whom there is no way do not, and no one else notices.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from mulisa.compare.homes import PathSeen
from mulisa.compare.internet import Internet
from mulisa.compare.namespaces import Namespace
from mulisa.compare.ways import NATS, Nat, needs_relay
from mulisa.providers.tones import tone
from tests.browser.people import WaitedInVain, until
from tests.namespaces import internet
from tests.slow.homes import Inhabitant, Public, agent_at, inhabitants, public, ways

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

WORDS: Final = np.concatenate([tone(word, seconds=0.3) for word in (3, 7, 12)])
"""What the scripted recogniser takes for three words."""
REPEATED_AFTER: Final = 15.0
"""Seconds; a browser that gets too little of the machine may swallow what is said."""
ROOM: Final = "street"
AGENT: Final = "mulisa"
MANY_CHECKS: Final = 20
"""Connectivity checks after which nobody doubts that there is no way."""


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as made:
        yield made


@asynccontextmanager
async def street(
    net: Internet, chromium: str, folder: Path, where: Public, nats: Sequence[Nat]
) -> AsyncIterator[list[Inhabitant]]:
    """One person for each NAT of `nats`, all in homes of their own, nobody in the room yet."""
    homes = {f"{nat}-{number}": (nat, net.home(nat)[0]) for number, nat in enumerate(nats)}
    async with inhabitants(chromium, homes, where.url, folder) as people:
        yield people


async def enter(people: Sequence[Inhabitant], options: str = "") -> None:
    await asyncio.gather(*(each.enter(ROOM, options) for each in people))
    await asyncio.gather(
        *(each.person.sees(other.name) for each, other in itertools.permutations(people, 2))
    )
    await asyncio.gather(*(each.person.mulisa_is("listening") for each in people))


async def all_hear_each_other(people: Sequence[Inhabitant]) -> None:
    """Everybody's packets arrive at everybody else."""
    await asyncio.gather(
        *(each.person.hears_on(other.identity) for each, other in itertools.permutations(people, 2))
    )


async def mulisa_hears_and_answers(people: Sequence[Inhabitant], asker: Inhabitant) -> None:
    """She understands each of `people`, and all of them hear what she answers to the asker."""
    await asyncio.gather(*(is_understood(each) for each in people))
    before = [await each.person.packets_of(AGENT) for each in people]
    await asker.person.write("Mulisa, do you hear me?")
    await asyncio.gather(*(each.person.reads("Mulisa") for each in people))
    for each, packets in zip(people, before, strict=True):
        await until(
            lambda each=each: each.person.packets_of(AGENT),  # type: ignore[misc]
            lambda now, packets=packets: now > packets + 25,  # type: ignore[misc]
            f"{each.name} to hear Mulisa",
        )


async def is_understood(one: Inhabitant) -> None:
    """Their words come back as a caption, once the recogniser has heard them to their end."""

    async def say() -> bool:
        await one.person.say(WORDS)
        with suppress(WaitedInVain):
            await until(lambda: one.person.captions(one.name), bool, "a caption", REPEATED_AFTER)
            return True
        return False

    await until(say, bool, f"Mulisa to understand {one.name}")


async def path_is(one: Inhabitant, other: Inhabitant, *, relayed: bool) -> None:
    """Wait until both ends have settled for such a path; ICE may begin with another one."""

    async def ends() -> tuple[PathSeen, PathSeen]:
        return await one.path_to(other.identity), await other.path_to(one.identity)

    await until(
        ends,
        lambda ends: ("relay" in (ends[0].local, ends[1].local)) is relayed,
        f"a path from {one.name} to {other.name} {'with' if relayed else 'without'} a relay",
    )


async def way_to_mulisa(one: Inhabitant, *, relayed: bool) -> PathSeen:
    """Wait until packets take such a way."""
    return await until(
        lambda: one.path_to(AGENT),
        lambda path: (path.local == "relay") is relayed,
        f"a path from {one.name} to Mulisa {'with' if relayed else 'without'} a relay",
    )


async def way_to_the_sfu(one: Inhabitant, *, relayed: bool) -> None:
    """Without UDP it is TCP, to a relay or without; who has UDP uses it where no relay is needed.

    Towards a relay a browser stays with whichever transport gave it an address first: it stops
    gathering as soon as it is connected.
    """
    is_blocked = one.nat == "udp-blocked"

    def is_so(path: PathSeen) -> bool:
        if relayed:
            return path.local == "relay" and not (is_blocked and path.relay == "udp")
        return path.local != "relay" and (path.protocol != "udp") is is_blocked

    await until(
        one.paths,
        lambda paths: len(paths) > 0 and all(map(is_so, paths.values())),
        f"paths from {one.name} to the SFU {'with' if relayed else 'without'} a relay",
    )


def alike(*nats: Nat) -> list[Any]:
    return [pytest.param((nat, nat), id=f"two-{nat}") for nat in nats]


ONE_EACH: Final = pytest.param(NATS, id="one-each")


@pytest.mark.parametrize("nats", [ONE_EACH, *alike("port-restricted", "symmetric", "udp-blocked")])
async def test_in_a_mesh_with_relays_everybody_hears_everybody(
    nats: Sequence[Nat], net: Internet, chromium: str, tmp_path: Path
) -> None:
    with public(net, tmp_path, "mesh", ("stun", "udp", "tcp", "tls")) as where:
        async with street(net, chromium, tmp_path, where, nats) as people:
            await enter(people)
            await all_hear_each_other(people)
            for one, other in itertools.combinations(people, 2):
                await path_is(one, other, relayed=needs_relay(one.nat, other.nat))
            for each in people:
                is_blocked = each.nat == "udp-blocked"
                path = await way_to_mulisa(each, relayed=is_blocked)
                assert not is_blocked or path.relay in ("tcp", "tls"), path
            await mulisa_hears_and_answers(people, people[-1])
    seen = ways(where.log)
    last = seen[-len(people) :]  # those that were still open
    assert last.count("host to relay") == nats.count("udp-blocked"), seen
    assert all(way.startswith("host to ") for way in last), seen


@pytest.mark.parametrize("nat", ["full-cone", "port-restricted"])
async def test_who_began_on_a_relay_leaves_it_when_there_is_a_direct_path(
    nat: Nat, net: Internet, chromium: str, tmp_path: Path
) -> None:
    """Mulisa leads the checks with who was there before her, and follows who came later."""
    server = net.host("server", 10)
    homes: dict[str, tuple[Nat, Namespace]] = {
        name: (nat, net.home(nat)[0]) for name in ("earlier", "later")
    }
    with public(net, tmp_path, "mesh", ("stun", "udp"), host=server) as where:
        async with inhabitants(chromium, homes, where.url, tmp_path) as people:
            for each, (_, home) in zip(people, homes.values(), strict=True):
                home.cut(server)
                await each.enter(ROOM)
                await way_to_mulisa(each, relayed=True)
            for _, home in homes.values():
                home.cut()
            await asyncio.gather(*(way_to_mulisa(each, relayed=False) for each in people))
            await mulisa_hears_and_answers(people, people[-1])
    assert "host to relay" not in ways(where.log)[-2:], ways(where.log)


@pytest.mark.parametrize("nats", [ONE_EACH, *alike(*NATS[:3])])
async def test_in_a_mesh_without_relays_those_hear_each_other_who_can(
    nats: Sequence[Nat], net: Internet, chromium: str, tmp_path: Path
) -> None:
    with public(net, tmp_path, "mesh", ("stun",)) as where:
        async with street(net, chromium, tmp_path, where, nats) as people:
            await enter(people)
            for one, other in itertools.combinations(people, 2):
                if not needs_relay(one.nat, other.nat):
                    await one.person.hears_on(other.identity)
                    await path_is(one, other, relayed=False)
            reached = [each for each in people if each.nat != "udp-blocked"]
            await mulisa_hears_and_answers(reached, reached[-1])
            for one, other in itertools.combinations(people, 2):
                if needs_relay(one.nat, other.nat):
                    await there_is_no_way(one, other.identity)
            for each in people:
                if each.nat == "udp-blocked":
                    await there_is_no_way(each, AGENT)


async def there_is_no_way(one: Inhabitant, name: str) -> None:
    paths = await until(
        one.paths,
        lambda paths: (
            name in paths and (bool(paths[name].local) or paths[name].asked >= MANY_CHECKS)
        ),
        f"{one.name} to have tried {name}",
    )
    assert not paths[name].local and paths[name].answered == 0, paths[name]


@pytest.mark.parametrize("relay", [False, True], ids=["without", "only"])
async def test_on_the_sfu_everybody_hears_everybody_without_a_relay_and_through_relays_only(
    relay: bool, net: Internet, chromium: str, tmp_path: Path
) -> None:
    servers = ("udp", "tcp", "tls") if relay else ()
    with public(net, tmp_path, "sfu", servers) as where:
        async with street(net, chromium, tmp_path, where, NATS) as people:
            await enter(people, "&relay=1" if relay else "")
            await all_hear_each_other(people)
            await mulisa_hears_and_answers(people, people[-1])
            for each in people:
                await way_to_the_sfu(each, relayed=relay)


@pytest.mark.parametrize(
    ("nat", "servers", "expected"),
    [
        ("port-restricted", ("stun",), "host to srflx"),
        ("symmetric", ("udp",), "relay"),  # hers or theirs
        ("udp-blocked", ("tcp",), "relay to"),
        ("udp-blocked", ("tls",), "relay to"),
    ],
    ids=["punches", "udp", "tcp", "tls"],
)
async def test_mulisa_at_home_in_a_mesh(
    nat: Nat,
    servers: Sequence[str],
    expected: str,
    net: Internet,
    chromium: str,
    tmp_path: Path,
) -> None:
    """Her own way out: by the address that STUN tells, or over each transport to the relay."""
    (home,) = net.home(nat)
    with (
        public(net, tmp_path, "mesh", servers, "--no-agent") as where,
        agent_at(home, where, tmp_path) as log,
    ):
        async with street(net, chromium, tmp_path, where, ["port-restricted"]) as people:
            await enter(people)
            await mulisa_hears_and_answers(people, people[0])
    assert expected in ways(log)[-1], ways(log)


async def test_a_public_address_that_the_machine_does_not_have(
    net: Internet, chromium: str, tmp_path: Path
) -> None:
    """Behind a 1:1 NAT, without any ICE server: she tells where the NAT leads to her."""
    (cloud,) = net.home("full-cone")
    address = net.public_address(cloud)
    options = ("--public-address", address, "--mesh-ports", "20000-20010")
    with public(net, tmp_path, "mesh", (), *options, host=cloud, address=address) as where:
        async with street(net, chromium, tmp_path, where, ["symmetric"]) as people:
            await enter(people)
            await mulisa_hears_and_answers(people, people[0])
            assert (await people[0].path_to(AGENT)).remote == "srflx"


async def test_two_in_one_home_reach_each_other_by_names_that_hide_their_addresses(
    net: Internet, chromium: str, tmp_path: Path
) -> None:
    """mDNS candidates, and a NAT that leads nobody back in."""
    with public(net, tmp_path, "mesh", ()) as where:
        homes = net.home("symmetric", people=2)
        rooms: dict[str, tuple[Nat, Namespace]] = {
            f"person-{number}": ("symmetric", home) for number, home in enumerate(homes)
        }
        async with inhabitants(chromium, rooms, where.url, tmp_path) as people:
            await enter(people)
            await all_hear_each_other(people)
            await path_is(people[0], people[1], relayed=False)
            await mulisa_hears_and_answers(people, people[0])
