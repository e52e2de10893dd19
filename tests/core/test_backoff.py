from __future__ import annotations

import pytest

from mulisa.core.backoff import Backoff

pytestmark = pytest.mark.unit


def test_waits_double_up_to_the_longest_and_begin_again() -> None:
    backoff = Backoff(first=0.25, longest=5.0)
    for full in (0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0):
        assert 0.75 * full <= backoff.failed() <= full
    for _ in range(2000):
        assert backoff.failed() <= 5.0
    backoff.succeeded()
    assert backoff.failed() <= 0.25
