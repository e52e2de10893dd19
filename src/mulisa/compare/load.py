"""How busy the machine itself is: what is measured at its limit is not the topology's fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import psutil  # type: ignore[import-untyped]

INTERVAL: Final = 0.25
"""Seconds between two looks."""
MOST_BUSY: Final = 85.0
"""% of all cores in use, from which on who is to be measured waits for a core."""
MOST_STOLEN: Final = 5.0
"""% of all cores that the host gave to others."""
MOST_LATE: Final = 1.0
"""% of the time in which the sound of a page stood still."""


@dataclass(frozen=True, slots=True)
class Load:
    """Of the machine, over some seconds; in %."""

    busy: float
    """Of all cores, stolen time included."""
    stolen: float = 0.0
    late: float = 0.0
    """Of the time, how much sound came late, on the page where it was worst."""

    @property
    def is_at_limit(self) -> bool:
        """Whoever was measured then was also measured waiting."""
        return self.busy > MOST_BUSY or self.stolen > MOST_STOLEN or self.late > MOST_LATE


@dataclass(frozen=True, slots=True)
class Look:
    """Seconds that all cores have spent so far, by what for."""

    at: float
    """Seconds since 1970."""
    idle: float
    stolen: float
    total: float


@dataclass
class Loads:
    """Looks at the machine, oldest first."""

    looks: list[Look] = field(default_factory=list)

    def between(self, begin: float, end: float, late: float = 0.0) -> Load:
        """From the last look before to the first one after."""
        before = [look for look in self.looks if look.at <= begin][-1:] or self.looks[:1]
        after = [look for look in self.looks if look.at >= end][:1] or self.looks[-1:]
        return _load(before[0], after[0], late) if before and after else Load(0.0, late=late)

    def forget(self) -> None:
        """All but the last."""
        del self.looks[:-1]


def _load(before: Look, after: Look, late: float) -> Load:
    total = after.total - before.total
    if total <= 0:
        return Load(0.0, late=late)
    busy = 100 * (1 - (after.idle - before.idle) / total)
    return Load(busy, 100 * (after.stolen - before.stolen) / total, late)


def late_percent(stops: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """Of the time between two moments, what was spent in stops: when each ended, and seconds."""
    lost = sum(seconds for at, seconds in stops if begin <= at <= end)
    return 100 * lost / max(end - begin, INTERVAL)


@asynccontextmanager
async def watching() -> AsyncIterator[Loads]:
    """Look at the machine until the block ends."""
    loads = Loads([_look()])

    async def look_on() -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            loads.looks.append(_look())

    task = asyncio.create_task(look_on(), name="load of the machine")
    try:
        yield loads
    finally:
        task.cancel()
        await asyncio.wait({task})


def _look() -> Look:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    stolen = getattr(times, "steal", 0.0)
    # Guests are counted in user and nice already.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return Look(datetime.now(UTC).timestamp(), idle, stolen, total)
