"""One call from its first person to its end, stage by stage."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from mulisa.compare import answering, control, effort, joining, probe, traffic
from mulisa.compare.clock import now
from mulisa.compare.load import Load, late_percent
from mulisa.compare.measure import FAILURES, Call
from mulisa.compare.metrics import RowName
from mulisa.compare.scenario import MULISA

Say = Callable[[str], None]
_STAGE_TIME: Final = 300.0
"""Seconds after which something hangs: three times what a stage with many trials takes."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a call's measuring."""

    says: str
    rows: tuple[RowName, ...]
    measure: Callable[[Call], Awaitable[None]]


_STAGES: Final = (
    Stage("her voice to everybody", ("injection",), answering.sentences),
    Stage(
        "connections, bandwidth and CPU",
        ("connections", "bandwidth", "scalability"),
        traffic.traffic,
    ),
    Stage("who hears whom", ("control",), control.changes),
    Stage("joins and leaves", ("churn",), joining.visits),
    Stage("answers and pauses", ("response",), answering.turns),
)


async def measure(call: Call, stack: AsyncExitStack, say: Say) -> None:
    """All stages; people and Mulisa stay until `stack` ends."""
    stack.push_async_callback(_all_go, call)
    say("people come in")
    effort.effort(call)
    await joining.start_mulisa(call, stack)
    async with asyncio.timeout(_STAGE_TIME):
        await _people_come(call)
    say("Mulisa joins")
    async with asyncio.timeout(_STAGE_TIME):
        begin = await joining.add_mulisa(call)
    call.book.end_stage(("joining",), await _load(call, begin))
    for person in call.people:
        await person.listen(MULISA)
    for stage in _STAGES:
        say(stage.says)
        await _measured(stage, call)


async def _measured(stage: Stage, call: Call) -> None:
    """A stage that fails is told of, and the others go on."""
    begin = now()
    try:
        async with asyncio.timeout(_STAGE_TIME):
            await stage.measure(call)
    except FAILURES as error:
        check_wanted(error)
        text = f"not all measured ({call.room}): {why(error)}"
        for row in stage.rows:
            call.book.remark(row, text[:400])
    call.book.end_stage(stage.rows, await _load(call, begin))


def check_wanted(error: BaseException) -> None:
    """Raises CancelledError if one of `FAILURES` came because the comparison is being ended.

    A terminal's Ctrl-C goes to browser and server, too, and what breaks with them hides the
    cancellation that it came with.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


def why(error: BaseException) -> str:
    """Of one of `FAILURES`, for a reader; a time-out says nothing itself."""
    return str(error) or f"it took more than {_STAGE_TIME:.0f} s"


async def _load(call: Call, begin: float) -> Load:
    """Of the machine, since then."""
    end = now()
    late = [late_percent(await probe.stops(person), begin, end) for person in call.people]
    return call.loads.between(begin, end, max(late, default=0.0))


async def _people_come(call: Call) -> None:
    for voice in call.plan.people:
        person = await call.enter(voice.name)
        call.people.append(person)
        await person.load(call.speech[voice.name])
    await call.connected(call.people)


async def _all_go(call: Call) -> None:
    await asyncio.gather(*(person.page.context.close() for person in call.people))
