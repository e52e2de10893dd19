"""Who may use the recogniser next: one decode at a time, finals before interims."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Generic, TypeVar

from mulisa.core.errors import ProviderUnavailable

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds after which what waits no longer lets newer work pass."""


@dataclass(frozen=True, slots=True)
class _Final(Generic[T]):
    result: asyncio.Future[T]
    work: Callable[[], T]
    since: float


class DecodeQueue(Generic[T]):
    """Runs blocking work in one thread of its own, the newest final first.

    One that waits for `patience` seconds goes before all that came later: under overload a
    newer one would always come first, and the old ones would never be answered.
    Who wants an interim waits for `idle`, and the work learns through `must_yield` that it
    should give up for a final. Everything but the work itself belongs to one event loop.
    """

    def __init__(self, name: str, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._finals: deque[_Final[T]] = deque()
        self._busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def must_yield(self) -> bool:
        """True if a final waits. Safe to ask from the thread that decodes."""
        return bool(self._finals) or self._closed

    async def run(self, work: Callable[[], T]) -> T:
        """Result of `work`, before all finals that came earlier and do not wait for long yet.

        Cancelling takes it out of the queue; work that runs already ends unheard.
        Raises ProviderUnavailable after `close`, and whatever `work` raises.
        """
        return await self._enqueue(work)

    async def idle(self) -> None:
        """Return when nothing runs and nothing waits; who calls `run` at once is next."""
        while self._busy and not self._closed:
            await self._idle.wait()

    def close(self) -> None:
        """End the thread after what it does now; who waits gets ProviderUnavailable."""
        self._closed = True
        self._idle.set()
        waiting, self._finals = self._finals, deque()
        for each in waiting:
            if not each.result.done():
                each.result.set_exception(ProviderUnavailable("the recogniser was closed"))
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _enqueue(self, work: Callable[[], T]) -> asyncio.Future[T]:
        if self._closed:
            raise ProviderUnavailable("the recogniser is not loaded")
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        self._finals.append(_Final(result, work, since=loop.time()))
        self._start_next()
        return result

    def _start_next(self) -> None:
        if self._busy or self._closed:
            return
        final = self._take_next()
        if final is None:
            self._idle.set()
            return
        self._busy = True
        self._idle.clear()
        running = final.result.get_loop().run_in_executor(self._executor, final.work)
        running.add_done_callback(partial(self._finish, final.result))

    def _take_next(self) -> _Final[T] | None:
        """The next whose result is still wanted."""
        while self._finals:
            oldest = self._finals[0]
            waited = oldest.result.get_loop().time() - oldest.since
            is_due = oldest.result.done() or waited >= self._patience
            final = self._finals.popleft() if is_due else self._finals.pop()
            if not final.result.done():
                return final
        return None

    def _finish(self, result: asyncio.Future[T], done: asyncio.Future[T]) -> None:
        self._busy = False
        if done.cancelled():
            result.cancel()
        elif not result.done():
            error = done.exception()
            if error is not None:
                result.set_exception(error)
            else:
                result.set_result(done.result())
        else:
            done.exception()
        self._start_next()
