"""A room in memory."""

from __future__ import annotations

from mulisa.core.room import ParticipantKind


class LoopbackTransport:
    """One stay in a `LoopbackRoom`; implements `core.transport.Transport`."""


class LoopbackRoom:
    """A room in memory with a seeded network; times are those of the running event loop."""

    def __init__(
        self,
        name: str = "loopback",
        *,
        seed: int = 0,
        loss: float = 0.0,
        delay: tuple[float, float] = (0.02, 0.05),
    ) -> None:
        raise NotImplementedError

    def join(
        self, identity: str, name: str = "", kind: ParticipantKind = "standard"
    ) -> LoopbackTransport:
        """A transport for one participant; entering it joins."""
        raise NotImplementedError
