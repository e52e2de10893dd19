"""The pair of candidates that packets take: the best one that works, not the first.

aioice stops checking when it has a pair, and from then on takes whichever is nominated last. So a
relay that answers before a hole is punched keeps the connection, and so does one that answers
just after. It still does all checks; here they go on for better pairs, and here it is decided
which of those that are nominated is used (RFC 8445, 8.1.1; RFC 5245, 8.1.1.2 for many of them).

Where we control, every check of ours nominates, and a browser sends to where our packets come
from. Where the browser does, it nominates whatever it may take, and the one it uses every 3 s.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, TypeAlias

from aioice.ice import CandidatePair, Connection, StunProtocol, candidate_pair_priority
from aioice.stun import Message

from mulisa.transport.mesh.ice_servers import COMPONENT

logger = logging.getLogger(__name__)

CHECK_INTERVAL: Final = 0.02
"""Seconds between two checks that begin, as aioice has it (Ta of RFC 8445, 14.2)."""
ABANDONED: Final = 4.0
"""Seconds without a check from the peer after which a pair gives way to a worse one. libwebrtc
checks the pair that it uses every 2.5 to 3 s, and those it keeps in reserve less often."""

Address: TypeAlias = tuple[str, int]
_State: TypeAlias = CandidatePair.State


class Selection:
    """Of one connection, whose choice it takes over when it is made."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._checked_at = float("-inf")
        self._heard: set[CandidatePair] = set()
        self._improving: asyncio.Task[None] | None = None
        self._is_closed = False
        self._connect = connection.connect
        self._sort = connection.sort_check_list
        self._check_incoming = connection.check_incoming
        self._check_complete = connection.check_complete
        connection.connect = self._on_connect  # type: ignore[method-assign]
        connection.sort_check_list = self._on_candidates  # type: ignore[method-assign]
        connection.check_incoming = self._on_check  # type: ignore[method-assign]
        connection.check_complete = self._on_complete  # type: ignore[method-assign]

    @property
    def pair(self) -> CandidatePair | None:
        """What packets take; None while there is no way."""
        return self._connection._nominated.get(COMPONENT)

    @property
    def types(self) -> str:
        """Types of the pair's candidates, ours first; empty while there are none."""
        pair = self.pair
        return f"{pair.local_candidate.type} to {pair.remote_candidate.type}" if pair else ""

    async def aclose(self) -> None:
        """Check nothing any more. Idempotent; comes before the connection is closed."""
        self._is_closed = True
        if self._improving is not None:
            self._improving.cancel()
            await asyncio.wait({self._improving})

    async def _on_connect(self) -> None:
        """aioice has a pair, and has cancelled all other checks."""
        await self._connect()
        for pair in self._connection._check_list:
            _give_up(pair)
        self._improve()

    def _on_candidates(self) -> None:
        """There are new ones, or we know more of them."""
        self._sort()
        self._improve()

    def _on_check(self, message: Message, addr: Address, protocol: StunProtocol) -> None:
        pair = self._find(addr, protocol)
        if pair is not None and pair not in self._heard and pair.state is _State.IN_PROGRESS:
            _give_up(pair)  # ours was sent before the peer's NAT let it in: now it does (7.3.1.4)
        self._check_incoming(message, addr, protocol)
        pair = self._find(addr, protocol)
        if pair is not None:
            self._heard.add(pair)
            self._checked(pair)

    def _find(self, addr: Address, protocol: StunProtocol) -> CandidatePair | None:
        for pair in self._connection._check_list:
            if pair.protocol is protocol and pair.remote_addr == addr:
                return pair
        return None

    def _checked(self, pair: CandidatePair) -> None:
        """By the peer: it uses this pair, or may take it."""
        if pair is self.pair:
            self._checked_at = asyncio.get_running_loop().time()
        elif self._connection.ice_controlling and _is_usable(pair):
            self._on_complete(pair)

    def _on_complete(self, pair: CandidatePair) -> None:
        if not _is_usable(pair):
            self._check_complete(pair)
            return
        pair.task = None
        if self._takes_over(pair):
            self._select(pair)

    def _takes_over(self, pair: CandidatePair) -> bool:
        """Of two that are as good the later one: the peer's NAT gave it another address."""
        if self.pair is None or self._priority(pair) >= self._priority(self.pair):
            return True
        return asyncio.get_running_loop().time() - self._checked_at >= ABANDONED

    def _select(self, pair: CandidatePair) -> None:
        if pair is not self.pair:
            self._connection._nominated[COMPONENT] = pair
            logger.debug("packets go %s", self.types)
        self._checked_at = asyncio.get_running_loop().time()
        for other in self._connection._check_list:
            if self._priority(other) < self._priority(pair):
                _give_up(other)
        self._connection._check_list_maybe_complete()

    def _improve(self) -> None:
        """Check what is better than the pair we have, as soon as we have one."""
        is_at_it = self._improving is not None and not self._improving.done()
        if not is_at_it and self._untried() is not None:
            self._improving = asyncio.create_task(self._try_better(), name="trying better paths")

    async def _try_better(self) -> None:
        while (pair := self._untried()) is not None:
            self._connection.check_start_task(pair)
            await asyncio.sleep(CHECK_INTERVAL)

    def _untried(self) -> CandidatePair | None:
        """The best pair that nobody has checked, if it is better than the one we have."""
        if self.pair is None or self._is_closed or self._connection._closing:
            return None
        for pair in self._connection._check_list:
            if self._priority(pair) <= self._priority(self.pair):
                return None
            if pair.task is None and pair.state in (_State.FROZEN, _State.WAITING):
                return pair
        return None

    def _priority(self, pair: CandidatePair) -> int:
        ours, theirs = pair.local_candidate, pair.remote_candidate
        return candidate_pair_priority(ours, theirs, self._connection.ice_controlling)


def _is_usable(pair: CandidatePair) -> bool:
    return pair.nominated and pair.state is _State.SUCCEEDED


def _give_up(pair: CandidatePair) -> None:
    """For now: whoever checks this pair again begins anew."""
    if pair.task is not None:
        pair.task.cancel()
        pair.task, pair.state = None, _State.FROZEN
