"""Prometheus metrics of the agent process.

With ``PROMETHEUS_MULTIPROC_DIR`` in the environment they are written into that folder, where the
gateway reads them. prometheus-client reads the variable when it is imported, so it is imported
here with the first `AgentMetrics` only.
"""

from __future__ import annotations

from typing import Final

from mulisa.core.metrics import TurnMetrics

_BUCKETS: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class AgentMetrics:
    """What the agent counts over all its rooms. No label holds a name or a room."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self._registry = CollectorRegistry()
        self._stages = Histogram(
            "mulisa_stage_seconds",
            "Latency of a turn by stage; 'response' is from the last word to the first sound",
            ["stage"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._turns = Counter("mulisa_turns", "Turns of people", registry=self._registry)
        self._replies = Counter(
            "mulisa_replies", "Replies that were heard", registry=self._registry
        )
        self._interruptions = Counter(
            "mulisa_interruptions", "Replies that people cut", registry=self._registry
        )
        self._sessions = Gauge(
            "mulisa_sessions",
            "Rooms that the agent is in",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

    def turn(self, metrics: TurnMetrics) -> None:
        """A turn is over; it had a reply if a frame of one was sent."""
        self._turns.inc()
        if metrics.first_frame_sent_at is not None:
            self._replies.inc()
        for stage, seconds in metrics.stages().items():
            self._stages.labels(stage).observe(max(0.0, seconds))

    def interruption(self) -> None:
        """Somebody cut a reply."""
        self._interruptions.inc()

    def session_started(self) -> None:
        """We are in one more room."""
        self._sessions.inc()

    def session_ended(self) -> None:
        """We are in one room less."""
        self._sessions.dec()
