"""Which agent process serves which room: LiveKit's agent dispatch, the server's decisions. Pure.

A room with people gets one agent from the workers that take every room, and one more for each
wish (`Dispatch`). Each job is offered to one worker at a time::

    people come -> AskWorker -> Accepted -> AssignJob -> ... room empty -> TerminateJob
                      |-> Refused, or silent for `answer_timeout` -> the next worker

A worker that is lost gives its jobs back at once. A session that failed is tried again after a
pause that doubles; one that ended well is not, until the room was empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from mulisa.core.room import Identity, RoomName, Topology
from mulisa.core.routing import Routing
from mulisa.server.dispatch_events import (
    Accepted,
    AgentWished,
    AskWorker,
    AssignJob,
    ClearRoom,
    Dispatch,
    DispatchAction,
    DispatchConfig,
    DispatchEvent,
    DispatchId,
    Job,
    JobEnded,
    JobId,
    PeopleChanged,
    Refused,
    RoomEnded,
    RoutingChanged,
    TerminateJob,
    Tick,
    WishWithdrawn,
    WorkerArrived,
    WorkerDeparted,
    WorkerId,
    WorkerReported,
)

_LONGEST_PAUSE: Final = 30.0
_STEADY_AFTER: Final = 60.0
"""Seconds after which a session counts as one that worked; a later failure is a new one."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which worker has a job."""

    worker_id: WorkerId
    job_id: JobId
    is_routable: bool


@dataclass(slots=True)
class _Worker:
    agent_name: str
    serves_rooms: bool
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
    identity: Identity = Identity("")

    @property
    def is_assigned(self) -> bool:
        return self.answer_by is None


@dataclass(slots=True)
class _Wish:
    """How far the dispatch of one agent is."""

    dispatch: Dispatch
    offer: _Offer | None = None
    refused_by: set[WorkerId] = field(default_factory=set)
    ask_again_at: float | None = None
    """When refusals are forgotten."""
    paused_until: float | None = None
    """After a failure: when the job is offered again."""
    failures: int = 0
    is_done: bool = False
    """The session ended well; there is no other one until the room was empty."""

    @property
    def is_open(self) -> bool:
        """A worker is to be found for it now, if somebody is there to talk to."""
        return self.offer is None and self.paused_until is None and not self.is_done

    @property
    def assigned(self) -> _Offer | None:
        return self.offer if self.offer and self.offer.is_assigned else None

    def begin_anew(self) -> None:
        self.is_done, self.failures = False, 0


@dataclass(slots=True)
class _Room:
    name: RoomName
    topology: Topology
    people: frozenset[Identity] = frozenset()
    has_agent: bool = False
    was_occupied: bool = False
    empty_since: float | None = None
    wishes: dict[DispatchId, _Wish] = field(default_factory=dict)
    default: DispatchId | None = None
    """The wish that nobody had to make, once it was made."""
    has_no_default: bool = False
    """The room was made with wishes, which are all that it gets."""
    routing: Routing = Routing()
    """Outlives the agent, which may be killed, and ends with the room."""

    @property
    def jobs(self) -> list[_Offer]:
        return [offer for wish in self.wishes.values() if (offer := wish.assigned)]

    def awaits(self, wish: _Wish) -> bool:
        """Whether an agent shall come: one that was wished for comes ahead of the first person."""
        is_asked_for = wish.dispatch.dispatch_id != self.default
        return bool(self.people) or (is_asked_for and not self.was_occupied)


class Dispatcher:
    """Decides; `now` is seconds on a monotonic clock and never goes backwards.

    Whatever concerns an unknown worker or job is ignored: it is late, or of a former gateway.
    """

    def __init__(
        self,
        config: DispatchConfig,
        new_job_id: Callable[[], JobId],
        new_dispatch: Callable[[], Dispatch],
    ) -> None:
        """`new_dispatch` makes the wish for the one agent that every room gets."""
        self._config = config
        self._new_job_id = new_job_id
        self._new_dispatch = new_dispatch
        self._workers: dict[WorkerId, _Worker] = {}
        self._rooms: dict[RoomName, _Room] = {}

    def receive(self, event: DispatchEvent, now: float) -> list[DispatchAction]:
        """What to do after this event; first settles what fell due before `now`."""
        actions = self._settle(now)
        match event:
            case WorkerArrived(worker_id, agent_name, serves_rooms):
                self._workers[worker_id] = _Worker(agent_name, serves_rooms)
            case WorkerReported(worker_id, is_full, load):
                self._report(worker_id, is_full, load)
            case WorkerDeparted(worker_id):
                self._give_back_jobs(worker_id)
            case Accepted():
                actions += self._assign(event, now)
            case Refused(worker_id, job_id):
                self._refuse(worker_id, job_id)
            case JobEnded():
                self._end_job(event, now)
            case PeopleChanged():
                actions += self._change_people(event, now)
            case AgentWished():
                actions += self._add_wish(event)
            case WishWithdrawn(name, dispatch_id):
                actions += self._withdraw(name, dispatch_id)
            case RoomEnded(name):
                actions += self._end_room(name)
            case RoutingChanged(name, routing):
                self._keep_routing(name, routing)
            case Tick():
                pass
        return actions + self._offer_jobs(now)

    def deadline(self) -> float | None:
        """When to call `receive(Tick(), now)`; None while nothing is pending."""
        return min((due for room in self._rooms.values() for due in self._due(room)), default=None)

    def routing(self, name: RoomName) -> Routing:
        """What holds for the agent of a room, or for the next one that gets there."""
        room = self._rooms.get(name)
        return room.routing if room else Routing()

    def assignment(self, name: RoomName) -> Assignment | None:
        """Who has the job of a room, rather one that takes routing; None while nobody has it."""
        room = self._rooms.get(name)
        jobs = room.jobs if room else []
        offer = next((job for job in jobs if job.is_routable), jobs[0] if jobs else None)
        return Assignment(offer.worker_id, offer.job.job_id, offer.is_routable) if offer else None

    def room_of(self, worker_id: WorkerId, job_id: JobId) -> RoomName | None:
        """The room of a job that this worker has."""
        found = self._find(worker_id, job_id)
        return found[0].name if found else None

    def wishes(self, name: RoomName) -> list[tuple[Dispatch, Assignment | None]]:
        """What agents are wanted in a room, and who has the job of each."""
        room = self._rooms.get(name)
        return [(wish.dispatch, _assignment(wish)) for wish in room.wishes.values()] if room else []

    def _due(self, room: _Room) -> Iterator[float]:
        if room.empty_since is not None:
            yield room.empty_since + self._config.departure_timeout
        for wish in room.wishes.values():
            answer_by = wish.offer.answer_by if wish.offer else None
            yield from (
                time
                for time in (wish.ask_again_at, wish.paused_until, answer_by)
                if time is not None
            )

    def _settle(self, now: float) -> list[DispatchAction]:
        actions: list[DispatchAction] = []
        for room in list(self._rooms.values()):
            for wish in room.wishes.values():
                self._settle_wish(wish, now)
            if room.empty_since is not None:
                gone_at = room.empty_since + self._config.departure_timeout
                if _is_past(gone_at, now):
                    actions += self._vacate(room)
        return actions

    def _settle_wish(self, wish: _Wish, now: float) -> None:
        if wish.offer and _is_past(wish.offer.answer_by, now):
            self._refuse(wish.offer.worker_id, wish.offer.job.job_id)
        if _is_past(wish.ask_again_at, now):
            wish.ask_again_at = None
            wish.refused_by.clear()
        if _is_past(wish.paused_until, now):
            wish.paused_until = None

    def _vacate(self, room: _Room) -> list[DispatchAction]:
        """Nobody came back. What was wished for is kept until the SFU says that the room ended."""
        kept = {
            dispatch_id: _Wish(wish.dispatch)
            for dispatch_id, wish in room.wishes.items()
            if dispatch_id != room.default and room.topology == "sfu"
        }
        actions = self._close_room(room)
        if kept:
            self._rooms[room.name] = _Room(
                room.name,
                room.topology,
                was_occupied=True,
                wishes=kept,
                has_no_default=room.has_no_default,
            )
        return actions

    def _close_room(self, room: _Room) -> list[DispatchAction]:
        del self._rooms[room.name]
        if jobs := room.jobs:
            return [TerminateJob(offer.worker_id, offer.job) for offer in jobs]
        return [ClearRoom(room.name, room.topology)] if room.has_agent else []

    def _end_room(self, name: RoomName) -> list[DispatchAction]:
        room = self._rooms.get(name)
        if room is None or room.topology != "sfu":
            return []
        room.has_agent = False
        return self._close_room(room)

    def _report(self, worker_id: WorkerId, is_full: bool, load: float) -> None:
        if worker := self._workers.get(worker_id):
            worker.is_full, worker.load = is_full, load

    def _give_back_jobs(self, worker_id: WorkerId) -> None:
        self._workers.pop(worker_id, None)
        for _, wish in self._all_wishes():
            wish.refused_by.discard(worker_id)
            if wish.offer and wish.offer.worker_id == worker_id:
                wish.offer = None

    def _assign(self, accepted: Accepted, now: float) -> list[DispatchAction]:
        found = self._find(accepted.worker_id, accepted.job_id)
        if found is None:
            return []
        room, wish = found
        offer = wish.offer
        if offer is None or offer.is_assigned:
            return []
        if not room.awaits(wish):
            wish.offer = None
            return []
        taken = room.people | {job.identity for job in room.jobs}
        offer.answer_by, offer.assigned_at = None, now
        offer.is_routable = accepted.is_routable
        offer.identity = _free_identity(accepted.identity, taken)
        wish.refused_by.clear()
        wish.ask_again_at = None
        attributes = {**wish.dispatch.attributes, **accepted.attributes}
        return [
            AssignJob(
                offer.worker_id, offer.job, offer.identity, accepted.name, attributes, room.routing
            )
        ]

    def _refuse(self, worker_id: WorkerId, job_id: JobId) -> None:
        found = self._find(worker_id, job_id)
        if found and found[1].offer and not found[1].offer.is_assigned:
            found[1].offer = None
            found[1].refused_by.add(worker_id)

    def _end_job(self, ended: JobEnded, now: float) -> None:
        found = self._find(ended.worker_id, ended.job_id)
        if found is None or found[1].offer is None:
            return
        wish, offer = found[1], found[1].offer
        if now - offer.assigned_at >= _STEADY_AFTER:
            wish.failures = 0
        wish.offer = None
        if ended.failed:
            pause = self._config.failure_pause * 2.0**wish.failures
            wish.paused_until = now + min(pause, _LONGEST_PAUSE)
            wish.failures += 1
        else:
            wish.is_done = True

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
            room = self._rooms[event.room] = _Room(event.room, event.topology)
        room.people, room.has_agent = event.people, event.has_agent
        if event.people:
            self._occupy(room)
        elif room.empty_since is None and (room.was_occupied or not room.wishes):
            room.empty_since = now
        return actions

    def _occupy(self, room: _Room) -> None:
        if room.empty_since is not None:  # whoever comes now had no part in what was
            for wish in room.wishes.values():
                wish.begin_anew()
        room.empty_since, room.was_occupied = None, True
        if room.default is None and not room.has_no_default:
            dispatch = self._new_dispatch()
            room.default = dispatch.dispatch_id
            room.wishes[dispatch.dispatch_id] = _Wish(dispatch)

    def _add_wish(self, event: AgentWished) -> list[DispatchAction]:
        actions: list[DispatchAction] = []
        room = self._rooms.get(event.room)
        if room and room.topology != event.topology:
            actions = self._close_room(room)
            room = None
        if room is None:
            room = self._rooms[event.room] = _Room(event.room, event.topology)
        room.wishes[event.dispatch.dispatch_id] = _Wish(event.dispatch)
        room.has_no_default = room.has_no_default or event.is_instead
        return actions

    def _withdraw(self, name: RoomName, dispatch_id: DispatchId) -> list[DispatchAction]:
        room = self._rooms.get(name)
        wish = room.wishes.pop(dispatch_id, None) if room else None
        if room is None or wish is None:
            return []
        if not room.wishes and not room.was_occupied:
            del self._rooms[name]  # nothing is known of it any more
        return [TerminateJob(wish.assigned.worker_id, wish.assigned.job)] if wish.assigned else []

    def _keep_routing(self, name: RoomName, routing: Routing) -> None:
        if room := self._rooms.get(name):
            room.routing = routing

    def _all_wishes(self) -> Iterator[tuple[_Room, _Wish]]:
        return ((room, wish) for room in self._rooms.values() for wish in room.wishes.values())

    def _find(self, worker_id: WorkerId, job_id: JobId) -> tuple[_Room, _Wish] | None:
        for room, wish in self._all_wishes():
            offer = wish.offer
            if offer and offer.worker_id == worker_id and offer.job.job_id == job_id:
                return room, wish
        return None

    def _offer_jobs(self, now: float) -> list[DispatchAction]:
        waiting = [(r, wish) for r, wish in self._all_wishes() if wish.is_open and r.awaits(wish)]
        return [action for r, wish in waiting if (action := self._offer(r, wish, now))]

    def _offer(self, room: _Room, wish: _Wish, now: float) -> AskWorker | None:
        able = [
            worker_id
            for worker_id, worker in self._workers.items()
            if worker.serves_rooms
            and worker.agent_name == wish.dispatch.agent_name
            and not worker.is_full
        ]
        willing = [worker_id for worker_id in able if worker_id not in wish.refused_by]
        if not willing:
            if able and wish.ask_again_at is None:
                wish.ask_again_at = now + self._config.refusal_pause
            return None
        worker_id = min(willing, key=self._busyness)
        job = Job(self._new_job_id(), room.name, room.topology, wish.dispatch)
        wish.offer = _Offer(job, worker_id, answer_by=now + self._config.answer_timeout)
        return AskWorker(worker_id, job)

    def _busyness(self, worker_id: WorkerId) -> tuple[int, float]:
        """Jobs first: a burst of rooms comes faster than workers report their load."""
        offers = (wish.offer for _, wish in self._all_wishes())
        jobs = sum(1 for offer in offers if offer and offer.worker_id == worker_id)
        return jobs, self._workers[worker_id].load


def _assignment(wish: _Wish) -> Assignment | None:
    offer = wish.assigned
    return Assignment(offer.worker_id, offer.job.job_id, offer.is_routable) if offer else None


def _is_past(due: float | None, now: float) -> bool:
    return due is not None and due <= now


def _free_identity(wanted: Identity, taken: frozenset[Identity]) -> Identity:
    """The wanted one, unless somebody has it. A former stay of the agent itself is replaced."""
    identity, number = wanted, 1
    while identity in taken:
        number += 1
        identity = Identity(f"{wanted}-{number}")
    return identity
