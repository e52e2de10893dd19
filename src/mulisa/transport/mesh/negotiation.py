"""Perfect negotiation with one peer (W3C webrtc-pc, 10.7): who offers, and whose offer yields.

Pure. One `Negotiation` per pair of participants: events go in, actions come out. The shell
performs the actions of one event to their end, in order, before it hands in the next event;
what arrives meanwhile waits. So the machine never sees a half applied description, and needs
no `makingOffer` flag. Local candidates do not pass through here: the shell sends them with the
name of the connection that gathered them.

Roles
    *polite* yields when offers cross, *impolite* ignores the other's offer. Towards a browser the
    agent is impolite: aiortc refuses a remote offer while its own is pending and cannot roll
    back. Replacing needs no rollback, so a polite aiortc peer is fine as long as it never
    renegotiates. Between two agents nobody could roll back, so one side is the only *offerer*
    and the other only ever answers.

A connection has a name that its offerer gave it. An offer with a new name replaces the pair's
connection; a message with a name that is no longer current is late and has no effect.

``tests/golden/negotiation.json`` drives this class and its TypeScript twin.
"""

from __future__ import annotations

import secrets
import string
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from mulisa.core.room import Participant
from mulisa.transport.mesh.signaling import IceCandidate

MAX_EARLY_CANDIDATES: Final = 64
"""Candidates kept while their description is not there yet; a browser gathers about a dozen."""
RETIRED_NAMES: Final = 16
"""Former connections whose late messages are recognised."""

_NAME_ALPHABET: Final = string.ascii_letters + string.digits


class Role(Enum):
    """What we do when both sides want to offer."""

    POLITE = "polite"
    IMPOLITE = "impolite"
    OFFERER = "offerer"
    ANSWERER = "answerer"


def role_towards(remote: Participant, local: Participant) -> Role:
    """Our role in the pair; the other side computes its complement."""
    if local.is_agent and remote.is_agent:
        return Role.OFFERER if local.sid < remote.sid else Role.ANSWERER
    if local.is_agent != remote.is_agent:
        return Role.IMPOLITE if local.is_agent else Role.POLITE
    return Role.POLITE if local.sid < remote.sid else Role.IMPOLITE


def offers_first(role: Role, *, is_newcomer: bool) -> bool:
    """Whether we send the first offer of the pair: the newcomer does, except between agents."""
    if role in (Role.OFFERER, Role.ANSWERER):
        return role is Role.OFFERER
    return is_newcomer


def random_connection_name() -> str:
    """A name for a new connection: 16 letters and digits."""
    return "".join(secrets.choice(_NAME_ALPHABET) for _ in range(16))


@dataclass(frozen=True, slots=True)
class NegotiationNeeded:
    """We want to (re)negotiate; without a connection this opens the first one."""


@dataclass(frozen=True, slots=True)
class ConnectionBroken:
    """Our side of the connection failed and a new one shall take its place."""


@dataclass(frozen=True, slots=True)
class DescriptionRefused:
    """A description of this connection could not be applied; the connection is of no use."""

    connection: str


@dataclass(frozen=True, slots=True)
class OfferReceived:
    """The peer sent an offer."""

    connection: str
    sdp: str


@dataclass(frozen=True, slots=True)
class AnswerReceived:
    """The peer answered."""

    connection: str
    sdp: str


@dataclass(frozen=True, slots=True)
class CandidateReceived:
    """The peer found a candidate, or (None) has no more of them."""

    connection: str
    candidate: IceCandidate | None


Event: TypeAlias = (
    NegotiationNeeded
    | ConnectionBroken
    | DescriptionRefused
    | OfferReceived
    | AnswerReceived
    | CandidateReceived
)


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """Make a fresh RTCPeerConnection with our track and the data channel."""

    connection: str


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close this connection; nothing about it is sent any more."""

    connection: str


@dataclass(frozen=True, slots=True)
class SupersedeConnection:
    """Another one takes the place of this connection.

    Nothing about it is sent any more; while it works it may carry what it can until the other
    one is connected.
    """

    connection: str


@dataclass(frozen=True, slots=True)
class SendOffer:
    """createOffer, setLocalDescription, send."""

    connection: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """Withdraw our pending offer (RFC 8829, 4.1.10.2)."""

    connection: str


@dataclass(frozen=True, slots=True)
class AcceptOffer:
    """setRemoteDescription."""

    connection: str
    sdp: str


@dataclass(frozen=True, slots=True)
class SendAnswer:
    """createAnswer, setLocalDescription, send."""

    connection: str


@dataclass(frozen=True, slots=True)
class AcceptAnswer:
    """setRemoteDescription."""

    connection: str
    sdp: str


@dataclass(frozen=True, slots=True)
class AddCandidate:
    """addIceCandidate; a candidate that cannot be used does no harm."""

    connection: str
    candidate: IceCandidate | None


Action: TypeAlias = (
    OpenConnection
    | CloseConnection
    | SupersedeConnection
    | SendOffer
    | RollBack
    | AcceptOffer
    | SendAnswer
    | AcceptAnswer
    | AddCandidate
)


class Negotiation:
    """Offers, answers and candidates exchanged with one peer."""

    def __init__(self, role: Role, new_name: Callable[[], str] = random_connection_name) -> None:
        self._role = role
        self._new_name = new_name
        self._connection: str | None = None
        self._offer_pending = False
        self._wants_offer = False
        self._has_remote_description = False
        self._early: list[IceCandidate | None] = []
        self._early_name: str | None = None
        self._retired: deque[str] = deque(maxlen=RETIRED_NAMES)

    @property
    def connection(self) -> str | None:
        """Name of the current connection."""
        return self._connection

    @property
    def is_settled(self) -> bool:
        """No offer of ours is waiting for its answer."""
        return not self._offer_pending

    def receive(self, event: Event) -> list[Action]:
        """What to do now, in order."""
        match event:
            case NegotiationNeeded():
                return self._negotiate()
            case ConnectionBroken():
                return self._replace()
            case DescriptionRefused(connection):
                is_current = connection == self._connection
                return self._retire(CloseConnection) if is_current else []
            case OfferReceived(connection, sdp):
                return self._on_offer(connection, sdp)
            case AnswerReceived(connection, sdp):
                return self._on_answer(connection, sdp)
            case CandidateReceived(connection, candidate):
                return self._on_candidate(connection, candidate)

    def _negotiate(self) -> list[Action]:
        if self._role is Role.ANSWERER:
            return []
        if self._connection is None:
            return self._replace()
        if self._offer_pending:
            self._wants_offer = True
            return []
        return self._offer()

    def _replace(self) -> list[Action]:
        if self._role is Role.ANSWERER:
            return []
        return [*self._supersede(self._new_name()), *self._offer()]

    def _supersede(self, name: str) -> list[Action]:
        return [*self._retire(SupersedeConnection), *self._open(name)]

    def _retire(self, how: type[CloseConnection | SupersedeConnection]) -> list[Action]:
        """Forget the current connection."""
        if self._connection is None:
            return []
        retired, self._connection = self._connection, None
        self._retired.append(retired)
        self._offer_pending = self._wants_offer = self._has_remote_description = False
        return [how(retired)]

    def _open(self, name: str) -> list[Action]:
        self._connection = name
        if self._early_name != name:
            self._early.clear()
            self._early_name = name
        return [OpenConnection(name)]

    def _offer(self) -> list[Action]:
        assert self._connection is not None
        self._offer_pending = True
        self._wants_offer = False
        return [SendOffer(self._connection)]

    def _on_offer(self, name: str, sdp: str) -> list[Action]:
        if self._role is Role.OFFERER or name in self._retired or self._ignores_offer(name):
            return []
        actions: list[Action] = []
        if name != self._connection:
            actions += self._supersede(name)
        elif self._offer_pending:
            actions.append(RollBack(name))
            self._offer_pending = False
            self._wants_offer = True
        actions += [AcceptOffer(name, sdp), *self._described(name), SendAnswer(name)]
        if self._wants_offer:
            actions += self._offer()
        return actions

    def _ignores_offer(self, name: str) -> bool:
        """An impolite side keeps to its own offer.

        Except when the peer replaces a connection which we are only renegotiating: the peer has
        given that one up and will not answer.
        """
        if self._role is not Role.IMPOLITE or not self._offer_pending:
            return False
        return name == self._connection or not self._has_remote_description

    def _on_answer(self, name: str, sdp: str) -> list[Action]:
        if name != self._connection or not self._offer_pending:
            return []
        self._offer_pending = False
        actions: list[Action] = [AcceptAnswer(name, sdp), *self._described(name)]
        if self._wants_offer:
            actions += self._offer()
        return actions

    def _described(self, name: str) -> list[Action]:
        """A remote description is there: the candidates that came before it can be used."""
        self._has_remote_description = True
        early, self._early = self._early, []
        return [AddCandidate(name, candidate) for candidate in early]

    def _on_candidate(self, name: str, candidate: IceCandidate | None) -> list[Action]:
        if name == self._connection and self._has_remote_description:
            return [AddCandidate(name, candidate)]
        if name not in self._retired and (self._connection is None or name == self._connection):
            self._keep_early(name, candidate)
        return []

    def _keep_early(self, name: str, candidate: IceCandidate | None) -> None:
        if name != self._early_name:
            self._early.clear()
            self._early_name = name
        if len(self._early) < MAX_EARLY_CANDIDATES:
            self._early.append(candidate)
