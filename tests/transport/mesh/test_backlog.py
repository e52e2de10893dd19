"""What one side has sent and the other one may have missed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import SignalingError
from mulisa.transport.mesh.backlog import MAX_BYTES, MAX_MESSAGES, Backlog

pytestmark = pytest.mark.unit


@given(st.lists(st.integers(0, 40)), st.integers(0, 40))
def test_what_was_missed_is_what_was_sent_after_it(acknowledged: list[int], received: int) -> None:
    backlog, sent = Backlog(), [f"m{number}" for number in range(1, 31)]
    for message in sent:
        backlog.add(message)
    known = 0
    for number in acknowledged:
        if number > 30:
            with pytest.raises(SignalingError):
                backlog.acknowledge(number)
        else:
            backlog.acknowledge(number)
            known = max(known, number)
    expected = sent[received:] if known <= received <= 30 else None
    assert backlog.after(received) == expected


def test_it_keeps_no_more_than_it_may() -> None:
    backlog = Backlog()
    for _ in range(MAX_MESSAGES + 5):
        backlog.add("m")
    assert backlog.after(4) is None
    assert backlog.after(5) == ["m"] * MAX_MESSAGES
    backlog.add("x" * MAX_BYTES)
    assert backlog.after(backlog.sent - 1) == ["x" * MAX_BYTES]
    assert backlog.after(backlog.sent - 2) is None
    assert backlog.after(backlog.sent) == []
    backlog.add("x" * (MAX_BYTES + 1))
    assert backlog.after(backlog.sent - 1) is None and backlog.after(backlog.sent) == []
