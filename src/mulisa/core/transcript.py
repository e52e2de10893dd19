"""What was said in a room, by whom, when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from mulisa.core.room import Identity, ParticipantKind, RoomName


@dataclass(frozen=True, slots=True)
class TranscriptEntry:
    """One utterance of a person, one reply of the agent as far as it was heard, or a chat line."""

    segment_id: str
    """Unique in its room; the same as the caption's."""
    identity: Identity
    name: str
    kind: ParticipantKind
    source: Literal["voice", "chat"]
    text: str
    started_at: datetime
    """UTC, as are all times of a transcript."""
    ended_at: datetime
    interrupted: bool = False
    unspoken: str = ""
    """What an interrupted reply would have said further."""
    listener: Identity | None = None
    """Who alone heard it, because it was whispered; None is everybody."""

    def is_for(self, identity: Identity) -> bool:
        """Whether this person may know of it."""
        return self.listener is None or self.listener == identity


class TranscriptLog(Protocol):
    """Where entries go before they are shown as final."""

    async def append(self, room: RoomName, entry: TranscriptEntry) -> None:
        """Return once the entry is on disk. A segment that is there already is replaced."""
        ...

    async def recent(self, room: RoomName, limit: int) -> Sequence[TranscriptEntry]:
        """The last `limit` entries of the room's current call, oldest first."""
        ...
