"""A result that comes piece by piece, with a limit to each wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

P = TypeVar("P")


class Pieces(Generic[P]):
    """What an engine yields, checked; made by `begin` with the first piece already there."""

    def __init__(self, source: AsyncIterator[Any], check: Callable[[Any], P | None]) -> None:
        """`check` gives a piece, or None for one without anything in it; raises ProviderError."""
        self._source = aiter(source)
        self._check = check
        self._first: P | None = None

    @classmethod
    async def begin(
        cls, source: AsyncIterator[Any], check: Callable[[Any], P | None], limit: float
    ) -> Pieces[P]:
        """Wait for the first piece. Raises TimeoutError, and what the engine raises."""
        pieces = cls(source, check)
        pieces._first = await pieces._pull(limit)
        return pieces

    @property
    def is_empty(self) -> bool:
        """There was no piece; asked before the first `next`."""
        return self._first is None

    async def next(self, limit: float) -> P | None:
        """The next piece; None at the end. Raises TimeoutError, and what the engine raises."""
        first, self._first = self._first, None
        return first if first is not None else await self._pull(limit)

    async def aclose(self) -> None:
        """Let the engine stop, if it has not. Idempotent."""
        if (close := getattr(self._source, "aclose", None)) is not None:
            await close()

    async def _pull(self, limit: float) -> P | None:
        """What is empty does not count as progress."""
        try:
            async with asyncio.timeout(limit):
                async for item in self._source:
                    if (piece := self._check(item)) is not None:
                        return piece
        except BaseException:
            await self.aclose()
            raise
        return None
