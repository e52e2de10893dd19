"""A room of the relay and the stays in it. Pure; times are seconds on a monotonic clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mulisa.core.room import Identity, Participant, ParticipantSid, RoomName
from mulisa.transport.mesh.backlog import Backlog
from mulisa.transport.mesh.outcome import Outcome, RoomSnapshot, Send, StaySnapshot
from mulisa.transport.mesh.signaling import GatewayMessage, encode

MESSAGES_PER_SECOND: Final = 50.0
MESSAGE_BURST: Final = 400.0
FLOOD_PATIENCE: Final = 50
"""Messages over the limit that are refused one by one before their sender is closed."""
SERVERS_LAST: Final = 6 * 3600.0
"""Seconds after which a client gets ICE servers anew: half of what their credentials are valid."""
UNWITNESSED_FOR: Final = 4.5
"""Seconds after which a detached stay ends if nobody receives packets of its participant."""


@dataclass(slots=True)
class Flood:
    """A token bucket: `MESSAGE_BURST` messages at once, `MESSAGES_PER_SECOND` for ever."""

    updated_at: float
    tokens: float = MESSAGE_BURST
    refused: int = 0
    """Messages since the limit was crossed; forgotten once the bucket is half full again."""

    def allows(self, now: float) -> bool:
        """Count one more message; False if it is one too many."""
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
class Stay:
    """One stay of a participant, over all its sockets."""

    participant: Participant
    may_update: bool
    joined_at: datetime
    flood: Flood
    servers_told_at: float
    """When its client last got ICE servers, whose credentials run out."""
    servers_at: datetime
    """The same moment on the wall clock, for which they were made."""
    received: int = 0
    """Messages of its client that count."""
    backlog: Backlog = field(default_factory=Backlog)
    detached_until: float | None = None
    """When it ends if there is no witness; None while it is attached."""

    @property
    def sid(self) -> ParticipantSid:
        """Its name."""
        return self.participant.sid

    @property
    def is_attached(self) -> bool:
        """It has a socket."""
        return self.detached_until is None


@dataclass(slots=True)
class Room:
    """Everybody in one room, in the order in which they came."""

    name: RoomName
    created_at: datetime
    stays: dict[ParticipantSid, Stay] = field(default_factory=dict)

    @property
    def is_dark(self) -> bool:
        """Nobody is attached."""
        return not any(stay.is_attached for stay in self.stays.values())

    def find(self, identity: Identity) -> Stay | None:
        """The stay of this participant."""
        return next(
            (stay for stay in self.stays.values() if stay.participant.identity == identity), None
        )

    def tell_everybody(self, message: GatewayMessage) -> Outcome:
        """As `tell`."""
        return self.tell(message, self.stays.values())

    def tell(self, message: GatewayMessage, stays: Iterable[Stay]) -> Outcome:
        """Now, or when they come back."""
        text = encode(message)
        told = list(stays)
        for stay in told:
            stay.backlog.add(text)
        return [Send(stay.sid, text) for stay in told if stay.is_attached]

    def all_but(self, one: Stay) -> list[Stay]:
        """The others."""
        return [stay for stay in self.stays.values() if stay is not one]

    def give_time(self, now: float) -> None:
        """Somebody is attached again: the others can be witnessed from now on."""
        for stay in self.stays.values():
            if not stay.is_attached:
                stay.detached_until = now + UNWITNESSED_FOR

    def snapshot(self) -> RoomSnapshot:
        """The room as it is now."""
        stays = (StaySnapshot(stay.participant, stay.joined_at) for stay in self.stays.values())
        return RoomSnapshot(self.name, self.created_at, tuple(stays))
