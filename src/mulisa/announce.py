"""What an operator is told about the gateway's and the agent process's events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, Literal, TypeAlias

from mulisa.console import Console
from mulisa.server.events import (
    CertificateRefused,
    CertificateReplaced,
    GatewayEvent,
    JobFailed,
    Joined,
    Left,
    RoomClosed,
    RoomOpened,
    SfuFound,
    SfuLost,
    WorkerLost,
    WorkerRegistered,
)
from mulisa.worker.status import (
    AgentStateChanged,
    CannotStart,
    Draining,
    EngineLoading,
    EngineTrouble,
    GatewayLost,
    LastWordsAwaited,
    ProcessDied,
    Registered,
    Removed,
    RoomEntered,
    RoomLost,
    SessionEnded,
    SessionFailed,
    SessionStarted,
    Status,
)

_GONE: Final = {
    "left": "left",
    "vanished": "is gone without a word",
    "replaced": "came back in another page",
    "removed": "was removed",
}

_DOING: Final = {
    "stt": "hearing",
    "llm": "thinking",
    "tts": "speaking",
    "realtime": "speech to speech",
}

Command: TypeAlias = Literal["serve", "worker", "join"]


class Announcer:
    """Gives each event its line: those of the gateway, and those of an agent process."""

    is_ending = False
    """Set when we end: then it is no news that others do."""

    def __init__(self, console: Console, agent_name: str, command: Command = "serve") -> None:
        self._console = console
        self._agent_name = agent_name
        self._lines = _LINES_OF[command]

    def __call__(self, event: GatewayEvent | Status) -> None:
        """Say it, if an operator cares."""
        if isinstance(event, WorkerRegistered):
            self._worker_registered(event)
        elif say := (_ENDING_LINES if self.is_ending else self._lines).get(type(event)):
            say(self._console, event)

    def _worker_registered(self, event: WorkerRegistered) -> None:
        ready = f"{self._agent_name} is ready"
        named = f"a process named {event.agent_name} registered; it takes rooms that ask for it"
        self._console.event(
            "agent_ready",
            "agent",
            named if event.agent_name else ready,
            "good",
            worker_id=event.worker_id,
            agent_name=event.agent_name,
        )


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


def _process_died(console: Console, event: ProcessDied) -> None:
    console.event(
        "agent_died",
        "agent",
        f"its process died ({_exit(event.exit_code)}) and is started again",
        "warning",
        exit_code=event.exit_code,
        restart_in=event.restart_in,
    )


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _engine_loading(console: Console, event: EngineLoading) -> None:
    console.loading(event.engine, event.doing, event.fraction)


def _cannot_start(console: Console, event: CannotStart) -> None:
    console.error(f"the agent cannot start: {event.reason}", "agent_cannot_start")


def _cannot_join(console: Console, event: CannotStart) -> None:
    console.error(event.reason, "cannot_join")


def _registered(console: Console, event: Registered) -> None:
    console.event(
        "registered",
        "agent",
        f"takes the rooms of {event.url}",
        "good",
        url=event.url,
        worker_id=event.worker_id,
    )


def _gateway_lost(console: Console, event: GatewayLost) -> None:
    console.event(
        "gateway_lost",
        "agent",
        f"{event.reason}; tries again in {event.retry_in:.1f} s",
        "warning",
        url=event.url,
        reason=event.reason,
        retry_in=event.retry_in,
    )


def _draining(console: Console, event: Draining) -> None:
    rooms = f"{event.rooms} room{'s' * (event.rooms != 1)}"
    console.event("draining", "agent", f"leaves {rooms}", rooms=event.rooms)


def _last_words_awaited(console: Console, event: LastWordsAwaited) -> None:
    console.event(
        "last_words_awaited",
        event.room,
        f"waits for the words of what was said last, up to {event.limit:.0f} s;"
        " Ctrl-C again ends at once",
        room=event.room,
        limit=event.limit,
    )


def _session_started(console: Console, event: SessionStarted) -> None:
    console.event("session_started", event.room, "the agent goes in", room=event.room)


def _session_ended(console: Console, event: SessionEnded) -> None:
    console.event("session_ended", event.room, "the agent left", room=event.room)


def _session_failed(console: Console, event: SessionFailed) -> None:
    console.event(
        "session_failed",
        event.room,
        f"the session failed: {event.error}",
        "warning",
        room=event.room,
        error=event.error,
    )


def _sfu_lost(console: Console, event: SfuLost) -> None:
    console.event(
        "sfu_lost",
        "sfu",
        f"{event.reason}; is tried again",
        "warning",
        url=event.url,
        reason=event.reason,
    )


def _sfu_found(console: Console, event: SfuFound) -> None:
    console.event("sfu_found", "sfu", f"{event.url} answers again", "good", url=event.url)


def _certificate_replaced(console: Console, event: CertificateReplaced) -> None:
    console.event(
        "certificate_replaced",
        "https",
        f"takes the new certificate, valid until {event.valid_until:%Y-%m-%d}",
        "good",
        valid_until=event.valid_until,
        fingerprint=event.fingerprint,
    )


def _certificate_refused(console: Console, event: CertificateRefused) -> None:
    console.event(
        "certificate_refused",
        "https",
        f"keeps the former certificate: {event.reason}",
        "warning",
        reason=event.reason,
    )


def _room_entered(console: Console, event: RoomEntered) -> None:
    console.event("room_entered", event.room, "joined", "good", room=event.room)


def _room_lost(console: Console, event: RoomLost) -> None:
    when = f"in {event.retry_in:.1f} s" if event.retry_in else "once the engines are loaded"
    console.event(
        "room_lost",
        event.room,
        f"{event.reason}; tries again {when}",
        "warning",
        room=event.room,
        reason=event.reason,
        retry_in=event.retry_in,
    )


def _removed(console: Console, event: Removed) -> None:
    console.event("removed", event.room, "was put out of the room", "warning", room=event.room)


def _agent_state(console: Console, event: AgentStateChanged) -> None:
    console.event("agent_state", event.room, event.state, room=event.room, state=event.state)


def _short(label: str) -> str:
    """``whisper tiny.en`` of ``whisper tiny.en (bundled)``; the start lines said the rest."""
    return label.partition(" (")[0]


def _engine_trouble(console: Console, event: EngineTrouble) -> None:
    doing = _DOING.get(event.stage, event.stage)
    fields = asdict(event)
    if not event.reason:
        text = f"{doing}: {_short(event.engine)} works again"
        console.event("engine_works", event.room, text, "good", **fields)
        return
    successor = _short(event.successor) or "nobody else"
    text = f"{doing}: {event.reason} ({successor} does it meanwhile)"
    console.event("engine_trouble", event.room, text, "warning", **fields)


_LINES: Final[dict[type[Any], Callable[[Console, Any], None]]] = {
    RoomOpened: _room_opened,
    RoomClosed: _room_closed,
    Joined: _joined,
    Left: _left,
    WorkerLost: _worker_lost,
    JobFailed: _job_failed,
    SfuLost: _sfu_lost,
    SfuFound: _sfu_found,
    CertificateReplaced: _certificate_replaced,
    CertificateRefused: _certificate_refused,
    ProcessDied: _process_died,
    EngineLoading: _engine_loading,
    CannotStart: _cannot_start,
    Draining: _draining,
    EngineTrouble: _engine_trouble,
}
_ENDING_LINES: Final[dict[type[Any], Callable[[Console, Any], None]]] = {
    LastWordsAwaited: _last_words_awaited,
}
_LINES_OF: Final[dict[Command, dict[type[Any], Callable[[Console, Any], None]]]] = {
    "serve": _LINES,
    # The gateway is elsewhere; here it tells the same from its side.
    "worker": _LINES
    | {
        Registered: _registered,
        GatewayLost: _gateway_lost,
        SessionStarted: _session_started,
        SessionEnded: _session_ended,
        SessionFailed: _session_failed,
    }
    | _ENDING_LINES,
    "join": _LINES
    | {
        RoomEntered: _room_entered,
        RoomLost: _room_lost,
        Removed: _removed,
        AgentStateChanged: _agent_state,
        CannotStart: _cannot_join,
    }
    | _ENDING_LINES,
}
