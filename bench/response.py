"""Response and interruption latency at a listener's ear, next to a bare echo in the same room.

    .venv/bin/python bench/response.py                        scripted engines, 100 trials
    .venv/bin/python bench/response.py --engines local        Whisper, concierge, Piper
    .venv/bin/python bench/response.py --topology mesh        without a LiveKit server
    .venv/bin/python bench/response.py --rest 15 --trials 20  each question after a long silence

A person (one process) speaks to Mulisa (`mulisa serve`, two processes) and to an echo participant
(one process), in a mesh room and then in a room of a LiveKit server. A trial is: speak; measure the
echo of the first sample; measure the time from the last audible sample spoken to the first one
heard of Mulisa; speak again while she answers; measure the time from the first audible sample
spoken to the last one heard of her. All clocks are the machine's monotonic one, read by the
person's process alone.

The LiveKit server is the one of --livekit-url (with LIVEKIT_API_KEY and LIVEKIT_API_SECRET), else
one of our own if `make livekit` has built it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import aiohttp
import numpy as np
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench._people import PATIENCE, QUESTIONS, Ear, Microphone, person_in, questions
from bench._report import circumstances, in_milliseconds, write
from bench._servers import Engines, Keys, LiveKit, livekit, running, talking_room

from mulisa.agent.endpointing import EndpointingConfig
from mulisa.core.audio import Samples
from mulisa.core.room import Identity, RoomName, Topology
from mulisa.providers.tones import tone

MULISA, ECHO = Identity("mulisa"), Identity("echo")
ECHO_PROGRAM = Path(__file__).parents[1] / "examples" / "echo" / "echo.py"
STACKS: Mapping[Topology, str] = {
    "mesh": "aiortc at all ends, Opus 20 ms, jitter buffer as aiortc's (4 packets)",
    "sfu": "libwebrtc (livekit SDK) at all ends, Opus 20 ms, jitter buffer as NetEq's",
}
SHOWN = {
    "echo": "echo",
    "response": "response",
    "above_echo_and_endpointing": "response above echo and endpointing",
    "interruption": "interruption to silence",
}


@dataclass
class Figures:
    """Seconds, one per trial."""

    echo: list[float] = field(default_factory=list)
    response: list[float] = field(default_factory=list)
    interruption: list[float] = field(default_factory=list)
    unanswered: int = 0
    uninterrupted: int = 0
    """Answers that had ended before they were interrupted."""


def main() -> None:
    """Measure, print a table, and keep it as JSON if asked."""
    options = parse()
    topologies = options.topology or get_args(Topology)
    with livekit(options.livekit_url) if "sfu" in topologies else nullcontext() as server:
        if server is None and "sfu" in topologies:
            topologies = without_sfu(topologies, is_asked_for=options.topology is not None)
        result = asyncio.run(measure_all(topologies, options, server))
    result |= circumstances("aiortc", "livekit", "mulisa")
    show(result)
    write(result, options.json)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", choices=get_args(Engines), default="scripted")
    parser.add_argument(
        "--topology", type=topologies_of, metavar="T[,T]", help="mesh, sfu or both, which is usual"
    )
    parser.add_argument("--livekit-url", metavar="U", help="of a LiveKit server that runs")
    parser.add_argument("--trials", type=int, default=100, help="at least 100 for a p95")
    parser.add_argument(
        "--rest", type=float, default=0.3, help="seconds from her first sound to the next question"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--small", action="store_true", help="a quick look, no p95 to rely on")
    options = parser.parse_args()
    if options.small:
        options.trials = 10
    return options


def topologies_of(text: str) -> Sequence[Topology]:
    """Those that are named in a flag, in our order. Raises ArgumentTypeError."""
    known: tuple[Topology, ...] = get_args(Topology)
    names = text.split(",")
    if unknown := sorted(set(names) - set(known)):
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return [topology for topology in known if topology in names]


def without_sfu(topologies: Sequence[Topology], *, is_asked_for: bool) -> Sequence[Topology]:
    """What can be measured without a LiveKit server; ends us if that is not what was meant."""
    message = "no LiveKit server here: run `make livekit`, or give --livekit-url"
    if is_asked_for:
        sys.exit(message)
    print(f"{message}; only the mesh is measured", file=sys.stderr)
    return [topology for topology in topologies if topology != "sfu"]


async def measure_all(
    topologies: Sequence[Topology], options: argparse.Namespace, server: LiveKit | None
) -> dict[str, Any]:
    """All topologies, one after the other, with one server and one agent process."""
    keys = server.keys if server else Keys()
    if options.engines == "scripted":
        speeches, last_words = [tone(5, 1.0)], "word 5"  # which bear no full stop
    else:
        speeches, last_words = list(await questions()), QUESTIONS[0]
    silence = EndpointingConfig().required_silence(last_words)
    rows = {}
    with talking_room(options.engines, keys, server.url if server else "") as url:
        for topology in topologies:
            figures = await measure(topology, url, keys, speeches, options)
            rows[topology] = {"stack": STACKS[topology]} | summary(figures, silence)
    return {
        "benchmark": "response",
        "engines": options.engines,
        "endpointing_ms": silence * 1000,
        "rest_s": options.rest,
        "topologies": rows,
        "sfu_to_mesh": ratios(rows),
    }


async def measure(
    topology: Topology,
    url: str,
    keys: Keys,
    speeches: Sequence[Samples],
    options: argparse.Namespace,
) -> Figures:
    """Join a room of this topology as the person, wait until both can be heard, and measure."""
    room = RoomName(f"bench-{topology}")
    admission = await admit(url, room, topology)
    media_url, token = admission["url"], admission["token"]
    echo_token = keys.token(ECHO, room, "agent")
    ears = {MULISA: Ear(), ECHO: Ear()}
    async with AsyncExitStack() as stack:
        stack.enter_context(running(ECHO_PROGRAM, media_url, echo_token, topology))
        person = await stack.enter_async_context(person_in(topology, media_url, token, ears))
        microphone = Microphone(person.send)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        steady = [tasks.create_task(microphone.run())]
        for identity, ear in ears.items():
            steady.append(tasks.create_task(ear.listen(person.heard[identity])))
        await until_heard(microphone, ears[ECHO])
        print(topology, file=sys.stderr)
        figures = await run_trials(microphone, ears, speeches, options.trials, options.rest)
        for task in steady:
            task.cancel()
    return figures


async def admit(url: str, room: RoomName, topology: Topology) -> dict[str, Any]:
    """What the gateway gives somebody who comes to a room of this topology."""
    path = f"{url}/api/rooms/{room}/token"
    async with (
        aiohttp.ClientSession(raise_for_status=True) as http,
        http.post(path, json={"name": "Person", "topology": topology}) as response,
    ):
        admission: dict[str, Any] = await response.json()
    if admission["topology"] != topology:
        sys.exit(f"asked for a room of topology {topology}, got {admission['topology']}")
    return admission


async def until_heard(microphone: Microphone, echo: Ear) -> None:
    """Both directions are open, and what the first sounds set off is over."""
    async with asyncio.timeout(PATIENCE):
        while echo.first is None:
            await microphone.speak(tone(0, 0.1))
            await asyncio.sleep(1.0)
    await asyncio.sleep(2.0)
    echo.reset()


async def run_trials(
    microphone: Microphone,
    ears: Mapping[Identity, Ear],
    speeches: Sequence[Samples],
    trials: int,
    rest: float,
) -> Figures:
    """All trials; the answer to one is interrupted by the next."""
    figures = Figures()
    mulisa, echo = ears[MULISA], ears[ECHO]
    rng = np.random.default_rng(1)
    for trial in range(trials + 1):
        echo.reset()
        onset, end = await microphone.speak(speeches[trial % len(speeches)])
        heard_after_onset = mulisa.last - onset  # she answers only after the end of speech
        mulisa.reset()
        async with asyncio.timeout(PATIENCE):
            figures.echo.append(await echo.heard() - onset)
        if trial and heard_after_onset > 0:
            figures.interruption.append(heard_after_onset)
        elif trial:
            figures.uninterrupted += 1
        if trial == trials:
            break
        try:
            async with asyncio.timeout(PATIENCE):
                figures.response.append(await mulisa.heard() - end)
        except TimeoutError:
            figures.unanswered += 1
        await asyncio.sleep(rest + float(rng.uniform(0, 0.2)))
        print(f"\r{trial + 1} of {trials}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return figures


def summary(figures: Figures, silence: float) -> dict[str, Any]:
    """One topology's row."""
    base = float(np.median(figures.echo)) + silence
    return {
        "echo": in_milliseconds(figures.echo),
        "response": in_milliseconds(figures.response),
        "above_echo_and_endpointing": in_milliseconds([r - base for r in figures.response]),
        "interruption": in_milliseconds(figures.interruption),
        "unanswered": figures.unanswered,
        "uninterrupted": figures.uninterrupted,
    }


def ratios(rows: Mapping[Topology, Mapping[str, Any]]) -> dict[str, float]:
    """Medians on the SFU by those of the mesh; empty if only one was measured."""
    if len(rows) < 2:
        return {}
    return {
        what: round(rows["sfu"][what]["p50_ms"] / rows["mesh"][what]["p50_ms"], 2)
        for what in ("echo", "response", "interruption")
        if all("p50_ms" in row[what] for row in rows.values())
    }


def show(result: Mapping[str, Any]) -> None:
    """As a table."""
    title = f"{result['engines']} engines, endpointing {result['endpointing_ms']:.0f} ms"
    table = Table("", "topology", title=title)
    for column in ("p50 ms", "p95 ms", "max ms", "sfu / mesh"):
        table.add_column(column, justify="right")
    for what, name in SHOWN.items():
        for topology, row in result["topologies"].items():
            cells = [str(row[what].get(f"{figure}_ms", "-")) for figure in ("p50", "p95", "max")]
            ratio = result["sfu_to_mesh"].get(what, "") if topology == "sfu" else ""
            table.add_row(name, topology, *cells, str(ratio))
    console = Console()
    console.print(table)
    for topology, row in result["topologies"].items():
        console.print(
            f"{topology}: {row['response']['trials']} trials, {row['unanswered']} unanswered, "
            f"{row['uninterrupted']} over before they were interrupted"
        )


if __name__ == "__main__":
    main()
