"""Waiting with a limit while things end, which is mostly in a task that was cancelled.

There `asyncio.timeout` does not do: before Python 3.11.5 it raises CancelledError instead of
TimeoutError in a task that has been cancelled before, and what should follow is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def within(seconds: float, job: Coroutine[Any, Any, object]) -> bool:
    """Whether the job ended in time; it is cancelled if not. Raises what it raises.

    If we are cancelled meanwhile, so is the job.
    """
    task = asyncio.ensure_future(job)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            task.result()
            return True
    finally:
        task.cancel()
    await asyncio.wait({task})
    return False
