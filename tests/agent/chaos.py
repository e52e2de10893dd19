"""Calls of several people with engines that fail at random, and what became of them.

Each call is made from a seed: who says what and when, and which request of which engine goes
wrong how. Every stage is a chain of two engines. `check` says what must hold whatever happens;
`Figures` says how well it went. ``python -m tests.agent.chaos`` prints them for docs/engines.md.

The room is whatever `OpenTransport` opens: a loopback in virtual time, or a real mesh or SFU.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, Final, TypeAlias

import numpy as np

from mulisa.agent.persona import Persona
from mulisa.agent.reply import ReplyConfig
from mulisa.agent.session import Session
from mulisa.core.account import Trouble
from mulisa.core.events import ListenerConnected
from mulisa.core.metrics import SessionObserver
from mulisa.core.provider import ChatRequest, Engines
from mulisa.core.room import AGENT_STATE_ATTRIBUTE, Identity, Participant, RoomName, Topology
from mulisa.core.transcript import TranscriptEntry
from mulisa.core.transport import Transport
from mulisa.providers.chain.llm import LLMChain
from mulisa.providers.chain.stt import STTChain
from mulisa.providers.chain.tts import TTSChain
from mulisa.providers.scripted import ScriptedVAD
from mulisa.transport.loopback import LoopbackRoom, LoopbackTransport
from tests.faulty_engines import Diary, FaultyLLM, FaultySTT, FaultyTTS, Incident
from tests.services.faults import Fault, FaultKind, Faults
from tests.speech import say, speak
from tests.virtual_time import VirtualTimeLoop

OpenTransport: TypeAlias = Callable[[Participant], Transport]
"""A way into the room of one call, not entered yet."""

FAULTS_PER_CALL: Final = 6
CALLS: Final = 50
SHARE: Final = 0.35
"""Of the requests that go wrong."""
MAX_ROUNDS: Final = 25
MULISA: Final = Participant(Identity("mulisa"), "Mulisa", kind="agent")
PEOPLE: Final = ("alice", "bob", "carol")

FALLBACK_LIMIT: Final = 1.5
RECOVERY_LIMIT: Final = 3.0
SPEECHLESS_LIMIT: Final = 1.0
ANSWER_LIMIT: Final = 90.0
"""Seconds, as the last one of each kind."""
JOINING_LIMIT: Final = 20.0

ASK, CHAT, COUGH, ITEMS = 0, 1, 2, 3
"""Tones: what an utterance begins with, and the first of those that say of what it is."""
SPOKEN: Final = {ASK: "Mulisa, tell me about", CHAT: "Bob, look at", COUGH: ""}
MAX_ITEMS: Final = 27
ANSWER: Final = "Item {} is a very fine thing. It is big and old, and most people like it a lot."
AUDIBLE: Final = 1000
KINDS: Final[dict[FaultKind, str]] = {
    "latency": "slow",
    "status": "refused",
    "cut": "cut",
    "garbage": "garbage",
    "silence": "silent",
}


def transcribe(tone: int) -> str:
    """What a tone says."""
    return SPOKEN.get(tone, f"item {tone - ITEMS}.")


def answer(request: ChatRequest) -> str:
    """About what was asked last."""
    asked = next(m.content for m in reversed(request.messages) if m.role == "user")
    return ANSWER.format(asked.rstrip(".").split()[-1])


class Mischief(Faults):
    """Lets requests of all engines of a call go wrong at random, so many times."""

    def __init__(self, seed: int, diary: Diary, limit: int, share: float) -> None:
        super().__init__()
        self._random = random.Random(f"mischief {seed}")
        self._diary = diary
        self._limit = limit
        self._share = share

    @property
    def is_over(self) -> bool:
        """All that shall go wrong has."""
        return len(self._diary.incidents) >= self._limit

    def take(self, endpoint: str) -> Fault | None:
        if self.is_over or self._random.random() >= self._share:
            return None
        kinds: Sequence[FaultKind] = ("latency", "status", "cut", "garbage", "silence")
        status, code = self._random.choice(((500, ""), (429, ""), (401, "invalid_api_key")))
        return Fault(
            self._random.choice(kinds),
            after=0 if endpoint == "stt" else self._random.randrange(4),
            delay=self._random.uniform(0.3, 4.0),
            status=status,
            code=code,
        )


class Log:
    """The transcript, in memory."""

    def __init__(self) -> None:
        self.entries: list[TranscriptEntry] = []

    async def append(self, room: RoomName, entry: TranscriptEntry) -> None:
        self.entries.append(entry)

    async def recent(self, room: RoomName, limit: int) -> Sequence[TranscriptEntry]:
        return ()

    def text_of(self, identity: str) -> str:
        """All that somebody said, in the order in which they said it."""
        entries = (entry for entry in self.entries if entry.identity == identity)
        return " ".join(entry.text for entry in sorted(entries, key=lambda e: e.started_at))


@dataclass(slots=True)
class Outcome:
    """Of one call."""

    seed: int
    topology: Topology
    incidents: list[Incident] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    spoken: dict[str, list[str]] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    questions: list[int] = field(default_factory=list)
    """Items that were asked about."""
    answered: list[int] = field(default_factory=list)
    apologies: int = 0
    speechless: float = 0.0
    """Longest time for which she was said to be speaking and could not be heard."""
    is_lost: bool = False
    """The session ended before it was sent away."""

    @property
    def fallbacks(self) -> list[float]:
        """Seconds from faults until the engine was asked that was ready to take over."""
        return [
            incident.asked_at - incident.at
            for incident in self.incidents
            if incident.asked_at is not None and incident.is_replaceable
        ]

    @property
    def recoveries(self) -> list[float]:
        """Seconds from faults until something useful came."""
        return [i.served_at - i.at for i in self.incidents if i.served_at is not None]

    def check(self, slack: float = 0.0) -> None:
        """What holds in every call, whatever went wrong; `slack` seconds for a busy machine."""
        where = f"seed {self.seed}, {self.topology}: {self.incidents}"
        assert not self.is_lost, where
        said = {who: " ".join(texts) for who, texts in self.spoken.items()}
        assert self.written == said, where
        unanswered = set(self.questions) - set(self.answered)
        assert len(unanswered) <= self.apologies, f"{unanswered} {where}"
        assert self.speechless <= SPEECHLESS_LIMIT + slack, f"{self.speechless} {where}"


@dataclass(frozen=True, slots=True)
class Figures:
    """Of many calls."""

    outcomes: Sequence[Outcome]

    @property
    def faults(self) -> int:
        """How many there were."""
        return sum(len(outcome.incidents) for outcome in self.outcomes)

    @property
    def fallbacks(self) -> list[float]:
        """See `Outcome`."""
        return [seconds for outcome in self.outcomes for seconds in outcome.fallbacks]

    @property
    def recoveries(self) -> list[float]:
        """See `Outcome`."""
        return [seconds for outcome in self.outcomes for seconds in outcome.recoveries]

    def check(self) -> None:
        """Every call is whole, and service is back in time."""
        for outcome in self.outcomes:
            outcome.check()
        assert max(self.fallbacks) <= FALLBACK_LIMIT
        assert percentile(self.recoveries, 95) <= RECOVERY_LIMIT

    def table(self) -> str:
        """Markdown."""
        outcomes = self.outcomes
        incidents = [incident for outcome in outcomes for incident in outcome.incidents]
        stages = _counted(incident.stage.upper() for incident in incidents)
        kinds = _counted(KINDS[incident.fault.kind] for incident in incidents)
        rows = [
            ("calls (mesh, SFU)", _by_topology(outcomes)),
            ("faults", f"{self.faults}: {stages}; {kinds}"),
            ("rooms lost", sum(outcome.is_lost for outcome in outcomes)),
            ("utterances; lost", f"{self._spoken}; {self._lost}"),
            ("questions; answered", f"{self._questions}; {self._answered}"),
            ("apologies", sum(outcome.apologies for outcome in outcomes)),
            ("fallback engaged, p50 / p95 / longest", _spread(self.fallbacks)),
            ("recovery, p50 / p95 / longest", _spread(self.recoveries)),
            ('longest "speaking" without sound', f"{self._speechless:.2f} s"),
        ]
        return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])

    @property
    def _spoken(self) -> int:
        return sum(len(texts) for outcome in self.outcomes for texts in outcome.spoken.values())

    @property
    def _lost(self) -> int:
        return sum(
            sum(text not in outcome.written.get(who, "") for text in texts)
            for outcome in self.outcomes
            for who, texts in outcome.spoken.items()
        )

    @property
    def _questions(self) -> int:
        return sum(len(outcome.questions) for outcome in self.outcomes)

    @property
    def _answered(self) -> int:
        return sum(len(outcome.answered) for outcome in self.outcomes)

    @property
    def _speechless(self) -> float:
        return max(outcome.speechless for outcome in self.outcomes)


class Told(SessionObserver):
    """Keeps what the operator is told of the engines."""

    def __init__(self, troubles: list[Trouble]) -> None:
        self._troubles = troubles

    def engine_trouble(self, trouble: Trouble) -> None:
        self._troubles.append(trouble)


class ChaoticCall:
    """One call: people, engines that fail, and somebody who watches."""

    def __init__(
        self,
        seed: int,
        topology: Topology,
        open_transport: OpenTransport,
        faults: int,
        share: float,
    ) -> None:
        """`share` of the requests go wrong, until there were so many `faults`."""
        self.outcome = Outcome(seed, topology)
        self._open = open_transport
        self._random = random.Random(f"call {seed}")
        self._diary = Diary()
        self._mischief = Mischief(seed, self._diary, faults, share)
        self._log = Log()
        self._people: dict[str, Transport] = {}
        self._items = count()
        self._heard: set[str] = set()
        """Who is heard by her."""
        self._heard_at = float("-inf")

    async def run(self) -> Outcome:
        """From joining to being sent away."""
        told = Told(self.outcome.troubles)
        agent = self._open(MULISA)
        session = Session(agent, self._engines(), Persona(), self._log, observer=told)
        staying = asyncio.create_task(session.run())
        try:
            async with AsyncExitStack() as stack:
                for name in PEOPLE:
                    person = self._open(Participant(Identity(name), name.title()))
                    self._people[name] = await stack.enter_async_context(person)
                async with self._watched():
                    await self._talk()
                await self._say_goodbye(staying)
        finally:
            staying.cancel()
            await asyncio.wait({staying})
        return self._judged()

    def _engines(self) -> Engines:
        diary = self._diary
        stts = [
            FaultySTT(label, diary, script=transcribe, latency=latency)
            for label, latency in (("Cloud", 0.15), ("Local", 0.4))
        ]
        llms = [
            FaultyLLM(label, diary, default=answer, first_token=first_token, pace=0.02)
            for label, first_token in (("Cloud", 0.3), ("Local", 0.1))
        ]
        voices = [
            FaultyTTS(label, diary, first_audio=first_audio, sample_rate_hz=rate_hz)
            for label, first_audio, rate_hz in (("Cloud", 0.2, 24_000), ("Local", 0.1, 22_050))
        ]
        for vendor in (engine.vendor for engines in (stts, llms, voices) for engine in engines):
            vendor.faults = self._mischief
        engines = Engines(ScriptedVAD(), STTChain(stts), LLMChain(llms), TTSChain(voices))

        def is_replaceable(stage: str, engine: str) -> bool:
            chain: Any = getattr(engines, stage)
            return any(other.label != engine for other in chain.rota.ready())

        diary.is_replaceable = is_replaceable
        return engines

    # What people do

    async def _talk(self) -> None:
        await self._until(lambda: all(map(self._state, PEOPLE)), JOINING_LIMIT)
        await self._until(lambda: len(self._heard) == len(PEOPLE), JOINING_LIMIT)
        await asyncio.sleep(1.0)
        for _ in range(MAX_ROUNDS):
            if self._mischief.is_over:
                return
            chatting = self._random.sample(PEOPLE, self._random.randrange(3))
            await asyncio.gather(*map(self._chat, chatting))
            await asyncio.sleep(self._random.uniform(0.8, 2.0))
            await self._ask(self._random.choice(PEOPLE))

    async def _chat(self, who: str) -> None:
        await asyncio.sleep(self._random.uniform(0.0, 0.5))
        await self._utter(who, CHAT, next(self._items) % MAX_ITEMS)

    async def _ask(self, who: str) -> None:
        item = next(self._items) % MAX_ITEMS
        self.outcome.questions.append(item)
        before = len(self._log.entries)
        await self._utter(who, ASK, item)
        if self._random.random() < 0.3:
            await self._until(lambda: self._state(who) == "speaking", 5.0)
            await asyncio.sleep(self._random.uniform(0.2, 1.5))
            await speak(self._people[self._other_than(who)], say(COUGH, seconds=0.2))
        await self._until(lambda: self._is_answered(item, before), ANSWER_LIMIT)
        if self._is_answered(item, before):
            self.outcome.answered.append(item)
        await self._until(lambda: self._state(who) == "listening", 10.0)

    async def _utter(self, who: str, *words: int) -> None:
        first, item = words
        self.outcome.spoken.setdefault(who, []).append(f"{transcribe(first)} item {item}.")
        await speak(self._people[who], say(first, ITEMS + item))

    async def _say_goodbye(self, staying: asyncio.Task[None]) -> None:
        """She is sent away in the middle of what somebody says, or a while later."""
        self.outcome.is_lost = staying.done()
        await self._chat("alice")
        await asyncio.sleep(self._random.choice((0.05, 0.4, 8.0)))
        staying.cancel()
        await asyncio.wait({staying})

    def _other_than(self, who: str) -> str:
        return self._random.choice([name for name in PEOPLE if name != who])

    # What is seen and heard

    def _state(self, seen_by: str) -> str:
        mulisa = self._people[seen_by].participants.get(MULISA.identity)
        return mulisa.attributes.get(AGENT_STATE_ATTRIBUTE, "") if mulisa else ""

    def _is_answered(self, item: int, since: int) -> bool:
        said = [e for e in self._log.entries[since:] if e.identity == MULISA.identity]
        return any(f"Item {item} is" in f"{entry.text} {entry.unspoken}" for entry in said)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            jobs = [self._listen(), self._look(), *map(self._attend, PEOPLE)]
            watching = [tasks.create_task(job) for job in jobs]
            yield
            for task in watching:
                task.cancel()

    async def _attend(self, who: str) -> None:
        async for event in self._people[who].events():
            if event == ListenerConnected(MULISA.identity):
                self._heard.add(who)

    async def _listen(self) -> None:
        while True:
            async for frame in self._people["alice"].frames(MULISA.identity):
                if np.abs(frame.samples).max() > AUDIBLE:
                    self._heard_at = _now()
            await asyncio.sleep(0.05)

    async def _look(self) -> None:
        since = None
        while True:
            await asyncio.sleep(0.02)
            if self._state("alice") != "speaking":
                since = None
                continue
            since = since or _now()
            speechless = _now() - max(since, self._heard_at)
            self.outcome.speechless = max(self.outcome.speechless, speechless)

    async def _until(self, is_so: Callable[[], bool], limit: float) -> None:
        """Wait for it, but not for ever: what did not happen is seen in the outcome."""
        give_up_at = _now() + limit
        while not is_so() and _now() < give_up_at:  # noqa: ASYNC110 - any room will do
            await asyncio.sleep(0.02)

    def _judged(self) -> Outcome:
        outcome, config = self.outcome, ReplyConfig()
        outcome.incidents = self._diary.incidents
        outcome.written = {who: self._log.text_of(who) for who in outcome.spoken}
        said = self._log.text_of(MULISA.identity)
        outcome.apologies = sum(
            said.count(text) for text in (config.apology, config.broken_off, config.too_late)
        )
        return outcome


class LabelledLoopback(LoopbackTransport):
    """A loopback that says it is another topology."""

    def __init__(self, room: LoopbackRoom, local: Participant, topology: Topology) -> None:
        super().__init__(room, local)
        self._topology = topology

    @property
    def topology(self) -> Topology:
        """As it is told."""
        return self._topology


async def run_call(
    seed: int,
    topology: Topology,
    open_transport: OpenTransport | None = None,
    faults: int = FAULTS_PER_CALL,
    share: float = SHARE,
) -> Outcome:
    """One call in a room of its own; in a loopback unless it is said how to enter another."""
    if open_transport is None:
        room = LoopbackRoom(f"chaos-{seed}", seed=seed, loss=0.01)
        open_transport = partial(LabelledLoopback, room, topology=topology)
    return await ChaoticCall(seed, topology, open_transport, faults, share).run()


async def run_calls(seeds: Iterable[int]) -> Figures:
    """One after another, in both topologies by turns."""
    return Figures([await run_call(seed, "sfu" if seed % 2 else "mesh") for seed in seeds])


def percentile(values: Sequence[float], percent: int) -> float:
    """Of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _spread(values: Sequence[float]) -> str:
    middle, high = percentile(values, 50), percentile(values, 95)
    return f"{middle:.2f} / {high:.2f} / {max(values):.2f} s (n = {len(values)})"


def _by_topology(outcomes: Sequence[Outcome]) -> str:
    mesh = sum(outcome.topology == "mesh" for outcome in outcomes)
    return f"{mesh}, {len(outcomes) - mesh}"


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in Counter(names).most_common())


def _now() -> float:
    return asyncio.get_running_loop().time()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the calls in virtual time and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.agent.chaos", description=main.__doc__)
    parser.add_argument("--calls", type=int, default=CALLS)
    wanted = parser.parse_args(arguments)

    async def run() -> Figures:
        return await run_calls(range(wanted.calls))

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        figures: Any = runner.run(run())
    print(figures.table())
    figures.check()


if __name__ == "__main__":
    main()
