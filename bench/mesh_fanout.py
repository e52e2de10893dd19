"""What a mesh costs her: CPU of speaking to so many peers and of hearing them, and memory.

    .venv/bin/python bench/mesh_fanout.py              1, 4, 8 peers; about 2 minutes
    .venv/bin/python bench/mesh_fanout.py --profile    and on what the time is spent

People are `MeshTransport`s in a process of their own, so what is measured is hers alone. CPU is
counted per packet, and stated as a share of a core at 50 packets a second: a machine that is busy
with other things then measures the same.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import io
import pstats
import sys
import time
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench._mesh import HER, People, hum, ignore, paced, transport, until_connected
from bench._report import circumstances, write

from mulisa.core.audio import FRAME_DURATION
from mulisa.core.room import Identity
from mulisa.core.transport import Transport
from mulisa.transport.mesh.transport import MeshTransport

PACKETS_PER_SECOND = 50
TARGET_PER_PEER = 0.6
"""Percent of a core for one more listener."""
KIB = 1024


@dataclass(frozen=True)
class Row:
    """Her process with so many peers; CPU is in percent of a core."""

    peers: int
    idle: float
    """Nobody speaks."""
    speaking: float
    """More than idle, for all of them together."""
    encodes_per_frame: float
    packets_per_frame: float
    hearing_one: float
    """More than idle, for each who speaks."""
    memory: float
    """KiB for each peer, from before they came."""


def main() -> None:
    """Measure, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--small", action="store_true", help="a quick look")
    options = parser.parse_args()
    if options.small:
        options.peers, options.seconds = [1, 2], 2.0
    rows = asyncio.run(measure(options.peers, options.seconds, profile=options.profile))
    result = {
        "benchmark": "mesh_fanout",
        **circumstances("aiortc", "av", "pylibsrtp", "mulisa"),
        "seconds": options.seconds,
        "rows": [asdict(row) for row in rows],
        "per_extra_peer": per_extra_peer(rows),
        "target_per_extra_peer": TARGET_PER_PEER,
    }
    show(rows)
    write(result, options.json)


async def measure(numbers: Sequence[int], seconds: float, *, profile: bool) -> list[Row]:
    """One row for each number of peers, after one that is thrown away: it pays for imports."""
    await measure_row(1, 0.5)
    rows = []
    for number in numbers:
        profiler = cProfile.Profile() if profile and number == numbers[-1] else None
        rows.append(await measure_row(number, seconds, profiler))
        if profiler is not None:
            print(report_of(profiler))
    return rows


async def measure_row(
    n_peers: int, seconds: float, profiler: cProfile.Profile | None = None
) -> Row:
    """Idle, then she speaks, then they speak."""
    async with AsyncExitStack() as stack:
        people = await stack.enter_async_context(People(n_peers))
        memory = resident()
        her = await stack.enter_async_context(transport(people.url, HER, "agent"))
        await until_connected(her, n_peers)
        everybody = [Identity(f"p{i}") for i in range(n_peers)]
        reading = [asyncio.create_task(ignore(her, each)) for each in everybody]
        stack.callback(lambda: [task.cancel() for task in reading])
        idle = await cpu(asyncio.sleep(seconds)) / seconds
        encoded, sent = her._voice.frames_encoded, packets_sent(her, everybody)
        if profiler:
            profiler.enable()
        begin = time.perf_counter()
        speaking = await cpu(speak(her, seconds))
        speaking -= idle * (time.perf_counter() - begin)
        encoded = her._voice.frames_encoded - encoded
        sent = packets_sent(her, everybody) - sent
        spoken = round(seconds * PACKETS_PER_SECOND)
        await people.tell("talk")
        await asyncio.sleep(1.0)
        received = packets_received(her, everybody)
        hearing = await cpu(asyncio.sleep(seconds)) - idle * seconds
        received = packets_received(her, everybody) - received
        if profiler:
            profiler.disable()
        grown = (resident() - memory) / n_peers
    return Row(
        n_peers,
        round(100 * idle, 2),
        round(100 * speaking / encoded * PACKETS_PER_SECOND, 2),
        round(encoded / spoken, 2),
        round(sent / encoded, 2),
        round(100 * hearing / received * PACKETS_PER_SECOND, 2),
        round(grown / KIB),
    )


def per_extra_peer(rows: Sequence[Row]) -> float | None:
    """Percent of a core that one more listener costs, from the fewest to the most peers."""
    few, many = rows[0], rows[-1]
    if few.peers == many.peers:
        return None
    return round((many.speaking - few.speaking) / (many.peers - few.peers), 3)


async def speak(her: MeshTransport, seconds: float) -> None:
    """She speaks for so long."""
    frames = hum(50)
    async for i in paced():
        if i * FRAME_DURATION >= seconds:
            return
        her.send_frame(frames[i % 50])


async def cpu(work: Awaitable[object]) -> float:
    """Seconds of CPU that this process uses while this goes on."""
    begin = time.process_time()
    await work
    return time.process_time() - begin


def packets_sent(her: MeshTransport, to: Sequence[Identity]) -> int:
    """As aiortc's senders count them."""
    total = 0
    for identity in to:
        pair = her._pair_of(identity)
        assert pair is not None and pair._peer is not None
        sender = pair._peer._audio.sender
        total += getattr(sender, "_RTCRtpSender__packet_count")  # noqa: B009
    return total


def packets_received(her: Transport, of: Sequence[Identity]) -> int:
    """From all of them."""
    return sum(her.stats(identity).packets_received for identity in of)


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    size: int = psutil.Process().memory_info().rss
    return size


def report_of(profiler: cProfile.Profile) -> str:
    """The functions in which most of the time is spent."""
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(35)
    return text.getvalue()


def show(rows: Sequence[Row]) -> None:
    """As a table."""
    console = Console()
    table = Table(title="her process: CPU in % of a core")
    for name in ("peers", "idle", "speaking", "encodes", "packets", "hearing one", "KiB a peer"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(str(value) for value in asdict(row).values()))
    console.print(table)
    if (extra := per_extra_peer(rows)) is not None:
        console.print(f"one more listener: {extra} % of a core (target: {TARGET_PER_PEER})")


if __name__ == "__main__":
    main()
