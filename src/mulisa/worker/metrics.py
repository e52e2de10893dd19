"""Prometheus metrics of the agent process.

With ``PROMETHEUS_MULTIPROC_DIR`` in the environment they are written into that folder, where the
gateway reads them. prometheus-client reads the variable when it is imported, so it is imported
here with the first `AgentMetrics` only.
"""

from __future__ import annotations

from typing import Final

from mulisa.core.account import Trouble, Unit
from mulisa.core.metrics import SessionObserver, TurnMetrics
from mulisa.core.secrets import conceal

_BUCKETS: Final = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class AgentMetrics(SessionObserver):
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
        self._turns = Counter(
            "mulisa_turns", "Turns of people", ["addressed"], registry=self._registry
        )
        self._replies = Counter(
            "mulisa_replies", "Replies that were heard", registry=self._registry
        )
        self._interruptions = Counter(
            "mulisa_interruptions", "Replies that people cut", registry=self._registry
        )
        self._failures = Counter(
            "mulisa_reply_failures",
            "Replies that an engine kept from being whole, apologies included",
            registry=self._registry,
        )
        self._gaps = Counter(
            "mulisa_voice_gaps",
            "Gaps in her voice: synthesis slower than speech, or the event loop late",
            ["cause"],
            registry=self._registry,
        )
        self._use = Counter(
            "mulisa_engine_use",
            "What engines used that costs money, in seconds of sound, tokens and characters",
            ["engine", "unit"],
            registry=self._registry,
        )
        self._troubles = Counter(
            "mulisa_engine_troubles",
            "Times that an engine began to fail a room",
            ["stage"],
            registry=self._registry,
        )
        self._sessions = Gauge(
            "mulisa_sessions",
            "Rooms that the agent is in",
            registry=self._registry,
            multiprocess_mode="livesum",
        )

        for addressed in ("true", "false"):
            self._turns.labels(addressed)
        for cause in ("synthesis", "loop"):
            self._gaps.labels(cause)

    def turn_committed(self, *, addressed: bool) -> None:
        """Somebody's turn is over."""
        self._turns.labels("true" if addressed else "false").inc()

    def reply_started(self, metrics: TurnMetrics) -> None:
        """A reply is heard: count it, and what each stage before it took."""
        self._replies.inc()
        for stage, seconds in metrics.stages().items():
            self._stages.labels(stage).observe(max(0.0, seconds))

    def reply_interrupted(self) -> None:
        """People cut a reply."""
        self._interruptions.inc()

    def reply_failed(self) -> None:
        """An engine failed."""
        self._failures.inc()

    def voice_gaps(self, *, underruns: int, stalls: int) -> None:
        """A reply had gaps."""
        self._gaps.labels("synthesis").inc(underruns)
        self._gaps.labels("loop").inc(stalls)

    def engine_used(self, engine: str, unit: Unit, amount: float) -> None:
        """An engine did something that costs money."""
        self._use.labels(conceal(engine), unit).inc(amount)

    def engine_trouble(self, trouble: Trouble) -> None:
        """An engine fails a room, or works again."""
        if trouble.reason:
            self._troubles.labels(trouble.stage).inc()

    def session_started(self) -> None:
        """We are in one more room."""
        self._sessions.inc()

    def session_ended(self) -> None:
        """We are in one room less."""
        self._sessions.dec()
