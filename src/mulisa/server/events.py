"""What an operator cares to see of the gateway, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from mulisa.core.room import Participant, RoomName, Topology

if TYPE_CHECKING:
    from mulisa.server.certificate import Certificate


@dataclass(frozen=True, slots=True)
class Listening:
    """The gateway answers requests."""

    url: str
    """As a person on this machine opens it: ``http://localhost:8000``."""
    agent_url: str
    """WebSocket base for agent processes of this machine; without TLS, which they do not need."""
    network_url: str = ""
    """As somebody else in the network opens it; empty if nobody can."""
    certificate: Certificate | None = None
    """What the gateway shows over https."""


@dataclass(frozen=True, slots=True)
class CertificateReplaced:
    """The files hold another certificate, and new connections get that one."""

    valid_until: datetime
    fingerprint: str


@dataclass(frozen=True, slots=True)
class CertificateRefused:
    """The files hold something else that cannot be used; the former certificate goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class RoomOpened:
    """The first participant came."""

    room: RoomName
    topology: Topology


@dataclass(frozen=True, slots=True)
class RoomClosed:
    """The last participant is gone."""

    room: RoomName


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody, person or agent, is in a room."""

    room: RoomName
    participant: Participant


@dataclass(frozen=True, slots=True)
class Updated:
    """Name, mute or attributes of a participant changed, an agent's state among them."""

    room: RoomName
    participant: Participant


@dataclass(frozen=True, slots=True)
class Left:
    """Somebody is gone."""

    room: RoomName
    participant: Participant
    reason: str
    """``left``, ``vanished``, ``replaced`` or ``removed``."""


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    """An agent process is there and takes rooms."""

    worker_id: str
    agent_name: str


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """An agent process is gone; its rooms wait for another one."""

    worker_id: str


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The agent's session in a room failed; it is tried again a little later."""

    room: RoomName
    error: str


@dataclass(frozen=True, slots=True)
class SfuLost:
    """The external SFU does not answer; the gateway tries on, and nobody counts as gone."""

    url: str
    reason: str


@dataclass(frozen=True, slots=True)
class SfuFound:
    """The external SFU answers again."""

    url: str


GatewayEvent: TypeAlias = (
    Listening
    | CertificateReplaced
    | CertificateRefused
    | RoomOpened
    | RoomClosed
    | Joined
    | Updated
    | Left
    | WorkerRegistered
    | WorkerLost
    | JobFailed
    | SfuLost
    | SfuFound
)
OnEvent: TypeAlias = Callable[[GatewayEvent], None]
