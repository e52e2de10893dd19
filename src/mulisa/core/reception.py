"""Who says to hear whom: the reports of a room's participants, each for a few seconds. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from mulisa.core.room import Identity

REPORT_LASTS: Final = 3.0
"""Seconds until a report is forgotten; everybody reports once a second."""


class Receptions:
    """The latest report of each listener, which is about that listener alone."""

    def __init__(self) -> None:
        self._reports: dict[Identity, tuple[frozenset[Identity], float]] = {}
        """And when they came, oldest first."""

    def report(self, listener: Identity, heard: frozenset[Identity], now: float) -> None:
        """Packets of these came to `listener` in the last second, as `listener` says."""
        self._reports.pop(listener, None)
        self._reports[listener] = heard, now
        self._forget(now)

    def matrix(
        self, present: Collection[Identity], now: float
    ) -> dict[Identity, frozenset[Identity]]:
        """Whom each listener hears, of those who are present, oneself left out.

        Who did not report in the last seconds is not in it: nothing is known of them.
        """
        self._forget(now)
        here = frozenset(present)
        return {
            listener: (heard & here) - {listener}
            for listener, (heard, _) in self._reports.items()
            if listener in here
        }

    @property
    def is_empty(self) -> bool:
        """Nothing is known, as far as `now` was told."""
        return not self._reports

    def _forget(self, now: float) -> None:
        while self._reports:
            oldest, (_, at) = next(iter(self._reports.items()))
            if now - at < REPORT_LASTS:
                return
            del self._reports[oldest]
