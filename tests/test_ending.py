"""What ends within a limit, in a task that was cancelled before."""

from __future__ import annotations

import asyncio

import pytest

from mulisa.ending import within

pytestmark = pytest.mark.unit


async def test_a_job_that_ends_in_time() -> None:
    assert await within(1.0, asyncio.sleep(0.5))


async def test_a_job_that_does_not_is_cancelled() -> None:
    ended: list[str] = []
    assert not await within(1.0, _endless(ended))
    assert ended == ["cancelled"]


async def test_what_a_job_raises_is_raised() -> None:
    async def fail() -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        await within(1.0, fail())


async def test_the_limit_holds_in_a_task_that_was_cancelled() -> None:
    ended: list[str] = []

    async def end_in_order() -> None:
        try:
            await asyncio.sleep(60.0)
        finally:
            ended.append(str(await within(1.0, _endless(ended))))
            ended.append("cleaned up")

    task = asyncio.create_task(end_in_order())
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled", "False", "cleaned up"]


async def test_who_is_cancelled_takes_the_job_along() -> None:
    ended: list[str] = []
    task = asyncio.create_task(within(60.0, _endless(ended)))
    await asyncio.sleep(1.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert ended == ["cancelled"]


async def _endless(ended: list[str]) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        ended.append("cancelled")
        raise
