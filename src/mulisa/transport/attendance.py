"""Who is in the room, also while we are away from it. Pure.

Before a full reconnection the SDK tells that everybody left, for no reason, and then that they
came. Who is there again soon has not been away, as far as a conversation goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from mulisa.core.events import ParticipantJoined, ParticipantLeft, ParticipantUpdated
from mulisa.core.room import Identity, Participant

Change: TypeAlias = ParticipantJoined | ParticipantUpdated | ParticipantLeft


class Attendance:
    """Turns what a connection tells into what happened; None is nothing."""

    def __init__(self) -> None:
        self._present: dict[Identity, Participant] = {}
        self._missing: set[Identity] = set()
        self._is_away = False

    @property
    def present(self) -> Mapping[Identity, Participant]:
        """Everybody who is there as far as we know."""
        return MappingProxyType(self._present)

    def seen(self, participant: Participant) -> Change | None:
        """Somebody is there, and this is what we know of them."""
        identity = participant.identity
        before = self._present.get(identity)
        self._present[identity] = participant
        self._missing.discard(identity)
        if before is None:
            return ParticipantJoined(participant)
        return None if before == participant else ParticipantUpdated(participant)

    def gone(self, identity: Identity, *, is_explained: bool = True) -> Change | None:
        """Somebody is not there, or cannot be seen from where we are: then `settle` later."""
        if identity not in self._present:
            return None
        if self._is_away or not is_explained:
            self._missing.add(identity)
            return None
        self._missing.discard(identity)
        return ParticipantLeft(self._present.pop(identity))

    def away(self) -> None:
        """Our connection is interrupted."""
        self._is_away = True

    def back(self) -> bool:
        """Our connection is there again. True if somebody is missing: `settle` after a while."""
        self._is_away = False
        return bool(self._missing)

    def settle(self) -> list[Change]:
        """Who has not come back has left; not while we are away again."""
        if self._is_away:
            return []
        return [change for each in sorted(self._missing) if (change := self.gone(each))]

    def end(self) -> list[Change]:
        """Our stay is over, and so is everybody's for us."""
        self._is_away = False
        return [change for each in list(self._present) if (change := self.gone(each))]
