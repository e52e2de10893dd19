"""Engines that fail at random, in calls of several people: nothing that matters is lost.

`tests/agent/chaos.py` makes the calls; all times are virtual, so limits are exact and every run
is the same.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.agent.chaos import CALLS, FAULTS_PER_CALL, run_call, run_calls

pytestmark = pytest.mark.unit

A_FEW: int = 12


async def test_a_few_calls_survive_their_faults() -> None:
    figures = await run_calls(range(A_FEW))
    assert figures.faults >= A_FEW * FAULTS_PER_CALL
    figures.check()


@pytest.mark.slow
async def test_three_hundred_faults_are_survived() -> None:
    figures = await run_calls(range(CALLS))
    print(f"\n{figures.table()}")
    assert figures.faults >= 300
    assert {outcome.topology for outcome in figures.outcomes} == {"mesh", "sfu"}
    figures.check()


@pytest.mark.parametrize("seed", range(3))
async def test_a_bad_day_costs_time_but_no_words(seed: int) -> None:
    """Three of four requests fail, of all engines: everything takes longer, nothing is lost."""
    outcome = await run_call(seed, "mesh", faults=40, share=0.75)
    outcome.check()


async def test_the_room_is_told_who_fails_and_who_is_back() -> None:
    outcomes = [await run_call(seed, "sfu") for seed in range(4)]
    told = [trouble for outcome in outcomes for trouble in outcome.troubles]
    assert any(trouble.reason and trouble.successor for trouble in told)
    assert any(not trouble.reason for trouble in told), "works again"


async def test_a_call_is_the_same_each_time() -> None:
    first, second = [await run_call(7, "mesh") for _ in range(2)]
    assert [i.fault for i in first.incidents] == [i.fault for i in second.incidents]
    assert first.written == second.written
    assert asyncio.get_running_loop().time() > 1000.0
