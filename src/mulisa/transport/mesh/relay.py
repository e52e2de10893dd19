"""The gateway's side of mesh signalling: rooms, who is in them, and messages between peers.

Pure. Each method returns what its caller has to do (`Send`, `Close`) and what happened (room
events), in order. `now` is seconds on a monotonic clock, `at` is the wall clock in UTC.

A stay is *attached* while it has a socket, and *detached* from when that is lost until it is
resumed or ends (docs/protocol.md, "A lost socket").
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from mulisa.core.errors import InputError, SignalingError
from mulisa.core.room import Identity, Participant, ParticipantKind, ParticipantSid, RoomName
from mulisa.transport.mesh.outcome import (
    Close,
    Outcome,
    ParticipantChanged,
    ParticipantEntered,
    ParticipantGone,
    RoomClosed,
    RoomOpened,
    RoomSnapshot,
    Send,
)
from mulisa.transport.mesh.past import RESTORE_TIME, Past
from mulisa.transport.mesh.sids import StaySids
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
    IceServer,
    IceServersRenewed,
    Joined,
    Leave,
    LeaveReason,
    MessageTooLarge,
    OfferFrom,
    OfferTo,
    ParticipantInfo,
    PeerAttached,
    PeerDetached,
    PeerJoined,
    PeerLeft,
    PeerUpdated,
    Ping,
    Pong,
    Resumed,
    Update,
    Witness,
    check_attributes_size,
    encode,
    parse_client_message,
)
from mulisa.transport.mesh.stays import (
    FLOOD_PATIENCE,
    MESSAGES_PER_SECOND,
    SERVERS_LAST,
    UNWITNESSED_FOR,
    Flood,
    Room,
    Stay,
)

MAX_PEOPLE: Final = 12
"""Of one room; every one more costs each of the others an upload."""


class RoomFull(InputError):
    """No further person fits into the room."""


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a client says that had a stay before."""

    sid: ParticipantSid
    received: int
    """How many of our messages it got."""


class MeshRelay:
    """All mesh rooms of a gateway."""

    def __init__(
        self,
        *,
        ice_servers: Callable[[Identity, datetime], list[IceServer]] = lambda identity, at: [],
        max_people: int = MAX_PEOPLE,
        secret: str = "",
        now: float = 0.0,
    ) -> None:
        """`secret` signs sids; without it those of another relay are not known.

        `now` is when the gateway began.
        """
        self._ice_servers = ice_servers
        self._max_people = max_people
        self._sids = StaySids(secret or secrets.token_hex())
        self._rooms: dict[RoomName, Room] = {}
        self._room_of: dict[ParticipantSid, Room] = {}
        self._away: set[ParticipantSid] = set()
        """Who is detached."""
        self._past = Past(restores_until=now + RESTORE_TIME)

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
        resumption: Resumption | None = None,
        now: float,
        at: datetime,
    ) -> tuple[ParticipantSid, Outcome]:
        """Somebody comes in, or back: then the sid is that of their former stay.

        Otherwise a former stay of the same identity is ended first.
        `may_update`: name and attributes, as the token says; everybody may mute themselves.
        Raises RoomFull.
        """
        if resumption and self._can_resume(room, identity, resumption):
            return resumption.sid, self._resume(resumption, may_update, now, at)
        self.check_space(room, identity, kind)
        outcome: Outcome = []
        found = self._rooms.get(room)
        if found is None:
            found = self._rooms[room] = Room(room, created_at=at)
            outcome.append(RoomOpened(room))
        former = found.find(identity)
        if former is not None:
            outcome += self._end(former.sid, "replaced", closing="replaced")
        sid = self._name(room, identity, resumption, now)
        participant = Participant(
            identity, name, sid=sid, kind=kind, attributes=dict(attributes or {})
        )
        return sid, outcome + self._admit(found, participant, may_update, now, at)

    def receive(self, sid: ParticipantSid, text: str, now: float) -> Outcome:
        """A client sent a message; whatever it holds, only its sender can suffer from it."""
        room = self._room_of.get(sid)
        if room is None or not room.stays[sid].is_attached:
            return []
        stay = room.stays[sid]
        if not stay.flood.allows(now):
            stay.received += 1
            return self._refuse_flood(stay)
        try:
            message = parse_client_message(text)
        except MessageTooLarge as error:
            stay.received += 1
            return _error(stay, "too_large", str(error))
        except SignalingError as error:
            stay.received += 1
            return _error(stay, "bad_message", str(error))
        return self._handle(room, stay, message, now)

    def leave(self, sid: ParticipantSid) -> Outcome:
        """Somebody goes for good. Idempotent."""
        return self._end(sid, "left")

    def detach(self, sid: ParticipantSid, now: float) -> Outcome:
        """The socket of a stay is lost; its client may come back. Idempotent."""
        room = self._room_of.get(sid)
        if room is None or not room.stays[sid].is_attached:
            return []
        room.stays[sid].detached_until = now + UNWITNESSED_FOR
        if room.is_dark:  # nobody is left to be a witness
            for stay in room.stays.values():
                stay.detached_until = now + UNWITNESSED_FOR
        self._away.add(sid)
        return room.tell(PeerDetached(sid=sid), room.all_but(room.stays[sid]))

    def deadline(self) -> float | None:
        """When to call `expire`; None while nobody is detached."""
        times = (stay.detached_until for stay in self._detached())
        return min((time for time in times if time is not None), default=None)

    def expire(self, now: float) -> Outcome:
        """End the stays whose time is over."""
        outcome: Outcome = []
        for stay in self._detached():
            room = self._room_of.get(stay.sid)
            if room is None or stay.detached_until is None or stay.detached_until > now:
                continue
            outcome += (
                self._close_dark(room, now) if room.is_dark else self._end(stay.sid, "vanished")
            )
        return outcome

    def remove(self, room: RoomName, identity: Identity) -> Outcome:
        """Put somebody out of the room."""
        found = self._rooms.get(room)
        stay = found.find(identity) if found else None
        return self._end(stay.sid, "removed", closing="removed") if stay else []

    def close_room(self, room: RoomName) -> Outcome:
        """Put everybody out of the room."""
        found = self._rooms.get(room)
        if found is None:
            return []
        outcome: Outcome = []
        for sid in list(found.stays):
            outcome += self._end(sid, "removed", closing="room_closed")
        return outcome

    def shut_down(self) -> Outcome:
        """Close all sockets; clients come back to the next gateway, and none has left."""
        outcome: Outcome = []
        for sid, room in self._room_of.items():
            outcome += _close(room.stays[sid], "removed", "shutdown")
        self._rooms.clear()
        self._room_of.clear()
        self._away.clear()
        return outcome

    def room(self, name: RoomName) -> RoomSnapshot | None:
        """The room as it is now; None while nobody is in it."""
        found = self._rooms.get(name)
        return found.snapshot() if found else None

    def rooms(self) -> list[RoomSnapshot]:
        """All rooms with somebody in them, oldest first."""
        return [room.snapshot() for room in self._rooms.values()]

    def _can_resume(self, room: RoomName, identity: Identity, wanted: Resumption) -> bool:
        found = self._room_of.get(wanted.sid)
        if found is None or found.name != room:
            return False
        stay = found.stays[wanted.sid]
        if stay.participant.identity != identity:
            return False
        return stay.backlog.after(wanted.received) is not None

    def _resume(
        self, resumption: Resumption, may_update: bool, now: float, at: datetime
    ) -> Outcome:
        room = self._room_of[resumption.sid]
        stay = room.stays[resumption.sid]
        was_detached, was_dark = not stay.is_attached, room.is_dark
        self._away.discard(stay.sid)
        stay.may_update = may_update
        stay.detached_until = None
        stay.backlog.acknowledge(resumption.received)
        if was_dark:
            room.give_time(now)
        ice_servers = self._ice_servers(stay.participant.identity, at)
        stay.servers_at = at
        stay.servers_told_at = now
        resumed = Resumed(received=stay.received, ice_servers=ice_servers)
        missed = stay.backlog.after(resumption.received) or []
        outcome: Outcome = [Send(stay.sid, text) for text in (encode(resumed), *missed)]
        if was_detached:
            attached = PeerAttached(sid=stay.sid)
            outcome += room.tell(attached, room.all_but(stay))
        return outcome

    def _name(
        self, room: RoomName, identity: Identity, wanted: Resumption | None, now: float
    ) -> ParticipantSid:
        """The sid that was asked for, if we gave it and have forgotten it; else a new one."""
        if wanted and self._sids.is_ours(wanted.sid, room, identity):
            if wanted.sid not in self._room_of and self._past.restores(wanted.sid, now):
                return wanted.sid
        return self._sids.new(room, identity)

    def _admit(
        self, room: Room, participant: Participant, may_update: bool, now: float, at: datetime
    ) -> Outcome:
        if room.is_dark:
            room.give_time(now)
        info = ParticipantInfo.of(participant)
        present = [ParticipantInfo.of(stay.participant) for stay in room.stays.values()]
        joined = Joined(
            room=room.name,
            participant=info,
            participants=present,
            ice_servers=self._ice_servers(participant.identity, at),
        )
        outcome: Outcome = [Send(participant.sid, encode(joined))]
        outcome += room.tell_everybody(PeerJoined(participant=info))
        room.stays[participant.sid] = Stay(participant, may_update, at, Flood(now), now, at)
        self._room_of[participant.sid] = room
        return [*outcome, ParticipantEntered(room.name, participant)]

    def _end(
        self, sid: ParticipantSid, reason: LeaveReason, closing: ClosingReason | None = None
    ) -> Outcome:
        room = self._room_of.pop(sid, None)
        if room is None:
            return []
        stay = room.stays.pop(sid)
        self._away.discard(sid)
        self._past.ended(sid)
        outcome = _close(stay, reason, closing)
        left = PeerLeft(sid=sid, identity=stay.participant.identity, reason=reason)
        outcome += room.tell_everybody(left)
        outcome.append(ParticipantGone(room.name, stay.participant, reason))
        if not room.stays and reason != "replaced":
            del self._rooms[room.name]
            outcome.append(RoomClosed(room.name))
        return outcome

    def _close_dark(self, room: Room, now: float) -> Outcome:
        """Nobody is attached, so nobody is told, and all may be restored."""
        outcome: Outcome = []
        for stay in room.stays.values():
            del self._room_of[stay.sid]
            self._away.discard(stay.sid)
            self._past.faded(stay.sid, now)
            outcome.append(ParticipantGone(room.name, stay.participant, "vanished"))
        del self._rooms[room.name]
        return [*outcome, RoomClosed(room.name)]

    def _detached(self) -> list[Stay]:
        return [self._room_of[sid].stays[sid] for sid in self._away]

    def _refuse_flood(self, stay: Stay) -> Outcome:
        if stay.flood.refused > FLOOD_PATIENCE:
            return self._end(stay.sid, "removed", closing="too_fast")
        if stay.flood.refused > 1:
            return []
        limit = f"more than {MESSAGES_PER_SECOND:.0f} messages a second; not delivered"
        return _error(stay, "too_fast", limit)

    def _handle(self, room: Room, stay: Stay, message: ClientMessage, now: float) -> Outcome:
        match message:
            case Ping(received=received):
                return self._renew_servers(room, stay, now) + _answer_ping(stay, received)
            case Witness(sid=sid):
                _bear_witness(room, sid, now)
                return []
            case Leave():
                return self._end(stay.sid, "left")
        stay.received += 1
        if isinstance(message, Update):
            return self._update(room, stay, message)
        return self._forward(room, stay, message)

    def _renew_servers(self, room: Room, stay: Stay, now: float) -> Outcome:
        """A stay may be longer than credentials of TURN servers are valid."""
        age = now - stay.servers_told_at
        if age < SERVERS_LAST:
            return []
        stay.servers_told_at = now
        stay.servers_at += timedelta(seconds=age)
        servers = self._ice_servers(stay.participant.identity, stay.servers_at)
        return room.tell(IceServersRenewed(ice_servers=servers), [stay]) if servers else []

    def _forward(
        self, room: Room, stay: Stay, message: OfferTo | AnswerTo | CandidateTo
    ) -> Outcome:
        receiver = room.stays.get(message.to)
        if receiver is None or receiver is stay:
            return _error(stay, "unknown_participant", f"nobody else here is {message.to}")
        return room.tell(_as_sent_by(stay.sid, message), [receiver])

    def _update(self, room: Room, stay: Stay, update: Update) -> Outcome:
        if not stay.may_update and (update.name is not None or update.attributes is not None):
            return _error(stay, "not_allowed", "this token does not allow name and attributes")
        old = stay.participant
        merged = {**old.attributes, **(update.attributes or {})}
        attributes = {key: value for key, value in merged.items() if value}
        try:
            check_attributes_size(attributes)
        except ValueError as error:
            return _error(stay, "bad_message", str(error))
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


def _bear_witness(room: Room, sid: ParticipantSid, now: float) -> None:
    """One about somebody who is back, or gone, or never was here, comes to nothing."""
    stay = room.stays.get(sid)
    if stay is not None and not stay.is_attached:
        stay.detached_until = now + UNWITNESSED_FOR


def _close(
    stay: Stay, reason: ClosingReason | LeaveReason, closing: ClosingReason | None
) -> Outcome:
    """Close the socket, if there is one; `closing` is what its client is told before."""
    if not stay.is_attached:
        return []
    told = [Send(stay.sid, encode(Closing(reason=closing)))] if closing else []
    return [*told, Close(stay.sid, closing or reason)]


def _answer_ping(stay: Stay, received: int) -> Outcome:
    try:
        stay.backlog.acknowledge(received)
    except SignalingError as error:
        return _error(stay, "bad_message", str(error))
    return [Send(stay.sid, encode(Pong(received=stay.received)))]


def _error(stay: Stay, code: ErrorCode, message: str) -> Outcome:
    text = encode(ErrorMessage(code=code, message=message))
    stay.backlog.add(text)
    return [Send(stay.sid, text)]


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
