"""What she can do in a room: the same tools for the concierge and for any LLM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mulisa.agent.memory import Memory
from mulisa.core.provider import ToolSpec
from mulisa.core.room import Identity, RoomName, Topology


@dataclass(frozen=True, slots=True)
class Presence:
    """A person in the room now."""

    identity: Identity
    name: str
    joined_at: float
    """Loop seconds."""
    muted: bool = False


class RoomView(Protocol):
    """What the tools may see of the room."""

    @property
    def room(self) -> RoomName:
        """The room's name."""
        ...

    @property
    def topology(self) -> Topology:
        """How its participants are connected."""
        ...

    @property
    def people(self) -> Sequence[Presence]:
        """Everybody present but agents, in order of coming."""
        ...


class Controls(Protocol):
    """What the tools may do."""

    def stay_quiet(self, until_called: bool = True) -> None:
        """Say nothing more until somebody calls her by name; False takes it back."""
        ...

    async def connection(self, identity: Identity) -> str:
        """How a person is connected to her, one spoken sentence; empty if it is not known."""
        ...


class Toolbox:
    """The tools of one room.

    who_is_here, what_was_said, minutes, call_duration, last_reply, date_time, connection,
    stay_quiet, help.
    """

    def __init__(self, memory: Memory, room: RoomView, controls: Controls) -> None: ...

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as an LLM is told of them."""
        raise NotImplementedError

    async def call(
        self, name: str, arguments: Mapping[str, Any], asker: Identity, now: float
    ) -> Mapping[str, Any]:
        """Run a tool for `asker`. The result is JSON data with facts and names of this call.

        What an LLM invents (an unknown tool, wrong arguments) is answered with
        ``{"error": "one sentence"}``, never with an exception. Safe to cancel.
        """
        raise NotImplementedError
