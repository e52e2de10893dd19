"""The gateway's side of mesh signalling: rooms, who is in them, and messages between peers.

Pure. Each method returns what its caller has to do (`Send`, `Close`) and what happened (room
events), in order. `now` is seconds on a monotonic clock, `at` is the wall clock in UTC.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeAlias

from mulisa.core.errors import InputError, SignalingError
from mulisa.core.room import Identity, Participant, ParticipantKind, ParticipantSid, RoomName
from mulisa.transport.mesh.signaling import (
    AnswerFrom,
    AnswerTo,
    CandidateFrom,
    CandidateTo,
    ClientMessage,
    Closing,
    ClosingReason,
    ErrorCode,
    ErrorMessage,
    GatewayMessage,
    IceServer,
    Joined,
    Leave,
    LeaveReason,
    MessageTooLarge,
    OfferFrom,
    OfferTo,
    ParticipantInfo,
    PeerJoined,
    PeerLeft,
    PeerUpdated,
    Ping,
    Update,
    Witness,
    check_attributes_size,
    parse_client_message,
)

MAX_PEOPLE: Final = 12
"""Of one room; every one more costs each of the others an upload."""
MESSAGES_PER_SECOND: Final = 50.0
MESSAGE_BURST: Final = 400.0
FLOOD_PATIENCE: Final = 50
"""Messages over the limit that are refused one by one before their sender is closed."""


class RoomFull(InputError):
    """No further person fits into the room."""


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver a message to one stay."""

    sid: ParticipantSid
    message: GatewayMessage


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


def random_sid() -> ParticipantSid:
    """A new name for a stay."""
    return ParticipantSid(f"PA_{secrets.token_hex(8)}")


class MeshRelay:
    """All mesh rooms of a gateway."""

    def __init__(
        self,
        *,
        ice_servers: Callable[[Identity, datetime], list[IceServer]] = lambda identity, at: [],
        max_people: int = MAX_PEOPLE,
        new_sid: Callable[[], ParticipantSid] = random_sid,
    ) -> None:
        self._ice_servers = ice_servers
        self._max_people = max_people
        self._new_sid = new_sid
        self._rooms: dict[RoomName, _Room] = {}
        self._room_of: dict[ParticipantSid, _Room] = {}

    def check_space(self, room: RoomName, identity: Identity, kind: ParticipantKind) -> None:
        """Raises RoomFull if this person does not fit. Agents and returning people always do."""
        found = self._rooms.get(room)
        if found is None or kind == "agent" or found.find(identity) is not None:
            return
        people = sum(not stay.participant.is_agent for stay in found.stays.values())
        if people >= self._max_people:
            raise RoomFull(f"the room is full: at most {self._max_people} people")

    def enter(
        self,
        room: RoomName,
        identity: Identity,
        name: str,
        kind: ParticipantKind = "standard",
        attributes: Mapping[str, str] | None = None,
        *,
        may_update: bool,
        now: float,
        at: datetime,
    ) -> tuple[ParticipantSid, Outcome]:
        """Somebody comes in; a former stay of the same identity is ended first.

        `may_update`: name and attributes, as the token says; everybody may mute themselves.
        Raises RoomFull.
        """
        self.check_space(room, identity, kind)
        outcome: Outcome = []
        found = self._rooms.get(room)
        if found is None:
            found = self._rooms[room] = _Room(room, created_at=at)
            outcome.append(RoomOpened(room))
        former = found.find(identity)
        if former is not None:
            outcome += self._end(former.participant.sid, "replaced", closing="replaced")
        participant = Participant(
            identity, name, sid=self._new_sid(), kind=kind, attributes=dict(attributes or {})
        )
        return participant.sid, outcome + self._admit(found, participant, may_update, now, at)

    def receive(self, sid: ParticipantSid, text: str, now: float) -> Outcome:
        """A client sent a message; whatever it holds, only its sender can suffer from it."""
        room = self._room_of.get(sid)
        if room is None:
            return []
        flood = room.stays[sid].flood
        if not flood.allows(now):
            return self._refuse_flood(sid, flood)
        try:
            message = parse_client_message(text)
        except MessageTooLarge as error:
            return [_error(sid, "too_large", str(error))]
        except SignalingError as error:
            return [_error(sid, "bad_message", str(error))]
        return self._handle(room, sid, message)

    def leave(self, sid: ParticipantSid, reason: LeaveReason) -> Outcome:
        """A socket is gone: its client left, or vanished. Idempotent."""
        return self._end(sid, reason)

    def remove(self, room: RoomName, identity: Identity) -> Outcome:
        """Put somebody out of the room."""
        found = self._rooms.get(room)
        stay = found.find(identity) if found else None
        return self._end(stay.participant.sid, "removed", closing="removed") if stay else []

    def close_room(self, room: RoomName, reason: ClosingReason = "room_closed") -> Outcome:
        """Put everybody out of the room."""
        found = self._rooms.get(room)
        if found is None:
            return []
        outcome: Outcome = []
        for sid in list(found.stays):
            outcome += self._end(sid, "removed", closing=reason)
        return outcome

    def shut_down(self) -> Outcome:
        """Close all rooms; clients come back when the gateway does."""
        rooms = list(self._rooms)
        return [each for room in rooms for each in self.close_room(room, "shutdown")]

    def room(self, name: RoomName) -> RoomSnapshot | None:
        """The room as it is now; None while nobody is in it."""
        found = self._rooms.get(name)
        return found.snapshot() if found else None

    def rooms(self) -> list[RoomSnapshot]:
        """All rooms with somebody in them, oldest first."""
        return [room.snapshot() for room in self._rooms.values()]

    def _admit(
        self, room: _Room, participant: Participant, may_update: bool, now: float, at: datetime
    ) -> Outcome:
        info = ParticipantInfo.of(participant)
        present = [ParticipantInfo.of(stay.participant) for stay in room.stays.values()]
        joined = Joined(
            room=room.name,
            participant=info,
            participants=present,
            ice_servers=self._ice_servers(participant.identity, at),
        )
        outcome: Outcome = [Send(participant.sid, joined)]
        outcome += room.tell_everybody(PeerJoined(participant=info))
        room.stays[participant.sid] = _Stay(participant, may_update, at, _Flood(now))
        self._room_of[participant.sid] = room
        return [*outcome, ParticipantEntered(room.name, participant)]

    def _end(
        self, sid: ParticipantSid, reason: LeaveReason, closing: ClosingReason | None = None
    ) -> Outcome:
        room = self._room_of.pop(sid, None)
        if room is None:
            return []
        participant = room.stays.pop(sid).participant
        outcome: Outcome = []
        if closing is not None:
            outcome.append(Send(sid, Closing(reason=closing)))
        outcome.append(Close(sid, closing or reason))
        left = PeerLeft(sid=sid, identity=participant.identity, reason=reason)
        outcome += room.tell_everybody(left)
        outcome.append(ParticipantGone(room.name, participant, reason))
        if not room.stays and reason != "replaced":
            del self._rooms[room.name]
            outcome.append(RoomClosed(room.name))
        return outcome

    def _refuse_flood(self, sid: ParticipantSid, flood: _Flood) -> Outcome:
        if flood.refused > FLOOD_PATIENCE:
            return self._end(sid, "removed", closing="too_fast")
        if flood.refused > 1:
            return []
        limit = f"more than {MESSAGES_PER_SECOND:.0f} messages a second; not delivered"
        return [_error(sid, "too_fast", limit)]

    def _handle(self, room: _Room, sid: ParticipantSid, message: ClientMessage) -> Outcome:
        match message:
            case OfferTo() | AnswerTo() | CandidateTo():
                return self._forward(room, sid, message)
            case Update():
                return self._update(room, sid, message)
            case Ping() | Witness():
                return []
            case Leave():
                return self._end(sid, "left")

    def _forward(
        self, room: _Room, sid: ParticipantSid, message: OfferTo | AnswerTo | CandidateTo
    ) -> Outcome:
        if message.to not in room.stays or message.to == sid:
            return [_error(sid, "unknown_participant", f"nobody else here is {message.to}")]
        return [Send(message.to, _as_sent_by(sid, message))]

    def _update(self, room: _Room, sid: ParticipantSid, update: Update) -> Outcome:
        stay = room.stays[sid]
        if not stay.may_update and (update.name is not None or update.attributes is not None):
            return [_error(sid, "not_allowed", "this token does not allow name and attributes")]
        old = stay.participant
        merged = {**old.attributes, **(update.attributes or {})}
        attributes = {key: value for key, value in merged.items() if value}
        try:
            check_attributes_size(attributes)
        except ValueError as error:
            return [_error(sid, "bad_message", str(error))]
        new = replace(
            old,
            name=old.name if update.name is None else update.name,
            muted=old.muted if update.muted is None else update.muted,
            attributes=attributes,
        )
        if new == old:
            return []
        stay.participant = new
        updated = PeerUpdated(participant=ParticipantInfo.of(new))
        return [*room.tell_everybody(updated), ParticipantChanged(room.name, new)]


@dataclass(slots=True)
class _Flood:
    """A token bucket: `MESSAGE_BURST` messages at once, `MESSAGES_PER_SECOND` for ever."""

    updated_at: float
    tokens: float = MESSAGE_BURST
    refused: int = 0
    """Messages since the limit was crossed; forgotten once the bucket is half full again."""

    def allows(self, now: float) -> bool:
        elapsed = max(0.0, now - self.updated_at)
        self.updated_at = now
        self.tokens = min(MESSAGE_BURST, self.tokens + elapsed * MESSAGES_PER_SECOND)
        if self.tokens >= MESSAGE_BURST / 2:
            self.refused = 0
        if self.tokens < 1.0:
            self.refused += 1
            return False
        self.tokens -= 1.0
        return True


@dataclass(slots=True)
class _Stay:
    participant: Participant
    may_update: bool
    joined_at: datetime
    flood: _Flood


@dataclass(slots=True)
class _Room:
    name: RoomName
    created_at: datetime
    stays: dict[ParticipantSid, _Stay] = field(default_factory=dict)

    def find(self, identity: Identity) -> _Stay | None:
        return next(
            (stay for stay in self.stays.values() if stay.participant.identity == identity), None
        )

    def tell_everybody(self, message: GatewayMessage) -> Iterator[Send]:
        return (Send(sid, message) for sid in list(self.stays))

    def snapshot(self) -> RoomSnapshot:
        stays = (StaySnapshot(stay.participant, stay.joined_at) for stay in self.stays.values())
        return RoomSnapshot(self.name, self.created_at, tuple(stays))


def _error(sid: ParticipantSid, code: ErrorCode, message: str) -> Send:
    return Send(sid, ErrorMessage(code=code, message=message))


def _as_sent_by(
    sid: ParticipantSid, message: OfferTo | AnswerTo | CandidateTo
) -> OfferFrom | AnswerFrom | CandidateFrom:
    """What the receiver gets; everything in it was validated when it came in."""
    match message:
        case OfferTo(connection=connection, sdp=sdp):
            return OfferFrom.model_construct(sender=sid, connection=connection, sdp=sdp)
        case AnswerTo(connection=connection, sdp=sdp):
            return AnswerFrom.model_construct(sender=sid, connection=connection, sdp=sdp)
        case CandidateTo(connection=connection, candidate=candidate):
            return CandidateFrom.model_construct(
                sender=sid, connection=connection, candidate=candidate
            )
