"""Networks of other kinds: IPv6 alone, relays alone, a thin uplink."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mulisa.compare.internet import PUBLIC_V6, Internet
from mulisa.compare.namespaces import INTERFACE, Namespace
from mulisa.compare.ways import Nat
from mulisa.core.room import Topology
from tests.namespaces import internet
from tests.slow.homes import inhabitants, public
from tests.slow.test_nat import ROOM, all_hear_each_other, enter, mulisa_hears_and_answers

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(300)]

REMOTE_ADDRESSES: Final = """
() => Promise.all(Object.entries(window.mulisa.connections).map(async ([name, connection]) => {
  const stats = await connection.getStats();
  const selected = [...stats.values()].find((each) => each.type === "transport");
  const pair = stats.get(selected.selectedCandidatePairId);
  return [name, stats.get(pair.remoteCandidateId).address];
})).then(Object.fromEntries)
"""
"""Where packets go, by connection."""


@pytest.fixture
def net() -> Iterator[Internet]:
    with internet() as made:
        yield made


@pytest.mark.parametrize("topology", ["mesh", "sfu"])
async def test_people_who_have_ipv6_alone(
    topology: Topology, net: Internet, chromium: str, tmp_path: Path
) -> None:
    """They reach her, and each other, and somebody with both protocols."""
    server = net.host("server", 10)
    address = f"[{PUBLIC_V6[10]}]"
    homes: dict[str, tuple[Nat, Namespace]] = {
        "Alice": ("full-cone", net.host_v6("alice", 30)),
        "Bob": ("full-cone", net.host_v6("bob", 31)),
        "Carol": ("full-cone", net.host("carol", 32)),
    }
    options = ("--host", "::")
    with public(net, tmp_path, topology, (), *options, host=server, address=address) as where:
        async with inhabitants(chromium, homes, where.url, tmp_path) as people:
            await enter(people)
            await all_hear_each_other(people)
            await mulisa_hears_and_answers(people, people[0])
            for each in people[:2]:
                found = await each.person.page.evaluate(REMOTE_ADDRESSES)
                assert all(":" in remote for remote in found.values()), (each.name, found)


@pytest.mark.parametrize("topology", ["mesh", "sfu"])
async def test_with_relays_only_nothing_takes_another_way(
    topology: Topology, net: Internet, chromium: str, tmp_path: Path
) -> None:
    """Though every direct way is open, between people and to Mulisa."""
    server, alice, bob = net.host("server", 10), net.host("alice", 30), net.host("bob", 31)
    homes: dict[str, tuple[Nat, Namespace]] = {
        "Alice": ("full-cone", alice),
        "Bob": ("full-cone", bob),
    }
    with public(net, tmp_path, topology, ("stun", "udp"), host=server) as where:
        async with inhabitants(chromium, homes, where.url, tmp_path) as people:
            alice.watch(server, bob)
            bob.watch(server, alice)
            await enter(people, "&relay=1")
            await all_hear_each_other(people)
            await mulisa_hears_and_answers(people, people[0])
            for one, other in (people, people[::-1]):
                paths = await one.paths()
                assert len(paths) == 2, paths
                assert all(path.local == "relay" for path in paths.values()), paths
                if topology == "mesh":
                    assert paths[other.identity].remote == "relay", paths
            assert (alice.watched(), bob.watched()) == (0, 0), "datagrams past the relay"


@pytest.mark.parametrize("topology", ["mesh", "sfu"])
async def test_with_relays_only_and_none_there_the_page_says_why_nobody_is_reached(
    topology: Topology, net: Internet, chromium: str, tmp_path: Path
) -> None:
    homes: dict[str, tuple[Nat, Namespace]] = {"Alice": ("full-cone", net.host("alice", 30))}
    with public(net, tmp_path, topology, ("stun",), "--no-agent") as where:
        async with inhabitants(chromium, homes, where.url, tmp_path) as people:
            page = people[0].person.page
            await page.goto(f"{where.url}/r/{ROOM}?name=Alice&join=1&relay=1")
            said = await page.get_by_test_id("lobby-trouble").text_content()
    assert said is not None
    assert "This link asks for relays only, and the server has none." in said
    assert "Open it without relay=1" in said


@pytest.mark.parametrize("topology", ["mesh", "sfu"])
async def test_an_uplink_of_256_kbit_per_second(
    topology: Topology, net: Internet, chromium: str, tmp_path: Path
) -> None:
    """Alice sends all that she sends through it; the others are heard by her as before."""
    hosts = {name: net.host(name.lower(), 30 + n) for n, name in enumerate(("Alice", "Bob"))}
    homes: dict[str, tuple[Nat, Namespace]] = {
        name: ("full-cone", host) for name, host in hosts.items()
    }
    with public(net, tmp_path, topology, ("stun",)) as where:
        async with inhabitants(chromium, homes, where.url, tmp_path) as people:
            await enter(people)
            hosts["Alice"].throttle(256)
            await all_hear_each_other(people)
            await mulisa_hears_and_answers(people, people[0])
            counted = hosts["Alice"].run("tc", "-s", "qdisc", "show", "dev", INTERFACE)
    print(f"{topology}: {counted}")
    sent = re.search(r"qdisc tbf .*\n Sent (\d+) bytes", counted)
    assert sent is not None and int(sent[1]) > 0, counted
