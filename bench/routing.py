"""How long a change of whom Mulisa hears and speaks to takes until it holds, in both topologies.

    .venv/bin/python bench/routing.py                     100 changes of each kind
    .venv/bin/python bench/routing.py --topologies mesh

Two people with open microphones, each a page in Chromium, and Mulisa with scripted engines. A
trial switches one thing off and on again, by turns over the API (`PUT .../routing`, from request
to answer) and on the page (from the click to the moment its switch is no longer busy). After each
answer to "off" is counted what the person's browser still sends to her, packet by packet; in a
mesh there must be none.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias, get_args

import aiohttp
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench._report import circumstances, in_milliseconds, write
from bench._servers import Keys, talking_room
from tests.browser.people import Person, person_in

from mulisa.compare.browser import browser_at, chromium
from mulisa.core.room import Topology

Change: TypeAlias = Callable[[bool], Awaitable[float]]
"""Switches something on or off, and says how many seconds that took."""
ROOM = "routing"
AFTERWARDS = 0.3
"""Seconds in which a packet that is late would come."""
CLICK = """
(element) => new Promise((resolve) => {
  const begin = performance.now();
  let wasBusy = false;
  const look = () => {
    const isBusy = element.getAttribute("aria-busy") === "true";
    if (wasBusy && !isBusy) {
      observer.disconnect();
      resolve((performance.now() - begin) / 1000);
    }
    wasBusy ||= isBusy;
  };
  const observer = new MutationObserver(look);
  observer.observe(element, {attributes: true});
  element.click();
})
"""


def main() -> None:
    """Measure, print a table, and keep it as JSON if asked."""
    options = parse()
    rows = {each: asyncio.run(measure(each, options)) for each in options.topologies}
    result = {"benchmark": "routing", "topologies": rows}
    show(result)
    write(result | circumstances("aiortc", "livekit", "mulisa"), options.json)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known: tuple[Topology, ...] = get_args(Topology)
    parser.add_argument("--topologies", choices=known, nargs="+", default=known)
    parser.add_argument("--trials", type=int, default=100, help="at least 100 for a p95")
    parser.add_argument("--chromium", default=chromium(), metavar="PATH", help="the browser")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--small", action="store_true", help="a quick look, no p95 to rely on")
    options = parser.parse_args()
    if options.small:
        options.trials = 5
    if not options.chromium:
        parser.error("no browser here: run `make`")
    return options


async def measure(topology: Topology, options: argparse.Namespace) -> dict[str, Any]:
    """By what was changed and how; and packets that came after an answer."""
    with talking_room("scripted", Keys()) as url:
        async with browser_at(options.chromium) as browser, aiohttp.ClientSession() as http:
            alice = await person_in(browser, "Alice")
            bob = await person_in(browser, "Bob")
            for person in (alice, bob):
                await person.enter(url, ROOM, f"&topology={topology}")
            for person in (alice, bob):
                await person.mulisa_is("listening")
            await alice.hears_on(await bob.identity())
            return await trials(topology, alice, changes(url, http, alice), options.trials)


def changes(
    url: str, http: aiohttp.ClientSession, alice: Person
) -> dict[str, Callable[[str], Change]]:
    """What can be switched, given Alice's identity."""
    loop = asyncio.get_running_loop()

    async def put(change: dict[str, Any]) -> float:
        begin = loop.time()
        async with http.put(f"{url}/api/rooms/{ROOM}/routing", json=change) as response:
            body = await response.text()
        assert response.status == 200, body
        return loop.time() - begin

    async def click(_: bool) -> float:
        took: float = await alice.page.get_by_test_id("ears").evaluate(CLICK)
        return took

    return {
        "hear, API": lambda identity: lambda on: put({"hear": {identity: on}}),
        "hear, page": lambda _: click,
        "speak to, API": lambda _: lambda on: put({"speak_to": None if on else []}),
    }


async def trials(
    topology: Topology, alice: Person, ways: dict[str, Callable[[str], Change]], count: int
) -> dict[str, Any]:
    """The first is not counted."""
    identity = await alice.identity()
    took: dict[str, list[float]] = defaultdict(list)
    late = 0
    for trial in range(count + 1):
        for name, way in ways.items():
            change = way(identity)
            off = await change(False)
            if topology == "mesh" and name.startswith("hear"):
                late += await packets_that_leave(alice)
            on = await change(True)
            if trial:
                took[f"{name}, off"].append(off)
                took[f"{name}, on"].append(on)
        print(f"\r{topology}: {trial} of {count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    measured: dict[str, Any] = {name: in_milliseconds(times) for name, times in took.items()}
    return measured | ({"packets_after_the_answer": late} if topology == "mesh" else {})


async def packets_that_leave(alice: Person) -> int:
    """Of hers to Mulisa, after the answer said that none does."""
    before = await alice.packets_to("mulisa")
    await asyncio.sleep(AFTERWARDS)
    return await alice.packets_to("mulisa") - before


def show(result: dict[str, Any]) -> None:
    """As a table."""
    table = Table(title="until a change of routing holds, ms")
    for column in ("topology", "change", "p50", "p95", "longest"):
        table.add_column(column)
    for topology, rows in result["topologies"].items():
        for name, row in rows.items():
            if isinstance(row, dict):
                figures = (str(row.get(key, "")) for key in ("p50_ms", "p95_ms", "max_ms"))
                table.add_row(topology, name, *figures)
            else:
                table.add_row(topology, name, str(row))
    Console().print(table)


if __name__ == "__main__":
    main()
