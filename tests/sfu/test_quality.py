"""How good a connection is called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models

from mulisa.sfu.quality import quality, score

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("loss", "round_trip", "expected"),
    [
        (0.0, 0.02, models.EXCELLENT),
        (0.01, 0.1, models.EXCELLENT),
        (0.05, 0.1, models.GOOD),
        (0.0, 0.6, models.GOOD),
        (0.3, 0.1, models.POOR),
        (0.0, 3.0, models.POOR),
    ],
)
def test_loss_and_delay_cost(loss: float, round_trip: float, expected: int) -> None:
    assert quality(score(loss, round_trip)) == expected


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 60), st.floats(0, 60))
def test_less_loss_and_less_delay_are_never_worse(
    loss: float, other_loss: float, delay: float, other_delay: float
) -> None:
    better = score(min(loss, other_loss), min(delay, other_delay))
    worse = score(max(loss, other_loss), max(delay, other_delay))
    assert 1 <= worse <= better <= 4.5
