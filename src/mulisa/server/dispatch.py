"""Which agent process serves which room: LiveKit's agent dispatch, the server's decisions. Pure.

A room with people gets one agent. Its job is offered to one worker at a time::

    people come -> AskWorker -> Accepted -> AssignJob -> ... room empty -> TerminateJob
                      |-> Refused, or silent for `answer_timeout` -> the next worker

A worker that is lost gives its rooms back at once. A session that failed is tried again after a
pause that doubles; one that ended well is not, until the room was empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NewType, TypeAlias

from mulisa.core.room import Identity, RoomName, Topology
from mulisa.core.routing import Routing

WorkerId = NewType("WorkerId", str)
JobId = NewType("JobId", str)

_LONGEST_PAUSE: Final = 30.0
_STEADY_AFTER: Final = 60.0
"""Seconds after which a session counts as one that worked; a later failure is a new one."""


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
class Job:
    """One agent's stay in one room."""

    job_id: JobId
    room: RoomName
    topology: Topology


@dataclass(frozen=True, slots=True)
class WorkerArrived:
    """An agent process registered."""

    worker_id: WorkerId
    takes_every_room: bool = True
    """False for workers with an agent name, which are asked by explicit dispatch only."""


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


@dataclass(slots=True)
class _Worker:
    takes_every_room: bool
    is_full: bool = False
    load: float = 0.0


@dataclass(slots=True)
class _Offer:
    """A job that a worker was asked about, or has."""

    job: Job
    worker_id: WorkerId
    answer_by: float | None
    """None once the worker has the job."""
    assigned_at: float = 0.0
    is_routable: bool = False


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which worker has the job of a room."""

    worker_id: WorkerId
    job_id: JobId
    is_routable: bool


@dataclass(slots=True)
class _Room:
    name: RoomName
    topology: Topology
    people: frozenset[Identity]
    has_agent: bool
    empty_since: float | None = None
    offer: _Offer | None = None
    refused_by: set[WorkerId] = field(default_factory=set)
    ask_again_at: float | None = None
    """When refusals are forgotten."""
    paused_until: float | None = None
    """After a failure: when the room is offered again."""
    failures: int = 0
    is_done: bool = False
    """The session ended well; the room gets no other one until it was empty."""
    routing: Routing = Routing()
    """Outlives the agent, which may be killed, and ends with the room."""


class Dispatcher:
    """Decides; `now` is seconds on a monotonic clock and never goes backwards.

    Whatever concerns an unknown worker or job is ignored: it is late, or of a former gateway.
    """

    def __init__(self, config: DispatchConfig, new_job_id: Callable[[], JobId]) -> None:
        self._config = config
        self._new_job_id = new_job_id
        self._workers: dict[WorkerId, _Worker] = {}
        self._rooms: dict[RoomName, _Room] = {}

    def receive(self, event: DispatchEvent, now: float) -> list[DispatchAction]:
        """What to do after this event; first settles what fell due before `now`."""
        actions = self._settle(now)
        match event:
            case WorkerArrived(worker_id, takes_every_room):
                self._workers[worker_id] = _Worker(takes_every_room)
            case WorkerReported(worker_id, is_full, load):
                self._report(worker_id, is_full, load)
            case WorkerDeparted(worker_id):
                self._give_back_rooms(worker_id)
            case Accepted():
                actions += self._assign(event, now)
            case Refused(worker_id, job_id):
                self._refuse(worker_id, job_id)
            case JobEnded():
                self._end_job(event, now)
            case PeopleChanged():
                actions += self._change_people(event, now)
            case RoutingChanged(name, routing):
                self._keep_routing(name, routing)
            case Tick():
                pass
        return actions + self._offer_rooms(now)

    def deadline(self) -> float | None:
        """When to call `receive(Tick(), now)`; None while nothing is pending."""
        return min((due for room in self._rooms.values() for due in self._due(room)), default=None)

    def routing(self, name: RoomName) -> Routing:
        """What holds for the agent of a room, or for the next one that gets there."""
        room = self._rooms.get(name)
        return room.routing if room else Routing()

    def assignment(self, name: RoomName) -> Assignment | None:
        """Who has the job of a room; None while nobody has it."""
        room = self._rooms.get(name)
        if room is None or room.offer is None or room.offer.answer_by is not None:
            return None
        offer = room.offer
        return Assignment(offer.worker_id, offer.job.job_id, offer.is_routable)

    def room_of(self, worker_id: WorkerId, job_id: JobId) -> RoomName | None:
        """The room of a job that this worker has."""
        room = self._room_of(worker_id, job_id)
        return room.name if room else None

    def _due(self, room: _Room) -> list[float]:
        times = [room.ask_again_at, room.paused_until]
        if room.offer:
            times.append(room.offer.answer_by)
        if room.empty_since is not None:
            times.append(room.empty_since + self._config.departure_timeout)
        return [time for time in times if time is not None]

    def _settle(self, now: float) -> list[DispatchAction]:
        actions: list[DispatchAction] = []
        for room in list(self._rooms.values()):
            if room.offer and _is_past(room.offer.answer_by, now):
                self._refuse(room.offer.worker_id, room.offer.job.job_id)
            if _is_past(room.ask_again_at, now):
                room.ask_again_at = None
                room.refused_by.clear()
            if _is_past(room.paused_until, now):
                room.paused_until = None
            if room.empty_since is not None:
                gone_at = room.empty_since + self._config.departure_timeout
                if _is_past(gone_at, now):
                    actions += self._close_room(room)
        return actions

    def _close_room(self, room: _Room) -> list[DispatchAction]:
        del self._rooms[room.name]
        if room.offer and room.offer.answer_by is None:
            return [TerminateJob(room.offer.worker_id, room.offer.job)]
        return [ClearRoom(room.name, room.topology)] if room.has_agent else []

    def _report(self, worker_id: WorkerId, is_full: bool, load: float) -> None:
        if worker := self._workers.get(worker_id):
            worker.is_full, worker.load = is_full, load

    def _give_back_rooms(self, worker_id: WorkerId) -> None:
        self._workers.pop(worker_id, None)
        for room in self._rooms.values():
            room.refused_by.discard(worker_id)
            if room.offer and room.offer.worker_id == worker_id:
                room.offer = None

    def _assign(self, accepted: Accepted, now: float) -> list[DispatchAction]:
        room = self._room_of(accepted.worker_id, accepted.job_id)
        if room is None or room.offer is None or room.offer.answer_by is None:
            return []
        if not room.people:  # nobody to join; who comes back within the timeout asks anew
            room.offer = None
            return []
        room.offer.answer_by, room.offer.assigned_at = None, now
        room.offer.is_routable = accepted.is_routable
        room.refused_by.clear()
        room.ask_again_at = None
        identity = _free_identity(accepted.identity, room.people)
        return [
            AssignJob(
                accepted.worker_id,
                room.offer.job,
                identity,
                accepted.name,
                accepted.attributes,
                room.routing,
            )
        ]

    def _refuse(self, worker_id: WorkerId, job_id: JobId) -> None:
        room = self._room_of(worker_id, job_id)
        if room and room.offer and room.offer.answer_by is not None:
            room.offer = None
            room.refused_by.add(worker_id)

    def _end_job(self, ended: JobEnded, now: float) -> None:
        room = self._room_of(ended.worker_id, ended.job_id)
        if room is None or room.offer is None:
            return
        if now - room.offer.assigned_at >= _STEADY_AFTER:
            room.failures = 0
        room.offer = None
        if ended.failed:
            pause = self._config.failure_pause * 2.0**room.failures
            room.paused_until = now + min(pause, _LONGEST_PAUSE)
            room.failures += 1
        else:
            room.is_done = True

    def _change_people(self, event: PeopleChanged, now: float) -> list[DispatchAction]:
        actions: list[DispatchAction] = []
        is_empty = not event.people and not event.has_agent
        room = self._rooms.get(event.room)
        if room and room.topology != event.topology:
            if is_empty:
                return []  # the former room of this name, which the present one followed
            actions = self._close_room(room)
            room = None
        if room is None:
            if is_empty:
                return actions
            room = _Room(event.room, event.topology, event.people, event.has_agent)
            self._rooms[event.room] = room
        room.people, room.has_agent = event.people, event.has_agent
        if event.people:
            if room.empty_since is not None:  # whoever comes now had no part in what was
                room.is_done, room.failures = False, 0
            room.empty_since = None
        elif room.empty_since is None:
            room.empty_since = now
        return actions

    def _keep_routing(self, name: RoomName, routing: Routing) -> None:
        if room := self._rooms.get(name):
            room.routing = routing

    def _room_of(self, worker_id: WorkerId, job_id: JobId) -> _Room | None:
        for room in self._rooms.values():
            offer = room.offer
            if offer and offer.worker_id == worker_id and offer.job.job_id == job_id:
                return room
        return None

    def _offer_rooms(self, now: float) -> list[DispatchAction]:
        waiting = [room for room in self._rooms.values() if _wants_agent(room)]
        return [action for room in waiting if (action := self._offer(room, now))]

    def _offer(self, room: _Room, now: float) -> AskWorker | None:
        able = [
            worker_id
            for worker_id, worker in self._workers.items()
            if worker.takes_every_room and not worker.is_full
        ]
        willing = [worker_id for worker_id in able if worker_id not in room.refused_by]
        if not willing:
            if able and room.ask_again_at is None:
                room.ask_again_at = now + self._config.refusal_pause
            return None
        worker_id = min(willing, key=self._busyness)
        job = Job(self._new_job_id(), room.name, room.topology)
        room.offer = _Offer(job, worker_id, answer_by=now + self._config.answer_timeout)
        return AskWorker(worker_id, job)

    def _busyness(self, worker_id: WorkerId) -> tuple[int, float]:
        """Rooms first: a burst of rooms comes faster than workers report their load."""
        offers = (room.offer for room in self._rooms.values())
        rooms = sum(1 for offer in offers if offer and offer.worker_id == worker_id)
        return rooms, self._workers[worker_id].load


def _wants_agent(room: _Room) -> bool:
    return bool(
        room.people and room.offer is None and room.paused_until is None and not room.is_done
    )


def _is_past(due: float | None, now: float) -> bool:
    return due is not None and due <= now


def _free_identity(wanted: Identity, people: frozenset[Identity]) -> Identity:
    """The wanted one, unless a person has it. A former stay of the agent itself is replaced."""
    identity, number = wanted, 1
    while identity in people:
        number += 1
        identity = Identity(f"{wanted}-{number}")
    return identity
