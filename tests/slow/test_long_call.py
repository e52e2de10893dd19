"""Ten minutes of a call: turns, orders, interruptions, people who come and go."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from mulisa.core.audio import Samples
from mulisa.core.room import Identity
from tests.browser.people import until
from tests.browser.server import Server
from tests.browser.speech import ALICE, BOB, CAROL, Studio, Voice, word_error_rate
from tests.slow.talkers import MULISA, Talker, talker_in

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(1500)]

ROOM = "long"
DURATION = 600.0
"""Seconds of conversation."""
WARM_UP = 120.0
"""Seconds until the agent has done everything once; growth counts from there."""
MAX_GROWTH_BYTES = 48 * 2**20
"""Of the agent's memory in the eight minutes after that."""
MAX_MORE_FILES = 8
MAX_MORE_THREADS = 4
MAX_CORES = 1.2
"""Of the agent process and its voice, for hearing three people and speaking to them."""
MAX_ATTEMPTS = 3
ANSWER_TIME = 10.0
"""Seconds after which a person asks again."""
MAX_UNANSWERED = 0.25
"""Fraction of questions that had to be asked again."""
MAX_MISHEARD = 0.1
"""Fraction of lines of which more than half the words may be wrong."""

SUBJECTS = "the budget,the website,the garden,the contract,the party,the heating".split(",")
PREDICATES = (
    "must be ready before the holidays",
    "was much more expensive than last year",
    "should be checked by somebody else",
    "is on the list for next Monday",
)
QUESTIONS = ("Mulisa, who is in the call?", "Mulisa, what did Bob say about the budget?")
LONG_QUESTION = "Mulisa, what can you do? Please help me."
INTERRUPTION = "Wait, please stop, that is enough for me."


@dataclass
class Said:
    """What the script had people say."""

    lines: list[tuple[Identity, str]] = field(default_factory=list)
    answers: int = 0
    unanswered: list[str] = field(default_factory=list)
    """Questions to her as she understood them, when she took them for something else."""
    interruptions: int = 0
    visits: int = 0

    def __str__(self) -> str:
        return (
            f"{len(self.lines)} lines, {self.answers} answers, {self.interruptions} interruptions,"
            f" {self.visits} visits; not answered: {self.unanswered}"
        )


@dataclass(frozen=True)
class Usage:
    """What the agent process holds."""

    memory_bytes: int
    files: int
    threads: int
    cpu_seconds: float

    @classmethod
    def of(cls, agent: psutil.Process) -> Usage:
        """Now; CPU with that of its children, which are its voice."""
        times = [p.cpu_times() for p in (agent, *agent.children(recursive=True))]
        cpu = sum(t.user + t.system for t in times)
        return cls(agent.memory_info().rss, agent.num_fds(), agent.num_threads(), cpu)


async def test_ten_minutes(studio: Studio, server: Server) -> None:
    speeches = await _rehearse(studio)
    agent, loop = server.agent(), asyncio.get_running_loop()
    said = Said()
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(talker_in(server, ROOM, "Alice"))
        bob = await stack.enter_async_context(talker_in(server, ROOM, "Bob"))
        await alice.meets(bob.identity, MULISA)
        await bob.meets(alice.identity, MULISA)
        await alice.sees_mulisa("listening")
        script = _Script(server, speeches, alice, bob, said)
        began = loop.time()
        await script.play(until=began + WARM_UP)
        before = Usage.of(agent)
        warm = loop.time()
        await script.play(until=began + DURATION)
        await script.ask(alice, QUESTIONS[0])
        after = Usage.of(agent)
        elapsed = loop.time() - warm
    cores = (after.cpu_seconds - before.cpu_seconds) / elapsed
    print(f"{said}\n{before} -> {after}, {cores:.2f} cores")
    assert server.agent().pid == agent.pid, "she died on the way"
    _check_transcript(said, await server.said(ROOM))
    assert after.memory_bytes - before.memory_bytes < MAX_GROWTH_BYTES, (before, after)
    assert after.files - before.files <= MAX_MORE_FILES, (before, after)
    assert after.threads - before.threads <= MAX_MORE_THREADS, (before, after)
    assert cores < MAX_CORES
    assert len(said.unanswered) <= MAX_UNANSWERED * said.answers, said.unanswered
    assert said.interruptions >= 3 and said.visits >= 3, str(said)


class _Script:
    """What happens, round after round."""

    def __init__(
        self,
        server: Server,
        speeches: dict[tuple[Voice, str], Samples],
        alice: Talker,
        bob: Talker,
        said: Said,
    ) -> None:
        self._server = server
        self._speeches = speeches
        self._voices = {alice: ALICE, bob: BOB}
        self._people = itertools.cycle((alice, bob))
        self._alice, self._bob = alice, bob
        self._said = said
        self._statements = itertools.cycle(_statements())
        self._questions = itertools.cycle(QUESTIONS)

    async def play(self, until: float) -> None:
        """Rounds of four statements, a question, an interruption and a visit."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            for _ in range(4):
                await self._state(next(self._people))
            await self.ask(self._alice, next(self._questions))
            await self._interrupt()
            await self._visit()

    async def ask(self, person: Talker, question: str) -> None:
        """Ask, and wait until she has spoken."""
        await self._ask(person, question)
        await person.sees_mulisa("listening")

    async def _ask(self, person: Talker, question: str) -> None:
        """Ask until she begins to answer: now and then her name is misheard."""
        for _ in range(MAX_ATTEMPTS):
            await self._say(person, question)
            await self._is_written()
            try:
                async with asyncio.timeout(ANSWER_TIME):
                    await person.hears_more_of(MULISA, 20)
            except TimeoutError:
                self._said.unanswered.append((await self._server.said(ROOM))[-1]["text"])
            else:
                self._said.answers += 1
                return
        raise AssertionError(f"no answer to {question!r}, heard as {self._said.unanswered}")

    async def _state(self, person: Talker) -> None:
        await self._say(person, next(self._statements))
        await self._is_written()

    async def _interrupt(self) -> None:
        await self._ask(self._bob, LONG_QUESTION)
        await self._say(self._alice, INTERRUPTION)
        await self._alice.sees_mulisa("listening")
        await self._is_written()
        self._said.interruptions += 1

    async def _visit(self) -> None:
        """Somebody comes, says something and leaves."""
        async with talker_in(self._server, ROOM, "Carol") as carol:
            self._voices[carol] = CAROL
            await carol.meets(self._alice.identity, self._bob.identity, MULISA)
            await self._state(carol)
            del self._voices[carol]
        self._said.visits += 1

    async def _say(self, person: Talker, line: str) -> None:
        self._said.lines.append((person.identity, line))
        await person.say(self._speeches[self._voices[person], line])

    async def _is_written(self) -> None:
        """Wait until the last line is in the transcript."""
        identity, _ = self._said.lines[-1]
        spoken = sum(who == identity for who, _ in self._said.lines)
        await until(
            lambda: self._server.said(ROOM),
            lambda entries: sum(e["identity"] == identity for e in entries) >= spoken,
            f"{spoken} lines of {identity}",
        )


def _statements() -> list[str]:
    """In an order in which the same words are far apart."""
    lines = [
        f"I think that {subject} {predicate}."
        for subject, predicate in itertools.product(SUBJECTS, PREDICATES)
    ]
    random.Random(7).shuffle(lines)
    return lines


async def _rehearse(studio: Studio) -> dict[tuple[Voice, str], Samples]:
    parts = {
        ALICE: [*_statements(), *QUESTIONS, INTERRUPTION],
        BOB: [*_statements(), LONG_QUESTION],
        CAROL: _statements(),
    }
    return {
        (voice, line): speech
        for voice, lines in parts.items()
        for line, speech in zip(lines, await studio.speak(voice, *lines), strict=True)
    }


def _check_transcript(said: Said, entries: list[dict[str, Any]]) -> None:
    """Every line is there, in order, under its speaker; few are misheard."""
    misheard = []
    for identity in {identity for identity, _ in said.lines}:
        lines = [line for who, line in said.lines if who == identity]
        heard = [entry["text"] for entry in entries if entry["identity"] == identity]
        assert len(heard) >= len(lines), (identity, lines, heard)
        misheard += [
            (line, heard)
            for line in lines
            if min(word_error_rate(line, text) for text in heard) > 0.5
        ]
    assert len(misheard) <= MAX_MISHEARD * len(said.lines), misheard
    agent = [entry for entry in entries if entry["kind"] == "agent"]
    assert len(agent) >= said.answers, (len(agent), said.answers)
    cut = sum(entry["interrupted"] for entry in agent)
    assert cut >= (1 - MAX_UNANSWERED) * said.interruptions, (cut, said.interruptions)
