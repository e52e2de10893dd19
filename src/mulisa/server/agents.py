"""``WS /agent``: LiveKit's agent dispatch protocol on the wire, around the pure `Dispatcher`."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import string
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web
from google.protobuf.message import DecodeError
from livekit.protocol import agent as wire
from livekit.protocol import agent_dispatch, models

from mulisa.core.control import (
    MAX_FRAME_BYTES,
    ROUTABLE_ATTRIBUTE,
    ReceptionReported,
    Routed,
    RouteFailed,
    RouteRequest,
    RoutingReported,
    UseReported,
    encode_control,
    parse_control,
)
from mulisa.core.errors import InputError
from mulisa.core.room import Identity, Participant, RoomName, Topology
from mulisa.core.routing import Routing, RoutingChange
from mulisa.core.use import Use, UseTally
from mulisa.server.access import NotAllowed, token_of
from mulisa.server.config import GatewayConfig
from mulisa.server.dispatch import Assignment, Dispatcher
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
from mulisa.server.events import JobFailed, OnEvent, WorkerLost, WorkerRegistered
from mulisa.server.heard import Heard
from mulisa.server.metrics import GatewayMetrics
from mulisa.server.responses import refuse_unless_websocket
from mulisa.server.routing import NotConfirmed, RouteRequests
from mulisa.server.tokens import Grant, TokenIssuer, TokenVerifier, utc_now
from mulisa.sfu.errors import LimitExceeded

logger = logging.getLogger(__name__)

AGENT_NAME_ATTRIBUTE: Final = "lk.agent_name"
AGENT_PROTOCOL: Final = 1
_PROTOCOL: Final = 17
_REGISTER_TIMEOUT: Final = 10.0
_HEARTBEAT: Final = 5.0
_GOODBYE_TIME: Final = 2.0
"""Seconds for a worker to answer that its connection is closed."""
_MAX_MESSAGE_BYTES: Final = MAX_FRAME_BYTES
_MAX_ERROR_CHARS: Final = 300
_MAX_WISHES: Final = 50
"""Agent dispatches of one room."""
_ID_LETTERS: Final = string.ascii_letters + string.digits
_EVERYBODY: Final = Routing()


def _only_name(room: RoomName) -> models.Room:
    return models.Room(name=room)


@dataclass(slots=True)
class _Link:
    """One worker's connection."""

    worker_id: WorkerId
    agent_name: str
    permission: models.ParticipantPermission
    """What its agents may do in a room."""
    socket: web.WebSocketResponse
    outbox: asyncio.Queue[wire.ServerMessage | RouteRequest] = field(default_factory=asyncio.Queue)


class AgentEndpoint:
    """Serves agent processes and sends them into rooms. Belongs to one event loop."""

    def __init__(
        self,
        config: GatewayConfig,
        issuer: TokenIssuer,
        verifier: TokenVerifier,
        metrics: GatewayMetrics,
        on_event: OnEvent,
        clear_room: Callable[[RoomName, Topology], None],
        describe: Callable[[RoomName], models.Room] = _only_name,
    ) -> None:
        """`clear_room` puts our agents out of a room that nobody else is in.

        `describe` is what workers are told of a room.
        """
        self._clear_room = clear_room
        self._describe = describe
        self._config = config
        self._issuer = issuer
        self._verifier = verifier
        self._metrics = metrics
        self._on_event = on_event
        self._dispatcher = Dispatcher(
            DispatchConfig(departure_timeout=config.departure_timeout),
            lambda: JobId(_new_id("AJ_")),
            _new_dispatch,
        )
        self._links: dict[WorkerId, _Link] = {}
        self._jobs: dict[JobId, Job] = {}
        self._requests = RouteRequests(config.routing_timeout)
        self._heard = Heard()
        self._use: dict[RoomName, UseTally] = {}
        """Of rooms that somebody is in."""
        self._timer: asyncio.TimerHandle | None = None

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Handle ``GET /agent``. Raises TokenError, NotAllowed or NotUpgraded first."""
        self._check_token(request)
        refuse_unless_websocket(request)
        socket = web.WebSocketResponse(
            timeout=_GOODBYE_TIME, heartbeat=_HEARTBEAT, max_msg_size=_MAX_MESSAGE_BYTES
        )
        await socket.prepare(request)
        try:
            link = await self._register(socket)
            await self._serve(link)
        except (InputError, TimeoutError) as error:
            reason = str(error) or "no registration came"
            logger.warning("a worker was sent away", extra={"reason": reason})
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=reason.encode()[:120])
        return socket

    def room_changed(
        self, room: RoomName, topology: Topology, participants: Iterable[Participant]
    ) -> None:
        """Somebody came or went; `participants` are those who are there now."""
        here = list(participants)
        people = frozenset(each.identity for each in here if not each.is_agent)
        has_agent = any(each.is_agent for each in here)
        if here:
            self._use.setdefault(room, UseTally())
        else:
            self._use.pop(room, None)
        self._decide(PeopleChanged(room, topology, people, has_agent))

    def wish(
        self,
        room: RoomName,
        wanted: Iterable[agent_dispatch.RoomAgentDispatch],
        *,
        is_instead: bool = False,
    ) -> list[Dispatch]:
        """Agents are wanted in a room of the SFU; `is_instead`: and no others.

        Raises LimitExceeded. Each gets the first worker of its name that is there, or
        comes, and is free.
        """
        wishes = [_new_dispatch(each) for each in wanted]
        if len(wishes) + len(self._dispatcher.wishes(room)) > _MAX_WISHES:
            raise LimitExceeded(f"a room has at most {_MAX_WISHES} agent dispatches")
        for wish in wishes:
            self._decide(AgentWished(room, "sfu", wish, is_instead))
        return wishes

    def withdraw(self, room: RoomName, dispatch_id: DispatchId) -> None:
        """An agent is not wanted any more; it is told to leave."""
        self._decide(WishWithdrawn(room, dispatch_id))

    def wishes(self, room: RoomName) -> list[tuple[Dispatch, Assignment | None]]:
        """What agents are wanted in a room, and who has the job of each."""
        return self._dispatcher.wishes(room)

    def room_ended(self, room: RoomName) -> None:
        """The embedded SFU closed a room."""
        self._decide(RoomEnded(room))

    def routing(self, room: RoomName) -> Routing:
        """Whom the agent of a room hears and speaks to, or the next one that gets there."""
        return self._dispatcher.routing(room)

    def heard(
        self, room: RoomName, present: Collection[Identity]
    ) -> dict[Identity, frozenset[Identity]]:
        """Whose packets came to each listener, of those present, as they said in the last seconds.

        Who said nothing, or to no agent of ours, is not in it.
        """
        return self._heard.matrix(room, present, asyncio.get_running_loop().time())

    def use(self, room: RoomName) -> Use:
        """What engines used for a room since somebody is in it, as agents of ours said."""
        tally = self._use.get(room)
        return tally.use if tally else {}

    async def route(self, room: RoomName, change: RoutingChange, has_agent: bool) -> Routing:
        """Change a room's routing; return what holds when no packet contradicts it any more.

        `has_agent`: an agent is in the room, whoever sent it. Raises NotConfirmed.
        """
        job = self._dispatcher.assignment(room)
        if job is None and has_agent:
            raise NotConfirmed("the agent in the room cannot be reached from here now; try again")
        if job is None:  # nobody hears or speaks, so it holds; the next one begins with it
            routing = self._dispatcher.routing(room).changed(change)
            self._decide(RoutingChanged(room, routing))
            return routing
        if not job.is_routable:
            raise NotConfirmed("the agent in the room does not take routing")
        return await self._requests.ask(  # kept as it comes: later news may overtake our waking up
            job.worker_id,
            job.job_id,
            change,
            lambda request: self._send(job.worker_id, request),
        )

    async def aclose(self) -> None:
        """Let all workers go; they come back to the next gateway."""
        if self._timer:
            self._timer.cancel()
        sockets = [link.socket for link in self._links.values()]
        await asyncio.gather(
            *(socket.close(code=WSCloseCode.GOING_AWAY, message=b"shutdown") for socket in sockets)
        )

    @property
    def has_workers(self) -> bool:
        """An agent process is registered that takes our rooms, which no named one does."""
        return any(not link.agent_name for link in self._links.values())

    def _check_token(self, request: web.Request) -> None:
        grant = self._verifier.verify(token_of(request.headers, request.query) or "")
        if not grant.agent:
            raise NotAllowed("this token is not for an agent process (no 'agent' grant)")

    async def _register(self, socket: web.WebSocketResponse) -> _Link:
        async with asyncio.timeout(_REGISTER_TIMEOUT):
            message = _parse(await socket.receive())
        if not isinstance(message, wire.WorkerMessage) or not message.HasField("register"):
            raise InputError("the first message of a worker is 'register'")
        link = _link(message.register, socket)
        link.outbox.put_nowait(_registered(link.worker_id))
        self._links[link.worker_id] = link
        self._metrics.set_workers(len(self._links))
        self._on_event(WorkerRegistered(link.worker_id, link.agent_name))
        serves_rooms = message.register.type == wire.JT_ROOM
        self._decide(WorkerArrived(link.worker_id, link.agent_name, serves_rooms))
        return link

    async def _serve(self, link: _Link) -> None:
        sender = asyncio.create_task(_send_all(link), name=f"to {link.worker_id}")
        try:
            while (message := _parse(await link.socket.receive())) is not None:
                if isinstance(message, str):
                    self._hear_control(link, message)
                else:
                    self._handle(link, message)
        finally:
            sender.cancel()
            del self._links[link.worker_id]
            self._requests.lose(link.worker_id)
            self._metrics.set_workers(len(self._links))
            self._on_event(WorkerLost(link.worker_id))
            self._decide(WorkerDeparted(link.worker_id))

    def _handle(self, link: _Link, message: wire.WorkerMessage) -> None:
        """Unknown kinds (simulate_job, migrate_job, a newer protocol's) are ignored."""
        handlers: dict[str, Callable[[_Link, wire.WorkerMessage], None]] = {
            "availability": self._hear_availability,
            "update_worker": self._hear_worker_status,
            "update_job": self._hear_job_status,
            "ping": self._answer_ping,
        }
        if handler := handlers.get(message.WhichOneof("message") or ""):
            handler(link, message)

    def _hear_availability(self, link: _Link, message: wire.WorkerMessage) -> None:
        answer = message.availability
        job_id = JobId(answer.job_id)
        if not answer.available:
            self._decide(Refused(link.worker_id, job_id))
            return
        attributes = dict(answer.participant_attributes)
        is_routable = attributes.pop(ROUTABLE_ATTRIBUTE, "") != ""
        if link.agent_name:
            attributes[AGENT_NAME_ATTRIBUTE] = link.agent_name
        identity = Identity(answer.participant_identity) or self._config.agent_identity
        name = answer.participant_name or self._config.agent_name
        self._decide(Accepted(link.worker_id, job_id, identity, name, attributes, is_routable))

    def _hear_control(self, link: _Link, text: str) -> None:
        """Raises InputError."""
        match frame := parse_control(text):
            case Routed(request_id, routing):
                if job_id := self._requests.confirm(link.worker_id, request_id, routing):
                    self._keep_routing(link, job_id, routing)
            case RouteFailed(request_id, error):
                failed = RouteFailed(request_id, error[:_MAX_ERROR_CHARS])
                self._requests.fail(link.worker_id, failed)
            case RoutingReported(job_id, routing):
                self._keep_routing(link, JobId(job_id), routing)
            case ReceptionReported(job_id, listener, heard):
                if room := self._dispatcher.room_of(link.worker_id, JobId(job_id)):
                    now = asyncio.get_running_loop().time()
                    self._heard.report(room, listener, heard, now)
            case UseReported(job_id, use):
                room = self._dispatcher.room_of(link.worker_id, JobId(job_id))
                if room and room in self._use:
                    self._use[room].add_all(use)
            case _:
                raise InputError(f"a worker sends no {type(frame).__name__}")

    def _keep_routing(self, link: _Link, job_id: JobId, routing: Routing) -> None:
        if room := self._dispatcher.room_of(link.worker_id, job_id):
            self._decide(RoutingChanged(room, routing))

    def _hear_worker_status(self, link: _Link, message: wire.WorkerMessage) -> None:
        update = message.update_worker
        is_full = update.status == wire.WS_FULL or update.draining
        self._decide(WorkerReported(link.worker_id, is_full, update.load))

    def _hear_job_status(self, link: _Link, message: wire.WorkerMessage) -> None:
        update = message.update_job
        job_id, failed = JobId(update.job_id), update.status == wire.JS_FAILED
        if update.status in (wire.JS_PENDING, wire.JS_RUNNING):
            return
        job = self._jobs.pop(job_id, None)
        self._requests.lose(link.worker_id, job_id)
        if job and failed:
            self._on_event(JobFailed(job.room, update.error[:_MAX_ERROR_CHARS]))
        self._decide(JobEnded(link.worker_id, job_id, failed))

    def _answer_ping(self, link: _Link, message: wire.WorkerMessage) -> None:
        pong = wire.WorkerPong(
            last_timestamp=message.ping.timestamp, timestamp=int(utc_now().timestamp() * 1000)
        )
        link.outbox.put_nowait(wire.ServerMessage(pong=pong))

    def _decide(self, event: DispatchEvent) -> None:
        loop = asyncio.get_running_loop()
        for action in self._dispatcher.receive(event, loop.time()):
            self._perform(action)
        if self._timer:
            self._timer.cancel()
        deadline = self._dispatcher.deadline()
        self._timer = loop.call_at(deadline, self._decide, Tick()) if deadline else None

    def _perform(self, action: DispatchAction) -> None:
        match action:
            case AskWorker(worker_id, job):
                request = wire.AvailabilityRequest(job=self._wire_job(job))
                self._send(worker_id, wire.ServerMessage(availability=request))
            case AssignJob(worker_id, job):
                self._jobs[job.job_id] = job
                self._send(worker_id, wire.ServerMessage(assignment=self._assignment(action)))
            case TerminateJob(worker_id, job):
                self._jobs.pop(job.job_id, None)
                self._requests.lose(worker_id, job.job_id)
                termination = wire.JobTermination(job_id=job.job_id)
                self._send(worker_id, wire.ServerMessage(termination=termination))
            case ClearRoom(room, topology):
                self._clear_room(room, topology)

    def _send(self, worker_id: WorkerId, message: wire.ServerMessage | RouteRequest) -> None:
        if link := self._links.get(worker_id):
            link.outbox.put_nowait(message)

    def _assignment(self, action: AssignJob) -> wire.JobAssignment:
        permission = self._links[action.worker_id].permission
        grant = Grant(
            identity=action.identity,
            name=action.name,
            room=action.job.room,
            kind="agent",
            attributes=action.attributes,
            room_join=True,
            can_update_metadata=permission.can_update_metadata,
            can_publish=permission.can_publish,
            can_subscribe=permission.can_subscribe,
            can_publish_data=permission.can_publish_data,
            hidden=permission.hidden,
            sources=tuple(
                models.TrackSource.Name(source).lower() for source in permission.can_publish_sources
            ),
        )
        job = self._wire_job(action.job, action.routing)
        job.state.status = wire.JS_RUNNING
        job.state.worker_id = action.worker_id
        job.state.participant_identity = action.identity
        # Without one a worker goes where it registered, by the address that it knows us by.
        url = self._config.livekit_url if action.job.topology == "sfu" else ""
        token = self._issuer.issue(grant, utc_now())
        return wire.JobAssignment(job=job, token=token, url=url or None)

    def _wire_job(self, job: Job, routing: Routing = _EVERYBODY) -> wire.Job:
        ours: dict[str, Any] = {"topology": job.topology}
        if routing != _EVERYBODY:
            ours["routing"] = routing.to_json()
        room = self._describe(job.room) if job.topology == "sfu" else _only_name(job.room)
        return wire.Job(
            id=job.job_id,
            dispatch_id=job.dispatch.dispatch_id,
            type=wire.JT_ROOM,
            room=room,
            agent_name=job.dispatch.agent_name,
            metadata=job.dispatch.metadata or json.dumps(ours),
            state=wire.JobState(status=wire.JS_PENDING),
        )


def _link(register: wire.RegisterWorkerRequest, socket: web.WebSocketResponse) -> _Link:
    permission = models.ParticipantPermission(
        can_subscribe=True, can_publish=True, can_publish_data=True, can_update_metadata=True
    )
    if register.HasField("allowed_permissions"):
        permission = register.allowed_permissions
    return _Link(WorkerId(_new_id("AW_")), register.agent_name, permission, socket)


async def _send_all(link: _Link) -> None:
    while True:
        message = await link.outbox.get()
        try:
            if isinstance(message, RouteRequest):
                await link.socket.send_str(encode_control(message))
            else:
                await link.socket.send_bytes(message.SerializeToString())
        except ConnectionError:
            return  # the receiving side sees the end, too


def _parse(message: web.WSMessage) -> wire.WorkerMessage | str | None:  # type: ignore[name-defined]
    """A worker's message or control frame; None when the connection is closed.

    Raises InputError.
    """
    if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
        return None
    if message.type is WSMsgType.TEXT:
        return str(message.data)
    if message.type is not WSMsgType.BINARY:
        raise InputError("a worker sends binary frames (protobuf WorkerMessage)")
    try:
        return wire.WorkerMessage.FromString(message.data)
    except DecodeError as error:
        raise InputError("that is no protobuf WorkerMessage") from error


def _registered(worker_id: WorkerId) -> wire.ServerMessage:
    server = models.ServerInfo(
        edition=models.ServerInfo.Standard,
        version=version("mulisa"),
        protocol=_PROTOCOL,
        agent_protocol=AGENT_PROTOCOL,
    )
    response = wire.RegisterWorkerResponse(worker_id=worker_id, server_info=server)
    return wire.ServerMessage(register=response)


def _new_dispatch(wanted: agent_dispatch.RoomAgentDispatch | None = None) -> Dispatch:
    wanted = wanted or agent_dispatch.RoomAgentDispatch()
    return Dispatch(
        DispatchId(_new_id("AD_")),
        wanted.agent_name,
        wanted.metadata,
        dict(wanted.attributes),
        utc_now(),
    )


def _new_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
