from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.reception import REPORT_LASTS, Receptions
from mulisa.core.room import Identity

pytestmark = pytest.mark.unit

ALICE, BOB, EVE = Identity("alice"), Identity("bob"), Identity("eve")
HERE = frozenset({ALICE, BOB})
names = st.sampled_from([ALICE, BOB, EVE])


def test_a_report_is_about_its_sender_and_those_who_are_present() -> None:
    receptions = Receptions()
    receptions.report(ALICE, frozenset({ALICE, BOB, EVE}), now=0.0)
    receptions.report(EVE, frozenset({ALICE}), now=0.0)
    receptions.report(BOB, frozenset(), now=0.0)
    assert receptions.matrix(HERE, now=1.0) == {ALICE: {BOB}, BOB: frozenset()}


def test_a_report_lasts_a_few_seconds_and_the_latest_counts() -> None:
    receptions = Receptions()
    receptions.report(ALICE, frozenset({BOB}), now=0.0)
    receptions.report(BOB, frozenset({ALICE}), now=1.0)
    receptions.report(ALICE, frozenset(), now=2.0)
    assert receptions.matrix(HERE, now=REPORT_LASTS + 0.5) == {ALICE: frozenset(), BOB: {ALICE}}
    assert receptions.matrix(HERE, now=REPORT_LASTS + 1.0) == {ALICE: frozenset()}
    assert receptions.matrix(HERE, now=REPORT_LASTS + 2.0) == {}
    assert receptions.is_empty


@given(st.lists(st.tuples(names, st.frozensets(names), st.floats(0.0, 2.0)), max_size=30))
def test_it_holds_what_was_said_last_in_time(
    reports: list[tuple[Identity, frozenset[Identity], float]],
) -> None:
    receptions, now = Receptions(), 0.0
    latest: dict[Identity, tuple[frozenset[Identity], float]] = {}
    for listener, heard, pause in reports:
        now += pause
        receptions.report(listener, heard, now)
        latest[listener] = heard, now
    expected = {
        listener: (heard & HERE) - {listener}
        for listener, (heard, at) in latest.items()
        if listener in HERE and now - at < REPORT_LASTS
    }
    assert receptions.matrix(HERE, now) == expected
