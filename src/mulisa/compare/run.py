"""The whole comparison: one call after the other, then `result.json` and the report."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
import psutil  # type: ignore[import-untyped]
from playwright.async_api import Browser
from playwright.async_api import Error as PlaywrightError

from mulisa.compare import answering, control, effort, joining, probe, traffic
from mulisa.compare.browser import browser_at, chromium
from mulisa.compare.capture import Capture, capturing
from mulisa.compare.machine import machine, stacks, versions
from mulisa.compare.measure import MULISA, Book, Call
from mulisa.compare.metrics import ROWS, RowName
from mulisa.compare.result import SCHEMA, Figure, Note, Options, Result
from mulisa.compare.scenario import VOICES, Plan, plans
from mulisa.compare.server import keys, server
from mulisa.compare.signalling import Signalling, tapped
from mulisa.compare.speech import speeches
from mulisa.core.audio import Samples
from mulisa.core.errors import MulisaError

Say = Callable[[str], None]
_NOT_YET: Final[dict[RowName, str]] = {
    "nats": "not measured: networks with NATs are not part of this comparison yet",
    "impairment": "not measured: bad networks are not part of this comparison yet",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a call's measuring."""

    says: str
    rows: tuple[RowName, ...]
    measure: Callable[[Call], Awaitable[None]]


_STAGES: Final = (
    Stage("her voice to everybody", ("injection",), answering.sentences),
    Stage("connections", ("connections",), traffic.connections),
    Stage("bandwidth and CPU", ("bandwidth", "scalability"), traffic.bandwidth),
    Stage("who hears whom", ("control",), control.changes),
    Stage("joins and leaves", ("churn",), joining.visits),
    Stage("answers and pauses", ("response",), answering.turns),
)


@dataclass(frozen=True, slots=True)
class Tools:
    """What all calls share."""

    browser: Browser
    browser_pid: int
    speech: dict[str, dict[str, Samples]]
    capture: Capture | None
    say: Say


async def compare(command: str, sizes: Sequence[int], *, full: bool, say: Say) -> Result:
    """Measure everything; `say` is told what is being done.

    Raises ConfigError for what is missing on this machine, MulisaError if nothing came of it.
    """
    began = asyncio.get_running_loop().time()
    calls = plans(sizes, full=full)
    figures: list[Figure] = []
    notes = [Note(row, why) for row, why in _NOT_YET.items()]
    async with AsyncExitStack() as stack:
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        browser = await stack.enter_async_context(browser_at(chromium()))
        pid = _browser_pid(before)
        say("people rehearse what they will say")
        speech = await speeches(VOICES[: max(sizes)])
        capture = stack.enter_context(capturing())
        if capture is None:
            notes.append(Note(None, "without root nothing was seen on the wire itself"))
        tools = Tools(browser, pid, speech, capture, say)
        codec = ""
        for number, plan in enumerate(calls, start=1):
            where = f"{number} of {len(calls)}: {plan.topology}, {plan.participants} people"
            book, found = await _call(plan, tools, where)
            codec = codec or found
            figures += book.figures()
            notes += [note for note in book.notes if note not in notes]
        about = versions(browser.version)
    seconds = asyncio.get_running_loop().time() - began
    return Result(
        schema=SCHEMA,
        created_at=datetime.now(UTC),
        options=Options(command, tuple(sorted(set(sizes))), full, round(seconds, 1)),
        machine=machine(),
        versions=about,
        stacks=stacks(codec),
        figures=tuple(sorted(figures, key=_place)),
        notes=tuple(notes),
    )


_ORDER: Final = {row.name: place for place, row in enumerate(ROWS)}


def _place(figure: Figure) -> tuple[int, str, int, str]:
    return _ORDER[figure.row], figure.metric, figure.participants, figure.topology


def _browser_pid(before: set[int]) -> int:
    """The browser's main process: the child that came with it and has descendants of its own."""
    children = [c for c in psutil.Process().children(recursive=True) if c.pid not in before]
    main = [
        c for c in children if "--headless=new" in c.cmdline() and "--type=" not in str(c.cmdline())
    ]
    if not main:
        raise MulisaError("the browser's process is not found")
    return int(main[0].pid)


async def _call(plan: Plan, tools: Tools, where: str) -> tuple[Book, str]:
    """One call from its first person to its end; what was found, and the codec."""
    book = Book(plan.topology, plan.participants)
    if tools.capture:
        tools.capture.forget()
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = keys()
        running, direct = await stack.enter_async_context(server(data, environment))
        signalling = Signalling()
        url = await stack.enter_async_context(tapped(direct, signalling))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        call = Call(
            plan=plan,
            browser=tools.browser,
            speech=tools.speech,
            url=url,
            direct_url=direct,
            signalling=signalling,
            capture=tools.capture,
            server=running,
            browser_pid=tools.browser_pid,
            http=http,
            book=book,
        )
        stack.push_async_callback(_all_go, call)
        tools.say(f"{where}: people come in")
        await _people_come(call)
        book.end_stage(())
        effort.effort(call)
        tools.say(f"{where}: Mulisa joins")
        await joining.add_mulisa(call, stack, data, environment)
        book.end_stage(("joining",))
        for person in call.people:
            await person.listen(MULISA)
        for stage in _STAGES:
            tools.say(f"{where}: {stage.says}")
            await _measured(stage, call)
        codecs = [each.codec for each in await probe.read(call.people[0])]
        return book, next(filter(None, codecs), "")


async def _measured(stage: Stage, call: Call) -> None:
    """A stage that fails is told of, and the others go on."""
    try:
        await stage.measure(call)
    except (MulisaError, PlaywrightError, aiohttp.ClientError, TimeoutError) as error:
        text = f"not all measured ({call.room}): {error}"
        for row in stage.rows:
            call.book.remark(row, text[:400])
    call.book.end_stage(stage.rows)


async def _people_come(call: Call) -> None:
    for voice in call.plan.people:
        person = await call.enter(voice.name)
        call.people.append(person)
        await person.load(call.speech[voice.name])
    await call.connected(call.people)


async def _all_go(call: Call) -> None:
    for person in call.people:
        await person.page.context.close()
