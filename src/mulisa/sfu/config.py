"""What an SFU is told when it starts, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from livekit.protocol import agent_dispatch, rtc

from mulisa.core.room import Identity, RoomName
from mulisa.sfu.events import Report, RoomConfig
from mulisa.sfu.forward import LoudestConfig

Claims: TypeAlias = Mapping[str, Any]
"""What a signed access token says, as it was signed: LiveKit's names (``sub``, ``video`` ...)."""


def _no_servers(_: Identity) -> Sequence[rtc.ICEServer]:
    return ()


def _no_refresh(_: Claims) -> str:
    return ""


def _nowhere(_: RoomName) -> bool:
    return False


def _ignore(_: Report) -> None:
    pass


def _no_agents(_: RoomName, __: Sequence[agent_dispatch.RoomAgentDispatch]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class HostConfig:
    """One SFU. What it calls must neither block nor raise, but for what is said here."""

    verify: Callable[[str], Claims]
    """Checks an access token. Raises TokenError."""
    issue_refresh: Callable[[Claims], str] = _no_refresh
    """A token that lasts, for a client to come back with; empty sends none."""
    rtc_host: str = "0.0.0.0"
    """The address of the RTC port; this one is every address of the machine."""
    rtc_port: int = 8001
    """UDP and TCP. 0 takes a free one."""
    public_address: str = ""
    """Where clients reach us through a one-to-one NAT."""
    ice_servers: Callable[[Identity], Sequence[rtc.ICEServer]] = _no_servers
    """STUN and TURN servers handed to a participant."""
    is_elsewhere: Callable[[RoomName], bool] = _nowhere
    """Whether a room of this name is open in another topology now."""
    on_report: Callable[[Report], None] = _ignore
    """Told at once, in order."""
    on_agents: Callable[[RoomName, Sequence[agent_dispatch.RoomAgentDispatch]], None] = _no_agents
    """A room was created with these agents; told after it has started, before anybody is in it."""
    creates_rooms: bool = True
    """False: a room must have been created by the API before anybody joins it."""
    room: RoomConfig = field(default_factory=RoomConfig)
    loudest: LoudestConfig = field(default_factory=LoudestConfig)
    max_rooms: int = 1_000
    join_burst: int = 400
    """Joins at once, all rooms together: a whole office comes back after a restart."""
    join_rate: float = 100.0
    """Joins per second in the long run."""
    signal_burst: int = 500
    """Messages of one client at once: a full room is subscribed to track by track."""
    signal_rate: float = 50.0
    """Messages per second of one client in the long run."""


@dataclass(frozen=True, slots=True)
class HostCounters:
    """Ever growing."""

    joins: int
    resumes: int
    refused: int
    """Requests to join that were answered with an error."""
    failed: int
    """Clients whose connection, or whose protocol, failed."""
    slow_readers: int
    """Sockets that were closed because their client did not read."""
    packets_forwarded: int
    bytes_forwarded: int
    packets_dropped: int
