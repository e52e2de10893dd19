"""Prometheus metrics of the gateway, and the page that shows those of all processes.

With ``PROMETHEUS_MULTIPROC_DIR`` in the environment every process of the room writes into that
folder and `render` shows the sum; without it, those of this process. prometheus-client reads the
variable when it is imported, so nothing here imports it before the first `GatewayMetrics`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, get_args

from mulisa.core.room import ParticipantKind

if TYPE_CHECKING:
    from mulisa.sfu.config import HostCounters

_MULTIPROC_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"
_SFU_COUNTERS: Final = {
    "joins": "Participants that the embedded SFU let in",
    "resumes": "Participants that came back to it over a new socket",
    "refused": "Requests to join that it answered with an error",
    "failed": "Participants whose connection to it, or whose protocol, failed",
    "slow_readers": "Participants that were put out because they did not read",
    "packets_forwarded": "Media packets that it sent",
    "bytes_forwarded": "Bytes of the media packets that it sent",
    "packets_dropped": "Media packets that it did not send: broken, unknown or too late",
}
"""Names of `HostCounters`."""


class GatewayMetrics:
    """What the gateway counts. No label holds a name, a room or an address."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self._registry = CollectorRegistry()
        self._rooms = Gauge(
            "mulisa_rooms",
            "Rooms with somebody in them",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._participants = Gauge(
            "mulisa_participants",
            "Participants in all rooms",
            ["kind"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._workers = Gauge(
            "mulisa_workers",
            "Agent processes that are registered",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._signalling = Counter(
            "mulisa_signalling_messages",
            "Signalling messages from participants",
            registry=self._registry,
        )
        self._tokens = Counter(
            "mulisa_tokens", "Room tokens asked for", ["result"], registry=self._registry
        )

        self._sfu = {
            name: Counter(f"mulisa_sfu_{name}", what, registry=self._registry)
            for name, what in _SFU_COUNTERS.items()
        }
        self._sfu_before = dict.fromkeys(_SFU_COUNTERS, 0)

        for kind in get_args(ParticipantKind):
            self._participants.labels(kind).set(0)
        for result in ("issued", "refused"):
            self._tokens.labels(result)

    def set_rooms(self, rooms: int) -> None:
        """How many rooms have somebody in them."""
        self._rooms.set(rooms)

    def set_participants(self, kind: ParticipantKind, participants: int) -> None:
        """How many people or agents are in all rooms."""
        self._participants.labels(kind).set(participants)

    def set_workers(self, workers: int) -> None:
        """How many agent processes are registered."""
        self._workers.set(workers)

    def signalling_message(self) -> None:
        """A participant sent a message."""
        self._signalling.inc()

    def token_issued(self) -> None:
        """Somebody got a token."""
        self._tokens.labels("issued").inc()

    def token_refused(self) -> None:
        """Somebody asked for too many tokens."""
        self._tokens.labels("refused").inc()

    def count_sfu(self, counters: HostCounters) -> None:
        """What the embedded SFU has done since it began."""
        for name, counter in self._sfu.items():
            now = getattr(counters, name)
            counter.inc(max(0, now - self._sfu_before[name]))
            self._sfu_before[name] = now

    def render(self) -> bytes:
        """Prometheus text of all processes. Reads files: call it in a thread."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        if not os.environ.get(_MULTIPROC_DIR):
            return generate_latest(self._registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)
