"""Is an engine worth being asked? A circuit breaker. Pure: `now` is given."""

from __future__ import annotations

from dataclasses import dataclass

from mulisa.core.errors import ProviderError

MAX_ANNOUNCED_REST = 600.0
"""Seconds; a service that asks for a longer rest is asked again after this."""


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """When an engine rests, and how long; seconds."""

    max_failures: int = 2
    """So many failures in a row that may pass by themselves put it to rest."""
    rest: float = 10.0
    """The first rest after such failures; each further one is twice as long."""
    max_rest: float = 120.0
    refused_rest: float = 60.0
    """The first rest after a refusal (a wrong key, a spent quota)."""
    max_refused_rest: float = 600.0


@dataclass(slots=True)
class Health:
    """Of one engine, for all rooms.

    While it rests it is passed over. After the rest one request at a time tries it, until one
    works or fails.
    """

    config: HealthConfig = HealthConfig()
    reason: str = ""
    """Of the latest failure; empty while all is well."""
    failures: int = 0
    """In a row."""
    _rest: float = 0.0
    """How long the latest rest is, or was; 0 while all is well."""
    _rest_until: float = float("-inf")
    _is_probed: bool = False

    def rests(self, now: float) -> bool:
        """It should not be asked now."""
        return now < self._rest_until or self._is_probed

    def probe(self, now: float) -> bool:
        """A request is made; True if it is the one that tries an engine after its rest."""
        if self._rest == 0.0 or self.rests(now):
            return False
        self._is_probed = True
        return True

    def probed(self) -> None:
        """That request is over, however it ended."""
        self._is_probed = False

    def failed(self, error: ProviderError, now: float) -> None:
        """A request failed. What fails while it rests began before that and tells nothing new."""
        self.reason = str(error)
        self.failures += 1
        if now < self._rest_until:
            return
        config = self.config
        rest = 0.0
        if not error.retryable:
            rest = min(max(config.refused_rest, 2 * self._rest), config.max_refused_rest)
        elif self._rest or self.failures >= config.max_failures:
            rest = min(max(config.rest, 2 * self._rest), config.max_rest)
        announced = min((error.retry_after or 0.0), MAX_ANNOUNCED_REST)
        if rest := max(rest, announced):
            self._rest, self._rest_until = rest, now + rest

    def worked(self) -> None:
        """A request succeeded."""
        self.reason = ""
        self.failures = 0
        self._rest = 0.0
        self._rest_until = float("-inf")
