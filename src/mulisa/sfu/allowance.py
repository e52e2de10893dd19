"""How often something may happen. Pure: `now` is seconds on a monotonic clock."""

from __future__ import annotations


class Allowance:
    """A token bucket: `burst` at once, `rate` per second in the long run."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = float(burst)
        self._filled_at = now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take that much; False, and nothing is taken, if there is less."""
        self._level = min(self._burst, self._level + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._level < amount:
            return False
        self._level -= amount
        return True
