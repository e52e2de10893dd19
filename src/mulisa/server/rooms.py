"""The rooms of the gateway as its API shows them, whatever their topology."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from mulisa.core.room import (
    AGENT_STATE_ATTRIBUTE,
    AgentState,
    Participant,
    RoomName,
    Topology,
)


@dataclass(frozen=True, slots=True)
class Stay:
    """A participant, and since when they are in the room."""

    participant: Participant
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class RoomState:
    """A room that somebody is in."""

    name: RoomName
    topology: Topology
    created_at: datetime
    stays: tuple[Stay, ...]

    @property
    def people(self) -> tuple[Participant, ...]:
        """Those who are not agents."""
        return tuple(s.participant for s in self.stays if not s.participant.is_agent)


class RoomDirectory(Protocol):
    """Who is where; a topology's server side keeps one."""

    def room(self, name: RoomName) -> RoomState | None:
        """The room's state now; None while nobody is in it."""
        ...

    def rooms(self) -> list[RoomState]:
        """All rooms with somebody in them."""
        ...


def room_json(room: RoomState) -> dict[str, Any]:
    """A `Room` of docs/protocol.md."""
    return {
        "name": room.name,
        "topology": room.topology,
        "created_at": _iso(room.created_at),
        "participants": [_stay_json(stay) for stay in room.stays],
        "agent": _agent_json(room),
    }


def _stay_json(stay: Stay) -> dict[str, Any]:
    participant = stay.participant
    return {
        "identity": participant.identity,
        "name": participant.name,
        "kind": participant.kind,
        "muted": participant.muted,
        "attributes": dict(participant.attributes),
        "joined_at": _iso(stay.joined_at),
    }


def _agent_json(room: RoomState) -> dict[str, str] | None:
    for stay in room.stays:
        if stay.participant.is_agent:
            attributes = stay.participant.attributes
            state = attributes.get(AGENT_STATE_ATTRIBUTE, AgentState.INITIALIZING.value)
            return {"identity": stay.participant.identity, "state": state}
    return None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
