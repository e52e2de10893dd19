"""The agent process: takes rooms from a gateway and runs a session in each of them.

Engines are loaded before `run`, so that whoever is told of a room can speak in it. A session that
fails ends only its room. When the gateway is lost, sessions go on while we come back to it; it
then assigns their rooms anew, and each session goes on under its new job.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self, TypeAlias, cast, get_args

from livekit.protocol import agent as wire

from mulisa.core.backoff import Backoff
from mulisa.core.control import (
    MAX_FRAME_BYTES,
    ROUTABLE_ATTRIBUTE,
    ControlFrame,
    ReceptionReported,
    Routed,
    RouteFailed,
    RouteRequest,
    RoutingReported,
    UseReported,
    encode_control,
)
from mulisa.core.errors import ConnectionLost, InputError, MulisaError, TransportError
from mulisa.core.room import Identity, RoomName, Topology
from mulisa.core.routing import MAX_IDENTITIES, Routing, parse_routing
from mulisa.core.transport import Transport
from mulisa.worker.link import GatewayLink, WorkerConfig, registered
from mulisa.worker.observed import ObservedTransport
from mulisa.worker.status import (
    Draining,
    GatewayLost,
    OnStatus,
    Registered,
    SessionEnded,
    SessionFailed,
    SessionStarted,
    Status,
)
from mulisa.worker.telling import RoomObserver
from mulisa.worker.topologies import open_transport

__all__ = ["AgentProcess", "SessionFactory", "TransportFactory", "WorkerConfig", "run"]

logger = logging.getLogger(__name__)

SessionFactory: TypeAlias = Callable[[Transport, RoomObserver], Coroutine[Any, Any, None]]
"""Enters the transport, takes part in the room until it is over, and leaves. Cancelled to leave.
Tells the observer what happens meanwhile.
"""
TransportFactory: TypeAlias = Callable[[Topology, str, str, Routing], Transport]
"""Topology, WebSocket base of the server, room token and routing to begin with, to a transport
that is not entered yet."""

_FIRST_RETRY: Final = 0.25
_LONGEST_RETRY: Final = 5.0
_ROUTING_TIME: Final = 8.0
"""Seconds for a change of routing to hold; the gateway waits a little longer."""


def _ignore(_: Status) -> None:
    pass


async def run(
    config: WorkerConfig, session_factory: SessionFactory, on_status: OnStatus = _ignore
) -> None:
    """Serve rooms until cancelled; leaves them all then. Raises ConfigError for a refused key."""
    await AgentProcess(config, session_factory, on_status).run()


@dataclass(slots=True)
class _RoomSession:
    """Our stay in one room."""

    job_id: str
    """Of the latest assignment of this room."""
    task: asyncio.Task[None]
    topology: Topology
    is_routable: bool
    """The job is of a gateway of ours, which understands control frames."""
    is_ending: bool = False
    transport: ObservedTransport | None = None
    observer: RoomObserver | None = None


@dataclass(frozen=True, slots=True)
class _JobTerms:
    """What our gateway says in a job's metadata. A LiveKit server says nothing, and is an SFU."""

    topology: Topology = "sfu"
    routing: Routing = Routing()
    is_ours: bool = False

    @classmethod
    def of(cls, job: wire.Job) -> Self:
        try:
            metadata = json.loads(job.metadata)
            if metadata["topology"] not in get_args(Topology):
                return cls()
            routing = parse_routing(metadata.get("routing", {}))
        except (ValueError, TypeError, KeyError, RecursionError, InputError):
            return cls()
        return cls(metadata["topology"], routing, is_ours=True)


class AgentProcess:
    """Many rooms in one process; belongs to one event loop."""

    def __init__(
        self,
        config: WorkerConfig,
        session_factory: SessionFactory,
        on_status: OnStatus = _ignore,
        transport_factory: TransportFactory | None = None,
    ) -> None:
        self._config = config
        self._run_session = session_factory
        self._on_status = on_status
        self._open_transport = transport_factory or partial(open_transport, network=config.network)
        self._sessions: dict[RoomName, _RoomSession] = {}
        self._link: GatewayLink | None = None
        self._is_draining = False
        self._backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY)

    async def run(self) -> None:
        """Register and serve until cancelled. Raises ConfigError if the gateway refuses our key."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._serve(tasks)
        except BaseExceptionGroup as group:
            raise _first_cause(group) from group

    async def _serve(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            try:
                await self._serve_gateway(tasks)
            except ConnectionLost as error:
                await self._pause(str(error))

    async def _serve_gateway(self, tasks: asyncio.TaskGroup) -> None:
        """Follow one gateway. Raises ConnectionLost; leaves our rooms first when cancelled."""
        async with registered(self._config) as link:
            self._link = link
            self._backoff.succeeded()
            self._on_status(Registered(self._config.url, link.worker_id))
            self._report_load()
            try:
                while True:
                    self._handle(await link.receive(), tasks)
            except asyncio.CancelledError:
                await self._drain()
                raise
            finally:
                self._link = None

    async def _pause(self, reason: str) -> None:
        wait = self._backoff.failed()
        self._on_status(GatewayLost(self._config.url, reason, wait))
        await asyncio.sleep(wait)

    async def _drain(self) -> None:
        """Leave all rooms, in bounded time, while the gateway still knows us."""
        self._is_draining = True
        leaving = [session.task for session in self._sessions.values()]
        if not leaving:
            return
        self._on_status(Draining(len(leaving)))
        self._report_load()
        for session in self._sessions.values():
            self._leave(session)
        await asyncio.wait(leaving, timeout=self._config.drain_time)

    def _handle(self, message: wire.ServerMessage | ControlFrame, tasks: asyncio.TaskGroup) -> None:
        """Unknown kinds are ignored."""
        if isinstance(message, RouteRequest):
            tasks.create_task(self._route(message), name=f"route {message.request_id}")
            return
        if not isinstance(message, wire.ServerMessage):
            return
        match message.WhichOneof("message"):
            case "availability":
                self._answer(message.availability.job)
            case "assignment":
                self._take(message.assignment, tasks)
            case "termination":
                self._terminate(message.termination.job_id)

    def _answer(self, job: wire.Job) -> None:
        room = RoomName(job.room.name)
        is_free = room in self._sessions or len(self._sessions) < self._config.max_rooms
        answer = wire.AvailabilityResponse(
            job_id=job.id,
            available=is_free,
            participant_identity=self._config.identity,
            participant_name=self._config.name,
            participant_attributes={ROUTABLE_ATTRIBUTE: "1"} if _JobTerms.of(job).is_ours else {},
        )
        self._send(wire.WorkerMessage(availability=answer))

    def _take(self, assignment: wire.JobAssignment, tasks: asyncio.TaskGroup) -> None:
        job_id, room = assignment.job.id, RoomName(assignment.job.room.name)
        terms = _JobTerms.of(assignment.job)
        former = self._sessions.get(room)
        if former and former.topology != terms.topology:
            self._leave(former)  # another room of that name, in which nobody is any more
        if former and not former.is_ending:  # of before the gateway was lost: it simply goes on
            former.job_id = job_id
            self._report_job(job_id, wire.JS_RUNNING)
            if former.transport:  # it may have changed while nobody could be told
                self._report_routing(former, former.transport.routing)
            return
        stay = self._stay(room, assignment, former.task if former else None)
        task = tasks.create_task(stay, name=f"session {job_id}")
        self._sessions[room] = _RoomSession(job_id, task, terms.topology, terms.is_ours)
        task.add_done_callback(lambda _: self._forget(room, task))

    async def _stay(
        self,
        room: RoomName,
        assignment: wire.JobAssignment,
        former: asyncio.Task[None] | None,
    ) -> None:
        """One stay in a room, from joining to leaving: the place where a session's failure ends."""
        session = self._sessions[room]  # ours; the next stay begins while we are still leaving
        if former:
            await asyncio.wait([former])
        self._started(room, session)
        try:
            session.transport = self._transport(session, assignment)
            session.observer = RoomObserver(room, self._on_status)
            try:
                await self._run_session(cast(Transport, session.transport), session.observer)
            finally:
                self._report_use(session)
        except asyncio.CancelledError:
            self._ended(room, session)
            raise
        except Exception as error:
            self._failed(room, session, error)
        else:
            self._ended(room, session)

    def _transport(
        self, session: _RoomSession, assignment: wire.JobAssignment
    ) -> ObservedTransport:
        terms = _JobTerms.of(assignment.job)
        url = assignment.url or self._config.url
        transport = self._open_transport(terms.topology, url, assignment.token, terms.routing)
        return ObservedTransport(
            transport,
            terms.routing,
            on_routing=lambda routing: self._report_routing(session, routing),
            on_reception=lambda *report: self._report_reception(session, *report),
        )

    async def _route(self, request: RouteRequest) -> None:
        """Change the routing of one of our sessions, and say when the change holds."""
        try:
            async with asyncio.timeout(_ROUTING_TIME):
                routing = await self._routable(request.job_id).route(request.change)
        except TimeoutError:
            self._send(RouteFailed(request.request_id, "it took too long; it is still tried"))
        except MulisaError as error:
            self._send(RouteFailed(request.request_id, str(error)))
        except Exception:  # it must not end the other rooms
            logger.exception("a change of routing failed")
            self._send(RouteFailed(request.request_id, "the agent could not do it"))
        else:
            self._send(Routed(request.request_id, routing))

    def _routable(self, job_id: str) -> ObservedTransport:
        for session in self._sessions.values():
            if session.job_id == job_id and session.transport and not session.is_ending:
                return session.transport
        raise TransportError("the agent is not in that room")

    def _report_routing(self, session: _RoomSession, routing: Routing) -> None:
        if session.is_routable:
            self._send(RoutingReported(session.job_id, routing))

    def _report_reception(
        self, session: _RoomSession, listener: Identity, heard: frozenset[Identity]
    ) -> None:
        """More than a gateway takes are not told: nobody loses an agent for long names."""
        frame = ReceptionReported(session.job_id, listener, heard)
        fits = len(heard) <= MAX_IDENTITIES and len(encode_control(frame)) <= MAX_FRAME_BYTES
        if session.is_routable and fits:
            self._send(frame)
        self._report_use(session)  # once a second, too

    def _report_use(self, session: _RoomSession) -> None:
        if not session.is_routable or not session.observer or not self._link:
            return
        if use := session.observer.use.take():
            self._send(UseReported(session.job_id, use))

    def _forget(self, room: RoomName, task: asyncio.Task[None]) -> None:
        session = self._sessions.get(room)  # none if our successor was over before us
        if session and session.task is task:
            del self._sessions[room]
        self._report_load()

    def _started(self, room: RoomName, session: _RoomSession) -> None:
        self._report_job(session.job_id, wire.JS_RUNNING)
        self._report_load()
        self._on_status(SessionStarted(room))

    def _ended(self, room: RoomName, session: _RoomSession) -> None:
        if not self._is_draining:  # else the room is not done with us: another process may take it
            self._report_job(session.job_id, wire.JS_SUCCESS)
        self._on_status(SessionEnded(room))

    def _failed(self, room: RoomName, session: _RoomSession, error: Exception) -> None:
        cause = _first_cause(error)
        ours = isinstance(cause, MulisaError)
        message = str(cause) if ours else f"{type(cause).__name__}: {cause}"
        logger.error("a session failed: %s", message, exc_info=error)
        self._report_job(session.job_id, wire.JS_FAILED, message)
        self._on_status(SessionFailed(room, message))

    def _terminate(self, job_id: str) -> None:
        for session in self._sessions.values():
            if session.job_id == job_id:
                self._leave(session)

    def _leave(self, session: _RoomSession) -> None:
        if not session.is_ending:
            session.is_ending = True
            session.task.cancel()

    def _report_job(self, job_id: str, status: wire.JobStatus, error: str = "") -> None:
        update = wire.UpdateJobStatus(job_id=job_id, status=status, error=error)
        self._send(wire.WorkerMessage(update_job=update))

    def _report_load(self) -> None:
        rooms = len(self._sessions)
        is_full = self._is_draining or rooms >= self._config.max_rooms
        update = wire.UpdateWorkerStatus(
            status=wire.WS_FULL if is_full else wire.WS_AVAILABLE,
            load=rooms / self._config.max_rooms,
            job_count=rooms,
            draining=self._is_draining,
        )
        self._send(wire.WorkerMessage(update_worker=update))

    def _send(self, message: wire.WorkerMessage | ControlFrame) -> None:
        """To the gateway, if there is one now; the next one learns what it needs by asking."""
        if self._link:
            self._link.send(message)


def _first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
