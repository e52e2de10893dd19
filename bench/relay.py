"""One way through an SFU, from a mouth to an ear: the embedded one and a LiveKit server, paired.

    .venv/bin/python bench/relay.py                       100 trials of each, about 8 minutes
    .venv/bin/python bench/relay.py --silences 0          without the words after a silence
    .venv/bin/python bench/relay.py --silence 0.2 1 20    other silences, in seconds
    .venv/bin/python bench/relay.py --stacks embedded     without a LiveKit server

Publishers and subscribers are on the livekit SDK, in this process; the servers are two others. A
trial is a burst of a tone: its delay is the time from when its first audible sample is captured to
when the SDK gives that sample to the subscriber. Trials take turns between the servers.

Words come after a silence, too, of both kinds that there are: an open microphone in which nobody
speaks, and a source that captures nothing (an agent's voice between replies). In the latter the RTP
clock of a libwebrtc publisher stands still, so that packets seem to be late by the whole silence to
the subscriber's jitter buffer, which remembers that for about two seconds. What it makes of that
shows in the first word, or in those after it: three more follow each, half a second apart.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench._people import AUDIBLE, PATIENCE, Ear, person_in
from bench._report import circumstances, in_milliseconds, write
from bench._rtc_servers import STACKS, Sfu, Stack, running, stacks_of

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from mulisa.core.room import Identity
from mulisa.providers.tones import tone

SPEAKER, LISTENER = Identity("speaker"), Identity("listener")
WORD = tone(7, 0.12)

NEXT_WORDS = 3

Before: TypeAlias = Literal["open", "nothing"]
"""How somebody was silent: with an open microphone, or capturing nothing."""
NAMES: Mapping[Before, str] = {"open": "after silence", "nothing": "after no audio at all"}


class Kind(NamedTuple):
    """A word among others, the first one after a silence, or one of those that follow it."""

    before: Before | None = None
    silence: float = 0.0
    is_next: bool = False

    def __str__(self) -> str:
        if self.before is None:
            return "one way"
        words = ", the next words" if self.is_next else ""
        return f"{NAMES[self.before]} for {self.silence:g} s{words}"


SPEAKING = Kind()


class Voice:
    """A microphone that may be open or capture nothing."""

    def __init__(self, send: Callable[[Samples], None]) -> None:
        self.is_open = True
        self._send = send
        self._frames: deque[Samples] = deque()
        self._begun: asyncio.Future[float]

    async def run(self) -> None:
        """Send for ever: 20 ms when they are over."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += FRAME_DURATION
            await asyncio.sleep(due - loop.time())
            if self._frames:
                self._send(self._frames.popleft())
                if not self._begun.done():
                    self._begun.set_result(due - FRAME_DURATION)
            elif self.is_open:
                self._send(silence())

    async def speak(self, speech: Samples) -> float:
        """When the first audible sample was captured."""
        (loud,) = np.nonzero(np.abs(speech.astype(np.int32)) > AUDIBLE)
        whole = np.pad(speech, (0, -len(speech) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        self._begun = asyncio.get_running_loop().create_future()
        self._frames.extend(whole)
        return await self._begun + float(loud[0]) / SAMPLE_RATE_HZ


@dataclass
class Relay:
    """A speaker and a listener in a room of one server."""

    voice: Voice
    ear: Ear
    delays: dict[Kind, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds."""
    unheard: int = 0

    async def try_once(self, kind: Kind) -> None:
        """A word."""
        self.ear.reset()
        spoken_at = await self.voice.speak(WORD)
        try:
            async with asyncio.timeout(PATIENCE):
                self.delays[kind].append(await self.ear.heard() - spoken_at)
        except TimeoutError:
            self.unheard += 1

    async def try_after_silence(self, before: Before, begin: float, silence: float) -> None:
        """Silence from some seconds on, for so many, and words."""
        await asyncio.sleep(begin)
        self.voice.is_open = before == "open"
        await asyncio.sleep(silence)
        await self.try_once(Kind(before, silence))
        self.voice.is_open = True
        for _ in range(NEXT_WORDS):
            await asyncio.sleep(0.5)
            await self.try_once(Kind(before, silence, is_next=True))


def main() -> None:
    """Measure, print a table, and keep it as JSON if asked."""
    options = parse()
    options.stacks = stacks_of(options.stacks)
    with running(options.stacks) as sfus:
        relays = asyncio.run(measure(sfus, options))
    rows = {
        name: {"unheard": relay.unheard}
        | {str(kind): in_milliseconds(seconds) for kind, seconds in relay.delays.items()}
        for name, relay in relays.items()
    }
    result = {
        "benchmark": "relay",
        "stacks": rows,
        "paired": paired(rows),
    }
    show(result)
    write(result | circumstances("livekit", "mulisa"), options.json)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stacks", choices=STACKS, nargs="+", help="all that are here by default")
    parser.add_argument("--trials", type=int, default=100, help="at least 100 for a p95")
    parser.add_argument("--silences", type=int, default=10, help="of either kind and each length")
    parser.add_argument("--silence", type=float, default=[1.5, 5.0], nargs="+", help="seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--small", action="store_true", help="a quick look, no p95 to rely on")
    options = parser.parse_args()
    if options.small:
        options.trials, options.silences = 10, 1
    return options


async def measure(sfus: Mapping[Stack, Sfu], options: argparse.Namespace) -> Mapping[Stack, Relay]:
    """Everything, with both servers in turn."""
    async with AsyncExitStack() as stack:
        relays = {
            name: await stack.enter_async_context(relay_through(sfu)) for name, sfu in sfus.items()
        }
        rng = np.random.default_rng(1)
        for trial in range(options.trials):
            for relay in relays.values():
                await relay.try_once(SPEAKING)
                await asyncio.sleep(0.4 + float(rng.uniform(0, 0.2)))
            print(f"\r{trial + 1} of {options.trials}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        for number in range(options.silences):
            for before, seconds in product(get_args(Before), options.silence):
                await silences(list(relays.values()), before, seconds)
            print(f"{number + 1} of {options.silences} silences", file=sys.stderr)
    return relays


async def silences(relays: Sequence[Relay], before: Before, silence: float) -> None:
    """With all servers at once, their words apart from each other."""
    async with asyncio.TaskGroup() as tasks:
        for number, relay in enumerate(relays):
            tasks.create_task(relay.try_after_silence(before, 4.0 * number, silence))


@asynccontextmanager
async def relay_through(sfu: Sfu) -> AsyncIterator[Relay]:
    """It begins when the listener hears the speaker, and what the first sounds set off is over."""
    url = sfu.url.replace("http", "ws", 1)
    async with AsyncExitStack() as stack:
        speaker = await stack.enter_async_context(
            person_in("sfu", url, sfu.token(SPEAKER, "room"), ())
        )
        listener = await stack.enter_async_context(
            person_in("sfu", url, sfu.token(LISTENER, "room"), {SPEAKER})
        )
        relay = Relay(Voice(speaker.send), Ear())
        tasks = [
            asyncio.create_task(relay.voice.run()),
            asyncio.create_task(relay.ear.listen(listener.heard[SPEAKER])),
        ]
        try:
            while not relay.delays[SPEAKING]:
                await relay.try_once(SPEAKING)
            await asyncio.sleep(2.0)
            relay.delays[SPEAKING].clear()
            yield relay
        finally:
            for task in tasks:
                task.cancel()


def paired(rows: Mapping[Stack, Mapping[str, Any]]) -> dict[str, float]:
    """Medians of the embedded SFU less those of LiveKit, ms; empty unless both were measured."""
    if len(rows) < 2:
        return {}
    ours, theirs = rows["embedded"], rows["livekit"]
    return {
        kind: round(ours[kind]["p50_ms"] - theirs[kind]["p50_ms"], 1)
        for kind in kinds(rows)
        if "p50_ms" in ours.get(kind, {}) and "p50_ms" in theirs.get(kind, {})
    }


def kinds(rows: Mapping[Stack, Mapping[str, Any]]) -> list[str]:
    """All that were tried, in that order."""
    return [kind for kind in next(iter(rows.values())) if kind != "unheard"]


def show(result: Mapping[str, Any]) -> None:
    """As a table."""
    table = Table("", "SFU", title="mouth to ear, one way")
    for column in ("trials", "p50 ms", "p95 ms", "max ms"):
        table.add_column(column, justify="right")
    for kind in kinds(result["stacks"]):
        for stack, row in result["stacks"].items():
            words = row.get(kind, {})
            figures = (words.get(what, "-") for what in ("trials", "p50_ms", "p95_ms", "max_ms"))
            table.add_row(kind, stack, *map(str, figures))
    console = Console()
    console.print(table)
    for stack, row in result["stacks"].items():
        if row["unheard"]:
            console.print(f"{stack}: {row['unheard']} words were not heard")


if __name__ == "__main__":
    main()
