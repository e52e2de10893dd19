"""Whether the path of a connection works: known in seconds, where ICE takes half a minute.

aioice gives a path up after six unanswered consent checks (RFC 7675), 30 s. While anything comes,
and what we ask now and then is answered, nothing more is done here; when it becomes quiet we ask
often, by STUN binding requests, and go on asking after the path was lost: it may return.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

from aioice import Connection
from aioice.ice import StunProtocol
from aioice.stun import Message, TransactionFailed, TransactionTimeout

QUIET: Final = 1.0
"""Seconds without any datagram after which we ask."""
UNANSWERED: Final = 3.0
"""Seconds after the last answer when we ask, whatever comes: ours may not arrive."""
ASK_INTERVAL: Final = 0.5
"""Between questions; each is sent again after as long."""
LOST_QUIET: Final = 4.0
"""Seconds without any datagram that make a path lost. Not sooner: on a busy machine a peer stands
still for two or three, and who waits loses nothing, for a path that returns is used at once."""
LOST_UNANSWERED: Final = 6.5
STALL: Final = 0.25
"""A look that is later than this found a loop that stood still; what came meanwhile is unread."""


class PathLife:
    """When to ask, and what silence means. Pure: `now` is seconds on a monotonic clock."""

    def __init__(self, now: float) -> None:
        self.is_lost = False
        self._heard_at = now
        self._answered_at = now
        self._asked_at = -ASK_INTERVAL

    @property
    def heard_at(self) -> float:
        """When the last sign of life came."""
        return self._heard_at

    @property
    def due(self) -> float:
        """When to look next."""
        begin = min(self._heard_at + QUIET, self._answered_at + UNANSWERED)
        return max(begin, self._asked_at + ASK_INTERVAL)

    def heard(self, now: float) -> None:
        """Something came from the peer."""
        self._heard_at = now

    def answered(self, now: float) -> None:
        """The peer answered: a lost path is back."""
        self._heard_at = self._answered_at = now
        self.is_lost = False

    def look(self, now: float) -> bool:
        """True if we shall ask now. Call it at `due`; `is_lost` is news then."""
        late = now - self.due
        if late < 0:
            return False
        if late > STALL:
            self._heard_at += late
            self._answered_at += late
        self._asked_at = now
        quiet, unanswered = now - self._heard_at, now - self._answered_at
        self.is_lost = self.is_lost or quiet >= LOST_QUIET or unanswered >= LOST_UNANSWERED
        return True


class Path:
    """The path of one connection; watched from `begin` until `aclose`."""

    def __init__(self, ice: Connection, on_change: Callable[[], None]) -> None:
        """`on_change` is called when the path is lost or back."""
        self._ice = ice
        self._on_change = on_change
        self._life: PathLife | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._data_received = ice.data_received
        self._check_incoming = ice.check_incoming
        setattr(ice, "data_received", self._on_data)  # noqa: B010
        setattr(ice, "check_incoming", self._on_check)  # noqa: B010

    @property
    def is_lost(self) -> bool:
        """Nothing comes, or nothing of ours arrives."""
        return self._life is not None and self._life.is_lost

    @property
    def heard_at(self) -> float:
        """Loop time of the last sign of life; -inf before the connection."""
        return self._life.heard_at if self._life else float("-inf")

    def begin(self) -> None:
        """The connection is there: watch it. Idempotent."""
        if self._life is None:
            self._life = PathLife(asyncio.get_running_loop().time())
            self._start(self._watch(self._life), "watching a path")

    async def exchange(self, retransmissions: int | None = None) -> None:
        """One STUN transaction with the peer, as aioice makes them for consent (RFC 7675).

        Raises TransactionTimeout if nobody answers; returns at once where nobody is connected.
        """
        for pair in list(self._ice._nominated.values()):
            assert self._ice.remote_password is not None, "it is connected"
            request = self._ice.build_request(pair, nominate=False)
            key = self._ice.remote_password.encode()
            with suppress(TransactionFailed):  # which is an answer, too
                await pair.protocol.request(request, pair.remote_addr, key, retransmissions)
            self._on_answer()

    async def aclose(self) -> None:
        """Watch no more. Idempotent."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _watch(self, life: PathLife) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(life.due - loop.time())
            was_lost = life.is_lost
            if life.look(loop.time()):
                self._start(self._ask(), "asking a peer")
            if life.is_lost and not was_lost:
                self._on_change()

    async def _ask(self) -> None:
        with suppress(TransactionTimeout):  # silence is what `PathLife` counts
            await self.exchange(retransmissions=1)

    def _on_answer(self) -> None:
        if self._life is None:
            return
        was_lost = self._life.is_lost
        self._life.answered(asyncio.get_running_loop().time())
        if was_lost:
            self._on_change()

    def _on_data(self, data: bytes, component: int) -> None:
        if self._life is not None:
            self._life.heard(asyncio.get_running_loop().time())
        self._data_received(data, component)

    def _on_check(self, message: Message, address: tuple[str, int], at: StunProtocol) -> None:
        """The peer's request was authenticated."""
        if self._life is not None:
            self._life.heard(asyncio.get_running_loop().time())
        self._check_incoming(message, address, at)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
