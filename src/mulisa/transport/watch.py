"""Waiting for something to become true that changes in many places."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watch:
    """Those who change a state call `changed`; those who wait for it look again then."""

    def __init__(self) -> None:
        self._news = asyncio.Event()

    def changed(self) -> None:
        """Something may be true now that was not before. Never blocks."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Return once it is true; the caller bounds the time."""
        while not is_true():
            await self._news.wait()
