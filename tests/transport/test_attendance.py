"""Who is there, over interruptions of our own connection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.events import ParticipantJoined, ParticipantLeft, ParticipantUpdated
from mulisa.core.room import Identity, Participant, ParticipantSid
from mulisa.transport.attendance import Attendance

pytestmark = pytest.mark.unit

ALICE = Participant(Identity("alice"), "Alice", ParticipantSid("PA_1"))
AGAIN = Participant(Identity("alice"), "Alice", ParticipantSid("PA_2"))
BOB = Participant(Identity("bob"), "Bob", ParticipantSid("PA_3"))


def test_who_comes_changes_and_goes_is_told_once() -> None:
    attendance = Attendance()
    assert attendance.seen(ALICE) == ParticipantJoined(ALICE)
    assert attendance.seen(ALICE) is None
    assert attendance.seen(AGAIN) == ParticipantUpdated(AGAIN)
    assert attendance.gone(ALICE.identity) == ParticipantLeft(AGAIN)
    assert attendance.gone(ALICE.identity) is None
    assert attendance.present == {}


def test_who_is_there_again_after_a_reconnection_was_not_away() -> None:
    attendance = Attendance()
    for each in (ALICE, BOB):
        attendance.seen(each)
        assert attendance.gone(each.identity, is_explained=False) is None
    attendance.away()
    assert attendance.seen(AGAIN) == ParticipantUpdated(AGAIN)
    assert attendance.settle() == [], "while we are away we cannot know"
    assert attendance.back()
    assert set(attendance.present) == {ALICE.identity, BOB.identity}
    assert attendance.settle() == [ParticipantLeft(BOB)]
    assert attendance.settle() == []


def test_a_reconnection_that_misses_nobody_needs_no_waiting() -> None:
    attendance = Attendance()
    attendance.seen(ALICE)
    attendance.away()
    assert not attendance.back()


def test_the_end_is_everybodys() -> None:
    attendance = Attendance()
    attendance.seen(ALICE)
    attendance.seen(BOB)
    attendance.away()
    assert attendance.end() == [ParticipantLeft(ALICE), ParticipantLeft(BOB)]
    assert attendance.present == {}


@given(st.lists(st.sampled_from(["alice", "bob", "gone alice", "lost bob", "away", "back"])))
def test_joined_and_left_alternate(steps: list[str]) -> None:
    attendance, told = Attendance(), []
    for step in steps:
        match step:
            case "alice":
                told.append(attendance.seen(ALICE))
            case "bob":
                told.append(attendance.seen(BOB))
            case "gone alice":
                told.append(attendance.gone(ALICE.identity))
            case "lost bob":
                told.append(attendance.gone(BOB.identity, is_explained=False))
            case "away":
                attendance.away()
            case "back":
                attendance.back()
                told += attendance.settle()
    told += attendance.end()
    for who in (ALICE, BOB):
        mine = [type(each) for each in told if each is not None and each.participant == who]
        assert mine == [ParticipantJoined, ParticipantLeft] * (len(mine) // 2)
