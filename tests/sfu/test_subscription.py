"""Numbers of one subscription across pauses, and what its subscriber reports."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.sfu.subscription import RESENDS, Subscription
from mulisa.wire.rtcp import ReportBlock
from tests.sfu.media_peers import OPUS, RED, to_audio

pytestmark = pytest.mark.unit

NTP = 0x1122334455667788


def sequence(subscription: Subscription, number: int) -> int:
    return (subscription.shift + number) & 0xFFFF


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 70000)), min_size=2, max_size=20))
def test_numbers_go_on_where_they_stopped(turns: list[tuple[int, int]]) -> None:
    subscription = Subscription(to_audio())
    newest = -1
    following: int | None = None
    for forwarded, held in turns:
        subscription.begin(newest + 1)
        if following is not None:
            assert sequence(subscription, newest + 1) == following
        newest += forwarded
        subscription.end(newest)
        following = sequence(subscription, newest + 1)
        newest += held


def test_only_what_was_sent_since_it_began_can_be_asked_for() -> None:
    subscription = Subscription(to_audio())
    assert subscription.number_of(0, 100) is None
    subscription.begin(90)
    assert subscription.number_of(sequence(subscription, 95), 100) == 95
    assert subscription.number_of(sequence(subscription, 89), 100) is None
    assert subscription.number_of(sequence(subscription, 101), 100) is None
    subscription.end(100)
    assert subscription.number_of(sequence(subscription, 95), 100) is None


def test_requests_have_a_budget_that_fills_up_again() -> None:
    subscription = Subscription(to_audio())
    assert [subscription.may_resend(1.0) for _ in range(RESENDS + 1)] == [True] * RESENDS + [False]
    assert subscription.may_resend(1.0 + 1.5 / RESENDS)
    assert not subscription.may_resend(1.0 + 1.6 / RESENDS)


def test_red_is_for_who_takes_it_or_opus() -> None:
    assert Subscription(to_audio("TR_a", OPUS)).takes("red")
    assert Subscription(to_audio("TR_a", RED, OPUS)).takes("opus")
    assert not Subscription(to_audio("TR_a", RED)).takes("red")


def test_a_round_trip_takes_the_report_that_is_meant() -> None:
    subscription = Subscription(to_audio(ssrc=42))
    report = subscription.sender_report(NTP, 1000, now=5.0)
    assert (report.ssrc, report.ntp) == (42, NTP)
    assert report.timestamp == (1000 + subscription.offset) % 2**32
    subscription.receive_report(ReportBlock(42, 128, 0, 0, 0, 99, 0), now=6.0)
    assert subscription.round_trip == 0
    last = NTP >> 16 & 0xFFFFFFFF
    subscription.receive_report(ReportBlock(42, 128, 0, 0, 0, last, 65536 // 2), now=5.75)
    assert subscription.round_trip == pytest.approx(0.25)
    subscription.receive_report(ReportBlock(42, 128, 0, 0, 0, last, 65536 * 9), now=5.75)
    assert subscription.round_trip == 0
    assert subscription.loss(6.0) == 0.5
    assert subscription.loss(60.0) == 0


def test_an_extension_id_beyond_the_one_byte_form_is_not_written() -> None:
    assert Subscription(to_audio(level=15)).level_id == 0
    assert Subscription(to_audio(level=14)).level_id == 14
