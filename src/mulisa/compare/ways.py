"""Which NATs let two people reach each other without a relay, and what that makes of a call. Pure.

A NAT that maps a socket to the same port whoever it sends to ("full-cone", "port-restricted") can
be told where to send; a symmetric one (RFC 4787: address- and port-dependent mapping) takes
another port for each destination, which only a full-cone NAT at the other end lets in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal, TypeAlias

from mulisa.compare.metrics import Topology

Nat: TypeAlias = Literal["full-cone", "port-restricted", "symmetric", "udp-blocked"]

NATS: Final[tuple[Nat, ...]] = ("full-cone", "port-restricted", "symmetric", "udp-blocked")
DIRECT: Final[frozenset[frozenset[Nat]]] = frozenset(
    {
        frozenset({"full-cone"}),
        frozenset({"full-cone", "port-restricted"}),
        frozenset({"full-cone", "symmetric"}),
        frozenset({"port-restricted"}),
    }
)
"""Pairs of NATs, a single one standing for two alike, between which packets need no relay."""
CALLS: Final[Mapping[str, tuple[Nat, ...]]] = {
    "both full-cone": ("full-cone", "full-cone"),
    "both port-restricted": ("port-restricted", "port-restricted"),
    "both symmetric": ("symmetric", "symmetric"),
    "both UDP blocked": ("udp-blocked", "udp-blocked"),
    "one of each": NATS,
}
"""Who is in a call, by the condition under which it is measured; Mulisa has a public address."""


def needs_relay(one: Nat, other: Nat) -> bool:
    """Between two people who have nothing but STUN."""
    return frozenset({one, other}) not in DIRECT


def expected(name: str, topology: Topology, condition: str) -> float | None:
    """What theory says of a metric of row "nats"; None for a call that is not in `CALLS`.

    The SFU has a public address and takes TCP, so nobody needs a relay to it.
    """
    nats = CALLS.get(condition)
    if nats is None:
        return None
    pairs = len(nats) * (len(nats) + 1) // 2
    relayed = _relayed(nats) if topology == "mesh" else 0
    return float(
        {
            "pairs": pairs,
            "paths": pairs if topology == "mesh" else len(nats) + 1,
            "pairs_that_need_a_relay": relayed,
            "pairs_connected_without_turn": pairs - relayed,
            "pairs_connected_with_turn": pairs,
        }[name]
    )


def _relayed(nats: Sequence[Nat]) -> int:
    """Pairs of people, and of each with Mulisa, to whom all but UDP-blocked ones get through."""
    people = sum(needs_relay(one, other) for one, other in combinations(nats, 2))
    return people + nats.count("udp-blocked")


@dataclass(frozen=True, slots=True)
class Seen:
    """What is found of one call at one moment."""

    members: tuple[str, ...]
    """Identities, Mulisa's among them."""
    hears: frozenset[tuple[str, str]]
    """(listener, speaker): packets of that voice arrive."""
    relayed: frozenset[frozenset[str]]
    """Whose selected candidates include a relay's: pairs in a mesh, single ones on an SFU."""

    @property
    def pairs(self) -> Iterator[frozenset[str]]:
        """Of participants."""
        return (frozenset(pair) for pair in combinations(self.members, 2))

    @property
    def connected(self) -> Collection[frozenset[str]]:
        """Pairs who hear each other, both of them."""
        return [pair for pair in self.pairs if _both_ways(pair) <= self.hears]

    @property
    def through_a_relay(self) -> Collection[frozenset[str]]:
        """Connected pairs whose packets take a relay, at either of them."""
        return [pair for pair in self.connected if any(each <= pair for each in self.relayed)]

    @property
    def is_complete(self) -> bool:
        """Everybody hears everybody."""
        return all(_both_ways(pair) <= self.hears for pair in self.pairs)


def _both_ways(pair: frozenset[str]) -> set[tuple[str, str]]:
    one, other = pair
    return {(one, other), (other, one)}


def numbered(nats: Sequence[Nat]) -> list[tuple[Nat, int]]:
    """With how many alike came before each."""
    return [(nat, nats[:place].count(nat)) for place, nat in enumerate(nats)]


def rounds(calls: Mapping[str, Sequence[Nat]]) -> list[list[str]]:
    """Calls that can run at the same time: the n-th who has a NAT is in one call only."""
    found: list[tuple[list[str], set[tuple[Nat, int]]]] = []
    for name, nats in calls.items():
        who = set(numbered(nats))
        for names, busy in found:
            if not busy & who:
                names.append(name)
                busy |= who
                break
        else:
            found.append(([name], who))
    return [names for names, _ in found]
