"""What the local engines cost on this machine: voice detector, recogniser, voice.

Everything is made here: Piper speaks, and what it says is what the others hear.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import soxr  # type: ignore[import-untyped]
from rapidfuzz.distance import Levenshtein
from rich.console import Console
from rich.table import Table

from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.providers.piper import PiperTTS
from mulisa.providers.plausible import spoken_words
from mulisa.providers.silero import WINDOW_SAMPLES, SileroVAD
from mulisa.providers.whisper import WhisperSTT

SENTENCES = (
    "Who is in the call?",
    "What did Alice say about the budget?",
    "We should move the meeting to Thursday.",
    "The release is in two weeks and the tests are green.",
    "Please summarize the last five minutes.",
    "Could you repeat that?",
    "The new office is near the river, behind the old station.",
    "How many people are in this room?",
)
CLAUSES = {
    "a word": "Yes.",
    "a short clause": "Alice said it is fine,",
    "a sentence": "I heard Alice say that the budget is too small for this quarter.",
    "two sentences": "The tests are green since this morning. Bob wants to release on Thursday.",
}
LENGTHS = (1, 2, 4, 8, 16)
STREAMS = (1, 4, 16)


@dataclass(frozen=True)
class Row:
    """One measured quantity."""

    engine: str
    what: str
    trials: int
    p50: float
    p95: float
    unit: str


def quiet(_: str, __: float | None) -> None:
    """Progress that nobody reads."""


async def timed(trials: int, work: Callable[[], Awaitable[object]]) -> list[float]:
    """Seconds that each of so many runs took."""
    seconds = []
    for _ in range(trials):
        begin = time.perf_counter()
        await work()
        seconds.append(time.perf_counter() - begin)
    return seconds


def row(engine: str, what: str, seconds: Sequence[float], scale: float, unit: str) -> Row:
    """Median and p95 of measured seconds, times `scale`."""
    p50, p95 = np.percentile(seconds, [50, 95]) * scale
    return Row(engine, what, len(seconds), round(float(p50), 2), round(float(p95), 2), unit)


async def measure_silero(trials: int) -> list[Row]:
    """Time to the probability of a window, and what a window costs."""
    vad = SileroVAD()
    await vad.load(quiet)
    window = np.random.default_rng(1).integers(-3000, 3000, WINDOW_SAMPLES).astype(np.int16)
    rows = []
    for count in STREAMS:
        streams = [vad.stream() for _ in range(count)]
        delays: list[float] = []

        async def hear_all(streams: object = streams, delays: list[float] = delays) -> None:
            begin = time.perf_counter()

            async def hear(stream: object) -> None:
                await stream.probability(window)  # type: ignore[attr-defined]
                delays.append(time.perf_counter() - begin)

            await asyncio.gather(*map(hear, streams))  # type: ignore[call-overload]

        seconds = await timed(trials * 5, hear_all)
        rows.append(row("silero", f"{count} at once: cost", seconds, 1e6 / count, "us/window"))
        rows.append(row("silero", f"{count} at once: delay", delays, 1e6, "us"))
    await vad.aclose()
    return rows


async def speak(tts: PiperTTS, text: str) -> Samples:
    """All of it at 16 kHz."""
    pieces = [piece async for piece in tts.synthesize(text)]
    heard: Samples = soxr.resample(np.concatenate(pieces), tts.sample_rate_hz, HEARING_RATE_HZ)
    return heard


async def measure_whisper(trials: int, tts: PiperTTS) -> list[Row]:
    """Flush of utterances by length, alone; and the word error rate on what Piper says."""
    stt = WhisperSTT()
    await stt.load(quiet)
    spoken = [await speak(tts, sentence) for sentence in SENTENCES]
    talk = np.concatenate(spoken)
    rows = []
    for length in LENGTHS:
        begins = np.linspace(0, talk.size - length * HEARING_RATE_HZ, trials).astype(int)
        cuts = iter([talk[begin : begin + length * HEARING_RATE_HZ] for begin in begins])

        async def flush(cuts: object = cuts) -> None:
            stream = stt.stream()
            stream.push(next(cuts))  # type: ignore[call-overload]
            await stream.flush()
            await stream.aclose()

        rows.append(row("whisper", f"flush of {length} s", await timed(trials, flush), 1e3, "ms"))
    errors = words = 0
    for sentence, samples in zip(SENTENCES, spoken, strict=True):
        stream = stt.stream()
        stream.push(samples)
        said, heard = spoken_words(sentence), spoken_words((await stream.flush()).text)
        errors, words = errors + Levenshtein.distance(said, heard), words + len(said)
        await stream.aclose()
    rate = round(errors / words, 3)
    rows.append(Row("whisper", "word error rate", len(SENTENCES), rate, rate, ""))
    await stt.aclose()
    return rows


async def measure_piper(trials: int, tts: PiperTTS) -> list[Row]:
    """Time to the first samples, and seconds of work per second of speech."""
    rows = []
    for name, text in CLAUSES.items():
        firsts, factors = [], []
        for _ in range(trials):
            begin, first, samples = time.perf_counter(), 0.0, 0
            async for piece in tts.synthesize(text):
                first = first or time.perf_counter() - begin
                samples += piece.size
            firsts.append(first)
            factors.append((time.perf_counter() - begin) * tts.sample_rate_hz / samples)
        rows.append(row("piper", f"first audio of {name}", firsts, 1e3, "ms"))
        rows.append(row("piper", f"real-time factor of {name}", factors, 1, ""))
    return rows


async def measure(trials: int) -> list[Row]:
    """All rows."""
    tts = PiperTTS()
    begin = time.perf_counter()
    await tts.load(quiet)
    started = row("piper", "start", [time.perf_counter() - begin], 1, "s")
    try:
        return [
            *await measure_silero(trials),
            *await measure_whisper(trials, tts),
            started,
            *await measure_piper(trials, tts),
        ]
    finally:
        await tts.aclose()


def report(rows: Sequence[Row]) -> dict[str, object]:
    """What is written with ``--json``."""
    packages = ("onnxruntime", "ctranslate2", "faster-whisper", "piper-tts", "numpy")
    return {
        "benchmark": "engines",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "cpu": platform.machine(), "load": os.getloadavg()},
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
        "rows": [asdict(row) for row in rows],
    }


def main() -> None:
    """Measure, print a table and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--small", action="store_true", help="a quick look, no p95 to rely on")
    arguments = parser.parse_args()
    rows = asyncio.run(measure(10 if arguments.small else arguments.trials))
    table = Table("engine", "what", "trials", "p50", "p95", "unit")
    for each in rows:
        table.add_row(
            each.engine, each.what, *map(str, (each.trials, each.p50, each.p95)), each.unit
        )
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(report(rows), indent=2) + "\n")


if __name__ == "__main__":
    main()
