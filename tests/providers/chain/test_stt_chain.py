"""Recognisers that stand in for each other: nothing that was said is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from mulisa.core.account import Account, Trouble, check_budget, working_for
from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.errors import BudgetSpent, ProviderError
from mulisa.core.provider import STTStream
from mulisa.providers.chain.rota import ChainConfig
from mulisa.providers.chain.stt import STTChain
from mulisa.providers.scripted import ScriptedSTT, ScriptedSTTStream
from mulisa.providers.tones import tone
from tests.faulty_engines import BUSY, ERROR, GARBAGE, SILENCE, WRONG_KEY, FaultySTT
from tests.services.faults import Fault

pytestmark = pytest.mark.unit

SCRIPT = ["zero", "one", "two", "three"]


def a_chain() -> tuple[STTChain, FaultySTT, FaultySTT]:
    cloud = FaultySTT("Cloud", script=SCRIPT, latency=0.1)
    local = FaultySTT("Local", script=SCRIPT, latency=0.3)
    return STTChain([cloud, local]), cloud, local


def say(word: int) -> Samples:
    return tone(word, 0.3, HEARING_RATE_HZ)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_favourite_hears_it_and_is_closed() -> None:
    stt, cloud, local = a_chain()
    stream = stt.stream(["Alice"])
    stream.push(say(1))
    assert (await stream.flush()).text == "one"
    await stream.aclose()
    await stream.aclose()
    assert cloud.streams[0].names == ["Alice"]
    assert local.streams == [] and cloud.open_streams == 0


@pytest.mark.parametrize(
    "fault", [ERROR, BUSY, WRONG_KEY, SILENCE, GARBAGE, Fault("cut"), Fault("latency", delay=9.0)]
)
async def test_the_next_one_is_given_everything(fault: Fault) -> None:
    stt, cloud, local = a_chain()
    cloud.vendor.faults.next("stt", fault)
    stream = stt.stream()
    stream.push(say(1))
    stream.push(say(2))
    ended_at = now()
    assert (await stream.flush()).text == "one two"
    assert now() - ended_at <= 1.6
    stream.push(say(3))
    assert (await stream.flush()).text == "one two three"
    await stream.aclose()
    assert cloud.open_streams == local.open_streams == 0


async def test_while_all_are_down_it_is_kept_and_recognised_later(troubles: list[Trouble]) -> None:
    stt, cloud, local = a_chain()
    cloud.vendor.faults.always("stt", ERROR)
    local.vendor.faults.always("stt", WRONG_KEY)
    streams = [stt.stream() for _ in range(3)]
    for number, stream in enumerate(streams):
        stream.push(say(number))
    flushes = [asyncio.create_task(stream.flush()) for stream in streams]
    await asyncio.sleep(60.0)
    assert not any(flush.done() for flush in flushes)
    cloud.vendor.faults.always("stt", None)
    back_at = now()
    assert [words.text for words in await asyncio.gather(*flushes)] == SCRIPT[:3]
    assert now() - back_at <= 6.0
    assert Trouble("stt", "Cloud", "") in troubles, "and that is told"
    for stream in streams:
        await stream.aclose()
    assert cloud.open_streams == local.open_streams == 0


async def test_in_the_end_it_is_given_up() -> None:
    stt = STTChain([cloud := FaultySTT("Cloud")], ChainConfig(max_late=30.0))
    cloud.vendor.faults.always("stt", ERROR)
    stream = stt.stream()
    stream.push(say(1))
    began = now()
    with pytest.raises(ProviderError, match="answered 500"):
        await stream.flush()
    assert 25.0 <= now() - began <= 36.0
    await stream.aclose()
    assert cloud.open_streams == 0


async def test_a_spent_budget_is_not_waited_for() -> None:
    class Paid(ScriptedSTT):
        def stream(self, names: Sequence[str] = ()) -> ScriptedSTTStream:
            raise BudgetSpent("the budget is used up")

    stream = STTChain([Paid()]).stream()
    stream.push(say(1))
    began = now()
    with pytest.raises(BudgetSpent):
        await stream.flush()
    assert now() == began


async def test_an_interrupted_flush_loses_nothing() -> None:
    stt, cloud, _ = a_chain()
    stream = stt.stream()
    stream.push(say(1))
    flush = asyncio.create_task(stream.flush())
    await asyncio.sleep(0.05)
    flush.cancel()
    await asyncio.wait({flush})
    stream.push(say(2))
    assert (await stream.flush()).text == "one two"
    assert len(cloud.streams) == 1
    await stream.aclose()


class Bad(ScriptedSTT):
    """Fails at one place, with something of its own."""

    def __init__(self, place: str) -> None:
        super().__init__(SCRIPT)
        self.place = place

    def stream(self, names: Sequence[str] = ()) -> ScriptedSTTStream:
        if self.place == "stream":
            raise KeyError("no such model")
        return BadStream(self, names)


class BadStream(ScriptedSTTStream):
    def __init__(self, stt: Bad, names: Sequence[str]) -> None:
        super().__init__(stt, names)
        self._place = stt.place

    def push(self, samples: Samples) -> None:
        if self._place == "push":
            raise BrokenPipeError("gone")
        super().push(samples)

    async def interims(self) -> AsyncIterator[str]:
        if self._place == "interims":
            raise ConnectionResetError("gone")
        async for text in super().interims():
            yield text

    async def aclose(self) -> None:
        await super().aclose()
        if self._place == "aclose":
            raise OSError("gone twice")


@pytest.mark.parametrize("place", ["stream", "push", "interims", "aclose"])
async def test_an_engine_may_fail_at_any_place(place: str) -> None:
    bad = Bad(place)
    local = ScriptedSTT(SCRIPT, interim_interval=0.25)
    stream: STTStream = STTChain([bad, local]).stream()
    shown: list[str] = []

    async def watch() -> None:
        async for text in stream.interims():
            shown.append(text)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    stream.push(say(1))
    stream.push(say(2))
    assert (await stream.flush()).text == "one two"
    await asyncio.sleep(0.01)
    await stream.aclose()
    await watching
    assert (shown[-1:] == ["one two"]) is (place != "aclose"), "the successor's are shown"
    assert bad.open_streams == local.open_streams == 0


async def test_a_slow_free_engine_has_time_when_the_budget_is_spent() -> None:
    class Paid(FaultySTT):
        def stream(self, names: Sequence[str] = ()) -> ScriptedSTTStream:
            check_budget()
            return super().stream(names)

    cloud = Paid("Cloud", script=SCRIPT, latency=0.1)
    slow = FaultySTT("Local", script=SCRIPT, latency=1.8)
    stt = STTChain([cloud, slow])
    account = Account(budget={"seconds": 1.0})
    account.spent["seconds"] = 2.0
    with working_for(account):
        for _ in range(3):
            stream = stt.stream()
            stream.push(say(1))
            assert (await stream.flush()).text == "one"
            await stream.aclose()
