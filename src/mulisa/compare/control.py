"""Row 5: to stop hearing one person, and to speak to one only."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import aiohttp

from mulisa.compare.answering import first_after, over
from mulisa.compare.measure import MULISA, Call, now
from mulisa.compare.metrics import SPEAK_TO_ONE, STOP_HEARING
from mulisa.compare.scenario import TYPED_FOR_LONG
from mulisa.compare.server import udp_ports

AFTERWARDS: Final = 0.4
"""Seconds in which a packet that is late would come."""
BEFORE: Final = 0.5
"""Seconds in which who is heard sends packets."""


async def changes(call: Call) -> None:
    """Each kind of change, several times; each is taken back."""
    try:
        for _ in range(call.plan.changes):
            await _stop_hearing(call)
        await _speak_to_one(call)
    finally:
        with suppress(aiohttp.ClientError):  # what failed must not spoil what is measured next
            await call.route(hear={call.people[0].identity: True}, speak_to=None)


async def _stop_hearing(call: Call) -> None:
    """The first person, while all send packets: what still comes to her of theirs is late."""
    person = call.people[0]
    begin = now()
    took = await call.route(hear={person.identity: False})
    held = now()
    await asyncio.sleep(AFTERWARDS)
    _book(call, STOP_HEARING, took, begin, held)
    if call.capture is not None and call.mulisa is not None:
        late = _late_to_her(call, begin, held)
        call.book.add("control", "packets_after_acknowledgement", [late], STOP_HEARING)
    await call.route(hear={person.identity: True})
    await asyncio.sleep(BEFORE)


async def _speak_to_one(call: Call) -> None:
    """While she speaks to all, as often as her answers are long enough."""
    left = call.plan.changes
    for _ in range(left):
        asked = await call.people[0].write(TYPED_FOR_LONG)
        for person in call.people:
            await first_after(person, asked)
        while left and await _is_speaking(call):
            await _narrow(call)
            left -= 1
        await asyncio.gather(*(over(person, asked) for person in call.people))
        if not left:
            return


async def _is_speaking(call: Call) -> bool:
    spans = await call.people[0].heard(MULISA)
    return bool(spans) and spans[-1][1] is None


async def _narrow(call: Call) -> None:
    """Nothing may come to the others once it holds."""
    chosen, *others = call.people
    begin = now()
    took = await call.route(speak_to=[chosen.identity])
    held = now()
    before = [await person.packets_of(MULISA) for person in others]
    await asyncio.sleep(AFTERWARDS)
    after = [await person.packets_of(MULISA) for person in others]
    _book(call, SPEAK_TO_ONE, took, begin, held)
    late = sum(after) - sum(before)
    call.book.add("control", "packets_after_acknowledgement", [late], SPEAK_TO_ONE)
    await call.route(speak_to=None)
    await asyncio.sleep(BEFORE)


def _book(call: Call, condition: str, took: float, begin: float, held: float) -> None:
    messages = call.signalling.since(begin, held)
    call.book.add("control", "time_until_it_holds", [1000 * took], condition)
    call.book.add("control", "signalling_messages", [len(messages)], condition)


def _late_to_her(call: Call, begin: float, held: float) -> int:
    """Packets, after it held, of the stream that no longer comes at the end."""
    assert call.capture is not None and call.mulisa is not None
    ports = udp_ports(call.mulisa.pid)

    def ssrcs(since: float, until: float) -> list[int]:
        seen = call.capture.between(since, until) if call.capture else []
        return [p.ssrc for p in seen if p.ssrc is not None and p.target in ports]

    ended = set(ssrcs(begin - BEFORE, begin)) - set(ssrcs(held + AFTERWARDS / 2, now()))
    return sum(ssrc in ended for ssrc in ssrcs(held, now()))
