"""What an agent process tells about itself, and how that travels over a pipe: JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final, Self, TypeAlias

from mulisa.core.account import Trouble
from mulisa.core.room import RoomName
from mulisa.core.secrets import conceal


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """The supervisor started an agent process."""

    pid: int


@dataclass(frozen=True, slots=True)
class ProcessDied:
    """The agent process ended although nobody told it to; it is started again."""

    exit_code: int
    """Negative for a signal, as in `subprocess`."""
    restart_in: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class EngineLoading:
    """An engine makes progress; 1.0 comes once, when it is ready and `doing` is its label."""

    engine: str
    doing: str
    fraction: float | None


@dataclass(frozen=True, slots=True)
class CannotStart:
    """The agent process lacks something and ends; trying again would not help."""

    reason: str
    """What is missing; and what to do."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A gateway knows us and sends rooms."""

    url: str
    worker_id: str


@dataclass(frozen=True, slots=True)
class GatewayLost:
    """The gateway is out of reach; sessions go on and we keep trying."""

    url: str
    reason: str
    retry_in: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """We go into a room."""

    room: RoomName


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """We left a room."""

    room: RoomName


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """A session broke; the other rooms go on."""

    room: RoomName
    error: str


@dataclass(frozen=True, slots=True)
class RoomEntered:
    """We joined the room that we were told to join."""

    room: RoomName


@dataclass(frozen=True, slots=True)
class RoomLost:
    """The room is out of reach; we keep trying."""

    room: RoomName
    reason: str
    retry_in: float
    """Seconds; 0 before the engines are loaded."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Somebody put us out of the room that we joined, and we do not come back."""

    room: RoomName


@dataclass(frozen=True, slots=True)
class AgentStateChanged:
    """What we are doing now."""

    room: RoomName
    state: str
    """An `AgentState` in LiveKit's words."""


@dataclass(frozen=True, slots=True)
class EngineTrouble:
    """An engine fails a room, or works for it again."""

    room: RoomName
    stage: str
    """A `Stage`."""
    engine: str
    """As people know it: ``OpenAI``."""
    reason: str
    """What is wrong; and what to do. Empty: it works again."""
    successor: str
    """Who does its work meanwhile; empty if nobody does."""

    @classmethod
    def of(cls, room: RoomName, trouble: Trouble) -> Self:
        """Without secrets."""
        return cls(
            room,
            trouble.stage,
            conceal(trouble.engine),
            conceal(trouble.reason),
            conceal(trouble.successor),
        )


@dataclass(frozen=True, slots=True)
class LastWordsAwaited:
    """We leave a room, but not before the words of what was said there have come."""

    room: RoomName
    limit: float
    """Seconds; then we go without them."""


@dataclass(frozen=True, slots=True)
class Draining:
    """We were told to end: no new rooms, and out of those we are in."""

    rooms: int


Status: TypeAlias = (
    ProcessStarted
    | ProcessDied
    | EngineLoading
    | CannotStart
    | Registered
    | GatewayLost
    | SessionStarted
    | SessionEnded
    | SessionFailed
    | RoomEntered
    | RoomLost
    | Removed
    | AgentStateChanged
    | EngineTrouble
    | LastWordsAwaited
    | Draining
)
OnStatus: TypeAlias = Callable[[Status], None]

_KINDS: Final[dict[str, type[Any]]] = {
    "process_started": ProcessStarted,
    "process_died": ProcessDied,
    "engine_loading": EngineLoading,
    "cannot_start": CannotStart,
    "registered": Registered,
    "gateway_lost": GatewayLost,
    "session_started": SessionStarted,
    "session_ended": SessionEnded,
    "session_failed": SessionFailed,
    "room_entered": RoomEntered,
    "room_lost": RoomLost,
    "removed": Removed,
    "agent_state_changed": AgentStateChanged,
    "engine_trouble": EngineTrouble,
    "last_words_awaited": LastWordsAwaited,
    "draining": Draining,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def to_line(status: Status) -> str:
    """One line of JSON, without its end."""
    return json.dumps({"status": _NAMES[type(status)]} | asdict(status))


def from_line(line: str) -> Status | None:
    """What `to_line` wrote; None for any other line."""
    try:
        fields = json.loads(line)
        status: Status = _KINDS[fields.pop("status")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return status


def tell_parent(status: Status) -> None:
    """Write a status to the process that started us; it may be gone."""
    with suppress(BrokenPipeError):
        print(to_line(status), flush=True)
