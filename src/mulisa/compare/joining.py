"""Rows 3 and 8: Mulisa joins a running call; somebody joins and leaves."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Final

from mulisa.compare import probe
from mulisa.compare.browser import until
from mulisa.compare.capture import first_packets
from mulisa.compare.clock import now
from mulisa.compare.measure import Call
from mulisa.compare.metrics import JOIN, LEAVE, Topology
from mulisa.compare.scenario import MULISA
from mulisa.compare.server import udp_ports
from mulisa.compare.signalling import Message, descriptions
from mulisa.compare.theory import HER_OWN

SETTLING: Final = 1.5
"""Seconds after everybody hears everybody in which late messages still belong to a join."""
_HEARS: Final = "until each person has her track on a connection that is open"
_NO_CAPTURE: Final = "needs root: what arrives at her is seen on the wire only"


async def start_mulisa(call: Call, stack: AsyncExitStack) -> None:
    """Her process, which loads its engines and then waits at the door; until `stack` ends."""
    call.venue.door.close()
    call.mulisa = await stack.enter_async_context(call.venue.mulisa(call.room))


async def add_mulisa(call: Call) -> float:
    """Let her into a call in which all people speak; when she was asked to come."""
    assert call.mulisa is not None
    people, book = call.people, call.book
    await call.mulisa.until(call.venue.door.knocked)
    before = [await probe.counts(person) for person in people]
    async with call.all_speaking():
        early = [await probe.read(person) for person in people]
        seen = len(call.venue.signalling.jobs)
        call.venue.door.open()
        asked = await _asked_at(call, seen)
        heard_at = await asyncio.gather(*(person.hears(MULISA) for person in people))
        await asyncio.gather(*(person.mulisa_is("listening") for person in people))
        await asyncio.sleep(SETTLING)
        late = [await probe.read(person) for person in people]
    _count(call, call.venue.signalling.since(asked))
    after = [await probe.counts(person) for person in people]
    book.add("joining", "connections_made", [_made_with_her(call, before, after)])
    negotiated = [b.negotiations - a.negotiations for a, b in zip(before, after, strict=True)]
    book.add("joining", "people_who_renegotiate", [sum(count > 0 for count in negotiated)])
    everybody = 1000 * (max(heard_at) - asked)
    book.add("joining", "time_until_everybody_hears_her", [everybody], note=_HEARS)
    gaps = [probe.concealed_ms(a, b) for a, b in zip(early, late, strict=True)]
    book.add("joining", "gap_for_the_others", gaps, note="sound made up since she was asked")
    _when_she_hears(call, asked)
    _note_clients(call)
    return asked


def _note_clients(call: Call) -> None:
    """What each side said that it is."""
    clients = call.venue.signalling.clients | {"": call.venue.software}
    sides = {"browser": call.people[0].identity, "Mulisa": MULISA, "server": ""}
    call.book.clients = {side: clients[who] for side, who in sides.items() if clients.get(who)}


async def visits(call: Call) -> None:
    """The last person goes, and comes again: N people are in the call before and after."""
    for _ in range(call.plan.visits):
        person = call.people.pop()
        own = await probe.counts(person)
        begin, before = now(), await _counted(call)
        await person.leave()
        await _gone(call, person.identity)
        await asyncio.sleep(SETTLING)
        await _book_change(call, LEAVE, begin, before, closed=own.made - own.closed)
        begin, before = now(), await _counted(call)
        person = await call.enter(person.name)
        await call.connected([*call.people, person])
        await person.hears(MULISA)
        await asyncio.sleep(SETTLING)
        own = await probe.counts(person)
        await _book_change(
            call, JOIN, begin, before, made=own.made, closed=own.closed, who=person.identity
        )
        await person.load(call.speech[person.name])
        await person.listen(MULISA)
        call.people.append(person)


async def _asked_at(call: Call, seen: int) -> float:
    """When the server offered her the room."""

    async def look() -> bool:
        return len(call.venue.signalling.jobs) > seen

    await until(look, bool, "Mulisa to be asked to come")
    return call.venue.signalling.jobs[seen]


def _count(call: Call, messages: list[Message]) -> None:
    topology = call.plan.topology
    call.book.add("joining", "signalling_messages", [len(messages)])
    note = _whose(messages, MULISA, topology)
    call.book.add("joining", "offers", [descriptions(messages, "offer", topology)], note=note)
    call.book.add("joining", "answers", [descriptions(messages, "answer", topology)])


def _whose(messages: list[Message], who: str, topology: Topology) -> str:
    """How many offers are of the one who came."""
    own = descriptions([x for x in messages if x.who == who], "offer", topology)
    return f"{own} of them by who came"


def _made_with_her(call: Call, before: list[probe.Counts], after: list[probe.Counts]) -> int:
    """In the mesh each connection of hers ends at a page; to an SFU she has her own."""
    seen = sum(b.made - a.made for a, b in zip(before, after, strict=True))
    return seen + HER_OWN[call.plan.topology]


def _when_she_hears(call: Call, asked: float) -> None:
    """From the first packet of each person that arrives at her."""
    if call.capture is None or call.mulisa is None:
        call.book.remark("joining", _NO_CAPTURE)
        return
    firsts = first_packets(call.capture.between(asked), udp_ports(call.mulisa.pid))
    if len(firsts) >= len(call.people):
        latest = sorted(firsts.values())[len(call.people) - 1]
        call.book.add("joining", "time_until_she_hears_everybody", [1000 * (latest - asked)])


async def _counted(call: Call) -> list[probe.Counts]:
    return [await probe.counts(person) for person in call.people]


async def _book_change(
    call: Call,
    condition: str,
    begin: float,
    before: list[probe.Counts],
    *,
    made: int = 0,
    closed: int = 0,
    who: str = "",
) -> None:
    """Connections that come and go all have an end at that person, where they are counted."""
    after = await _counted(call)
    messages = call.venue.signalling.since(begin)
    offers = descriptions(messages, "offer", call.plan.topology)
    negotiated = [b.negotiations - a.negotiations for a, b in zip(before, after, strict=True)]
    add = call.book.add
    note = _whose(messages, who, call.plan.topology) if who else ""
    add("churn", "renegotiations", [offers], condition, note)
    add("churn", "people_who_renegotiate", [sum(n > 0 for n in negotiated)], condition)
    add("churn", "connections_made", [made], condition)
    add("churn", "connections_closed", [closed], condition)
    add("churn", "signalling_messages", [len(messages)], condition)


async def _gone(call: Call, identity: str) -> None:
    tile = f'[data-testid="participant"][data-identity="{identity}"]'
    for person in call.people:
        await until(
            lambda person=person: person.page.locator(tile).count(),  # type: ignore[misc]
            lambda count: count == 0,
            f"{identity} to be gone",
        )
