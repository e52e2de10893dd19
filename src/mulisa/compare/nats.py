"""Row 9: who hears whom behind NATs, with a TURN server and without one, and who needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Final

from mulisa.compare.browser import Person
from mulisa.compare.calls import check_wanted
from mulisa.compare.homes import paths_of
from mulisa.compare.measure import FAILURES, Bench, Book
from mulisa.compare.metrics import COMPARED, Topology
from mulisa.compare.result import Figure
from mulisa.compare.scenario import MULISA
from mulisa.compare.street import Gateway, Street, street_of
from mulisa.compare.ways import CALLS, Nat, Seen, rounds

PATIENCE: Final = 15.0
"""Seconds after which two between whom ICE has found no way are given up,"""
MANY_CHECKS: Final = 20
"""once it has looked for one so often;"""
LONGEST: Final = 60.0
"""and seconds after which all others are."""
SETTLED: Final = 3.0
"""Seconds in which no path has changed, after which none will: ICE may begin with a relay."""
SETTLING: Final = 15.0
"""Seconds for that."""
ASKED_AGAIN: Final = 5.0
"""Seconds until those who do not hear Mulisa ask her again: she sends nothing unasked."""
ENOUGH: Final = 5
"""Packets of a voice that are no accident."""
_LOOK: Final = 0.5
_ASKS: Final = "Mulisa, do you hear me?"
_WRITE: Final = """
text => {
  const field = document.querySelector('[data-testid="chat-input"]');
  field.value = text;
  field.form.requestSubmit();
}
"""


async def measure(bench: Bench, calls: Mapping[str, Sequence[Nat]] = CALLS) -> list[Figure]:
    """All of these calls, in both topologies. Raises ConfigError where something is missing."""
    figures: list[Figure] = []
    async with street_of(calls.values()) as street:
        for topology in COMPARED:
            found = await _topology(street, topology, calls, bench)
            figures += _figures(topology, calls, found)
    bench.remark(
        f"Two are taken for unreachable after {PATIENCE:.0f} s and {MANY_CHECKS} checks that "
        f"found no way, or if they do not hear each other in {LONGEST:.0f} s."
    )
    return figures


async def _topology(
    street: Street,
    topology: Topology,
    calls: Mapping[str, Sequence[Nat]],
    bench: Bench,
) -> dict[str, dict[bool, Seen]]:
    """By call, and by whether there was a TURN server. Calls of a round run at the same time."""
    found: dict[str, dict[bool, Seen]] = {name: {} for name in calls}
    for each, together in product(street.gateways, rounds(calls)):
        servers = "with TURN" if each.has_turn else "without TURN"
        bench.say(f"{topology}, {servers}: {', '.join(together)}")
        running = {
            name: _Call(each, topology, name, street.inhabitants(calls[name])) for name in together
        }
        seen = await asyncio.gather(*(_look(call, bench) for call in running.values()))
        for name, what in zip(together, seen, strict=True):
            if what:
                found[name][each.has_turn] = what
    return found


async def _look(call: _Call, bench: Bench) -> Seen | None:
    """None for a call that did not come about, which is told of."""
    try:
        return await call.look()
    except FAILURES as error:
        check_wanted(error)
        bench.remark(f"not measured ({call.room}): {error}")
        return None


class _Call:
    """One room of a gateway, and who comes into it."""

    def __init__(
        self, where: Gateway, topology: Topology, name: str, people: Sequence[Person]
    ) -> None:
        self._gateway = where
        self._topology: Topology = topology
        self.room = f"{topology}-{name.lower().replace(' ', '-')}"
        self._people = people
        self._next_question = 0.0

    async def look(self) -> Seen:
        """Who hears whom in the end, or as soon as all do; then everybody leaves."""
        loop = asyncio.get_running_loop()
        options = f"&topology={self._topology}"
        await asyncio.gather(
            *(person.enter(self._gateway.url, self.room, options) for person in self._people)
        )
        await asyncio.gather(*(person.mulisa_is("listening") for person in self._people))
        begin = loop.time()
        while not (seen := await self._seen()).is_complete:
            waited = loop.time() - begin
            if waited > LONGEST or waited > PATIENCE and await self._is_hopeless(seen):
                break
            await self._ask(seen)
            await asyncio.sleep(_LOOK)
        if self._gateway.has_turn:
            seen = await self._settled(seen)
        await asyncio.gather(*(person.page.goto("about:blank") for person in self._people))
        return seen

    async def _settled(self, seen: Seen) -> Seen:
        loop = asyncio.get_running_loop()
        since, end = loop.time(), loop.time() + SETTLING
        while loop.time() - since < SETTLED and loop.time() < end:
            await asyncio.sleep(_LOOK)
            now = await self._seen()
            if now.relayed != seen.relayed:
                since = loop.time()
            # Her report may be late or lost: who was heard once is within reach.
            seen = replace(now, hears=now.hears | seen.hears)
        return seen

    async def _ask(self, seen: Seen) -> None:
        now = asyncio.get_running_loop().time()
        deaf = [each for each in self._people if (each.identity, MULISA) not in seen.hears]
        if deaf and now > self._next_question:
            self._next_question = now + ASKED_AGAIN
            await asyncio.gather(*(person.page.evaluate(_WRITE, _ASKS) for person in deaf))

    async def _is_hopeless(self, seen: Seen) -> bool:
        """There is no way between any two who do not hear each other, however often ICE looked."""
        missing = {*seen.pairs} - {*seen.connected}
        for person in self._people:
            for path in (await paths_of(person.page)).values():
                if not path.local and path.asked >= MANY_CHECKS:
                    missing.discard(frozenset({person.identity, path.name}))
        return not missing

    async def _seen(self) -> Seen:
        identities = [person.identity for person in self._people]
        hears = {(MULISA, speaker) for speaker in await self._heard_by_her()}
        relayed: set[frozenset[str]] = set()
        for listener in self._people:
            relayed |= await self._relayed(listener)
            for speaker in {*identities, MULISA} - {listener.identity}:
                if await listener.packets_of(speaker) >= ENOUGH:
                    hears.add((listener.identity, speaker))
        return Seen((*identities, MULISA), frozenset(hears), frozenset(relayed))

    async def _heard_by_her(self) -> frozenset[str]:
        async with self._gateway.operator.get(f"/api/rooms/{self.room}") as response:
            response.raise_for_status()
            room = await response.json()
        return frozenset(room["heard"].get(MULISA, ()))

    async def _relayed(self, person: Person) -> set[frozenset[str]]:
        """In a mesh a path's name is that of the other one."""
        paths = await paths_of(person.page)
        others = [path.name for path in paths.values() if path.is_relayed]
        if self._topology == "sfu":
            return {frozenset({person.identity}) for _ in others}
        return {frozenset({person.identity, other}) for other in others}


def _figures(
    topology: Topology,
    calls: Mapping[str, Sequence[Nat]],
    found: Mapping[str, Mapping[bool, Seen]],
) -> Iterable[Figure]:
    sizes = {len(nats) for nats in calls.values()}
    books = {size: Book(topology, size) for size in sizes}
    for name, nats in calls.items():
        if len(found[name]) < 2:
            continue
        without, with_turn = found[name][False], found[name][True]
        pairs = len(list(without.pairs))
        counts = {
            "pairs": pairs,
            "paths": pairs if topology == "mesh" else len(without.members),
            "pairs_that_need_a_relay": len(with_turn.through_a_relay),
            "pairs_connected_without_turn": len(without.connected),
            "pairs_connected_with_turn": len(with_turn.connected),
        }
        for metric, count in counts.items():
            books[len(nats)].add("nats", metric, [count], name)
    return [figure for book in books.values() for figure in book.figures()]
