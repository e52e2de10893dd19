"""Nobody is killed while they do what they are given time for."""

from __future__ import annotations

import inspect

import pytest

from mulisa.agent.session import SessionConfig
from mulisa.core.leaving import ENDING
from mulisa.worker.link import WorkerConfig
from mulisa.worker.supervisor import Supervisor

pytestmark = pytest.mark.unit


def test_who_waits_for_somebody_waits_longer_than_they_do() -> None:
    session = SessionConfig().max_last_words
    process = WorkerConfig("ws://localhost", "key", "secret").drain_time
    supervisor = inspect.signature(Supervisor).parameters["stop_time"].default
    assert session < process < supervisor == ENDING
