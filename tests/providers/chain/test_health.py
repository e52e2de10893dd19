"""When an engine rests, and how it comes back: timelines."""

from __future__ import annotations

import pytest

from mulisa.core.errors import ProviderError, ProviderUnavailable
from mulisa.providers.chain.health import Health, HealthConfig

pytestmark = pytest.mark.unit

ERROR = ProviderError("answered 500")
REFUSED = ProviderUnavailable("wrong key; check it")
CONFIG = HealthConfig(max_failures=2, rest=10.0, max_rest=30.0, refused_rest=60.0)


def test_one_failure_may_pass_by_itself() -> None:
    health = Health(CONFIG)
    health.failed(ERROR, 0.0)
    assert not health.rests(0.0) and health.reason == "answered 500"
    health.worked()
    health.failed(ERROR, 1.0)
    assert not health.rests(1.0)


def test_two_in_a_row_put_it_to_rest_and_each_rest_is_longer_up_to_a_limit() -> None:
    health = Health(CONFIG)
    health.failed(ERROR, 0.0)
    health.failed(ERROR, 0.0)
    now = 0.0
    for rest in (10.0, 20.0, 30.0, 30.0):
        assert health.rests(now + rest - 0.1) and not health.rests(now + rest)
        now += rest
        assert health.probe(now)
        health.failed(ERROR, now)
        health.probed()


def test_a_refusal_puts_it_to_rest_at_once() -> None:
    health = Health(CONFIG)
    health.failed(REFUSED, 0.0)
    assert health.rests(59.9) and not health.rests(60.0)


def test_after_its_rest_one_request_at_a_time_tries_it() -> None:
    health = Health(CONFIG)
    health.failed(REFUSED, 0.0)
    assert not health.probe(30.0), "it still rests"
    assert health.probe(60.0)
    assert health.rests(60.0) and not health.probe(60.0), "one is enough"
    health.probed()
    assert not health.rests(60.0), "that one was cancelled, or it worked"
    health.worked()
    assert not health.probe(60.0), "an engine that is well needs no trial"


def test_what_failed_at_the_same_time_counts_once() -> None:
    health = Health(CONFIG)
    for _ in range(10):
        health.failed(ERROR, 0.0)
    assert not health.rests(10.0)


def test_it_rests_as_long_as_it_asked_for() -> None:
    health = Health(CONFIG)
    error = ProviderError("too many requests")
    error.retry_after = 17.0
    health.failed(error, 0.0)
    assert health.rests(16.9) and not health.rests(17.0)
