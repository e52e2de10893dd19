from __future__ import annotations

import asyncio
import socket
import threading
from datetime import UTC, datetime, timedelta

import pytest

from tests.virtual_time import START, Deadlock, VirtualTimeLoop

pytestmark = pytest.mark.unit


async def test_an_hour_passes_at_once() -> None:
    began = datetime.now(UTC)
    loop = asyncio.get_running_loop()
    assert loop.time() == START
    await asyncio.sleep(3600)
    assert loop.time() == START + 3600
    assert datetime.now(UTC) - began < timedelta(seconds=5)


async def test_twenty_milliseconds_do_not_drift() -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    for _ in range(5000):
        due += 0.02
        await asyncio.sleep(due - loop.time())
    assert loop.time() == pytest.approx(START + 100, abs=1e-9)


async def test_timers_fire_in_the_order_of_their_times() -> None:
    fired: list[tuple[float, str]] = []
    loop = asyncio.get_running_loop()

    def fire(name: str) -> None:
        fired.append((loop.time() - START, name))

    for delay, name in ((0.3, "c"), (0.1, "a"), (0.2, "b")):
        loop.call_later(delay, fire, name)
    await asyncio.sleep(1)
    assert [name for _, name in fired] == ["a", "b", "c"]
    assert [at for at, _ in fired] == pytest.approx([0.1, 0.2, 0.3])


async def test_what_is_ready_runs_before_time_passes() -> None:
    loop = asyncio.get_running_loop()
    asleep = asyncio.create_task(asyncio.sleep(1))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert loop.time() == START
    await asleep


async def test_a_timeout_ends_a_wait() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() == START + 30


async def test_the_clock_stands_still_while_a_thread_works() -> None:
    loop = asyncio.get_running_loop()
    released = threading.Event()
    alarm = loop.call_later(0.001, released.set)
    seen = await asyncio.to_thread(released.wait, 0.2)
    assert not seen, "the timer must not fire while the thread waits"
    assert loop.time() == START
    alarm.cancel()


async def test_a_thread_may_call_into_the_loop() -> None:
    loop = asyncio.get_running_loop()
    called = asyncio.Event()
    await asyncio.gather(
        called.wait(), loop.run_in_executor(None, loop.call_soon_threadsafe, called.set)
    )
    await asyncio.sleep(5)
    assert loop.time() == START + 5


async def test_sockets_are_refused() -> None:
    here, there = socket.socketpair()
    with here, there:
        with pytest.raises(RuntimeError, match="virtual time knows no I/O"):
            asyncio.get_running_loop().add_reader(here, lambda: None)


def test_a_deadlock_names_the_waiting_task_and_where() -> None:
    async def wait_for_ever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        waiting = asyncio.create_task(wait_for_ever(), name="the one that waits")
        await waiting

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        with pytest.raises(Deadlock, match=r"the one that waits: .*locks\.py:\d+ in wait"):
            runner.run(main())


def test_a_runner_ends_its_threads() -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        thread = runner.run(asyncio.to_thread(threading.current_thread))
    assert not thread.is_alive()
