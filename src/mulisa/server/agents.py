"""``WS /agent``: LiveKit's agent dispatch protocol on the wire, around the pure `Dispatcher`."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web
from google.protobuf.message import DecodeError
from livekit.protocol import agent as wire
from livekit.protocol import models

from mulisa.core.errors import InputError
from mulisa.core.room import Identity, Participant, RoomName, Topology
from mulisa.server.access import NotAllowed, token_of
from mulisa.server.config import GatewayConfig
from mulisa.server.dispatch import (
    Accepted,
    AskWorker,
    AssignJob,
    ClearRoom,
    DispatchAction,
    DispatchConfig,
    Dispatcher,
    DispatchEvent,
    Job,
    JobEnded,
    JobId,
    PeopleChanged,
    Refused,
    TerminateJob,
    Tick,
    WorkerArrived,
    WorkerDeparted,
    WorkerId,
    WorkerReported,
)
from mulisa.server.events import JobFailed, OnEvent, WorkerLost, WorkerRegistered
from mulisa.server.metrics import GatewayMetrics
from mulisa.server.responses import refuse_unless_websocket
from mulisa.server.tokens import Grant, TokenIssuer, TokenVerifier, utc_now

logger = logging.getLogger(__name__)

AGENT_NAME_ATTRIBUTE: Final = "lk.agent_name"
AGENT_PROTOCOL: Final = 1
_PROTOCOL: Final = 17
_REGISTER_TIMEOUT: Final = 10.0
_HEARTBEAT: Final = 5.0
_GOODBYE_TIME: Final = 2.0
"""Seconds for a worker to answer that its connection is closed."""
_MAX_MESSAGE_BYTES: Final = 64 * 1024
_MAX_ERROR_CHARS: Final = 300
_ID_LETTERS: Final = string.ascii_letters + string.digits


@dataclass(slots=True)
class _Link:
    """One worker's connection."""

    worker_id: WorkerId
    agent_name: str
    socket: web.WebSocketResponse
    outbox: asyncio.Queue[wire.ServerMessage] = field(default_factory=asyncio.Queue)


class AgentEndpoint:
    """Serves agent processes and sends them into rooms. Belongs to one event loop."""

    def __init__(
        self,
        config: GatewayConfig,
        issuer: TokenIssuer,
        verifier: TokenVerifier,
        metrics: GatewayMetrics,
        on_event: OnEvent,
        clear_room: Callable[[RoomName], None],
    ) -> None:
        """`clear_room` puts everybody out of a room."""
        self._clear_room = clear_room
        self._config = config
        self._issuer = issuer
        self._verifier = verifier
        self._metrics = metrics
        self._on_event = on_event
        self._dispatcher = Dispatcher(
            DispatchConfig(departure_timeout=config.departure_timeout),
            lambda: JobId(_new_id("AJ_")),
        )
        self._links: dict[WorkerId, _Link] = {}
        self._jobs: dict[JobId, Job] = {}
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
        self._decide(PeopleChanged(room, topology, people, has_agent))

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
        """An agent process is registered."""
        return bool(self._links)

    def _check_token(self, request: web.Request) -> None:
        grant = self._verifier.verify(token_of(request.headers, request.query) or "")
        if not grant.agent:
            raise NotAllowed("this token is not for an agent process (no 'agent' grant)")

    async def _register(self, socket: web.WebSocketResponse) -> _Link:
        async with asyncio.timeout(_REGISTER_TIMEOUT):
            message = _parse(await socket.receive())
        if message is None or not message.HasField("register"):
            raise InputError("the first message of a worker is 'register'")
        link = _Link(WorkerId(_new_id("AW_")), message.register.agent_name, socket)
        link.outbox.put_nowait(_registered(link.worker_id))
        self._links[link.worker_id] = link
        self._metrics.set_workers(len(self._links))
        self._on_event(WorkerRegistered(link.worker_id, link.agent_name))
        every_room = message.register.type == wire.JT_ROOM and not link.agent_name
        self._decide(WorkerArrived(link.worker_id, every_room))
        return link

    async def _serve(self, link: _Link) -> None:
        sender = asyncio.create_task(_send_all(link), name=f"to {link.worker_id}")
        try:
            while (message := _parse(await link.socket.receive())) is not None:
                self._handle(link, message)
        finally:
            sender.cancel()
            del self._links[link.worker_id]
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
        if link.agent_name:
            attributes[AGENT_NAME_ATTRIBUTE] = link.agent_name
        identity = Identity(answer.participant_identity) or self._config.agent_identity
        name = answer.participant_name or self._config.agent_name
        self._decide(Accepted(link.worker_id, job_id, identity, name, attributes))

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
                request = wire.AvailabilityRequest(job=_wire_job(job))
                self._send(worker_id, wire.ServerMessage(availability=request))
            case AssignJob(worker_id, job):
                self._jobs[job.job_id] = job
                self._send(worker_id, wire.ServerMessage(assignment=self._assignment(action)))
            case TerminateJob(worker_id, job):
                self._jobs.pop(job.job_id, None)
                termination = wire.JobTermination(job_id=job.job_id)
                self._send(worker_id, wire.ServerMessage(termination=termination))
            case ClearRoom(room):
                self._clear_room(room)

    def _send(self, worker_id: WorkerId, message: wire.ServerMessage) -> None:
        if link := self._links.get(worker_id):
            link.outbox.put_nowait(message)

    def _assignment(self, action: AssignJob) -> wire.JobAssignment:
        grant = Grant(
            identity=action.identity,
            name=action.name,
            room=action.job.room,
            kind="agent",
            attributes=action.attributes,
            room_join=True,
            can_update_metadata=True,
        )
        job = _wire_job(action.job)
        job.state.status = wire.JS_RUNNING
        job.state.worker_id = action.worker_id
        job.state.participant_identity = action.identity
        return wire.JobAssignment(job=job, token=self._issuer.issue(grant, utc_now()))


async def _send_all(link: _Link) -> None:
    while True:
        message = await link.outbox.get()
        try:
            await link.socket.send_bytes(message.SerializeToString())
        except ConnectionError:
            return  # the receiving side sees the end, too


def _parse(message: web.WSMessage) -> wire.WorkerMessage | None:  # type: ignore[name-defined]
    """A worker's message; None when the connection is closed. Raises InputError."""
    if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
        return None
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


def _wire_job(job: Job) -> wire.Job:
    return wire.Job(
        id=job.job_id,
        type=wire.JT_ROOM,
        room=models.Room(name=job.room),
        metadata=json.dumps({"topology": job.topology}),
        state=wire.JobState(status=wire.JS_PENDING),
    )


def _new_id(prefix: str) -> str:
    return prefix + "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
