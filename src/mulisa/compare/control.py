"""Row 5: to stop hearing one person, and to speak to one only."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Final

from mulisa.compare.answering import first_after, over
from mulisa.compare.browser import PATIENCE, Person
from mulisa.compare.clock import now
from mulisa.compare.measure import FAILURES, Call
from mulisa.compare.metrics import SPEAK_TO_ONE, STOP_HEARING, Topology
from mulisa.compare.scenario import MULISA, TYPED_FOR_LONG
from mulisa.compare.server import udp_ports
from mulisa.compare.speech import INTERRUPTS
from mulisa.compare.venue import Change

AFTERWARDS: Final = 0.4
"""Seconds in which a packet that is late would come."""
BEFORE: Final = 0.5
"""Seconds in which who is heard sends packets."""


_FEW_PACKETS: Final = 0.1
"""Seconds in which who hears her gets some."""
_WISHES: Final[Mapping[Topology, Collection[str]]] = {
    "mesh": ("offer",),
    "sfu": ("subscription", "subscription_permission"),
    "mediasoup": ("pauseConsumer", "setListeners"),
}
_OPERATIONS: Final[Mapping[Topology, str]] = {
    "mesh": "connections that she renegotiates, or on which she stops sending",
    "sfu": "wishes that she sends to the SFU",
    "mediasoup": "requests that she makes",
}
_MESSAGES: Final[Mapping[Topology, str]] = {
    "mesh": "on all sockets, with those that show the change to everybody",
    "sfu": "on all sockets, with those that show the change to everybody",
    "mediasoup": "on all sockets, with those that show that she answers aloud",
}


async def changes(call: Call) -> None:
    """Each kind of change, several times; each is taken back."""
    try:
        for _ in range(call.plan.changes):
            await _stop_hearing(call)
        await _speak_to_one(call)
    except (*FAILURES, asyncio.CancelledError):
        with suppress(*FAILURES):  # what failed must not spoil what is measured next
            await call.venue.take_back(call.room, call.people[0])
        raise


async def _stop_hearing(call: Call) -> None:
    """The first person, while all send packets: what still comes to her of theirs is late."""
    person = call.people[0]
    change = await call.venue.hear(call.room, person, on=False)
    await asyncio.sleep(AFTERWARDS)
    _book(call, STOP_HEARING, change, _asked(call, change))
    if call.capture is not None and call.mulisa is not None:
        late = _late_to_her(call, change)
        call.book.add("control", "packets_after_acknowledgement", [late], STOP_HEARING)
    await call.venue.hear(call.room, person, on=True)
    await asyncio.sleep(BEFORE)


async def _speak_to_one(call: Call) -> None:
    """While she speaks to all, as often as her answers are long enough."""
    left = call.plan.changes
    for _ in range(left):
        asked = await call.people[0].write(TYPED_FOR_LONG)
        for person in call.people:
            await first_after(person, asked, PATIENCE)
        while left and await _is_speaking(call):
            left -= await _narrow(call)
        await call.people[-1].say(INTERRUPTS)  # the rest of her answer is not needed
        await asyncio.gather(*(over(person, asked) for person in call.people))
        if not left:
            return


async def _is_speaking(call: Call) -> bool:
    spans = await call.people[0].heard(MULISA)
    return bool(spans) and spans[-1][1] is None


async def _narrow(call: Call) -> bool:
    """Nothing may come to the others once it holds; False if nothing came to them before."""
    chosen, *others = call.people
    if not await _are_reached(others):
        return False
    change = await call.venue.speak_to(call.room, chosen, only=True)
    before = await _packets(others)
    await asyncio.sleep(AFTERWARDS)
    after = await _packets(others)
    ended = sum(a == b for a, b in zip(before, after, strict=True))
    operations = ended if call.plan.topology == "mesh" else _asked(call, change)
    _book(call, SPEAK_TO_ONE, change, operations)
    late = sum(after) - sum(before)
    call.book.add("control", "packets_after_acknowledgement", [late], SPEAK_TO_ONE)
    await call.venue.speak_to(call.room, chosen, only=False)
    await asyncio.sleep(BEFORE)
    return True


async def _are_reached(people: Sequence[Person]) -> bool:
    """Whether packets of hers come to each of them just now, and not only to some."""
    before = await _packets(people)
    await asyncio.sleep(_FEW_PACKETS)
    return all(a < b for a, b in zip(before, await _packets(people), strict=True))


async def _packets(people: Sequence[Person]) -> list[int]:
    return [await person.packets_of(MULISA) for person in people]


def _asked(call: Call, change: Change) -> int:
    """How often she asked for a change: an offer in the mesh, a wish on an SFU."""
    kinds = _WISHES[call.plan.topology]
    said = call.venue.signalling.since(change.asked)
    return sum(x.kind in kinds and (x.who, x.way) == (MULISA, "up") for x in said)


def _book(call: Call, condition: str, change: Change, operations: int) -> None:
    add = call.book.add
    add("control", "operations", [operations], condition, note=_OPERATIONS[call.plan.topology])
    add("control", "time_until_it_holds", [1000 * (change.held - change.asked)], condition)
    messages, note = call.venue.signalling.since(change.asked), _MESSAGES[call.plan.topology]
    add("control", "signalling_messages", [len(messages)], condition, note=note)


def _late_to_her(call: Call, change: Change) -> int:
    """Packets, after it held, of the stream that no longer comes at the end."""
    assert call.capture is not None and call.mulisa is not None
    ports = udp_ports(call.mulisa.pid)

    def ssrcs(since: float, until: float) -> list[int]:
        seen = call.capture.between(since, until) if call.capture else []
        return [p.ssrc for p in seen if p.ssrc is not None and p.target in ports]

    before = ssrcs(change.asked - BEFORE, change.asked)
    ended = set(before) - set(ssrcs(change.held + AFTERWARDS / 2, now()))
    return sum(ssrc in ended for ssrc in ssrcs(change.held, now()))
