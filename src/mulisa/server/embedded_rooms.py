"""The rooms of the embedded SFU as the gateway's directory. Pure: it follows what is reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from livekit.protocol.models import DisconnectReason, ParticipantInfo

from mulisa.core.room import ParticipantSid, RoomName
from mulisa.server.events import GatewayEvent, Joined, Left, RoomClosed, RoomOpened, Updated
from mulisa.server.participants import is_present, stay_of
from mulisa.server.rooms import RoomState, Stay
from mulisa.sfu.events import Report

_REASONS: Final = {
    DisconnectReason.CLIENT_INITIATED: "left",
    DisconnectReason.DUPLICATE_IDENTITY: "replaced",
    DisconnectReason.PARTICIPANT_REMOVED: "removed",
    DisconnectReason.ROOM_DELETED: "removed",
    DisconnectReason.ROOM_CLOSED: "removed",
}
"""Whoever is gone for another reason has vanished."""


@dataclass(slots=True)
class _Room:
    created_at: datetime
    places: int
    stays: dict[ParticipantSid, Stay] = field(default_factory=dict)


class EmbeddedRooms:
    """Who is where, from one report to the next.

    Somebody is in a room from the first report of their stay on, while media may still be on its
    way: whoever else shall come, an agent, can set out.
    """

    def __init__(self) -> None:
        self._rooms: dict[RoomName, _Room] = {}

    def follow(self, report: Report) -> list[GatewayEvent]:
        """What an operator is told of it, in order."""
        name = RoomName(report.room.name)
        match report.event:
            case "room_started":
                self._rooms[name] = _Room(_created_at(report), report.room.max_participants)
                return []
            case "room_finished":
                return self._finish(name)
            case "participant_joined" | "participant_updated":
                return self._note(name, report.participant)
            case "participant_left" | "participant_connection_aborted":
                return self._leave(name, report.participant)
        return []

    def room(self, name: RoomName) -> RoomState | None:
        """The room's state now; None while nobody is in it."""
        room = self._rooms.get(name)
        return _state(name, room) if room and room.stays else None

    def rooms(self) -> list[RoomState]:
        """All rooms with somebody in them."""
        return [_state(name, room) for name, room in self._rooms.items() if room.stays]

    def holds(self, name: RoomName) -> bool:
        """The room is open, though nobody may be in it."""
        return name in self._rooms

    def _note(self, name: RoomName, info: ParticipantInfo | None) -> list[GatewayEvent]:
        room = self._rooms.get(name)
        if room is None or info is None or not is_present(info):
            return []
        stay = stay_of(info)
        sid = stay.participant.sid
        former, was_empty = room.stays.get(sid), not room.stays
        room.stays[sid] = stay
        if former is None:
            opened: list[GatewayEvent] = [RoomOpened(name, "sfu")] if was_empty else []
            return [*opened, Joined(name, stay.participant)]
        return [] if former == stay else [Updated(name, stay.participant)]

    def _leave(self, name: RoomName, info: ParticipantInfo | None) -> list[GatewayEvent]:
        room = self._rooms.get(name)
        stay = room.stays.pop(ParticipantSid(info.sid), None) if room and info else None
        if room is None or info is None or stay is None:
            return []
        left = Left(name, stay.participant, _REASONS.get(info.disconnect_reason, "vanished"))
        return [left] if room.stays else [left, RoomClosed(name)]

    def _finish(self, name: RoomName) -> list[GatewayEvent]:
        room = self._rooms.pop(name, None)
        if room is None or not room.stays:
            return []
        gone = [Left(name, stay.participant, "removed") for stay in room.stays.values()]
        return [*gone, RoomClosed(name)]


def _created_at(report: Report) -> datetime:
    milliseconds = report.room.creation_time_ms or report.room.creation_time * 1000
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _state(name: RoomName, room: _Room) -> RoomState:
    return RoomState(name, "sfu", room.created_at, tuple(room.stays.values()), room.places)
