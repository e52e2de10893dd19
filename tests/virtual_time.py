"""An event loop whose clock jumps to the next timer, so that an hour of timeouts takes no time.

Nothing in asyncio is patched: the loop has a clock and a selector of its own. When no callback is
ready, the selector sets the clock to the next timer instead of waiting for it. While a call in an
executor is outstanding the clock stands still and the loop waits for the thread in real time.
When nothing is ready, no timer is set and no thread is at work, nothing can ever happen again:
`Deadlock` says which tasks wait, and where.

There is no I/O: a file descriptor other than the loop's own wake-up pipe is refused, because
virtual time would pass a real peer by. Threads that were not started with `run_in_executor` or
`asyncio.to_thread` are not waited for.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

START = 1000.0
"""What `loop.time()` says at first: seconds, as on a machine that was not booted just now."""


class Deadlock(RuntimeError):
    """Nothing is ready, no timer is set and no thread is at work."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An asyncio loop in virtual time; see the module."""

    def __init__(self) -> None:
        self._virtual_now = START
        self._threads_at_work = 0
        self._jumping = _JumpingSelector(self)
        super().__init__(self._jumping)
        self._jumping.refuse_descriptors = True

    def time(self) -> float:
        """Virtual seconds; they pass only while the loop has nothing to do."""
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        """Let virtual time pass; the selector's business, not a test's."""
        self._virtual_now += seconds

    @property
    def waits_for_threads(self) -> bool:
        """True while a call in an executor may still wake the loop."""
        return self._threads_at_work > 0

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Run in a thread; the clock stands still until its result is here."""
        future = super().run_in_executor(executor, func, *args)
        self._threads_at_work += 1
        future.add_done_callback(self._thread_finished)
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """End the default executor; a thread joins its threads and then wakes the loop."""
        with self._thread_at_work():
            await super().shutdown_default_executor(*args)

    def _thread_finished(self, _: asyncio.Future[Any]) -> None:
        self._threads_at_work -= 1

    @contextmanager
    def _thread_at_work(self) -> Iterator[None]:
        self._threads_at_work += 1
        try:
            yield
        finally:
            self._threads_at_work -= 1


class _JumpingSelector(selectors.DefaultSelector):
    """Passes virtual time instead of waiting."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop
        self.refuse_descriptors = False
        """False only while the loop registers its own wake-up pipe."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self.refuse_descriptors:
            raise RuntimeError(
                "virtual time knows no I/O; mark this module network, provider or browser"
            )
        return super().register(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._loop.waits_for_threads and timeout != 0:
            return super().select(None)
        if woken := super().select(0):
            return woken
        if timeout is None:
            raise Deadlock(_describe(self._loop))
        self._loop.advance(timeout)
        return []


def _describe(loop: asyncio.AbstractEventLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    waiting = "".join(f"\n  {task.get_name()}: {_where(task)}" for task in tasks)
    return f"nothing is ready and no timer is set; tasks that wait for ever:{waiting}"


def _where(task: asyncio.Task[Any]) -> str:
    """File, line and function of the innermost frame that the task waits in."""
    waits: Any = task.get_coro()
    frame = None
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "ag_frame", None) or frame
        waits = getattr(waits, "cr_await", None) or getattr(waits, "ag_await", None)
    if frame is None:
        return "not started, or not a coroutine"
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
