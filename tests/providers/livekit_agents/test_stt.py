"""Utterances through plugins that do what plugins do, each in its own way; in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from mulisa.core.account import Account, working_for
from mulisa.core.audio import Samples
from mulisa.core.errors import (
    BudgetSpent,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
)
from mulisa.core.provider import STTStream
from mulisa.providers.livekit_agents import LiveKitSTT
from mulisa.providers.livekit_agents.plugin import ANSWER_TIMEOUT
from mulisa.providers.livekit_agents.stt import PATIENCE, PAUSE, SETTLED
from tests.providers.livekit_agents.conftest import Loaded

pytestmark = pytest.mark.unit

PAUSE_MS = round(1000 * PAUSE)


def sound(seconds: float) -> Samples:
    return np.full(round(16_000 * seconds), 1000, dtype=np.int16)


def now() -> float:
    return asyncio.get_running_loop().time()


def frames_of(data: Any) -> float:
    """Milliseconds; 0 for a mark."""
    return 1000 * data.duration if hasattr(data, "duration") else 0.0


async def hear(stream: STTStream, seconds: float) -> str:
    stream.push(sound(seconds))
    return (await stream.flush()).text


async def test_all_that_was_pushed_is_understood_and_then_a_pause(
    fake: Any, loaded: Loaded
) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:
        stream = stt.stream()
        stream.push(sound(0.3))
        stream.push(sound(0.2))
        assert (await stream.flush()).text == f"{500 + PAUSE_MS} ms"
        await stream.aclose()


async def test_whoever_goes_on_is_heard_by_a_further_stream(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:
        stream = stt.stream()
        assert await hear(stream, 0.3) == f"{300 + PAUSE_MS} ms"
        assert (await stream.flush()).text == f"{300 + PAUSE_MS} ms", "nothing new was said"
        assert await hear(stream, 0.4) == f"{300 + PAUSE_MS} ms {400 + PAUSE_MS} ms"
        await stream.aclose()
        await stream.aclose()


async def test_nothing_pushed(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:
        stream = stt.stream()
        assert (await stream.flush()).text == ""
        await stream.aclose()
    assert len(fake.streams) == 1, "but that of loading"


async def test_interims_and_final_results_are_put_together(fake: Any, loaded: Loaded) -> None:
    async def one_by_one(stream: Any) -> None:
        says = iter(
            [
                ("interim_transcript", "good"),
                ("preflight_transcript", "good morning"),
                ("final_transcript", "Good morning."),
                ("interim_transcript", "how"),
            ]
        )
        async for data in stream.input:
            if frames_of(data) and (said := next(says, None)):
                stream.say(*said)
        stream.say("final_transcript", "How are you?")

    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = one_by_one
        stream = stt.stream()
        heard: list[str] = []

        async def listen() -> None:
            heard.extend([text async for text in stream.interims()])

        listening = asyncio.create_task(listen())
        for _ in range(4):
            stream.push(sound(0.1))
            await asyncio.sleep(0.1)
        assert (await stream.flush()).text == "Good morning. How are you?"
        await stream.aclose()
        await listening
    assert heard == ["good", "good morning", "Good morning.", "Good morning. how"] or heard == [
        *("good", "good morning", "Good morning.", "Good morning. how"),
        "Good morning. How are you?",
    ]


@pytest.mark.parametrize(
    ("confidences", "expected"), [((0.5, 0.9), 0.7), ((0.0, 0.6), 0.6), ((0.0, 0.0), 1.0)]
)
async def test_confidence(
    confidences: tuple[float, float], expected: float, fake: Any, loaded: Loaded
) -> None:
    async def be_sure(stream: Any) -> None:
        async for _ in stream.input:
            pass
        for confidence in confidences:
            stream.say("final_transcript", "word", confidence)

    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = be_sure
        stream = stt.stream()
        stream.push(sound(0.2))
        assert (await stream.flush()).confidence == pytest.approx(expected)
        await stream.aclose()


async def test_one_that_looks_at_once_whether_there_is_input(fake: Any, loaded: Loaded) -> None:
    async def look(stream: Any) -> None:
        if not stream.input.closed:
            await words(stream)

    words = fake.hear
    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = look
        stream = stt.stream()
        assert await hear(stream, 0.5) == f"{500 + PAUSE_MS} ms"
        await stream.aclose()


def staying(*says: tuple[str, str], usage: bool = False) -> Any:
    """A service that says this at the end of the input, and does not hang up."""

    async def stay(stream: Any) -> None:
        async for _ in stream.input:
            pass
        if usage:
            stream.report(0.5)
        for said in says:
            await asyncio.sleep(0.1)
            stream.say(*said)
        await asyncio.Event().wait()

    return stay


async def test_one_that_does_not_end_its_stream_is_known_by_use(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = staying(("final_transcript", "one"), ("final_transcript", "two"))
        for waited in (PATIENCE, SETTLED):
            stream = stt.stream()
            began = now()
            assert await hear(stream, 0.5) == "one two"
            assert now() - began == pytest.approx(0.2 + waited)
            await stream.aclose()


@pytest.mark.parametrize(
    ("end", "waited", "text"), [(0.3, SETTLED, "one"), (0.1, 0.5 + SETTLED, "one two")]
)
async def test_nobody_waits_for_the_words_of_silence(
    end: float, waited: float, text: str, fake: Any, loaded: Loaded
) -> None:
    async def tell_times(stream: Any) -> None:
        stream.say("final_transcript", "one", end=end)
        async for _ in stream.input:
            pass
        await asyncio.sleep(0.5)
        stream.say("final_transcript", "two")
        await asyncio.Event().wait()

    async with loaded(LiveKitSTT, "fake") as stt:
        stt.ends_streams = False
        fake.hear = tell_times
        stream = stt.stream()
        stream.push(sound(0.3))
        stream.push(sound(0.3) // 20)
        await asyncio.sleep(0.1)
        began = now()
        assert (await stream.flush()).text == text
        assert now() - began == pytest.approx(waited)
        await stream.aclose()


@pytest.mark.parametrize("kind", ["final_transcript", "interim_transcript"])
async def test_a_slow_service_is_waited_for_while_words_are_missing(
    kind: str, fake: Any, loaded: Loaded
) -> None:
    async def be_slow(stream: Any) -> None:
        async for _ in stream.input:
            pass
        stream.say(kind, "one", end=0.3)
        await asyncio.sleep(2 * PATIENCE)
        stream.say("final_transcript", "and two", end=0.9)
        await asyncio.Event().wait()

    async with loaded(LiveKitSTT, "fake") as stt:
        stt.ends_streams = False
        fake.hear = be_slow
        stream = stt.stream()
        assert (await hear(stream, 1.0)).endswith("and two")
        await stream.aclose()


async def test_an_interim_result_is_taken_where_no_final_one_comes(
    fake: Any, loaded: Loaded
) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = staying(("final_transcript", "hello"), ("interim_transcript", "there"))
        stream = stt.stream()
        began = now()
        assert await hear(stream, 0.5) == "hello there"
        assert now() - began == pytest.approx(0.2 + PATIENCE)
        await stream.aclose()


async def test_an_interim_result_of_long_ago_is_not_all_that_was_said(
    fake: Any, loaded: Loaded
) -> None:
    async def begin(stream: Any) -> None:
        stream.say("interim_transcript", "once")
        await asyncio.Event().wait()

    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = begin
        stream = stt.stream()
        stream.push(sound(0.1))
        await asyncio.sleep(0.1)
        with pytest.raises(ProviderTimeout):
            await hear(stream, 3.0)
        await stream.aclose()


async def test_a_cough_gives_no_words(fake: Any, loaded: Loaded) -> None:
    async def say_nothing(stream: Any) -> None:
        async for _ in stream.input:
            pass

    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = say_nothing
        stream = stt.stream()
        assert await hear(stream, 0.3) == ""
        await stream.aclose()


async def test_a_cough_where_streams_do_not_end(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = staying(("final_transcript", "hello"))
        stream = stt.stream()
        assert await hear(stream, 0.3) == "hello"
        await stream.aclose()
        fake.hear = staying(usage=True)
        stream = stt.stream()
        began = now()
        assert await hear(stream, 0.3) == ""
        assert now() - began == pytest.approx(PATIENCE)
        await stream.aclose()


@pytest.mark.parametrize("ends", [True, False])
async def test_one_that_falls_silent(ends: bool, fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:
        stt.ends_streams = ends
        fake.hear = staying()
        stream = stt.stream()
        began = now()
        with pytest.raises(ProviderTimeout, match="fake did not answer in time"):
            await hear(stream, 0.3)
        assert now() - began == pytest.approx(ANSWER_TIMEOUT)
        await stream.aclose()


async def test_a_connection_that_breaks_is_told_at_once(fake: Any, loaded: Loaded) -> None:
    from livekit.agents import APIConnectionError

    async def break_off(stream: Any) -> None:
        async for _ in stream.input:
            stream.say("interim_transcript", "good")
            await asyncio.sleep(0.1)
            raise APIConnectionError("reset")

    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = break_off
        stream = stt.stream()
        stream.push(sound(0.2))
        heard: list[str] = []
        with pytest.raises(ProviderUnavailable, match="cannot reach fake: reset") as caught:
            async for text in stream.interims():
                heard.append(text)
        assert heard == ["good"] and caught.value.retryable
        stream.push(sound(0.2))
        with pytest.raises(ProviderUnavailable, match="cannot reach fake"):
            await stream.flush()
        await stream.aclose()
    assert fake.streams[-1].runs == 1, "the plugin does not try again by itself"


async def test_one_that_hangs_up_in_the_middle(fake: Any, loaded: Loaded) -> None:
    async def leave(stream: Any) -> None:
        async for _ in stream.input:
            stream.say("final_transcript", "good")
            return

    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = leave
        stream = stt.stream()
        stream.push(sound(0.2))
        await asyncio.sleep(0.1)
        with pytest.raises(ProviderError, match="hung up in the middle"):
            await hear(stream, 0.2)
        await stream.aclose()


@pytest.mark.parametrize("streaming", ["true", "false"])
@pytest.mark.parametrize("garbage", [None, 7, b"\xff"])
async def test_garbage_does_no_harm(
    garbage: Any, streaming: str, fake: Any, loaded: Loaded
) -> None:
    async def talk_rubbish(stream: Any) -> None:
        async for _ in stream.input:
            pass
        stream.say("final_transcript", garbage)

    async with loaded(LiveKitSTT, f"fake?streaming={streaming}") as stt:
        fake.hear = talk_rubbish
        stream = stt.stream()
        with pytest.raises(ProviderError, match="no text"):
            await hear(stream, 0.2)
        await stream.aclose()


async def test_a_flush_that_is_given_up_loses_nothing(fake: Any, loaded: Loaded) -> None:
    words = fake.hear

    async def take_time(stream: Any) -> None:
        await words(stream)
        await asyncio.sleep(0.5)

    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = take_time
        stream = stt.stream()
        stream.push(sound(0.3))
        flush = asyncio.create_task(stream.flush())
        await asyncio.sleep(0.05)
        flush.cancel()
        await asyncio.gather(flush, return_exceptions=True)
        assert await hear(stream, 0.4) == f"{300 + PAUSE_MS} ms {400 + PAUSE_MS} ms"
        await stream.aclose()


async def test_closing_in_the_middle_leaves_nothing(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:
        fake.hear = staying()
        stream = stt.stream()
        stream.push(sound(0.3))
        listening = asyncio.create_task(anext(aiter(stream.interims()), "end"))
        await asyncio.sleep(0.1)
        await stream.aclose()
        assert await listening == "end"
    assert fake.streams[-1].main.done()


async def test_one_that_cannot_even_begin(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitSTT, "fake") as stt:

        def refuse(**_: Any) -> None:
            raise ValueError("no such language")

        stt.plugin.engine.stream = refuse
        stream = stt.stream()
        stream.push(sound(0.3))
        stream.push(sound(0.3))
        with pytest.raises(ProviderError, match="no such language"):
            await stream.flush()
        with pytest.raises(ProviderError, match="no such language"):
            await anext(aiter(stream.interims()))
        await stream.aclose()


@pytest.mark.parametrize("streaming", ["true", "false"])
async def test_seconds_are_counted_and_the_budget_holds(
    streaming: str, fake: Any, loaded: Loaded
) -> None:
    used: list[str] = []
    account = Account({"seconds": 0.5}, on_spent=lambda engine, *_: used.append(engine))
    async with loaded(LiveKitSTT, f"fake?streaming={streaming}") as stt:
        with working_for(account):
            stream = stt.stream()
            await hear(stream, 0.6)
            assert account.spent["seconds"] == pytest.approx(0.6)
            with pytest.raises(BudgetSpent):
                await hear(stream, 0.1)
            await stream.aclose()
    assert set(used) == {"fake"}


async def test_without_streaming_all_is_asked_for_at_each_pause(fake: Any, loaded: Loaded) -> None:
    async with loaded(LiveKitSTT, "fake?streaming=false") as stt:
        stream = stt.stream()
        assert (await stream.flush()).text == ""
        listening = asyncio.create_task(anext(aiter(stream.interims()), "end"))
        assert await hear(stream, 0.3) == "300 ms"
        assert await hear(stream, 0.4) == "700 ms"
        await stream.aclose()
        assert await listening == "end"


async def test_without_streaming_failures_and_silence(fake: Any, loaded: Loaded) -> None:
    from livekit.agents import APITimeoutError

    async def fail(_: Any) -> None:
        raise APITimeoutError

    async def wait(_: Any) -> None:
        await asyncio.Event().wait()

    async with loaded(LiveKitSTT, "fake?streaming=false") as stt:
        for fake.hear in (fail, wait):
            stream = stt.stream()
            with pytest.raises(ProviderTimeout):
                await hear(stream, 0.3)
            await stream.aclose()
