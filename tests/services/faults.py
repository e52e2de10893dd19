"""What a service of the tests is told to do wrong, request by request."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

FaultKind: TypeAlias = Literal["latency", "status", "cut", "garbage", "silence"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong in one request or one connection."""

    kind: FaultKind
    """``latency``: `delay` before each piece; ``status``: refused with `status` and `code` (a
    WebSocket: at its handshake); ``cut``: the connection breaks; ``garbage``: bytes that are no
    protocol; ``silence``: nothing more comes, and nothing is closed.
    """
    after: int = 0
    """So many pieces (deltas, chunks, messages) are sent as they should be before it happens."""
    delay: float = 1.0
    """Seconds, for ``latency``."""
    status: int = 500
    code: str = ""
    """The vendor's own word, as in ``insufficient_quota``."""
    message: str = "something went wrong"


class Faults:
    """Faults to come, by endpoint: ``chat``, ``responses``, ``speech``, ``transcriptions``,
    ``realtime``, ``models``; Azure's: ``stt``, ``tts``.
    """

    def __init__(self) -> None:
        self._next: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}
        self.happened: list[tuple[str, Fault]] = []

    def next(self, endpoint: str, *faults: Fault) -> None:
        """The next requests of an endpoint meet these, one each."""
        self._next[endpoint].extend(faults)

    def always(self, endpoint: str, fault: Fault | None) -> None:
        """Every request meets it from now on; None ends that."""
        if fault is None:
            self._always.pop(endpoint, None)
        else:
            self._always[endpoint] = fault

    def take(self, endpoint: str) -> Fault | None:
        """What the request that has come now meets."""
        waiting = self._next[endpoint]
        fault = waiting.popleft() if waiting else self._always.get(endpoint)
        if fault is not None:
            self.happened.append((endpoint, fault))
        return fault
