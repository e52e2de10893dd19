"""Rows 4 and 11: her voice to everybody, how soon she answers, and how soon she pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from mulisa.compare.browser import PATIENCE, Person, Span, WaitedInVain, until
from mulisa.compare.capture import Packet
from mulisa.compare.clock import now
from mulisa.compare.measure import Call
from mulisa.compare.scenario import MULISA, TYPED
from mulisa.compare.server import cpu_shares, udp_ports
from mulisa.compare.speech import ASKS, INTERRUPTS

ANSWER_TIME: Final = 12.0
"""Seconds after which a question has not been understood."""
MOST_MISSED: Final = 2
"""Questions without an answer, after which this size is asked no more."""
OVER: Final = 1.2
"""Seconds of silence after which an answer is over."""
SPEAKS_ON: Final = 0.6
"""Seconds that she has spoken when she is interrupted."""
_REST: Final = 0.35
"""Of a core, for hearing silence."""
_LOOK: Final = 0.5
_MOST_WORK: Final = 15.0
"""Seconds."""
_NO_CAPTURE: Final = "packets that she sends are counted on the wire, which needs root"


async def sentences(call: Call) -> None:
    """She is asked in writing, so nothing is waited for but her voice."""
    await _has_understood(call)
    for _ in range(call.plan.sentences):
        asked = await call.people[0].write(TYPED)
        firsts = [await first_after(person, asked, PATIENCE) for person in call.people]
        ends = [await over(person, asked) for person in call.people]
        delays = [1000 * (first - asked) for first in firsts]
        call.book.add(
            "injection", "text_to_ear", delays, note="from the key that sent the question"
        )
        spread = max(delays) - min(delays)
        call.book.add("injection", "spread_between_listeners", [spread])
        _count_packets(call, asked, max(ends))


async def turns(call: Call) -> None:
    """She is asked aloud by one, and interrupted by another."""
    missed, wanted = 0, call.plan.turns
    for turn in range(wanted + MOST_MISSED):
        if turn - missed == wanted or missed == MOST_MISSED:
            break
        asker = call.people[turn % len(call.people)]
        other = call.people[(turn + 1) % len(call.people)]
        spans = await asker.say(ASKS)
        end = _end_of(spans)
        try:
            firsts = [await first_after(person, end) for person in call.people]
        except WaitedInVain:
            missed += 1
            continue
        delays = [1000 * (first - end) for first in firsts]
        call.book.add("response", "response_latency", delays)
        call.book.add("response", "spread_between_listeners", [max(delays) - min(delays)])
        await asyncio.sleep(max(0.0, max(firsts) + SPEAKS_ON - now()))
        onset = (await other.say(INTERRUPTS))[0][0]
        call.book.add("response", "pause_latency", await _pauses(call, onset))
        await asyncio.gather(*(over(person, onset) for person in call.people))
    if missed:
        text = f"questions that she did not answer in {ANSWER_TIME:.0f} s: {missed} ({call.room})"
        call.book.remark("response", text)


async def _has_understood(call: Call) -> None:
    """Wait until her engines rest from what all said while she joined; not for ever."""
    assert call.mulisa is not None
    begin = now()
    spent = cpu_shares(call.mulisa.pid)
    while now() - begin < _MOST_WORK:
        await asyncio.sleep(_LOOK)
        later = cpu_shares(call.mulisa.pid)
        if later.since(spent).engines < _REST * _LOOK:
            return
        spent = later


async def first_after(person: Person, begin: float, seconds: float = ANSWER_TIME) -> float:
    """When she was first audible here since then. Raises WaitedInVain."""
    spans = await until(
        lambda: person.heard(MULISA),
        lambda spans: any(span[0] > begin for span in spans),
        f"{person.name} to hear Mulisa",
        seconds,
    )
    return next(span[0] for span in spans if span[0] > begin)


async def over(person: Person, begin: float) -> float:
    """When she was last audible here, once she has been silent for a while."""

    async def silent_since() -> float:
        spans = await person.heard(MULISA)
        if not spans or spans[-1][1] is None:
            return float("inf")
        return spans[-1][1]

    return await until(silent_since, lambda end: now() - end > OVER, "Mulisa to have ended", 40.0)


async def _pauses(call: Call, onset: float) -> list[float]:
    """From the interruption's first sample to her last one, at each who heard her then; ms."""
    await asyncio.sleep(OVER)
    found = [last_before_silence(await person.heard(MULISA), onset) for person in call.people]
    return [1000 * (end - onset) for end in found if end is not None]


def last_before_silence(spans: Sequence[Span], onset: float) -> float | None:
    """The end of the sound that was there at an instant; None if there was none or no end."""
    for begin, end in spans:
        if begin <= onset and end is not None and end > onset:
            return end
    return None


def _end_of(spans: Sequence[Span]) -> float:
    ends = [end for _, end in spans if end is not None]
    return ends[-1] if ends else now()


def _count_packets(call: Call, begin: float, end: float) -> None:
    if call.capture is None or call.mulisa is None:
        call.book.remark("injection", _NO_CAPTURE)
        return
    ports = udp_ports(call.mulisa.pid)
    sent = [p for p in call.capture.between(begin, end) if p.ssrc and p.source in ports]
    if not sent:
        return
    add = call.book.add
    add("injection", "packets_per_sentence", [len(sent)])
    streams = len({packet.ssrc for packet in sent})
    add("injection", "tracks", [streams])
    frames = frames_of(sent)
    add("injection", "packets_per_frame", [len(sent) / frames])
    add("injection", "encodes_per_frame", [encodes(sent) / frames], note=_BY_SIZE)


_BY_SIZE: Final = "packets of different content at one time, told apart by their sizes"


def frames_of(packets: Sequence[Packet]) -> int:
    """How many 20 ms of voice were sent: the packets of the stream that has most."""
    per_stream: dict[int | None, int] = {}
    for packet in packets:
        per_stream[packet.ssrc] = per_stream.get(packet.ssrc, 0) + 1
    return max(per_stream.values(), default=0)


def encodes(packets: Sequence[Packet]) -> int:
    """How often an encoder must have run at least: payloads that differ in size, per frame.

    The n-th packets of all streams, counted from the end, carry the same 20 ms. Sizes are taken
    from the smallest packet of each stream: headers differ, as those of IPv4 and IPv6 do.
    """
    per_stream: dict[int | None, list[int]] = {}
    for packet in packets:
        per_stream.setdefault(packet.ssrc, []).append(packet.length)
    rows = [[each - min(sizes) for each in reversed(sizes)] for sizes in per_stream.values()]
    longest = max(map(len, rows), default=0)
    return sum(len({row[n] for row in rows if n < len(row)}) for n in range(longest))
