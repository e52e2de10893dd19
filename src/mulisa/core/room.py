"""Rooms and who is in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, NewType

from mulisa.core.errors import InputError

Identity = NewType("Identity", str)
"""Names one participant of a room, unique in it, stable over reloads (LiveKit's identity)."""
ParticipantSid = NewType("ParticipantSid", str)
"""Names one stay of a participant in a room: ``PA_...``, new at every join."""
RoomName = NewType("RoomName", str)

Topology = Literal["mesh", "sfu"]
ParticipantKind = Literal["standard", "agent"]

AGENT_STATE_ATTRIBUTE = "lk.agent.state"
"""Participant attribute that carries an `AgentState` (LiveKit's convention)."""
TROUBLE_ATTRIBUTE = "mulisa.trouble"
"""Participant attribute of the agent: which of its engines fails, as JSON; none if all is well."""

MAX_NAME_CHARS = 64
_ROOM_NAME = re.compile(r"[^\W_](?:[\w .-]{0,62}[\w.-])?")


class AgentState(Enum):
    """What the agent is doing, in LiveKit's words."""

    INITIALIZING = "initializing"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"


@dataclass(frozen=True, slots=True)
class Participant:
    """Anyone in the room, person or agent."""

    identity: Identity
    name: str
    """As people read and say it; two participants may share it."""
    sid: ParticipantSid = ParticipantSid("")
    kind: ParticipantKind = "standard"
    muted: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_agent(self) -> bool:
        """True for Mulisa and other agents, which are heard by people but never by her."""
        return self.kind == "agent"


def parse_room_name(text: str) -> RoomName:
    """A room name: 1 to 64 letters, digits, spaces, ``_ . -``, beginning with a letter or digit.

    Raises InputError.
    """
    if not _ROOM_NAME.fullmatch(text) or text.endswith("."):
        raise InputError(
            f"not a room name: {text[:80]!r}; use 1 to 64 letters, digits, spaces, '.', '_' or '-'"
        )
    return RoomName(text)


def parse_display_name(text: str) -> str:
    """A person's name as shown to others: printable, trimmed, 1 to 64 characters.

    Raises InputError.
    """
    name = " ".join(text.split())
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InputError(f"a name has 1 to {MAX_NAME_CHARS} printable characters")
    return name
