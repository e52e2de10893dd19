"""The rooms of the gateway as its API shows them, whatever their topology."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from mulisa.core.room import (
    AGENT_STATE_ATTRIBUTE,
    AgentState,
    Identity,
    Participant,
    RoomName,
    Topology,
)
from mulisa.core.routing import Routing

TOKEN_GRACE: Final = 60.0
"""Seconds from a token to its holder's stay, in which the room's topology is kept."""


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
    places: int = 0
    """How many people may be in it; 0 for as many as like."""

    @property
    def people(self) -> tuple[Participant, ...]:
        """Those who are not agents."""
        return tuple(s.participant for s in self.stays if not s.participant.is_agent)

    @property
    def identities(self) -> frozenset[Identity]:
        """Of people and agents."""
        return frozenset(stay.participant.identity for stay in self.stays)

    def has_place_for(self, identity: Identity) -> bool:
        """Whether this person may come in, or is in it already."""
        others = sum(person.identity != identity for person in self.people)
        return not self.places or others < self.places


class RoomDirectory(Protocol):
    """Who is where; a topology's server side keeps one."""

    def room(self, name: RoomName) -> RoomState | None:
        """The room's state now; None while nobody is in it."""
        ...

    def rooms(self) -> list[RoomState]:
        """All rooms with somebody in them."""
        ...

    def holds(self, name: RoomName) -> bool:
        """The room is open, whether or not anybody is in it."""
        ...


class AllRooms:
    """The rooms of all topologies; a room is in one of them only.

    It is that of its creation, which is the first stay, the first token that was asked for, or a
    call of the server API: a token keeps the topology for `TOKEN_GRACE` seconds, until its holder
    is in the room.
    """

    def __init__(self, default: Topology, directories: Mapping[Topology, RoomDirectory]) -> None:
        self._default = default
        self._directories = directories
        self._promised: dict[RoomName, tuple[Topology, float]] = {}

    def room(self, name: RoomName) -> RoomState | None:
        """The room's state now; None while nobody is in it."""
        rooms = (directory.room(name) for directory in self._directories.values())
        return next((room for room in rooms if room), None)

    def rooms(self) -> list[RoomState]:
        """All rooms with somebody in them."""
        return [room for directory in self._directories.values() for room in directory.rooms()]

    def topology(self, name: RoomName, now: float) -> Topology | None:
        """That of the room; None while it has none yet."""
        if room := self.room(name):
            return room.topology
        for topology, directory in self._directories.items():
            if directory.holds(name):
                return topology
        promised, until = self._promised.get(name, (None, now))
        return promised if now < until else None

    def promise(self, name: RoomName, wish: Topology | None, now: float) -> Topology:
        """The topology for which a token of this room is given now."""
        topology = self.topology(name, now) or wish or self._default
        self._promised = {room: kept for room, kept in self._promised.items() if now < kept[1]}
        self._promised[name] = topology, now + TOKEN_GRACE
        return topology


def room_json(
    room: RoomState, routing: Routing, heard: Mapping[Identity, frozenset[Identity]]
) -> dict[str, Any]:
    """A `Room` of docs/protocol.md; `heard` is what each listener says to receive."""
    return {
        "name": room.name,
        "topology": room.topology,
        "created_at": _iso(room.created_at),
        "participants": [_stay_json(stay) for stay in room.stays],
        "agent": _agent_json(room),
        "routing": routing.to_json(person.identity for person in room.people),
        "heard": {listener: sorted(heard[listener]) for listener in sorted(heard)},
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
