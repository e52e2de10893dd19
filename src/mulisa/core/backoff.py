"""How long to wait before trying again."""

from __future__ import annotations

import random


class Backoff:
    """Waits that double from `first` up to `longest`, both in seconds. Pure but for its dice."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._failures = 0

    def failed(self) -> float:
        """Count a failure and say how long to wait: the last quarter is random.

        Otherwise all who lost the same gateway would come back to it in the same moment.
        """
        wait = min(self._longest, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return wait * random.uniform(0.75, 1.0)

    def succeeded(self) -> None:
        """Begin again with the first wait."""
        self._failures = 0
