"""How often one address may ask for something."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_MAX_ADDRESSES: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    level: float
    filled_at: float


class RateLimit:
    """A leaky bucket per address: `burst` at once, `rate` per second in the long run.

    Pure: `now` is seconds on a monotonic clock. Remembers a bounded number of addresses; the one
    that asked longest ago is forgotten first.
    """

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def admit(self, address: str, now: float) -> bool:
        """Count one request; False if it is one too many."""
        bucket = self._buckets.setdefault(address, _Bucket(self._burst, now))
        self._buckets.move_to_end(address)
        if len(self._buckets) > _MAX_ADDRESSES:
            self._buckets.popitem(last=False)
        bucket.level = min(self._burst, bucket.level + (now - bucket.filled_at) * self._rate)
        bucket.filled_at = now
        if bucket.level < 1:
            return False
        bucket.level -= 1
        return True
