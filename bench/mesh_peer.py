"""What a mesh connection costs: CPU of her process per peer, and delay through aiortc.

People are `MeshTransport`s in a process of their own, so the CPU that is measured is hers alone.
Delay is `send_frame` in one process to `frames()` in the other, on one monotonic clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiortc.rtcrtpreceiver
import numpy as np
from aiohttp import web
from aiortc.jitterbuffer import JitterBuffer
from rich.console import Console
from rich.table import Table

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from mulisa.core.events import ListenerConnected, TrackSubscribed
from mulisa.core.room import Identity, ParticipantKind, RoomName
from mulisa.core.transport import Transport
from mulisa.server.mesh import MeshEndpoint
from mulisa.server.tokens import Grant, TokenIssuer, TokenVerifier, utc_now
from mulisa.transport.mesh.transport import MeshTransport

KEY, SECRET = "bench", "bench"
ROOM = RoomName("bench")
TICK_EVERY = 10
"""Frames from one loud frame to the next: 200 ms, far longer than any delay here."""
LOUD = 2_000


def main() -> None:
    """Measure, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each CPU measurement")
    parser.add_argument("--trials", type=int, default=120, help="of each delay")
    parser.add_argument("--prefetch", type=int, default=4, help="aiortc's jitter buffer, packets")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--be-people", type=int, metavar="N", help=argparse.SUPPRESS)
    parser.add_argument("--small", action="store_true", help="a quick look, no p95 to rely on")
    options = parser.parse_args()
    if options.small:
        options.peers, options.seconds, options.trials = [1, 2], 2.0, 20
    if options.be_people:
        asyncio.run(be_people(options.be_people))
        return
    set_prefetch(options.prefetch)
    figures = asyncio.run(measure(options))
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def set_prefetch(packets: int) -> None:
    """Make receivers hold back so many packets; aiortc's own default is 4."""

    class Buffer(JitterBuffer):
        def __init__(self, capacity: int, prefetch: int = 0, is_video: bool = False) -> None:
            super().__init__(capacity, packets, is_video)

    setattr(aiortc.rtcrtpreceiver, "JitterBuffer", Buffer)  # noqa: B010


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures."""
    cpu = [await measure_cpu(n_peers, options.seconds) for n_peers in options.peers]
    return {
        "what": "mesh_peer",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "versions": {name: version(name) for name in ("aiortc", "av", "mulisa")},
        "jitter_buffer_packets": options.prefetch,
        "cpu_percent_of_a_core": cpu,
        "delay_ms": await measure_delay(options.trials),
    }


async def measure_cpu(n_peers: int, seconds: float) -> dict[str, float]:
    """CPU of this process with so many people: idle, hearing all of them, speaking to them."""
    async with AsyncExitStack() as stack:
        people = await stack.enter_async_context(People(n_peers))
        her = await stack.enter_async_context(transport(people.url, "mulisa", "agent"))
        await until_connected(her, n_peers)
        reading = [asyncio.create_task(ignore(her, Identity(f"p{i}"))) for i in range(n_peers)]
        stack.callback(lambda: [task.cancel() for task in reading])
        idle = await cpu_percent(asyncio.sleep(seconds))
        speaking = await cpu_percent(speak(her, seconds))
        await people.tell("talk")
        await asyncio.sleep(1.0)
        hearing = await cpu_percent(asyncio.sleep(seconds))
        both = await cpu_percent(speak(her, seconds))
    return {
        "peers": n_peers,
        "idle": idle,
        "speaking": speaking,
        "hearing": hearing,
        "hearing_and_speaking": both,
    }


async def measure_delay(trials: int) -> dict[str, float]:
    """From `send_frame` of a person to `frames` here, over a loud frame in silence."""
    async with AsyncExitStack() as stack:
        people = await stack.enter_async_context(People(1))
        her = await stack.enter_async_context(transport(people.url, "mulisa", "agent"))
        await until_connected(her, 1)
        await people.tell("tick")
        delays: list[float] = []
        since_loud = 0
        async for frame in her.frames(Identity("p0")):
            since_loud += 1
            # Opus looks ahead 6.5 ms, so the end of a loud frame comes in the next one.
            if np.max(np.abs(frame.samples)) > LOUD and since_loud > TICK_EVERY // 2:
                since_loud = 0
                sent_at = float(await people.line())
                delays.append((frame.received_at - sent_at) * 1_000)
                if len(delays) == trials + 5:
                    break
    p50, p95 = np.percentile(delays[5:], [50, 95])
    return {"trials": trials, "p50": round(float(p50), 1), "p95": round(float(p95), 1)}


class People:
    """The gateway and so many people in another process."""

    def __init__(self, number: int) -> None:
        self._number = number
        self.url = ""

    async def __aenter__(self) -> People:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            "--be-people",
            str(self._number),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self.url = await self.line()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.tell("end")
        await self._process.wait()

    async def tell(self, what: str) -> None:
        """``talk``, ``tick`` or ``end``."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n".encode())
        await self._process.stdin.drain()

    async def line(self) -> str:
        """The next line that they print."""
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()


async def be_people(number: int) -> None:
    """The other process: serve, join, and do as told on standard input."""
    endpoint = MeshEndpoint(TokenVerifier(KEY, SECRET).verify)
    app = web.Application()
    app.router.add_get("/mesh", endpoint.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "ws://{}:{}".format(*runner.addresses[0][:2])
    async with AsyncExitStack() as stack:
        people = [
            await stack.enter_async_context(transport(url, f"p{i}", "standard"))
            for i in range(number)
        ]
        print(url, flush=True)
        doing: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        while (what := (await loop.run_in_executor(None, sys.stdin.readline)).strip()) != "end":
            doing = asyncio.create_task(tick(people[0]) if what == "tick" else talk(people))
        if doing is not None:
            doing.cancel()
    await endpoint.shut_down()
    await runner.cleanup()


async def talk(people: Sequence[MeshTransport]) -> None:
    """All of them speak, as browsers do: without a pause."""
    frames = hum(50)
    async for i in paced():
        for person in people:
            person.send_frame(frames[i % 50])


async def tick(person: MeshTransport) -> None:
    """Near silence, and now and then a loud frame whose time is printed."""
    quiet, loud = silence() + np.int16(1), hum(1)[0]
    loop = asyncio.get_running_loop()
    async for i in paced():
        if i % TICK_EVERY == TICK_EVERY - 1:
            print(loop.time(), flush=True)
            person.send_frame(loud)
        else:
            person.send_frame(quiet)


async def speak(her: MeshTransport, seconds: float) -> None:
    """She speaks for so long."""
    frames = hum(50)
    async for i in paced():
        her.send_frame(frames[i % 50])
        if i * FRAME_DURATION >= seconds:
            return


async def paced() -> Any:
    """Count frames in real time."""
    loop = asyncio.get_running_loop()
    begin, i = loop.time(), 0
    while True:
        await asyncio.sleep(max(0.0, begin + i * FRAME_DURATION - loop.time()))
        yield i
        i += 1


def hum(n_frames: int) -> list[Samples]:
    """Something voiced: a few harmonics of 150 Hz."""
    seconds = np.arange(n_frames * FRAME_SAMPLES) / SAMPLE_RATE_HZ
    wave = sum(np.sin(2 * np.pi * 150.0 * k * seconds) * (5_000 / k) for k in range(1, 9))
    return list(np.asarray(wave).astype(np.int16).reshape(n_frames, FRAME_SAMPLES))


async def ignore(her: Transport, identity: Identity) -> None:
    """Take the frames as an ear would, and do nothing with them."""
    async for _ in her.frames(identity):
        pass


async def until_connected(her: Transport, n_peers: int) -> None:
    """Both directions with everybody."""
    missing = 2 * n_peers
    async with asyncio.timeout(30.0):
        async for event in her.events():
            missing -= isinstance(event, TrackSubscribed | ListenerConnected)
            if missing == 0:
                return


async def cpu_percent(work: Any) -> float:
    """CPU of this process while this goes on, in percent of a core."""
    begin, cpu = time.perf_counter(), time.process_time()
    await work
    used = (time.process_time() - cpu) / (time.perf_counter() - begin)
    return round(100.0 * used, 2)


def transport(url: str, identity: str, kind: ParticipantKind) -> MeshTransport:
    """A participant with a token of its own."""
    grant = Grant(
        Identity(identity), identity, ROOM, kind, room_join=True, can_update_metadata=True
    )
    return MeshTransport(url, TokenIssuer(KEY, SECRET).issue(grant, utc_now()))


def show(figures: dict[str, Any]) -> None:
    """As tables."""
    console = Console()
    table = Table(title="her process, % of a core")
    for column in figures["cpu_percent_of_a_core"][0]:
        table.add_column(column, justify="right")
    for row in figures["cpu_percent_of_a_core"]:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)
    delay = figures["delay_ms"]
    console.print(
        f"send_frame to frames(): {delay['p50']} / {delay['p95']} ms (p50 / p95, "
        f"{delay['trials']} trials, jitter buffer {figures['jitter_buffer_packets']} packets)"
    )


if __name__ == "__main__":
    main()
