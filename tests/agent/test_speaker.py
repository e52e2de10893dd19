"""One reply at a time: what becomes of a whisper whose way fails at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from mulisa.agent.events import Event, ReplyFinished, UtteranceId
from mulisa.agent.gate import Turn
from mulisa.agent.memory import Memory, MemoryConfig
from mulisa.agent.speaker import NEVER_WHISPERS, NO_WHISPER, Speaker, SpeakerConfig
from mulisa.agent.teller import Teller
from mulisa.agent.tools import Toolbox
from mulisa.core.errors import TransportError
from mulisa.core.metrics import SessionObserver, TurnMetrics
from mulisa.core.provider import Engines, Message
from mulisa.core.room import AgentState, Identity, Participant
from mulisa.core.transport import SendFrame
from mulisa.providers.scripted import ScriptedLLM, ScriptedSTT, ScriptedTTS, ScriptedVAD
from mulisa.transport.loopback import LoopbackRoom, LoopbackTransport
from tests.agent.test_session import WrittenDown
from tests.agent.test_tools import Controls, Room

pytestmark = pytest.mark.unit

ALICE = Identity("alice")
ANSWER = "Alice and Bob are here."


class Unreachable(LoopbackTransport):
    """Its whispers fail when they are told to."""

    def __init__(self, room: LoopbackRoom) -> None:
        super().__init__(room, Participant(Identity("mulisa"), "Mulisa", kind="agent"))
        self.failure = asyncio.Event()
        self.passes = True
        """Another time it may be different."""

    async def whisper(self, listener: Identity) -> SendFrame:
        await self.failure.wait()
        raise TransportError(f"{listener} cannot be reached", retryable=self.passes)


class Stage:
    """A speaker in a room with Alice, without ears and floor."""

    def __init__(self, transport: Unreachable, tasks: asyncio.TaskGroup) -> None:
        self.transport = transport
        self.log = WrittenDown()
        self.events: list[Event] = []
        self._tasks = tasks
        wall = datetime(2026, 3, 1, 10, 40, tzinfo=UTC)
        now = asyncio.get_running_loop().time()
        memory = Memory(MemoryConfig(), agent="Mulisa", now=now, wall=wall)
        self.teller = Teller(transport, self.log, max_delivery=5.0)
        self.speaker = Speaker(
            transport,
            Engines(ScriptedVAD(), ScriptedSTT([]), ScriptedLLM(default=ANSWER), ScriptedTTS()),
            Toolbox(memory, Room(), Controls()),
            memory,
            self.teller,
            SessionObserver(),
            self.events.append,
            SpeakerConfig(),
        )

    def begin(self, reply_id: int, listener: Identity | None = None) -> None:
        now = asyncio.get_running_loop().time()
        turn = Turn(ALICE, "Mulisa, who is here?", now, now)
        self.speaker.begin(
            reply_id,
            UtteranceId(f"reply-{reply_id}"),
            turn,
            (Message("user", turn.text, name="Alice"),),
            TurnMetrics(speech_ended_at=now, committed_at=now),
            self._tasks,
            listener=listener,
        )

    async def finished(self, reply_id: int) -> None:
        async with asyncio.timeout(30.0):
            while ReplyFinished(reply_id, False) not in self.events:  # noqa: ASYNC110 - virtual
                await asyncio.sleep(0.01)


@asynccontextmanager
async def a_stage() -> AsyncIterator[Stage]:
    room = LoopbackRoom()
    async with Unreachable(room) as transport, room.join("alice", "Alice"):
        async with asyncio.TaskGroup() as tasks:
            stage = Stage(transport, tasks)
            steady = [tasks.create_task(job) for job in (stage.teller.run(), stage.speaker.play())]
            yield stage
            await stage.teller.all_told()
            for task in steady:
                task.cancel()


@pytest.mark.parametrize(("passes", "excuse"), [(True, NO_WHISPER), (False, NEVER_WHISPERS)])
async def test_a_whisper_that_cannot_be_opened_is_excused_aloud(passes: bool, excuse: str) -> None:
    async with a_stage() as stage:
        stage.transport.passes = passes
        stage.begin(1, ALICE)
        await asyncio.sleep(0.5)
        assert stage.speaker.state is AgentState.THINKING
        stage.transport.failure.set()
        await stage.finished(1)
    assert [(entry.text, entry.listener) for entry in stage.log.entries] == [(excuse, None)]


@pytest.mark.parametrize("steps", range(8))
async def test_a_whisper_that_is_cut_as_its_way_fails_leaves_the_next_reply_alone(
    steps: int,
) -> None:
    """`steps` of the loop lie between the failure and the cut, so each order of the two occurs."""
    async with a_stage() as stage:
        stage.begin(1, ALICE)
        await asyncio.sleep(0.5)
        stage.transport.failure.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        stage.speaker.cut()
        stage.begin(2)
        await stage.finished(2)
        assert stage.speaker.state is AgentState.LISTENING
    assert [(entry.text, entry.unspoken) for entry in stage.log.entries] == [(ANSWER, "")]


@pytest.mark.parametrize("after", [0.3, 1.0])
async def test_an_excuse_can_be_cut(after: float) -> None:
    async with a_stage() as stage:
        stage.transport.failure.set()
        stage.begin(1, ALICE)
        await asyncio.sleep(after)
        stage.speaker.cut()
        stage.begin(2)
        await stage.finished(2)
    assert stage.log.entries[-1].text == ANSWER
    assert all(NO_WHISPER.startswith(entry.text) for entry in stage.log.entries[:-1])
