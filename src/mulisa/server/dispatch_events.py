"""What the dispatcher is told, and what it wants done (`mulisa.server.dispatch`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NewType, TypeAlias

from mulisa.core.room import Identity, RoomName, Topology
from mulisa.core.routing import Routing

WorkerId = NewType("WorkerId", str)
JobId = NewType("JobId", str)
DispatchId = NewType("DispatchId", str)


@dataclass(frozen=True, slots=True)
class DispatchConfig:
    """Times in seconds."""

    answer_timeout: float = 10.0
    """For a worker to say whether it takes a job."""
    departure_timeout: float = 15.0
    """How long an agent stays with nobody; a reload must not lose her."""
    refusal_pause: float = 5.0
    """When nobody took a job, until all are asked again."""
    failure_pause: float = 1.0
    """After a session failed, until its room is offered again; doubles with each failure."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A wish for an agent in a room; LiveKit's AgentDispatch."""

    dispatch_id: DispatchId
    agent_name: str = ""
    """Of the workers that are asked; empty: those that take every room."""
    metadata: str = ""
    """For the agent, as whoever wished for it wrote it."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Of the agent as a participant."""
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One agent's stay in one room."""

    job_id: JobId
    room: RoomName
    topology: Topology
    dispatch: Dispatch


@dataclass(frozen=True, slots=True)
class WorkerArrived:
    """An agent process registered."""

    worker_id: WorkerId
    agent_name: str = ""
    """Empty: takes every room. Else it is asked where its name is wished for only."""
    serves_rooms: bool = True
    """False for workers that want one job for each participant or publisher."""


@dataclass(frozen=True, slots=True)
class WorkerReported:
    """A worker says how busy it is."""

    worker_id: WorkerId
    is_full: bool
    load: float


@dataclass(frozen=True, slots=True)
class WorkerDeparted:
    """A worker's connection ended."""

    worker_id: WorkerId


@dataclass(frozen=True, slots=True)
class Accepted:
    """A worker takes a job, and wants to be this participant."""

    worker_id: WorkerId
    job_id: JobId
    identity: Identity
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    is_routable: bool = False
    """It takes changes of its routing while it is in the room."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A worker does not take a job."""

    worker_id: WorkerId
    job_id: JobId


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A session is over without being told to."""

    worker_id: WorkerId
    job_id: JobId
    failed: bool


@dataclass(frozen=True, slots=True)
class PeopleChanged:
    """Who is in a room now; nobody at the end."""

    room: RoomName
    topology: Topology
    people: frozenset[Identity]
    """Agents left out."""
    has_agent: bool = False


@dataclass(frozen=True, slots=True)
class AgentWished:
    """Somebody wants an agent in a room, which may be empty yet."""

    room: RoomName
    topology: Topology
    dispatch: Dispatch
    is_instead: bool = False
    """The room was made with this wish: it gets no agent that nobody asked for."""


@dataclass(frozen=True, slots=True)
class WishWithdrawn:
    """An agent is not wanted any more."""

    room: RoomName
    dispatch_id: DispatchId


@dataclass(frozen=True, slots=True)
class RoomEnded:
    """A room of the embedded SFU is over, with whatever was wished for in it."""

    room: RoomName


@dataclass(frozen=True, slots=True)
class RoutingChanged:
    """What holds for the agent of a room now, or for the next one that gets there."""

    room: RoomName
    routing: Routing


@dataclass(frozen=True, slots=True)
class Tick:
    """Only time passed."""


DispatchEvent: TypeAlias = (
    WorkerArrived
    | WorkerReported
    | WorkerDeparted
    | Accepted
    | Refused
    | JobEnded
    | PeopleChanged
    | AgentWished
    | WishWithdrawn
    | RoomEnded
    | RoutingChanged
    | Tick
)


@dataclass(frozen=True, slots=True)
class AskWorker:
    """Ask whether it takes the job."""

    worker_id: WorkerId
    job: Job


@dataclass(frozen=True, slots=True)
class AssignJob:
    """Send it into the room as this participant."""

    worker_id: WorkerId
    job: Job
    identity: Identity
    name: str
    attributes: Mapping[str, str]
    routing: Routing = Routing()
    """What held in the room before."""


@dataclass(frozen=True, slots=True)
class TerminateJob:
    """Tell it to leave the room."""

    worker_id: WorkerId
    job: Job


@dataclass(frozen=True, slots=True)
class ClearRoom:
    """Put out whoever is left: an agent whose job nobody knows any more.

    Its worker's connection, or the gateway, was lost while the people left.
    """

    room: RoomName
    topology: Topology


DispatchAction: TypeAlias = AskWorker | AssignJob | TerminateJob | ClearRoom
