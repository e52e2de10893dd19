"""Networks of other kinds: IPv6 alone, relays alone, a thin uplink."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from mulisa.core.room import Topology
from tests.namespaces import PUBLIC_V6, Internet, Namespace, Nat, internet
from tests.slow.homes import inhabitants, public
from tests.slow.test_nat import all_hear_each_other, enter, mulisa_hears_and_answers

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
