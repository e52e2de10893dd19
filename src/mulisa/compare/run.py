"""The whole comparison: one call after the other, then `result.json` and the report."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import psutil  # type: ignore[import-untyped]
from playwright.async_api import Browser

from mulisa.compare import calls, impairment, nats
from mulisa.compare.browser import browser_at, chromium, report_unhandled
from mulisa.compare.calls import FAILURES, Say, check_wanted, why
from mulisa.compare.capture import Capture, capturing
from mulisa.compare.ledger import Keep, Ledger
from mulisa.compare.load import Loads, watching
from mulisa.compare.machine import versions
from mulisa.compare.measure import Bench, Call, RowRunner
from mulisa.compare.metrics import ROW_OF, RowName
from mulisa.compare.scenario import VOICES, Plan, plans
from mulisa.compare.server import Program, keys, server
from mulisa.compare.signalling import Door, Signalling, tapped
from mulisa.compare.speech import speeches
from mulisa.core.audio import Samples
from mulisa.core.errors import MulisaError

_NETWORKS: Final[dict[RowName, RowRunner]] = {
    "nats": nats.measure,
    "impairment": impairment.measure,
}
"""Rows with networks of their own, which take longer."""
_WITHOUT: Final[dict[RowName, str]] = {
    "nats": "networks with NATs are measured with --full.",
    "impairment": "bad networks are measured with --full.",
}
_NO_CAPTURE: Final = "without root nothing was seen on the wire itself"
Speech = dict[str, dict[str, Samples]]


@dataclass(frozen=True, slots=True)
class Tools:
    """What all calls share."""

    browser: Browser
    browser_pid: int
    speech: Speech
    capture: Capture | None
    loads: Loads
    data: Path
    environment: dict[str, str]
    server: Program
    direct_url: str
    url: str
    signalling: Signalling
    door: Door
    http: aiohttp.ClientSession


async def compare(command: str, sizes: Sequence[int], *, full: bool, say: Say, keep: Keep) -> None:
    """Measure everything. `say` is told what is being done, `keep` all that was found so far.

    Raises ConfigError for what is missing on this machine, MulisaError if nothing came of it.
    """
    asyncio.get_running_loop().set_exception_handler(report_unhandled)
    try:
        await _compare(command, sizes, full, say, keep)
    except FAILURES as error:
        check_wanted(error)
        raise


async def _compare(command: str, sizes: Sequence[int], full: bool, say: Say, keep: Keep) -> None:
    say("people rehearse what they will say")
    async with _tools(max(sizes)) as tools:
        ledger = Ledger(command, sizes, full, versions(tools.browser.version))
        if tools.capture is None:
            ledger.remark(None, _NO_CAPTURE)
        await _calls(plans(sizes, full=full), tools, ledger, say, keep)
    if full:
        await _networks(tools.speech, sizes, ledger, say, keep)
    else:
        for row, why in _WITHOUT.items():
            ledger.remark(row, why)
    ledger.is_whole = True
    keep(ledger.result())


async def _calls(
    all_plans: Sequence[Plan], tools: Tools, ledger: Ledger, say: Say, keep: Keep
) -> None:
    """A call that fails is told of; what it found before stays. Raises MulisaError if all do."""
    failed = 0
    for number, plan in enumerate(all_plans, start=1):
        where = f"{number} of {len(all_plans)}: {plan.topology}, {plan.participants} people"

        def tell(doing: str, where: str = where) -> None:
            say(f"{where}: {doing}")
            if ledger.figures:
                keep(ledger.result())

        try:
            await _call(plan, tools, ledger, tell)
        except FAILURES as error:
            check_wanted(error)
            ledger.remark(None, f"{plan.topology} with {plan.participants} people: {why(error)}")
            failed += 1
            if failed == len(all_plans):
                raise MulisaError(f"nothing could be measured: {why(error)}") from error


async def _call(plan: Plan, tools: Tools, ledger: Ledger, say: Say) -> None:
    """One call with a Mulisa of its own."""
    if tools.capture:
        tools.capture.forget()
    tools.loads.forget()
    call = Call(
        plan=plan,
        browser=tools.browser,
        speech=tools.speech,
        url=tools.url,
        direct_url=tools.direct_url,
        signalling=tools.signalling,
        capture=tools.capture,
        loads=tools.loads,
        door=tools.door,
        server=tools.server,
        browser_pid=tools.browser_pid,
        http=tools.http,
        book=ledger.open(plan.topology, plan.participants),
        data=tools.data,
        environment=tools.environment,
    )
    async with AsyncExitStack() as stack:
        await calls.measure(call, stack, say)


async def _networks(
    speech: Speech, sizes: Sequence[int], ledger: Ledger, say: Say, keep: Keep
) -> None:
    """Rows that need networks of their own; what keeps one from being measured is told instead."""
    for row, runner in _NETWORKS.items():
        title = ROW_OF[row].title.lower()

        def tell(doing: str, title: str = title) -> None:
            say(f"{title}: {doing}")

        def remark(text: str, row: RowName = row) -> None:
            ledger.remark(row, text)

        try:
            ledger.add(await runner(Bench(tuple(sizes), True, speech, tell, remark)))
        except FAILURES as error:
            check_wanted(error)
            remark(why(error))
        keep(ledger.result())


@asynccontextmanager
async def _tools(people: int) -> AsyncIterator[Tools]:
    """Browser, server, voices and instruments; they are there until the block ends."""
    async with AsyncExitStack() as stack:
        rehearsing = asyncio.create_task(speeches(VOICES[:people]), name="speeches")
        stack.push_async_callback(_ended, rehearsing)
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        browser = await stack.enter_async_context(browser_at(chromium()))
        browser_pid = _browser_pid(before)
        data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment, signalling, door = keys(), Signalling(), Door()
        running, direct = await stack.enter_async_context(server(data, environment))
        yield Tools(
            browser=browser,
            browser_pid=browser_pid,
            speech=await rehearsing,
            capture=stack.enter_context(capturing()),
            loads=await stack.enter_async_context(watching()),
            data=data,
            environment=environment,
            server=running,
            direct_url=direct,
            url=await stack.enter_async_context(tapped(direct, signalling, door)),
            signalling=signalling,
            door=door,
            http=await stack.enter_async_context(aiohttp.ClientSession()),
        )


async def _ended(task: asyncio.Task[Speech]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _browser_pid(before: set[int]) -> int:
    """The browser's main process: the child that came with it and has descendants of its own."""
    children = [c for c in psutil.Process().children(recursive=True) if c.pid not in before]
    main = [
        c for c in children if "--headless=new" in c.cmdline() and "--type=" not in str(c.cmdline())
    ]
    if not main:
        raise MulisaError("the browser's process is not found")
    return int(main[0].pid)
