"""What a forwarded packet costs an SFU: the embedded one, LiveKit's and mediasoup, in one run.

    .venv/bin/python bench/forward.py                       all sizes; about 10 minutes
    .venv/bin/python bench/forward.py --sizes 1x100 4x50    publishers x subscribers
    .venv/bin/python bench/forward.py --stacks embedded     without other servers

Publishers send 80 bytes of Opus every 20 ms, subscribers hear all of them; nobody is both. They are
bare clients (`bench/_rtc.py`) in this process, with signalling, ICE, DTLS-SRTP, data channels and
reports as SDKs have them; the servers are other processes, fresh for each size. Each size is
measured in rounds, in which one server after the other works while the clients of the other are
connected and silent, so that both meet the same machine.

mediasoup is examples/mediasoup: its worker in C++, and Node for the signalling; its clients speak
protoo and have no data channels.

A figure is all the CPU time that the server's processes used in a round (/proc, user and system) by
the packets that came to subscribers. What did not come is the SFU's loss, or the receivers' if the
kernel dropped it at their sockets. Every fiftieth packet is decrypted and compared with what was
sent. Memory is the growth of the server's resident set by subscribers; the idle cost is the CPU
with all subscribers and no speech, less that with one, by the subscribers between.

It wants Linux, and a machine that does nothing else: a busy one cools our caches, and spares a
LiveKit server most of the wake-ups that it pays for on a quiet one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench._report import circumstances, write
from bench._rtc import PACKET_DURATION, Client, Crowd, kernel_drops
from bench._rtc_link import PROFILES
from bench._rtc_mediasoup import MediasoupClient
from bench._rtc_servers import FORWARDERS, Sfu, Stack, running, stacks_of

SIZES = ("1x10", "1x25", "1x50", "1x100", "4x10", "4x50", "4x100")
TARGETS = dict.fromkeys(SIZES, 40.0) | {"4x50": 50.0, "4x100": 50.0}
"""Percent of what LiveKit's server uses."""
MEMORY_TARGET = 0.5
"""MiB per subscriber."""
IDLE_TARGET = 0.09
"""Percent of a core per subscriber."""
_WARM_UP = 50
"""Packets of each publisher before anything is measured."""
_DRAIN = 0.3
"""Seconds that go on after the last packet came."""


@dataclass
class Round:
    """Some seconds of speech through one server."""

    cpu: float
    """Seconds."""
    took: float
    sent: int
    """Packets of all publishers that our own kernel took."""
    expected: int
    received: int
    lost_by_receivers: int
    """Dropped by the kernel at sockets of subscribers."""
    dropped_at_sfu: int
    """Dropped by the kernel at sockets of the server; these are losses of the SFU."""
    skipped: int
    """Sequence numbers that are missing between the first and the last packet of a stream."""

    @property
    def lost_by_sfu(self) -> int:
        """What neither came nor was dropped at a receiver."""
        return self.expected - self.received - self.lost_by_receivers


@dataclass
class Row:
    """One server at one size."""

    size: str
    stack: Stack
    publishers: int
    subscribers: int
    srtp: str = ""
    memory_before: float = 0.0
    """MiB, with the publishers and one subscriber, who have spoken and heard."""
    memory_after: float = 0.0
    idle_before: float = 0.0
    """Percent of a core."""
    idle_after: float = 0.0
    rounds: list[Round] = field(default_factory=list)
    decrypted: int = 0
    wrong: int = 0
    """Decrypted to what nobody had sent."""
    nacks: int = 0
    """Requests of the server for packets that it missed."""

    def figures(self) -> dict[str, Any]:
        """What it comes to."""
        cpu, received = sum(r.cpu for r in self.rounds), sum(r.received for r in self.rounds)
        others = max(1, self.subscribers - 1)
        return {
            "us_per_packet": round(1e6 * cpu / max(1, received), 2),
            "packets_per_second_and_core": round(received / cpu) if cpu else None,
            "core_percent": round(100 * cpu / sum(r.took for r in self.rounds), 1),
            "lost_by_sfu": sum(r.lost_by_sfu for r in self.rounds),
            "lost_by_receivers": sum(r.lost_by_receivers for r in self.rounds),
            "mib_per_subscriber": round((self.memory_after - self.memory_before) / others, 3),
            "idle_percent_per_subscriber": (
                round((self.idle_after - self.idle_before) / others, 4) if self.idle_after else None
            ),
        }


def main() -> None:
    """Measure, print a table, and keep it as JSON if asked."""
    options = parse()
    options.stacks = stacks_of(options.stacks, FORWARDERS)
    rows = [row for size in options.sizes for row in asyncio.run(measure(size, options))]
    result = {
        "benchmark": "forward",
        "seconds": options.seconds,
        "rounds": options.rounds,
        "rows": [asdict(row) | row.figures() for row in rows],
        "paired": paired(rows),
    }
    show(result)
    write(result | circumstances("mulisa", "pylibsrtp", "numpy"), options.json)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=size_of, nargs="+", default=SIZES, metavar="PxS")
    parser.add_argument(
        "--stacks", choices=FORWARDERS, nargs="+", help="all that are here by default"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each server, in turn")
    parser.add_argument("--seconds", type=float, default=6.0, help="of speech in a round")
    parser.add_argument(
        "--settle", type=float, default=8.0, help="seconds from the last arrival to the first round"
    )
    parser.add_argument(
        "--idle", type=float, default=20.0, help="seconds of silence to measure at sizes 1xN; or 0"
    )
    parser.add_argument(
        "--srtp",
        choices=PROFILES,
        nargs="+",
        default=tuple(PROFILES),
        metavar="P",
        help="what clients offer, as browsers do by default: %(choices)s",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--small", action="store_true", help="a quick look at two sizes")
    options = parser.parse_args()
    if options.small:
        options.sizes, options.rounds, options.seconds = ("1x10", "4x10"), 1, 2.0
        options.settle, options.idle = 1.0, 0.0
    return options


def size_of(text: str) -> str:
    """``PUBLISHERSxSUBSCRIBERS``. Raises ArgumentTypeError."""
    publishers, _, subscribers = text.partition("x")
    if not (publishers.isdecimal() and subscribers.isdecimal() and int(publishers)):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 4x50")
    return text


async def measure(size: str, options: argparse.Namespace) -> list[Row]:
    """One size, on fresh servers."""
    publishers, subscribers = (int(number) for number in size.split("x"))
    rows = {stack: Row(size, stack, publishers, subscribers) for stack in options.stacks}
    with running(options.stacks) as sfus:
        async with AsyncExitStack() as stack:
            crowds = {
                sfu.stack: await stack.enter_async_context(crowd_of(sfu, options.srtp))
                for sfu in sfus.values()
            }
            idles = options.idle if publishers == 1 and subscribers > 1 else 0.0
            for sfu in sfus.values():
                await begin(sfu, crowds[sfu.stack], rows[sfu.stack])
            for sfu in sfus.values():
                rows[sfu.stack].memory_before = sfu.memory()
            for name, cpu in (await idle_cpu(sfus, idles, options.settle)).items():
                rows[name].idle_before = cpu
            for sfu in sfus.values():
                await fill(sfu, crowds[sfu.stack], subscribers)
            for name, cpu in (await idle_cpu(sfus, idles, options.settle)).items():
                rows[name].idle_after = cpu
            await speak_in_turn(sfus, crowds, rows, options)
    return list(rows.values())


def crowd_of(sfu: Sfu, profiles: Sequence[str]) -> Crowd:
    """Clients that speak its language."""
    return Crowd(sfu.url, profiles, MediasoupClient if sfu.stack == "mediasoup" else Client)


async def begin(sfu: Sfu, crowd: Crowd, row: Row) -> None:
    """The publishers and the first subscriber; everything that is loaded late is in use."""
    publishers = [sfu.token(f"publisher-{number}", "room") for number in range(row.publishers)]
    await crowd.join(publishers, is_publisher=True)
    await crowd.join([sfu.token("subscriber-0", "room")], is_publisher=False)
    await crowd.until_all_hear_all()
    row.srtp = crowd.subscribers[0].link.profile


async def fill(sfu: Sfu, crowd: Crowd, subscribers: int) -> None:
    """The other subscribers."""
    tokens = [sfu.token(f"subscriber-{number}", "room") for number in range(1, subscribers)]
    for number, token in enumerate(tokens, 2):
        await crowd.join([token], is_publisher=False)
        print(f"\r{sfu.stack}: {number} of {subscribers}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    await crowd.until_all_hear_all()


async def idle_cpu(sfus: Mapping[Stack, Sfu], seconds: float, settle: float) -> dict[Stack, float]:
    """Percent of a core that each uses while nobody speaks; nothing without time for it."""
    await asyncio.sleep(settle)
    if not seconds:
        return {}
    before, begin_at = {name: sfu.cpu() for name, sfu in sfus.items()}, now()
    await asyncio.sleep(seconds)
    took = now() - begin_at
    return {name: 100 * (sfu.cpu() - before[name]) / took for name, sfu in sfus.items()}


async def speak_in_turn(
    sfus: Mapping[Stack, Sfu],
    crowds: Mapping[Stack, Crowd],
    rows: Mapping[Stack, Row],
    options: argparse.Namespace,
) -> None:
    """All rounds; what was decrypted in them is noted in the end."""
    for crowd in crowds.values():
        await crowd.speak(_WARM_UP)
        await crowd.until_quiet(_DRAIN)
    for number in range(options.rounds):
        for name in list(sfus)[:: -1 if number % 2 else 1]:
            sfu, packets = sfus[name], round(options.seconds / PACKET_DURATION)
            one = await speak(sfu, crowds[name], packets)
            rows[name].rounds.append(one)
            cost = 1e6 * one.cpu / max(1, one.received)
            print(
                f"{rows[name].size} {name}, round {number + 1}: {cost:.1f} us per packet, "
                f"{one.lost_by_sfu} of {one.expected} lost",
                file=sys.stderr,
            )
    for name, crowd in crowds.items():
        summed = crowd.summed()
        rows[name].decrypted, rows[name].wrong = summed["decrypted"], summed["wrong"]
        rows[name].nacks = crowd.nacks()
        rows[name].memory_after = sfus[name].memory()


async def speak(sfu: Sfu, crowd: Crowd, packets: int) -> Round:
    """One round."""
    ports, server_ports = crowd.ports(), sfu.udp_ports()
    drops, server_drops = kernel_drops(ports), kernel_drops(server_ports)
    before, refused = crowd.summed(), crowd.refused()
    began, cpu = now(), sfu.cpu()
    await crowd.speak(packets)
    await crowd.until_quiet(_DRAIN)
    cpu, took, after = sfu.cpu() - cpu, now() - began, crowd.summed()
    sent = packets * len(crowd.publishers) - (crowd.refused() - refused)
    return Round(
        round(cpu, 3),
        round(took, 3),
        sent,
        sent * len(crowd.subscribers),
        after["packets"] - before["packets"],
        kernel_drops(ports) - drops,
        kernel_drops(server_ports) - server_drops,
        after["missing"] - before["missing"],
    )


def now() -> float:
    """Of the event loop."""
    return asyncio.get_running_loop().time()


def paired(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """By size: the embedded SFU's cost as percent of the others', and what was aimed at."""
    by = {(row.size, row.stack): row.figures() for row in rows}
    result: dict[str, dict[str, Any]] = {}
    for size in dict.fromkeys(row.size for row in rows):
        ours = by.get((size, "embedded"))
        for other in ("livekit", "mediasoup"):
            theirs = by.get((size, other))
            if ours and theirs:
                percent = 100 * ours["us_per_packet"] / theirs["us_per_packet"]
                result.setdefault(size, {})[f"percent_of_{other}"] = round(percent, 1)
        if ours and "percent_of_livekit" in result.get(size, {}):
            result[size] |= judged(size, ours, result[size]["percent_of_livekit"])
    return result


def judged(size: str, ours: Mapping[str, Any], percent: float) -> dict[str, Any]:
    """What was aimed at, and whether all of it was reached."""
    target, idle = TARGETS.get(size), ours["idle_percent_per_subscriber"]
    return {
        "target": target,
        "is_met": (
            (target is None or percent <= target)
            and not ours["lost_by_sfu"]
            and ours["mib_per_subscriber"] <= MEMORY_TARGET
            and (idle is None or idle <= IDLE_TARGET)
        ),
    }


def show(result: Mapping[str, Any]) -> None:
    """As a table."""
    table = Table(box=None, padding=(0, 1), title="per forwarded packet, and per subscriber")
    for heading in ("size", "SFU"):
        table.add_column(heading, no_wrap=True)
    for heading in ("us", "pkt/s", "lost", "MiB", "idle %", "% of LK", "% of ms", "target"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result["rows"]:
        pair = result["paired"].get(row["size"], {}) if row["stack"] == "embedded" else {}
        cells = (
            row["us_per_packet"],
            row["packets_per_second_and_core"],
            row["lost_by_sfu"],
            row["mib_per_subscriber"],
            ""
            if row["idle_percent_per_subscriber"] is None
            else row["idle_percent_per_subscriber"],
            *(percent(pair, other) for other in ("livekit", "mediasoup")),
            verdict(pair),
        )
        table.add_row(row["size"], row["stack"], *map(str, cells))
    console = Console()
    console.print(table)
    dropped = sum(row["lost_by_receivers"] for row in result["rows"])
    console.print(f"pkt/s: on one core; lost: by the SFU; {dropped} dropped at receivers' sockets")
    wrong, decrypted = (sum(row[what] for row in result["rows"]) for what in ("wrong", "decrypted"))
    srtp = dict.fromkeys(f"{row['stack']}: {row['srtp']}" for row in result["rows"])
    console.print("; ".join(srtp))
    console.print(f"{decrypted} packets decrypted, {wrong} of them not what was sent")


def percent(pair: Mapping[str, Any], other: Stack) -> str:
    """Ours of another one's; empty where that was not measured."""
    found = pair.get(f"percent_of_{other}")
    return "" if found is None else f"{found:.0f}"


def verdict(pair: Mapping[str, Any]) -> str:
    """What was aimed at, and whether all of it was reached; empty if nothing was."""
    if pair.get("target") is None:
        return ""
    return f"{pair['target']:.0f} {'met' if pair['is_met'] else 'missed'}"


if __name__ == "__main__":
    main()
