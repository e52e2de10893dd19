from __future__ import annotations

import asyncio

import pytest

from mulisa.core.account import (
    Account,
    Trouble,
    budget_is_spent,
    check_budget,
    is_first_to_tell,
    report,
    spend,
    working_for,
)
from mulisa.core.errors import ProviderUnavailable

pytestmark = pytest.mark.unit


def test_outside_of_a_room_nothing_is_counted_and_everything_is_allowed() -> None:
    check_budget()
    spend("OpenAI", "tokens", 5)
    report(Trouble("llm", "OpenAI", "broken"))
    assert not budget_is_spent() and not is_first_to_tell()


async def test_tasks_work_for_the_room_in_which_they_were_begun() -> None:
    rooms = [Account(), Account()]

    async def work(amount: float) -> None:
        await asyncio.sleep(1.0)
        spend("OpenAI", "tokens", amount)

    async with asyncio.TaskGroup() as tasks:
        for amount, account in enumerate(rooms, 1):
            with working_for(account):
                tasks.create_task(work(amount))
    assert [account.spent["tokens"] for account in rooms] == [1, 2]


def test_a_budget_ends_what_costs_money_also_if_it_is_exceeded_once() -> None:
    account = Account({"tokens": 10})
    with working_for(account):
        spend("OpenAI", "seconds", 1000)
        spend("OpenAI", "tokens", 9)
        check_budget()
        assert not budget_is_spent()
        spend("OpenAI", "tokens", 50)
        with pytest.raises(ProviderUnavailable, match="budget of 10 tokens; raise it") as caught:
            check_budget()
        assert not caught.value.retryable, "a chain goes to the successor at once"
        assert budget_is_spent()
        assert [is_first_to_tell(), is_first_to_tell()] == [True, False]
