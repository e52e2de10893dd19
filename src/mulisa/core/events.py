"""What a transport reports, in the order in which it happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from mulisa.core.room import Identity, Participant


@dataclass(frozen=True, slots=True)
class ParticipantJoined:
    """Somebody is in the room; reported once for each who was there before us, too."""

    participant: Participant


@dataclass(frozen=True, slots=True)
class ParticipantUpdated:
    """Name, mute or attributes of somebody changed."""

    participant: Participant


@dataclass(frozen=True, slots=True)
class ParticipantLeft:
    """Somebody is gone; the iterator of `Transport.frames` for them has ended."""

    participant: Participant


@dataclass(frozen=True, slots=True)
class TrackSubscribed:
    """Somebody's microphone can be heard from now on with `Transport.frames`.

    Reported again when their connection was replaced; the former iterator has ended then.
    """

    identity: Identity


@dataclass(frozen=True, slots=True)
class TrackUnsubscribed:
    """Somebody's microphone can no longer be heard."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class ListenerConnected:
    """Somebody hears our voice from now on."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class ChatReceived:
    """Somebody typed a message (``lk.chat``)."""

    identity: Identity
    message_id: str
    """As in `mulisa.core.transport.ChatMessage`; checked where it came in."""
    text: str


TransportEvent: TypeAlias = (
    ParticipantJoined
    | ParticipantUpdated
    | ParticipantLeft
    | TrackSubscribed
    | TrackUnsubscribed
    | ListenerConnected
    | ChatReceived
)
