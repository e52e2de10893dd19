"""What an operator is told about the gateway's and the agent process's events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mulisa.console import Console
from mulisa.server.events import (
    GatewayEvent,
    JobFailed,
    Joined,
    Left,
    RoomClosed,
    RoomOpened,
    WorkerLost,
    WorkerRegistered,
)

_GONE: Final = {
    "left": "left",
    "vanished": "is gone without a word",
    "replaced": "came back in another page",
    "removed": "was removed",
}


class Announcer:
    """Gives each event its line; hand it to `mulisa.server.gateway.serve` as `on_event`."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: GatewayEvent) -> None:
        """Say it, if an operator cares."""
        if say := _LINES.get(type(event)):
            say(self._console, event)


def _room_opened(console: Console, event: RoomOpened) -> None:
    console.event(
        "room_opened",
        event.room,
        f"opened ({event.topology})",
        room=event.room,
        topology=event.topology,
    )


def _room_closed(console: Console, event: RoomClosed) -> None:
    console.event("room_closed", event.room, "empty, closed", room=event.room)


def _joined(console: Console, event: Joined) -> None:
    person = event.participant
    text = f"{person.name} (AI) is here" if person.is_agent else f"{person.name} joined"
    console.event(
        "joined",
        event.room,
        text,
        "good" if person.is_agent else "",
        room=event.room,
        identity=person.identity,
        name=person.name,
        kind=person.kind,
    )


def _left(console: Console, event: Left) -> None:
    person = event.participant
    console.event(
        "left",
        event.room,
        f"{person.name} {_GONE.get(event.reason, event.reason)}",
        room=event.room,
        identity=person.identity,
        name=person.name,
        kind=person.kind,
        reason=event.reason,
    )


def _worker_registered(console: Console, event: WorkerRegistered) -> None:
    console.event(
        "agent_ready",
        "agent",
        f"{event.agent_name or 'the agent'} is ready",
        "good",
        worker_id=event.worker_id,
        agent_name=event.agent_name,
    )


def _worker_lost(console: Console, event: WorkerLost) -> None:
    console.event(
        "agent_lost",
        "agent",
        "the agent process is gone; its rooms wait for it",
        "warning",
        worker_id=event.worker_id,
    )


def _job_failed(console: Console, event: JobFailed) -> None:
    console.event(
        "session_failed",
        event.room,
        f"the agent's session failed and is tried again: {event.error}",
        "warning",
        room=event.room,
        error=event.error,
    )


_LINES: Final[dict[type[Any], Callable[[Console, Any], None]]] = {
    RoomOpened: _room_opened,
    RoomClosed: _room_closed,
    Joined: _joined,
    Left: _left,
    WorkerRegistered: _worker_registered,
    WorkerLost: _worker_lost,
    JobFailed: _job_failed,
}
