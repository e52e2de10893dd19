"""When a path counts as lost: in virtual time, over every pattern of loss and stall we can name."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.transport.path import (
    ASK_INTERVAL,
    LOST_QUIET,
    LOST_UNANSWERED,
    UNANSWERED,
    PathLife,
)

pytestmark = pytest.mark.unit


def lost_after(life: PathLife, until: float) -> float | None:
    """Look whenever it is due and nothing comes; when it is found lost."""
    while life.due <= until:
        now = life.due
        life.look(now)
        if life.is_lost:
            return now
    return None


def test_little_is_asked_while_packets_come() -> None:
    life = PathLife(0.0)
    now, questions = 0.0, 0
    while now < 60.0:
        life.heard(now)
        if life.look(now):
            questions += 1
            life.answered(now)
        now += 0.02
    assert not life.is_lost
    assert questions <= 60.0 / UNANSWERED


def test_a_path_that_falls_silent_is_lost_in_time() -> None:
    life = PathLife(0.0)
    life.heard(10.0)
    life.answered(10.0)
    found = lost_after(life, 20.0)
    assert found is not None and LOST_QUIET <= found - 10.0 <= LOST_QUIET + ASK_INTERVAL


def test_a_path_that_is_cut_in_our_direction_alone_is_lost_too() -> None:
    life = PathLife(0.0)
    now, questions = 0.0, 0
    while not life.is_lost:
        life.heard(now)
        questions += life.look(now)
        now += 0.02
    assert LOST_UNANSWERED <= now <= LOST_UNANSWERED + 2 * ASK_INTERVAL
    assert questions >= 5


def test_only_an_answer_brings_it_back() -> None:
    life = PathLife(0.0)
    assert lost_after(life, 10.0) is not None
    life.heard(10.0)
    assert life.is_lost, "it comes, but does ours arrive?"
    life.answered(10.1)
    assert not life.is_lost
    assert life.heard_at == 10.1


def test_it_is_asked_at_a_steady_pace_however_long_it_is_lost() -> None:
    life = PathLife(0.0)
    asked = []
    while life.due < 60.0:
        now = life.due
        assert life.look(now)
        asked.append(now)
    gaps = {round(later - sooner, 6) for sooner, later in zip(asked, asked[1:], strict=False)}
    assert gaps == {ASK_INTERVAL}


def test_a_loop_that_stood_still_takes_nobody_for_lost() -> None:
    life = PathLife(0.0)
    for stalled in (5.0, 10.0, 15.0):  # and then what waited is read
        life.look(stalled)
        assert not life.is_lost
        life.heard(stalled + 0.01)
        life.answered(stalled + 0.02)


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.1]))
@settings(max_examples=60, deadline=None)
def test_a_lossy_path_is_no_lost_one(seed: int, loss: float) -> None:
    """Ten minutes with somebody whose microphone is off: STUN is all that comes.

    A browser asks us every 2.5 s at the least. Each question of ours is sent twice.
    """
    chance = random.Random(seed)
    life = PathLife(0.0)
    theirs = chance.uniform(0.0, 2.5)
    answers: list[float] = []
    found = 0
    while life.due < 600.0:
        at = min([life.due, theirs, *answers])
        if at == theirs:
            theirs += 2.5
            if chance.random() >= loss:
                life.heard(at)
        elif at in answers:
            answers.remove(at)
            life.answered(at)
        else:
            was_lost = life.is_lost
            life.look(at)
            found += life.is_lost and not was_lost
            for again in (0.0, ASK_INTERVAL):
                if chance.random() >= loss and chance.random() >= loss:
                    answers.append(at + again + 0.05)
    assert found == 0, f"{found} false alarms with seed {seed}"


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.sampled_from(["heard", "answered", "look"]))))
def test_whatever_happens_it_is_lost_only_after_silence(steps: list[tuple[float, str]]) -> None:
    life = PathLife(0.0)
    now = answered = heard = 0.0
    for wait, what in steps:
        now += wait
        if what == "heard":
            heard = now
            life.heard(now)
        elif what == "answered":
            heard = answered = now
            life.answered(now)
            assert not life.is_lost
        else:
            was_lost = life.is_lost
            life.look(now)
            if life.is_lost and not was_lost:
                assert now - heard >= LOST_QUIET or now - answered >= LOST_UNANSWERED
        assert life.heard_at >= heard
