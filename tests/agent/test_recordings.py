"""What is kept of how people sounded, and for how long."""

from __future__ import annotations

import numpy as np
import pytest

from mulisa.agent.events import UtteranceId
from mulisa.agent.gate import Turn
from mulisa.agent.recordings import MAX_KEPT, MAX_TURN, Recordings
from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.core.room import Identity

pytestmark = pytest.mark.unit

ONE, TWO = UtteranceId("u1"), UtteranceId("u2")


def turn(ended_at: float = 3.0, started_at: float = 1.0) -> Turn:
    return Turn(Identity("alice"), "Mulisa?", started_at, ended_at)


def seconds(length: float, value: int = 1) -> Samples:
    return np.full(round(length * HEARING_RATE_HZ), value, np.int16)


def test_the_utterances_of_a_turn_are_put_together() -> None:
    recordings = Recordings()
    for which, value in ((ONE, 1), (TWO, 2), (ONE, 3)):
        recordings.push(which, np.full(2, value, np.int16))
    recordings.commit(turn(), (ONE, TWO), addressed=True)
    taken = recordings.take(turn())
    assert taken is not None and taken.tolist() == [1, 1, 3, 3, 2, 2]
    assert recordings.take(turn()) is None, "it is given away once"


def test_a_turn_is_found_when_it_was_joined_to_the_one_before() -> None:
    recordings = Recordings()
    recordings.push(ONE, seconds(1.0))
    recordings.commit(turn(), (ONE,), addressed=True)
    assert recordings.take(turn(started_at=0.0)) is not None


def test_what_was_not_said_to_her_is_forgotten() -> None:
    recordings = Recordings()
    recordings.push(ONE, seconds(1.0))
    recordings.commit(turn(), (ONE,), addressed=False)
    recordings.commit(turn(), (ONE,), addressed=True)
    assert recordings.take(turn()) is None


def test_what_was_written_has_no_sound() -> None:
    recordings = Recordings()
    recordings.commit(turn(), (UtteranceId("chat:alice:m1"),), addressed=True)
    assert recordings.take(turn()) is None


def test_of_a_long_turn_the_end_is_kept() -> None:
    recordings = Recordings()
    recordings.push(ONE, seconds(10.0, 1))
    recordings.push(ONE, seconds(MAX_TURN, 2))
    recordings.commit(turn(), (ONE,), addressed=True)
    taken = recordings.take(turn())
    assert taken is not None and set(taken) == {2}


def test_utterances_that_nobody_commits_do_not_pile_up() -> None:
    recordings = Recordings()
    for number in range(20):
        recordings.push(UtteranceId(str(number)), seconds(MAX_KEPT / 10))
    recordings.commit(turn(1.0), (UtteranceId("0"),), addressed=True)
    assert recordings.take(turn(1.0)) is None
    recordings.commit(turn(2.0), (UtteranceId("19"),), addressed=True)
    assert recordings.take(turn(2.0)) is not None


def test_turns_that_nobody_answers_do_not_pile_up() -> None:
    recordings = Recordings()
    for number in range(20):
        recordings.push(ONE, seconds(0.1))
        recordings.commit(turn(float(number)), (ONE,), addressed=True)
    assert recordings.take(turn(0.0)) is None
    assert recordings.take(turn(19.0)) is not None
