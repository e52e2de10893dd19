"""The whole comparison: one call after the other, then `result.json` and the report."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
from playwright.async_api import Browser

from mulisa.compare import calls, impairment, nats
from mulisa.compare.browser import browser_at, chromium, report_unhandled
from mulisa.compare.calls import Say, check_wanted, why
from mulisa.compare.capture import Capture, capturing
from mulisa.compare.ledger import Keep, Ledger
from mulisa.compare.load import Loads, watching
from mulisa.compare.machine import versions
from mulisa.compare.measure import FAILURES, Bench, Call, RowRunner
from mulisa.compare.metrics import COMPARED, NAMES, ROW_OF, RowName, Topology
from mulisa.compare.scenario import VOICES, Plan, plans
from mulisa.compare.speech import speeches
from mulisa.compare.venue import Venue, gateway, mediasoup
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
_WITHOUT_A_GATEWAY: Final[dict[RowName, str]] = {
    "joining": "On mediasoup nobody asks her to come: her times are from when she is let in.",
    "control": "On mediasoup people ask her in writing, since there is no operator; timed is her "
    "own request to the server, until its answer.",
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
    venues: Mapping[Topology, Venue]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be compared."""

    command: str
    """By which the same can be had again."""
    sizes: Sequence[int]
    """Numbers of people."""
    full: bool = False
    mediasoup: str = ""
    """Address of an application on mediasoup, as a further SFU."""

    @property
    def topologies(self) -> tuple[Topology, ...]:
        """In the order of measuring."""
        return (*COMPARED, "mediasoup") if self.mediasoup else COMPARED


async def compare(wanted: Wanted, *, say: Say, keep: Keep) -> None:
    """Measure everything. `say` is told what is being done, `keep` all that was found so far.

    Raises ConfigError for what is missing on this machine, MulisaError if nothing came of it.
    """
    asyncio.get_running_loop().set_exception_handler(report_unhandled)
    try:
        await _compare(wanted, say, keep)
    except FAILURES as error:
        check_wanted(error)
        raise


async def _compare(wanted: Wanted, say: Say, keep: Keep) -> None:
    say("people rehearse what they will say")
    async with _tools(wanted) as tools:
        found = versions(tools.browser.version)
        ledger = Ledger(wanted.command, wanted.sizes, wanted.full, found)
        if tools.capture is None:
            ledger.remark(None, _NO_CAPTURE)
        if "mediasoup" in tools.venues:
            for row, text in _WITHOUT_A_GATEWAY.items():
                ledger.remark(row, text)
        all_plans = plans(wanted.sizes, wanted.topologies, full=wanted.full)
        await _calls(all_plans, tools, ledger, say, keep)
    if wanted.full:
        await _networks(tools.speech, wanted.sizes, ledger, say, keep)
    else:
        for row, reason in _WITHOUT.items():
            ledger.remark(row, reason)
    ledger.is_whole = True
    keep(ledger.result())


async def _calls(
    all_plans: Sequence[Plan], tools: Tools, ledger: Ledger, say: Say, keep: Keep
) -> None:
    """A call that fails is told of; what it found before stays. Raises MulisaError if all do."""
    failed = 0
    for number, plan in enumerate(all_plans, start=1):
        where = f"{number} of {len(all_plans)}: {NAMES[plan.topology]}, {plan.participants} people"

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
        venue=tools.venues[plan.topology],
        capture=tools.capture,
        loads=tools.loads,
        browser_pid=tools.browser_pid,
        book=ledger.open(plan.topology, plan.participants),
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
async def _tools(wanted: Wanted) -> AsyncIterator[Tools]:
    """Browser, servers, voices and instruments; they are there until the block ends."""
    async with AsyncExitStack() as stack:
        venues = await _venues(wanted, stack)
        rehearsing = asyncio.create_task(speeches(VOICES[: max(wanted.sizes)]), name="speeches")
        stack.push_async_callback(_ended, rehearsing)
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        browser = await stack.enter_async_context(browser_at(chromium()))
        yield Tools(
            browser=browser,
            browser_pid=_browser_pid(before),
            speech=await rehearsing,
            capture=stack.enter_context(capturing()),
            loads=await stack.enter_async_context(watching()),
            venues=venues,
        )


async def _venues(wanted: Wanted, stack: AsyncExitStack) -> dict[Topology, Venue]:
    """Servers that run until `stack` ends."""
    data = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    talking_room = await stack.enter_async_context(gateway(data))
    venues: dict[Topology, Venue] = dict.fromkeys(COMPARED, talking_room)
    if wanted.mediasoup:
        application = mediasoup(wanted.mediasoup, data)
        venues["mediasoup"] = await stack.enter_async_context(application)
    return venues


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
