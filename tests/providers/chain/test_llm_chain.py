"""Language models that stand in for each other, with every fault of a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from mulisa.core.account import Account, Trouble, check_budget, working_for
from mulisa.core.errors import BudgetSpent, ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta, ToolCall
from mulisa.providers.chain.llm import CONTINUE, LLMChain
from mulisa.providers.chain.rota import ChainConfig
from mulisa.providers.scripted import ScriptedLLM
from tests.faulty_engines import BUSY, ERROR, GARBAGE, SILENCE, WRONG_KEY, FaultyLLM
from tests.services.faults import Fault

pytestmark = pytest.mark.unit

REQUEST = ChatRequest((Message("user", "What is it?", name="Alice"),))
ANSWER = "One two three four five six."
CALL = ToolCall("c1", "roster", {})


def a_chain() -> tuple[LLMChain, FaultyLLM, FaultyLLM]:
    cloud, local = FaultyLLM("Cloud", default=ANSWER), FaultyLLM("Local", default=ANSWER)
    return LLMChain([cloud, local]), cloud, local


async def said(llm: LLMChain, request: ChatRequest = REQUEST) -> str:
    deltas = [delta async for delta in llm.chat(request)]
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_the_favourite_answers_word_by_word() -> None:
    llm, cloud, local = a_chain()
    assert [delta async for delta in llm.chat(REQUEST)] == [
        TextDelta(f"{word} ") for word in ANSWER.split()[:-1]
    ] + [TextDelta("six.")]
    assert (cloud.calls, local.calls) == (1, 0)


@pytest.mark.parametrize(
    "fault", [ERROR, BUSY, WRONG_KEY, SILENCE, GARBAGE, Fault("latency", delay=9.0)]
)
async def test_the_next_one_answers_at_once(fault: Fault) -> None:
    llm, cloud, _ = a_chain()
    cloud.vendor.faults.next("llm", fault)
    asked_at = now()
    assert await said(llm) == ANSWER
    assert now() - asked_at <= 1.3


@pytest.mark.parametrize(
    ("limits", "asked_next"), [(ChainConfig(), 1), (ChainConfig(first=2.5), 0)]
)
async def test_a_slow_favourite_answers_where_there_is_patience(
    limits: ChainConfig, asked_next: int
) -> None:
    slow, local = ScriptedLLM(default=ANSWER, first_token=2.0), FaultyLLM("Local", default=ANSWER)
    assert await said(LLMChain([slow, local], limits)) == ANSWER
    assert local.calls == asked_next


@pytest.mark.parametrize("after", range(1, 6))
@pytest.mark.parametrize("kind", ["cut", "status", "silence", "garbage"])
async def test_half_an_answer_is_finished_by_the_next(kind: str, after: int) -> None:
    llm, cloud, local = a_chain()
    cloud.vendor.faults.next("llm", Fault(kind, after=after))  # type: ignore[arg-type]
    asked_at = now()
    assert await said(llm) == ANSWER, "which begins anew, and is heard from there on"
    assert now() - asked_at <= 1.3
    assert local.requests[0].messages[-1] == Message("system", CONTINUE) or after == 1
    spoken = " ".join(ANSWER.split()[: after - 1])
    if spoken:
        assert local.requests[0].messages[-2] == Message("assistant", spoken)


async def test_a_tool_call_of_a_failed_answer_is_never_made() -> None:
    class Calling(ScriptedLLM):
        async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
            yield CALL
            raise ProviderError("hung up")

    llm = LLMChain([Calling(), ScriptedLLM(default=CALL)])
    assert [delta async for delta in llm.chat(REQUEST)] == [CALL]


async def test_a_single_engine_is_tried_again() -> None:
    cloud = FaultyLLM("Cloud", default=ANSWER)
    cloud.vendor.faults.next("llm", ERROR, Fault("cut", after=3))
    assert await said(LLMChain([cloud])) == ANSWER
    assert cloud.calls == 2, "the refused request never reached it"


async def test_what_a_retry_cannot_mend_is_not_retried() -> None:
    cloud = FaultyLLM("Cloud")
    cloud.vendor.faults.always("llm", WRONG_KEY)
    asked_at = now()
    with pytest.raises(ProviderUnavailable, match="check the key"):
        await said(LLMChain([cloud]))
    assert now() == asked_at


async def test_a_single_engine_that_hangs_is_given_up() -> None:
    cloud = FaultyLLM("Cloud")
    cloud.vendor.faults.always("llm", SILENCE)
    llm = LLMChain([cloud], ChainConfig(last_first=4.0, rounds=2))
    asked_at = now()
    with pytest.raises(ProviderTimeout, match="Cloud did not answer in time"):
        await said(llm)
    assert now() - asked_at == pytest.approx(8.25)


async def test_a_service_that_wants_a_long_pause_is_not_asked_again_for_this_answer() -> None:
    class Busy(ScriptedLLM):
        async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
            self.calls += 1
            error = ProviderError("too many requests")
            error.retry_after = 30.0
            raise error
            yield

    busy = Busy()
    with pytest.raises(ProviderError, match="too many"):
        await said(LLMChain([busy]))
    assert busy.calls == 1


async def test_an_empty_answer_is_a_failure_but_not_after_a_tool() -> None:
    mute, cloud = ScriptedLLM(default=""), ScriptedLLM(default=ANSWER)
    assert await said(LLMChain([mute, cloud])) == ANSWER
    done = ChatRequest((*REQUEST.messages, Message("tool", "{}", call_id="c1")))
    assert await said(LLMChain([mute, cloud]), done) == ""


async def test_an_engine_that_is_refused_rests_and_comes_back(troubles: list[Trouble]) -> None:
    llm, cloud, local = a_chain()
    cloud.vendor.faults.next("llm", WRONG_KEY)
    assert await said(llm) == ANSWER
    refused = Trouble("llm", "Cloud", "Cloud refuses us; check the key", "Local")
    assert troubles == [refused]
    await said(llm)
    assert troubles[1:] == [refused], "each room is told, when it is passed over"
    assert (cloud.calls, local.calls) == (0, 2)
    await asyncio.sleep(61.0)
    troubles.clear()
    await said(llm)
    assert (cloud.calls, local.calls) == (1, 2)
    assert troubles == [Trouble("llm", "Cloud", "")]


async def test_a_rest_is_cut_short_when_nobody_is_left() -> None:
    llm, cloud, local = a_chain()
    cloud.vendor.faults.next("llm", WRONG_KEY)
    local.vendor.faults.next("llm", WRONG_KEY)
    with pytest.raises(ProviderUnavailable):
        await said(llm)
    assert await said(llm) == ANSWER, "it is asked all the same: it cannot do worse"


async def test_a_request_that_is_cancelled_while_it_tries_an_engine_frees_it() -> None:
    llm, cloud, local = a_chain()
    cloud.vendor.faults.next("llm", WRONG_KEY, SILENCE)
    await said(llm)
    await asyncio.sleep(61.0)
    trying = asyncio.create_task(said(llm))
    await asyncio.sleep(0.5)
    assert await said(llm) == ANSWER, "others do not wait for it"
    assert local.calls == 2
    trying.cancel()
    await asyncio.wait({trying})
    await said(llm)
    assert cloud.calls == 1


async def test_one_rooms_spent_budget_is_no_reason_to_rest() -> None:
    class Paid(ScriptedLLM):
        async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
            check_budget()
            async for delta in super().chat(request):
                yield delta

    paid, local = Paid(default=ANSWER), ScriptedLLM(default="Local.")
    llm = LLMChain([paid, local])
    poor = Account(budget={"tokens": 0.0})
    with working_for(poor):
        assert await said(llm) == "Local."
        with pytest.raises(BudgetSpent):
            await said(LLMChain([paid]))
    assert await said(llm) == ANSWER


async def test_it_is_loaded_when_one_is_and_the_other_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Late(ScriptedLLM):
        label = "Late"
        loads = 0

        async def load(self, progress: object) -> None:
            self.loads += 1
            if self.loads < 3:
                raise ProviderUnavailable("Late is not there; start it")

    late, local = Late(default="Late."), ScriptedLLM(default="Local.")
    llm = LLMChain([late, local])
    await llm.load(lambda doing, fraction: None)
    assert "Late is not there; start it" in caplog.text
    assert await said(llm) == "Local."
    await asyncio.sleep(100.0)
    assert await said(llm) == "Late."
    await llm.aclose()


async def test_it_is_not_loaded_when_none_is() -> None:
    class Absent(ScriptedLLM):
        async def load(self, progress: object) -> None:
            raise ProviderUnavailable(f"{self.default} is not there")

    with pytest.raises(ProviderUnavailable, match="a is not there; b is not there"):
        await LLMChain([Absent(default="a"), Absent(default="b")]).load(lambda *_: None)


async def test_what_is_loaded_later_is_loaded_for_no_room() -> None:
    class Late(ScriptedLLM):
        budgets_were_spent: list[bool] = []

        async def load(self, progress: object) -> None:
            try:
                check_budget()
            except BudgetSpent:
                self.budgets_were_spent.append(True)
                raise
            self.budgets_were_spent.append(False)

    llm = LLMChain([late := Late(), ScriptedLLM()])
    with working_for(Account(budget={"tokens": 0.0})):
        await llm.load(lambda *_: None)
    await asyncio.sleep(100.0)
    assert late.budgets_were_spent == [True, False]
    await llm.aclose()


async def test_what_waits_to_be_loaded_ends_with_the_chain() -> None:
    class Absent(ScriptedLLM):
        async def load(self, progress: object) -> None:
            raise OSError("no such file")

    llm = LLMChain([Absent(), ScriptedLLM()])
    await llm.load(lambda *_: None)
    await llm.aclose()
    await llm.aclose()
