"""What rooms and people cost an agent process: memory, CPU, and how late its event loop gets.

    .venv/bin/python bench/rooms.py                    1, 5, 10, 20 rooms; about 12 minutes
    .venv/bin/python bench/rooms.py --does open        only open microphones in which nobody speaks
    .venv/bin/python bench/rooms.py --profile          and on what the time is spent

The agent process is the real one, registered with a real LiveKit server, which sends it the rooms;
its engines are shared by all rooms. People are in another process, on the livekit SDK. What they do
is the same in all rooms of a series:

    idle      they are there, without a track
    muted     they have a microphone, and it is muted
    open      their microphone is open, and there is only noise
    talking   they ask a question every 8 s, and Mulisa answers

A series begins with a fresh agent process; rooms are added, in the end also people to each room.
It ends early when the process is full.
CPU and memory are read from outside. What a room and what a participant of each kind costs are
coefficients of one least-squares fit over all readings, so that no figure rests on one of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench._people import Doing
from bench._report import circumstances, write
from bench._servers import Engines, LiveKit, livekit

FOLDER = Path(__file__).parent
MIB = 2**20
TARGETS = {
    ("cpu", "room"): 0.9,
    ("cpu", "muted"): 0.5,
    ("cpu", "open"): 3.0,
    ("memory", "base"): 250.0,
    ("memory", "room"): 5.0,
    ("memory", "muted"): 1.5,
    ("memory", "open"): 1.5,
}
FULL = 85.0
"""Percent of a core; its event loop is one thread."""
UNITS = {"cpu": "% of a core", "memory": "MiB"}


@dataclass(frozen=True)
class Reading:
    """What an agent process with so many rooms and people uses."""

    does: Doing
    rooms: int
    people: int
    """In all rooms together."""
    cpu: float
    """Percent of a core."""
    memory: float
    """Resident, MiB."""
    lag: Mapping[str, float]
    cpu_by_thread: Mapping[str, float]
    """Percent of a core, by the threads' names."""


@dataclass(frozen=True)
class Cost:
    """A coefficient of the fit."""

    of: str
    """``base``, ``room``, ``talking room``, or what a participant does."""
    value: float
    error: float
    """Its standard error."""
    target: float | None


def main() -> None:
    """Measure, print tables, and keep the figures as JSON if asked."""
    options = parse()
    with livekit(options.livekit_url) as server:
        if server is None:
            print("no LiveKit server here: run `make livekit`, or give --livekit-url")
            return
        readings = [
            reading for does in options.does for reading in read_series(does, options, server)
        ]
    costs = {what: fit(readings, what) for what in UNITS}
    show(readings, costs)
    result = {
        "benchmark": "rooms",
        "engines": options.engines,
        "vad": options.vad,
        "noise_dbfs": options.noise,
        "seconds": options.seconds,
        "costs": {what: [asdict(cost) for cost in costs[what]] for what in costs},
        "readings": [asdict(reading) for reading in readings],
    }
    write(result | circumstances("livekit", "mulisa", "onnxruntime"), options.json)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known: tuple[Doing, ...] = get_args(Doing)
    parser.add_argument("--rooms", type=int, nargs="+", default=[1, 5, 10, 20], metavar="N")
    parser.add_argument("--does", choices=known, nargs="+", default=known)
    parser.add_argument("--engines", choices=get_args(Engines), default="scripted")
    parser.add_argument("--vad", choices=("silero", "scripted"), default="silero")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each reading")
    parser.add_argument(
        "--settle",
        type=float,
        default=12.0,
        help="seconds from the last arrival to a reading: ICE asks more often at first",
    )
    parser.add_argument("--noise", type=float, default=-60.0, help="of open microphones, dBFS")
    parser.add_argument("--livekit-url", metavar="U", help="of a LiveKit server that runs")
    parser.add_argument("--profile", action="store_true", help="of the event loop, per series")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--small", action="store_true", help="a quick look at few rooms")
    options = parser.parse_args()
    if options.small:
        options.rooms, options.seconds, options.settle = [1, 4], 3.0, 5.0
    return options


def read_series(does: Doing, options: argparse.Namespace, server: LiveKit) -> Iterator[Reading]:
    """More and more rooms with one person each, then more people in as many as are usual.

    Ends early when the process is full: what it costs to be late is another question.
    """
    sizes = [(rooms, 1) for rooms in sorted(options.rooms)]
    middle = sorted(options.rooms)[(len(options.rooms) - 1) // 2]
    with agent(options, server) as her, crowd(options, server) as people:
        present: set[tuple[int, int]] = set()
        for rooms, people_per_room in crowded(sizes, middle):
            wanted = {(room, person) for room in range(rooms) for person in range(people_per_room)}
            for room, person in sorted(wanted - present):
                people.ask(room=f"{does}-{room}", person=f"p{person}", does=does)
            present |= wanted
            time.sleep(options.settle)
            rooms_now = len({room for room, _ in present})
            reading = her.read(does, rooms_now, len(present), options.seconds)
            yield reading
            if reading.cpu > FULL:
                break
        if options.profile:
            print(her.ask_line(f"profile {options.seconds}")["text"], file=sys.stderr)


def crowded(sizes: Sequence[tuple[int, int]], middle: int) -> Iterator[tuple[int, int]]:
    """Rooms, and people in each; the last tell rooms and people apart."""
    yield from sizes
    yield from ((middle, 2), (middle, 3))


class Child:
    """A program of ours beside us, asked and answering in lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, **question: object) -> dict[str, Any]:
        """Ask in JSON; the answer."""
        return self.ask_line(json.dumps(question))

    def ask_line(self, line: str) -> dict[str, Any]:
        """Ask, and wait for the answer. Ends us when there is none."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"event": "failed", "reason": "died"}
        if answer.get("event") == "failed":
            sys.exit(f"{' '.join(map(str, self._process.args[1:3]))}: {answer['reason']}")  # type: ignore[index]
        return answer


class Agent(Child):
    """The agent process, read from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(process)
        self._own = psutil.Process(process.pid)

    def read(self, does: Doing, rooms: int, people: int, seconds: float) -> Reading:
        """Measure for so long, then sample how late its event loop is."""
        threads, used, begin = self._threads(), self._used(), time.perf_counter()
        time.sleep(seconds)
        took = time.perf_counter() - begin
        cpu, busy = self._used() - used, self._threads() - threads
        lag = self.ask_line(f"lag {seconds / 2}")
        reading = Reading(
            does,
            rooms,
            people,
            round(100 * cpu / took, 2),
            round(self._resident() / MIB, 1),
            {key: value for key, value in lag.items() if key != "event"},
            {name: round(100 * spent / took, 2) for name, spent in busy.most_common()},
        )
        print(f"{does}: {rooms} rooms, {people} people: {reading.cpu} %", file=sys.stderr)
        return reading

    def _family(self) -> list[psutil.Process]:
        """It and its children: some engines are programs."""
        return [self._own, *self._own.children(recursive=True)]

    def _used(self) -> float:
        times = [process.cpu_times() for process in self._family()]
        return float(sum(time.user + time.system for time in times))

    def _resident(self) -> int:
        return int(sum(process.memory_info().rss for process in self._family()))

    def _threads(self) -> Counter[str]:
        """Seconds of CPU by name of thread."""
        spent: Counter[str] = Counter()
        for thread in self._own.threads():
            spent[thread_name(self._own.pid, thread.id)] += thread.user_time + thread.system_time
        return spent


def thread_name(pid: int, thread_id: int) -> str:
    """What it called itself, without its number; only Linux tells."""
    try:
        name = Path(f"/proc/{pid}/task/{thread_id}/comm").read_text().strip()
    except OSError:
        return "gone"
    return "event loop" if thread_id == pid else name.rstrip("0123456789- ")


@contextmanager
def agent(options: argparse.Namespace, server: LiveKit) -> Iterator[Agent]:
    """An agent process that has loaded its engines and is registered."""
    engine = {"scripted": ("scripted",) * 3, "local": ("whisper", "concierge", "piper")}
    stt, llm, tts = engine[options.engines]
    with tempfile.TemporaryDirectory() as data:
        settings = {"VAD": options.vad, "STT": stt, "LLM": llm, "TTS": tts, "DATA": data}
        environment = {f"MULISA_{name}": value for name, value in settings.items()}
        with child(server, "_agent.py", environment=environment) as process:
            her = Agent(process)
            her.answer()
            yield her


@contextmanager
def crowd(options: argparse.Namespace, server: LiveKit) -> Iterator[Child]:
    """A process for the people."""
    speak = "tones" if options.vad == "scripted" else "questions"
    flags = ("--noise", str(options.noise), "--speak", speak)
    with child(server, "_crowd.py", *flags) as process:
        yield Child(process)


@contextmanager
def child(
    server: LiveKit, program: str, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A program of this folder; the end of its standard input ends it."""
    process = subprocess.Popen(
        [sys.executable, str(FOLDER / program), *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=server.keys.environment() | {"LIVEKIT_URL": server.url} | dict(environment or {}),
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fit(readings: Sequence[Reading], what: str) -> list[Cost]:
    """Least squares of a figure over rooms and participants by what they do."""
    columns = [counts(reading) for reading in readings]
    names = list(dict.fromkeys(name for column in columns for name in column))
    table = np.array([[column.get(name, 0) for name in names] for column in columns], dtype=float)
    figures = np.array([getattr(reading, what) for reading in readings])
    values, *_ = np.linalg.lstsq(table, figures, rcond=None)
    free = max(1, len(readings) - len(names))
    spread = float(np.sum((figures - table @ values) ** 2)) / free
    errors = np.sqrt(np.diag(np.linalg.pinv(table.T @ table)) * spread)
    return [
        Cost(name, round(float(value), 2), round(float(error), 2), TARGETS.get((what, name)))
        for name, value, error in zip(names, values, errors, strict=True)
    ]


def counts(reading: Reading) -> dict[str, int]:
    """What is paid for in a reading; in a room where she answers, her voice is paid for, too."""
    room = "talking room" if reading.does == "talking" else "room"
    return {"base": 1, room: reading.rooms, reading.does: reading.people}


def show(readings: Sequence[Reading], costs: Mapping[str, Sequence[Cost]]) -> None:
    """Readings, then what they come to."""
    console = Console()
    columns = ("people are", "rooms", "people", "CPU %", "MiB", "lag p50", "p95", "max ms")
    table = Table(*columns, title="the agent process")
    for reading in readings:
        figures = (
            reading.rooms,
            reading.people,
            reading.cpu,
            reading.memory,
            *reading.lag.values(),
        )
        table.add_row(reading.does, *map(str, figures))
    console.print(table)
    for what, rows in costs.items():
        table = Table("each", UNITS[what], "+-", "target", title=f"{what}, least squares")
        for cost in rows:
            is_kind = cost.of in get_args(Doing)
            name = f"participant, {cost.of}" if is_kind else cost.of
            table.add_row(name, str(cost.value), str(cost.error), str(cost.target or ""))
        console.print(table)


if __name__ == "__main__":
    main()
