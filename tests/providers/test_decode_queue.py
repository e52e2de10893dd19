import asyncio
import threading
from collections.abc import Callable

import pytest

from mulisa.core.errors import ProviderUnavailable
from mulisa.providers.decode_queue import DecodeQueue

pytestmark = pytest.mark.network  # a real thread needs real time


class Work:
    """Decodes that begin when the thread gets to them and end when the test says so."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def named(self, name: str) -> Callable[[], str]:
        def work() -> str:
            self.order.append(name)
            self.began.release()
            assert self.may_end.acquire(timeout=10)
            return name

        return work

    async def until_one_began(self) -> None:
        assert await asyncio.to_thread(self.began.acquire, timeout=10)


async def test_the_newest_goes_first_and_only_one_runs() -> None:
    queue, work = DecodeQueue[str]("test"), Work()
    first = asyncio.create_task(queue.run(work.named("first")))
    await work.until_one_began()
    assert not queue.must_yield()
    others = [asyncio.create_task(queue.run(work.named(name))) for name in "abc"]
    await asyncio.sleep(0)
    assert queue.must_yield()
    work.may_end.release(4)
    assert await asyncio.gather(first, *others) == ["first", "a", "b", "c"]
    assert work.order == ["first", "c", "b", "a"]
    queue.close()


async def test_who_waited_for_long_is_not_passed_by_newer_ones() -> None:
    patience = 0.05
    queue, work = DecodeQueue[str]("test", patience), Work()
    first = asyncio.create_task(queue.run(work.named("first")))
    await work.until_one_began()
    old = asyncio.create_task(queue.run(work.named("old")))
    await asyncio.sleep(2 * patience)
    newer = [asyncio.create_task(queue.run(work.named(name))) for name in "ab"]
    await asyncio.sleep(0)
    work.may_end.release(4)
    await asyncio.gather(first, old, *newer)
    assert work.order[:2] == ["first", "old"]
    queue.close()


async def test_what_is_cancelled_while_it_waits_never_runs() -> None:
    queue, work = DecodeQueue[str]("test"), Work()
    first = asyncio.create_task(queue.run(work.named("first")))
    await work.until_one_began()
    second = asyncio.create_task(queue.run(work.named("second")))
    await asyncio.sleep(0)
    second.cancel()
    first.cancel()
    work.may_end.release()
    await asyncio.gather(first, second, return_exceptions=True)
    work.may_end.release()
    assert await queue.run(work.named("third")) == "third"
    assert work.order == ["first", "third"]
    queue.close()


async def test_idle_comes_after_everything() -> None:
    queue, work = DecodeQueue[str]("test"), Work()
    await queue.idle()
    runs = [asyncio.create_task(queue.run(work.named(name))) for name in "ab"]
    await work.until_one_began()
    idle = asyncio.create_task(queue.idle())
    work.may_end.release()
    await work.until_one_began()
    assert not idle.done()
    work.may_end.release()
    await asyncio.gather(idle, *runs)
    queue.close()


async def test_a_failure_is_its_own() -> None:
    queue = DecodeQueue[str]("test")

    def fail() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await queue.run(fail)
    assert await queue.run(lambda: "fine") == "fine"
    queue.close()


async def test_closing_tells_those_who_wait() -> None:
    queue, work = DecodeQueue[str]("test"), Work()
    first = asyncio.create_task(queue.run(work.named("first")))
    await work.until_one_began()
    second = asyncio.create_task(queue.run(work.named("second")))
    await asyncio.sleep(0)
    queue.close()
    with pytest.raises(ProviderUnavailable):
        await second
    work.may_end.release()
    assert await first == "first"
    with pytest.raises(ProviderUnavailable):
        await queue.run(work.named("third"))
    await queue.idle()
