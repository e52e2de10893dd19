"""What engines do wrong ends a reply, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from mulisa.agent.gate import Turn
from mulisa.agent.memory import Memory, MemoryConfig
from mulisa.agent.mouth import MouthConfig, Playout
from mulisa.agent.reply import Reply, ReplyConfig
from mulisa.agent.tools import Presence, Toolbox
from mulisa.core.audio import Samples
from mulisa.core.errors import ProviderError
from mulisa.core.metrics import TurnMetrics
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta
from mulisa.core.room import Identity, RoomName, Topology
from mulisa.core.routing import Routing
from mulisa.providers.scripted import SMALL_TALK, ScriptedLLM, ScriptedTTS

pytestmark = pytest.mark.unit

CONFIG = ReplyConfig()


class Room:
    """Nobody is here."""

    room = RoomName("standup")
    topology: Topology = "mesh"
    people: tuple[Presence, ...] = ()
    routing = Routing()

    def stay_quiet(self, until_called: bool = True) -> None:
        pass

    async def connection(self, identity: Identity) -> str:
        return ""

    async def hear(self, identity: Identity, on: bool) -> None:
        pass

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        pass


class BrokenLLM(ScriptedLLM):
    """An engine of somebody else, with a bug after its first words."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self._words = words

    async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        for word in self._words:
            yield TextDelta(word)
        raise IndexError("list index out of range")


class BrokenTTS(ScriptedTTS):
    async def synthesize(self, text: str) -> AsyncIterator[Samples]:
        raise OSError("no such device")
        yield


def reply_of(llm: ScriptedLLM, tts: ScriptedTTS) -> tuple[Reply, Playout]:
    playout = Playout(MouthConfig(), lambda: None)
    memory = Memory(MemoryConfig(), agent="Mulisa", now=0.0, wall=datetime.now(UTC))
    turn = Turn(Identity("alice"), "Hello?", 0.0, 1.0)
    reply = Reply(
        turn,
        (Message("user", "Hello?"),),
        playout,
        TurnMetrics(speech_ended_at=1.0),
        llm=llm,
        tts=tts,
        toolbox=Toolbox(memory, Room(), Room()),
        config=CONFIG,
    )
    return reply, playout


async def test_an_llm_that_raises_something_of_its_own_is_excused() -> None:
    reply, playout = reply_of(BrokenLLM(), ScriptedTTS())
    await reply.run()
    assert reply.failed
    assert playout.position().unspoken_text == CONFIG.apology


async def test_what_an_llm_said_before_it_failed_is_spoken_and_its_end_excused() -> None:
    reply, playout = reply_of(BrokenLLM("It is three ", "o'clock and"), ScriptedTTS())
    await reply.run()
    assert reply.failed
    assert playout.position().unspoken_text == f"It is three o'clock and {CONFIG.broken_off}"


async def test_a_tts_that_raises_something_of_its_own_is_a_failed_provider() -> None:
    reply, _ = reply_of(ScriptedLLM(), BrokenTTS())
    with pytest.raises(ProviderError, match="OSError: no such device"):
        await reply.run()
    assert reply.failed
    assert " ".join(reply.voiceless) == SMALL_TALK, "so that all of it can be written"
