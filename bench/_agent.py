"""The agent process of a benchmark: `mulisa worker`, and a probe that does as it is told.

Settings come from the environment, as `mulisa worker`'s do. It prints JSON lines: ``ready`` once it
is registered, a line for each session that fails, and an answer to each line of standard input:

    lag SECONDS        how late the event loop is, sampled every 10 ms
    profile SECONDS    the functions on which the event loop's thread spends its time
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import pstats
import sys
from io import StringIO

import numpy as np

from mulisa.config import load_config
from mulisa.serving import run_until_interrupted
from mulisa.worker.status import CannotStart, Registered, SessionFailed, Status
from mulisa.working import take_part

LAG_STEP = 0.01
PROFILE_LINES = 25


async def main() -> None:
    """Serve rooms until standard input ends."""
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(take_part(load_config(), tell))
        await obey()
        working.cancel()


def tell(status: Status) -> None:
    """What the benchmark must know."""
    match status:
        case Registered():
            say(event="ready")
        case SessionFailed(room, reason):
            say(event="failed", reason=f"{room}: {reason}")
        case CannotStart(reason):
            say(event="failed", reason=reason)


def say(**answer: object) -> None:
    """One JSON line."""
    print(json.dumps(answer), flush=True)


async def obey() -> None:
    """Answer what is asked on standard input until it ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        what, seconds = line.split()
        say(event=what, **await (lag if what == "lag" else profile)(float(seconds)))


async def lag(seconds: float) -> dict[str, float]:
    """Milliseconds by which timers are late."""
    loop = asyncio.get_running_loop()
    late, end = [], loop.time() + seconds
    while (due := loop.time() + LAG_STEP) < end:
        await asyncio.sleep(LAG_STEP)
        late.append((loop.time() - due) * 1_000)
    p50, p95 = np.percentile(late, (50, 95))
    return {
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
        "max_ms": round(max(late), 2),
    }


async def profile(seconds: float) -> dict[str, str]:
    """What this thread does meanwhile; cProfile sees no other."""
    profiler = cProfile.Profile()
    profiler.enable()
    await asyncio.sleep(seconds)
    profiler.disable()
    text = StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("tottime").print_stats(PROFILE_LINES)
    return {"text": text.getvalue()}


if __name__ == "__main__":
    run_until_interrupted(main())
