"""Our half of ICE: the lite agent of RFC 8445, which answers checks and sends none.

Pure: a check goes in, its answer comes out. The other side is a full agent and therefore the
controlling one; the pair that it nominated last is the one to send over. The agent keeps the
addresses whose checks proved to know a password of ours, so that a peer may move between them.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from mulisa.wire import stun
from mulisa.wire.description import IceCredentials

CONSENT_TIME: Final = 15.0
"""Seconds without an authentic check after which a peer is gone: RFC 7675 wants one about every
5 s, libwebrtc sends one every 2.5 s."""
MAX_ADDRESSES: Final = 16
"""Of one peer at once; the one that has been silent longest makes room."""

_UFRAG_CHARS: Final = 8
_PWD_CHARS: Final = 24
_ICE_CHARS: Final = string.ascii_letters + string.digits

AddressT = TypeVar("AddressT", bound=Hashable)


def new_credentials() -> IceCredentials:
    """Unguessable ones: 47 bits of name and 142 of password (RFC 8445, 5.3: 24 and 128)."""
    return IceCredentials(_random(_UFRAG_CHARS), _random(_PWD_CHARS))


@dataclass(frozen=True, slots=True)
class Outcome(Generic[AddressT]):
    """What a check led to."""

    reply: bytes
    is_accepted: bool
    """Its sender may be sent to at this address."""
    forgotten: tuple[AddressT, ...] = ()
    """Addresses that are no longer this peer's."""


class IceAgent(Generic[AddressT]):
    """The ICE state of one peer. An address stands for a pair: theirs and the socket of ours."""

    __slots__ = ("_heard", "_is_nominated", "_previous", "last_heard", "local", "selected")

    def __init__(self) -> None:
        self.local = new_credentials()
        """Of the newest generation: what our next description says."""
        self.selected: AddressT | None = None
        """Where to send: the address nominated last; until there is one, the first that checked."""
        self.last_heard = 0.0
        """When a check was last found authentic; 0 if none was."""
        self._previous: IceCredentials | None = None
        self._is_nominated = False
        self._heard: dict[AddressT, None] = {}

    @property
    def ufrags(self) -> tuple[bytes, ...]:
        """The names under which checks for this peer arrive now, the newest first."""
        generations = (self.local, self._previous)
        return tuple(each.ufrag.encode() for each in generations if each is not None)

    @property
    def addresses(self) -> tuple[AddressT, ...]:
        """All that are this peer's, the one heard last at the end."""
        return tuple(self._heard)

    def restart(self) -> IceCredentials:
        """A new generation; the pair in use goes on until one of the new generation is nominated.

        Of several restarts in a row only the last one counts (RFC 8445, 9).
        """
        if self._previous is None or self._is_nominated:
            self._previous = self.local
        self.local = new_credentials()
        self._is_nominated = False
        return self.local

    def receive(
        self, data: bytes, ufrag: bytes, address: AddressT, host: str, port: int, now: float
    ) -> Outcome[AddressT]:
        """Answer a check that came for `ufrag` from this address, which is `host` and `port`.

        Raises StunError if it is not authentic, or for a generation that is over.
        """
        credentials = self._generation(ufrag)
        pwd = credentials.pwd.encode()
        check = stun.read_check(data, pwd)
        if check.unknown:
            return Outcome(_refusal(check, stun.UNKNOWN_ATTRIBUTE, pwd), is_accepted=False)
        if check.claims_controlled:
            return Outcome(_refusal(check, stun.ROLE_CONFLICT, pwd), is_accepted=False)
        self.last_heard = now
        forgotten = self._hear(address)
        if check.nominates:
            self._nominate(address, credentials)
        reply = stun.success(check.transaction, host, port, pwd)
        return Outcome(reply, is_accepted=True, forgotten=forgotten)

    def _generation(self, ufrag: bytes) -> IceCredentials:
        for credentials in (self.local, self._previous):
            if credentials is not None and credentials.ufrag.encode() == ufrag:
                return credentials
        raise stun.StunError("a check for a generation that is over")

    def _hear(self, address: AddressT) -> tuple[AddressT, ...]:
        """Remember whose this address is; what had to be forgotten for it."""
        self._heard.pop(address, None)
        self._heard[address] = None
        if self.selected is None:
            self.selected = address
        if len(self._heard) <= MAX_ADDRESSES:
            return ()
        quietest = next(each for each in self._heard if each != self.selected)
        del self._heard[quietest]
        return (quietest,)

    def _nominate(self, address: AddressT, credentials: IceCredentials) -> None:
        self.selected = address
        if credentials is self.local:
            self._is_nominated = True
            self._previous = None

    def forget(self, address: AddressT) -> None:
        """The address cannot be sent to any more: its TCP connection is gone."""
        self._heard.pop(address, None)
        if self.selected == address:
            self.selected = next(reversed(self._heard), None)


def _refusal(check: stun.Check, code: tuple[int, str], pwd: bytes) -> bytes:
    return stun.error(check.transaction, *code, pwd, check.unknown)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ICE_CHARS) for _ in range(length))
