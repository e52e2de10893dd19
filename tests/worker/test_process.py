from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from livekit.protocol import agent as wire
from livekit.protocol import models

from mulisa.core.account import Trouble
from mulisa.core.errors import ConfigError, TransportError
from mulisa.core.events import TransportEvent
from mulisa.core.room import Identity, Participant, RoomName, Topology
from mulisa.core.routing import Routing, RoutingChange
from mulisa.core.transport import Transport
from mulisa.server.events import JobFailed, Joined, WorkerLost
from mulisa.worker.process import AgentProcess, SessionFactory, WorkerConfig
from mulisa.worker.status import (
    Draining,
    EngineTrouble,
    GatewayLost,
    Registered,
    SessionEnded,
    SessionFailed,
    SessionStarted,
    Status,
)
from mulisa.worker.telling import RoomObserver
from tests.server.gateways import (
    KEY,
    ROOM,
    SECRET,
    RunningGateway,
    config,
    running_gateway,
    token_for,
)

pytestmark = pytest.mark.network


class SignallingOnly:
    """A stay in a mesh room without media: joins, and leaves."""

    def __init__(self, topology: Topology, url: str, token: str, routing: Routing) -> None:
        self.routing = routing
        self._url = f"{url}/mesh?access_token={token}"

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        try:
            self._socket = await self._http.ws_connect(self._url)
            self.room = RoomName((await self._socket.receive_json(timeout=5))["room"])
        except BaseException:
            await self._http.close()
            raise
        return self

    async def events(self) -> AsyncIterator[TransportEvent]:
        async for _ in self._socket:
            if False:
                yield

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._socket.close()
        await self._http.close()


class Routable(SignallingOnly):
    """One that can be told whom to hear; it takes a moment, and nobody can mute Carol."""

    made: list[Routable]

    def __init__(self, topology: Topology, url: str, token: str, routing: Routing) -> None:
        super().__init__(topology, url, token, routing)
        self.made.append(self)

    @property
    def local(self) -> Participant:
        return Participant(Identity("mulisa"), "Mulisa", kind="agent")

    @property
    def receptions(self) -> dict[Identity, frozenset[Identity]]:
        """Alice hears Mulisa."""
        return {Identity("alice-7f3k"): frozenset({self.local.identity})}

    async def send_reception(self, heard: frozenset[Identity]) -> None:
        pass

    async def hear(self, identity: Identity, on: bool) -> None:
        await asyncio.sleep(0.05)
        if identity.startswith("dave"):
            raise RuntimeError("nobody thought of that")
        if identity.startswith("carol"):
            raise TransportError("carol does not stop")
        self.routing = self.routing.changed(RoutingChange({identity: on}))

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        change = RoutingChange(sets_listeners=True, speak_to=listeners)
        self.routing = self.routing.changed(change)


@pytest.fixture
def routable(monkeypatch: pytest.MonkeyPatch) -> type[Routable]:
    monkeypatch.setattr(Routable, "made", [], raising=False)
    return Routable


class Log:
    """What an agent process said, and a way to wait for it."""

    def __init__(self) -> None:
        self.said: list[Status] = []
        self._news = asyncio.Event()

    def __call__(self, status: Status) -> None:
        self.said.append(status)
        self._news.set()

    async def wait_for(self, is_it: Callable[[Status], bool], since: int = 0) -> Status:
        async with asyncio.timeout(10):
            while True:
                if found := next(filter(is_it, self.said[since:]), None):
                    return found
                self._news.clear()
                await self._news.wait()


async def stay(transport: Transport, observer: RoomObserver) -> None:
    async with transport:
        async for _ in transport.events():
            pass


@asynccontextmanager
async def running_agent(
    url: str,
    session: SessionFactory = stay,
    transport: type[SignallingOnly] = SignallingOnly,
    **changes: Any,
) -> AsyncIterator[Log]:
    log = Log()
    process = AgentProcess(
        WorkerConfig(url, KEY, SECRET, **changes),
        session,
        log,
        transport_factory=lambda *given: cast(Transport, transport(*given)),
    )
    task = asyncio.create_task(process.run())
    try:
        await log.wait_for(lambda status: isinstance(status, Registered | GatewayLost))
        yield log
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(config(tmp_path, departure_timeout=0.1)) as running:
        yield running


def agent_joined(room: str) -> Callable[[Any], bool]:
    return lambda event: (
        isinstance(event, Joined) and event.participant.is_agent and event.room == room
    )


async def test_it_joins_rooms_with_people_and_leaves_them_with_the_last(
    gateway: RunningGateway,
) -> None:
    async with running_agent(gateway.ws_url) as log:
        async with gateway.person("one"), gateway.person("two"):
            for room in ("one", "two"):
                joined = await gateway.wait_for(agent_joined(room))
                assert isinstance(joined, Joined)
                assert joined.participant.identity == "mulisa"
        await log.wait_for(lambda status: status == SessionEnded(RoomName("one")))
        await log.wait_for(lambda status: status == SessionEnded(RoomName("two")))


async def test_a_failing_session_ends_only_its_room_and_is_tried_again(
    gateway: RunningGateway,
) -> None:
    attempts: list[str] = []

    async def fails_once(transport: Transport, observer: RoomObserver) -> None:
        async with transport:
            attempts.append(transport.room)
            if attempts.count("bad") == 1 and transport.room == "bad":
                raise RuntimeError("no ears")
            async for _ in transport.events():
                pass

    async with (
        running_agent(gateway.ws_url, fails_once) as log,
        gateway.person("good"),
        gateway.person("bad"),
    ):
        bad = RoomName("bad")
        await log.wait_for(lambda s: s == SessionFailed(bad, "RuntimeError: no ears"))
        await gateway.wait_for(lambda event: event == JobFailed(bad, "RuntimeError: no ears"))
        await log.wait_for(lambda s: log.said.count(SessionStarted(bad)) == 2)
        assert attempts.count("good") == 1
        assert SessionEnded(RoomName("good")) not in log.said


async def test_it_leaves_its_rooms_before_it_goes(gateway: RunningGateway) -> None:
    async with gateway.person() as alice:
        async with running_agent(gateway.ws_url) as log:
            joined = await alice.receive_json(timeout=5)
            assert joined["participant"]["kind"] == "agent"
        left = await alice.receive_json(timeout=5)
        assert (left["type"], left["reason"]) == ("participant_left", "left")
        assert log.said[-2:] == [Draining(1), SessionEnded(ROOM)]
        await gateway.wait_for(lambda event: isinstance(event, WorkerLost))
        async with running_agent(gateway.ws_url) as successor:
            await successor.wait_for(lambda status: status == SessionStarted(ROOM))


async def test_a_session_that_does_not_leave_is_not_waited_for_in_vain(
    gateway: RunningGateway,
) -> None:
    release = asyncio.Event()

    async def stubborn(transport: Transport, observer: RoomObserver) -> None:
        async with transport:
            try:
                await release.wait()
            except asyncio.CancelledError:
                await release.wait()
                raise

    async with gateway.person():
        async with running_agent(gateway.ws_url, stubborn, drain_time=0.05) as log:
            await gateway.wait_for(agent_joined(ROOM))
            asyncio.get_running_loop().call_later(0.5, release.set)
        assert Draining(1) in log.said
        await gateway.wait_for(lambda event: isinstance(event, WorkerLost))


Script: TypeAlias = Callable[[web.WebSocketResponse], Coroutine[Any, Any, None]]


@asynccontextmanager
async def scripted_gateway(script: Script) -> AsyncIterator[str]:
    """A gateway that registers a worker and then follows the script; yields its URL."""

    async def dispatch(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive_bytes(timeout=5)
        response = wire.RegisterWorkerResponse(worker_id="w")
        await socket.send_bytes(wire.ServerMessage(register=response).SerializeToString())
        await script(socket)
        async for _ in socket:
            pass
        return socket

    app = web.Application()
    app.router.add_get("/agent", dispatch)
    async with TestServer(app) as server:
        yield f"ws://127.0.0.1:{server.port}"


async def assign(socket: web.WebSocketResponse, job_id: str, topology: Topology = "mesh") -> None:
    metadata = json.dumps({"topology": topology})
    job = wire.Job(id=job_id, room=models.Room(name="r"), metadata=metadata)
    message = wire.ServerMessage(assignment=wire.JobAssignment(job=job, token="t"))
    await socket.send_bytes(message.SerializeToString())


async def terminate(socket: web.WebSocketResponse, job_id: str) -> None:
    message = wire.ServerMessage(termination=wire.JobTermination(job_id=job_id))
    await socket.send_bytes(message.SerializeToString())


async def test_a_stay_that_is_still_leaving_ends_its_own_job_and_not_the_next() -> None:
    """Else the room would count as done, and get no other session when the next one fails."""
    may_go = asyncio.Event()
    jobs: list[tuple[str, str]] = []

    async def leaves_slowly(_: Transport, __: RoomObserver) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_go.wait()

    async def hear(socket: web.WebSocketResponse, kind: str) -> wire.WorkerMessage:
        while True:
            message = wire.WorkerMessage.FromString(await socket.receive_bytes(timeout=5))
            if message.HasField("update_job"):
                job = message.update_job
                jobs.append((job.job_id, wire.JobStatus.Name(job.status)))
            if message.WhichOneof("message") == kind:
                return message

    async def script(socket: web.WebSocketResponse) -> None:
        await assign(socket, "first")
        await hear(socket, "update_job")
        await terminate(socket, "first")
        await assign(socket, "second")
        question = wire.AvailabilityRequest(job=wire.Job(id="third"))
        await socket.send_bytes(wire.ServerMessage(availability=question).SerializeToString())
        await hear(socket, "availability")  # so the second job was taken before
        may_go.set()
        while len(jobs) < 3:
            await hear(socket, "update_job")
        await socket.close()

    async with scripted_gateway(script) as url, running_agent(url, leaves_slowly) as log:
        await log.wait_for(lambda status: log.said.count(SessionStarted(RoomName("r"))) == 2)
        await log.wait_for(lambda status: isinstance(status, GatewayLost))
    assert jobs == [
        ("first", "JS_RUNNING"),
        ("first", "JS_SUCCESS"),
        ("second", "JS_RUNNING"),
    ]


async def test_a_stay_that_is_ended_before_the_former_one_has_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started, ended, may_go = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def leaves_slowly(_: Transport, __: RoomObserver) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            await may_go.wait()

    async def script(socket: web.WebSocketResponse) -> None:
        await assign(socket, "first")
        await started.wait()
        await terminate(socket, "first")
        await assign(socket, "second")
        await terminate(socket, "second")
        while await hear_load(socket) != 1:
            pass
        while await hear_load(socket) != 0:
            pass
        ended.set()

    async def hear_load(socket: web.WebSocketResponse) -> int:
        while True:
            message = wire.WorkerMessage.FromString(await socket.receive_bytes(timeout=5))
            if message.HasField("update_worker"):
                return message.update_worker.job_count

    async with scripted_gateway(script) as url, running_agent(url, leaves_slowly) as log:
        async with asyncio.timeout(10):
            await ended.wait()
        may_go.set()
        await log.wait_for(lambda status: isinstance(status, SessionEnded))
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_a_room_of_that_name_in_another_topology_is_another_stay() -> None:
    """A gateway that was restarted does not know what we are in."""
    entered: list[str] = []
    first, second = asyncio.Event(), asyncio.Event()

    class Noting(SignallingOnly):
        def __init__(self, topology: Topology, *rest: Any) -> None:
            entered.append(topology)

    async def waits(_: Transport, __: RoomObserver) -> None:
        (first if len(entered) == 1 else second).set()
        await asyncio.Event().wait()

    async def script(socket: web.WebSocketResponse) -> None:
        await assign(socket, "first", "mesh")
        await first.wait()
        await assign(socket, "second", "sfu")

    async with scripted_gateway(script) as url, running_agent(url, waits, Noting) as log:
        async with asyncio.timeout(10):
            await second.wait()
    assert entered == ["mesh", "sfu"]
    told = [type(status) for status in log.said]
    assert told[1:4] == [SessionStarted, SessionEnded, SessionStarted]


async def test_a_full_process_leaves_rooms_to_others(gateway: RunningGateway) -> None:
    async with (
        running_agent(gateway.ws_url, max_rooms=1) as first,
        gateway.person("one"),
    ):
        await first.wait_for(lambda status: status == SessionStarted(RoomName("one")))
        async with gateway.person("two"), running_agent(gateway.ws_url, max_rooms=1) as second:
            await second.wait_for(lambda status: status == SessionStarted(RoomName("two")))
            assert SessionStarted(RoomName("two")) not in first.said


async def test_a_wrong_secret_ends_it_with_the_mend(gateway: RunningGateway) -> None:
    process = AgentProcess(WorkerConfig(gateway.ws_url, KEY, "wrong"), stay)
    with pytest.raises(ConfigError, match="LIVEKIT_API_SECRET"):
        await process.run()


async def test_it_keeps_its_sessions_while_the_gateway_is_away(
    gateway: RunningGateway, tmp_path: Path
) -> None:
    """The link is cut, not the room: the session goes on and is the room's again."""
    async with Relay.to(gateway) as relay, running_agent(relay.url) as log:
        async with gateway.person() as alice:
            await alice.receive_json(timeout=5)  # the agent
            before = len(log.said)
            relay.cut("/agent")
            await gateway.wait_for(lambda event: isinstance(event, WorkerLost))
            await log.wait_for(lambda status: isinstance(status, Registered), since=before)
        await log.wait_for(lambda status: status == SessionEnded(ROOM))
        assert sum(isinstance(event, Joined) for event in gateway.events) == 2, "one stay each"
        assert log.said.count(SessionStarted(ROOM)) == 1


async def put_routing(gateway: RunningGateway, change: object) -> tuple[int, Any]:
    url = gateway.url("/api/rooms/standup/routing")
    async with gateway.http.put(url, json=change) as response:
        return response.status, await response.json()


async def test_a_change_of_routing_is_made_and_confirmed(
    gateway: RunningGateway, routable: type[Routable]
) -> None:
    alice, bob, carol = "alice-7f3k", "bob-7f3k", "carol-7f3k"
    async with (
        running_agent(gateway.ws_url, transport=routable),
        gateway.person(),
        gateway.person(name="Bob"),
        gateway.person(name="Carol"),
    ):
        await gateway.wait_for(agent_joined(ROOM))
        change = {"hear": {alice: False}, "speak_to": [bob]}
        status, answer = await put_routing(gateway, change)
        assert (status, answer["hear"][alice], answer["speak_to"]) == (200, False, [bob])
        assert routable.made[0].routing == Routing(
            frozenset({Identity(alice)}), frozenset({Identity(bob)})
        )

        status, answer = await put_routing(gateway, {"hear": {bob: False, carol: False}})
        assert (status, answer) == (503, {"error": "carol does not stop"})
        shown = await shown_routing(gateway)
        assert shown["hear"] == {alice: False, bob: False, carol: True}, "the half that holds"

        async with gateway.person(name="Dave"):
            status, answer = await put_routing(gateway, {"hear": {"dave-7f3k": False}})
        assert (status, answer) == (503, {"error": "the agent could not do it"})

        one, other = await asyncio.gather(
            put_routing(gateway, {"hear": {bob: True}}), put_routing(gateway, {"speak_to": None})
        )
        assert (one[0], other[0]) == (200, 200)
        assert routable.made[0].routing == Routing(frozenset({Identity(alice)}))


async def test_what_she_is_told_by_voice_is_kept_for_the_next_process(
    gateway: RunningGateway, routable: type[Routable]
) -> None:
    async def obeys(transport: Transport, observer: RoomObserver) -> None:
        async with transport:
            await transport.hear(Identity("alice-7f3k"), False)
            async for _ in transport.events():
                pass

    deaf = Routing(frozenset({Identity("alice-7f3k")}))
    async with gateway.person():
        async with running_agent(gateway.ws_url, obeys, routable):
            await gateway.wait_for(agent_joined(ROOM))
            await until_shown(gateway, deaf)
        async with running_agent(gateway.ws_url, transport=routable) as successor:
            await successor.wait_for(lambda status: status == SessionStarted(ROOM))
    assert [made.routing for made in routable.made] == [deaf, deaf]


async def test_a_gateway_that_was_restarted_is_told_the_routing(
    gateway: RunningGateway, tmp_path: Path, routable: type[Routable]
) -> None:
    """The session has gone on meanwhile, and its routing is what counts."""
    async with (
        running_gateway(config(tmp_path)) as successor,
        Relay.to(gateway) as relay,
        running_agent(relay.url, transport=routable),
        gateway.person(),
        successor.person(),
    ):
        await gateway.wait_for(agent_joined(ROOM))
        assert (await put_routing(gateway, {"speak_to": []}))[0] == 200
        relay.lead_to(successor)
        relay.cut("/agent")
        await until_shown(successor, Routing(listeners=frozenset()))
        assert len(routable.made) == 1


async def test_whom_each_hears_is_shown_by_the_gateway_and_long_names_lose_no_agent(
    gateway: RunningGateway, routable: type[Routable]
) -> None:
    alice = Identity("alice-7f3k")
    reported = asyncio.Event()

    async def report(transport: Transport, observer: RoomObserver) -> None:
        async with transport:
            crowd = frozenset(Identity(f"{n:03}" + "\U0001f980" * 253) for n in range(500))
            for heard in (crowd, crowd | {alice}, frozenset({alice})):
                await transport.send_reception(heard)
            reported.set()
            async for _ in transport.events():
                pass

    async with running_agent(gateway.ws_url, report, routable), gateway.person():
        async with asyncio.timeout(10):
            await reported.wait()
            while await shown_of_room(gateway, "heard") != {"mulisa": [alice], alice: ["mulisa"]}:
                pass


async def test_what_engines_use_for_a_room_is_shown_to_the_operator(
    gateway: RunningGateway, routable: type[Routable]
) -> None:
    async def work(transport: Transport, observer: RoomObserver) -> None:
        async with transport:
            for amount in (5.0, 7.0):
                observer.engine_used("OpenAI", "tokens", amount)
                await transport.send_reception(frozenset())
            async for _ in transport.events():
                pass

    async with running_agent(gateway.ws_url, work, routable), gateway.person():
        async with asyncio.timeout(10):
            while await shown_of_room(gateway, "use") != {"OpenAI": {"tokens": 12.0}}:
                pass
        url = gateway.url("/api/rooms/standup")
        headers = {"Authorization": f"Bearer {token_for()}"}
        async with gateway.http.get(url, headers=headers) as response:
            assert "use" not in await response.json()


async def test_trouble_with_an_engine_is_told_for_its_room(gateway: RunningGateway) -> None:
    trouble = Trouble("stt", "OpenAI", "it did not answer in time", "whisper")

    async def suffer(transport: Transport, observer: RoomObserver) -> None:
        observer.engine_trouble(trouble)
        await stay(transport, observer)

    async with running_agent(gateway.ws_url, suffer) as log, gateway.person():
        told = await log.wait_for(lambda status: isinstance(status, EngineTrouble))
    assert told == EngineTrouble.of(RoomName("standup"), trouble)


async def until_shown(gateway: RunningGateway, routing: Routing) -> None:
    """Until the room of Alice shows this routing."""
    async with asyncio.timeout(10):
        while await shown_routing(gateway) != routing.to_json([Identity("alice-7f3k")]):
            pass


async def shown_routing(gateway: RunningGateway) -> Any:
    return await shown_of_room(gateway, "routing")


async def shown_of_room(gateway: RunningGateway, key: str) -> Any:
    async with gateway.http.get(gateway.url("/api/rooms/standup")) as response:
        return (await response.json())[key]


async def test_it_waits_for_a_gateway_that_is_not_there_yet(gateway: RunningGateway) -> None:
    async with Relay.to(gateway) as relay:
        relay.is_open = False
        async with running_agent(relay.url) as log:
            assert isinstance(log.said[0], GatewayLost)
            relay.is_open = True
            await log.wait_for(lambda status: isinstance(status, Registered))


class Relay:
    """A TCP relay in front of a gateway, which can lose connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: list[tuple[bytes, asyncio.StreamWriter]] = []
        self.is_open = True
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def to(cls, gateway: RunningGateway) -> AsyncIterator[Self]:
        assert gateway.server.port is not None
        relay = cls(gateway.server.port)
        server = await asyncio.start_server(relay._serve, "127.0.0.1", 0)
        relay.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield relay
        finally:
            server.close()
            relay.cut("")

    def lead_to(self, gateway: RunningGateway) -> None:
        """Where further connections go."""
        assert gateway.server.port is not None
        self._port = gateway.server.port

    def cut(self, path: str) -> None:
        """Lose the connections that asked for this path."""
        for request, writer in self._connections:
            if request.startswith(f"GET {path}".encode()):
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.is_open:
            writer.close()
            return
        request = await reader.readline()
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        back.write(request)
        self._connections.append((request, writer))
        with suppress(ConnectionError):
            try:
                await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
            finally:
                back.close()
                writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        finally:
            sink.close()
