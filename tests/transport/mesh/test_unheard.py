"""Who hears us, by their own reports and by what we sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.transport.mesh.unheard import MAX_MISSED, MIN_PACKETS, Unheard

pytestmark = pytest.mark.unit


def told(*reports: tuple[bool, int]) -> Unheard:
    """Each says whether we were heard, and how much we had sent since the one before."""
    unheard, sent = Unheard(), 0
    for heard, more in reports:
        sent += more
        unheard.report(heard, sent)
    return unheard


def test_three_reports_without_our_voice_are_enough() -> None:
    assert not told((False, 50), (False, 50)).is_unheard
    assert told((False, 50), (False, 50), (False, 50)).is_unheard


def test_pauses_neither_count_nor_forgive() -> None:
    assert told((False, 50), (False, 0), (False, 50), (False, 0), (False, 50)).is_unheard
    assert not told(*[(False, 3)] * 100).is_unheard, "comfort noise"


def test_who_hears_us_again_ends_it() -> None:
    reports = [(False, 50)] * 5
    assert told(*reports).is_unheard
    assert not told(*reports, (True, 50)).is_unheard
    assert not told(*reports, (True, 50), (False, 50)).is_unheard


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60))))
def test_only_voice_that_was_sent_and_missed_since_it_was_heard_last_counts(
    reports: list[tuple[bool, int]],
) -> None:
    missed = 0
    for heard, sent in reports:
        missed = 0 if heard else missed + (sent >= MIN_PACKETS)
    assert told(*reports).is_unheard is (missed >= MAX_MISSED)
