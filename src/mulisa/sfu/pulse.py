"""Something that is done again and again, while there is reason to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pulse:
    """Calls `beat` every `interval` seconds once started, until it says that it need not."""

    def __init__(self, interval: float, beat: Callable[[], bool]) -> None:
        """`beat` returns whether to go on."""
        self._interval = interval
        self._beat = beat
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Beat from now on, the first time after one interval. Idempotent."""
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(self._interval, self._run)

    def stop(self) -> None:
        """Beat no more until the next `start`. Idempotent."""
        if self._next:
            self._next.cancel()
            self._next = None

    def _run(self) -> None:
        self._next = None
        if self._beat():
            self.start()
