"""What the relay asks of its caller, what happened in its rooms, and how they look now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from mulisa.core.room import Participant, ParticipantSid, RoomName
from mulisa.transport.mesh.signaling import ClosingReason, LeaveReason


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver a message, in JSON, to one stay, which is attached."""

    sid: ParticipantSid
    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket of a stay that is no longer in its room; `Send` has said why."""

    sid: ParticipantSid
    reason: ClosingReason | LeaveReason


@dataclass(frozen=True, slots=True)
class RoomOpened:
    """The first participant came."""

    room: RoomName


@dataclass(frozen=True, slots=True)
class ParticipantEntered:
    """Somebody came; a reload is a `ParticipantGone` (replaced) and a `ParticipantEntered`."""

    room: RoomName
    participant: Participant


@dataclass(frozen=True, slots=True)
class ParticipantChanged:
    """Name, mute or attributes changed."""

    room: RoomName
    participant: Participant


@dataclass(frozen=True, slots=True)
class ParticipantGone:
    """Somebody left."""

    room: RoomName
    participant: Participant
    reason: LeaveReason


@dataclass(frozen=True, slots=True)
class RoomClosed:
    """The last participant is gone, and the room with them."""

    room: RoomName


Action: TypeAlias = Send | Close
RoomEvent: TypeAlias = (
    RoomOpened | ParticipantEntered | ParticipantChanged | ParticipantGone | RoomClosed
)
Outcome: TypeAlias = list[Action | RoomEvent]


@dataclass(frozen=True, slots=True)
class StaySnapshot:
    """A participant, and since when they are in the room."""

    participant: Participant
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class RoomSnapshot:
    """A room with somebody in it."""

    name: RoomName
    created_at: datetime
    stays: tuple[StaySnapshot, ...]
    """In the order in which they came."""

    @property
    def people(self) -> tuple[Participant, ...]:
        """Those who are not agents."""
        return tuple(s.participant for s in self.stays if not s.participant.is_agent)
