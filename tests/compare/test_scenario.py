"""Who says what, and when."""

from __future__ import annotations

import pytest

from mulisa.compare.metrics import COMPARED
from mulisa.compare.scenario import (
    DEFAULT_SIZES,
    FULL_SIZES,
    MOST_PEOPLE,
    VOICES,
    parse_sizes,
    plans,
)
from mulisa.core.errors import InputError

pytestmark = pytest.mark.unit


def test_each_size_is_measured_in_both_topologies_with_the_same_plan() -> None:
    mesh, sfu, *others = plans((4, 2, 4))
    assert [mesh.topology, sfu.topology] == list(COMPARED)
    assert mesh.participants == sfu.participants == 2
    assert {plan.participants for plan in others} == {4}
    assert mesh.people == sfu.people == VOICES[:2]
    assert (mesh.speech, mesh.turns, mesh.changes) == (sfu.speech, sfu.turns, sfu.changes)


def test_a_full_comparison_has_more_sizes_and_more_trials() -> None:
    assert parse_sizes(None, full=True) == FULL_SIZES
    assert parse_sizes(None, full=False) == DEFAULT_SIZES
    (short, _), (full, _) = plans((2,)), plans((2,), full=True)
    assert full.turns > short.turns and full.speech > short.speech


@pytest.mark.parametrize("text", ["", "1", "0,2", "two", "2,", "2;4", f"{MOST_PEOPLE + 1}", "-2"])
def test_what_are_no_sizes_is_told(text: str) -> None:
    with pytest.raises(InputError, match="--participants"):
        parse_sizes(text, full=False)


def test_sizes_are_sorted_and_each_is_measured_once() -> None:
    assert parse_sizes("4,2,4", full=False) == (2, 4)


def test_nobody_says_her_name_or_asks_while_the_others_are_counted() -> None:
    for voice in VOICES:
        assert "mulisa" not in voice.monologue.lower() and "?" not in voice.monologue


def test_people_are_told_apart() -> None:
    names = [voice.name for voice in VOICES]
    assert len(set(names)) == MOST_PEOPLE
    assert len({voice.pitch for voice in VOICES}) == MOST_PEOPLE
