from __future__ import annotations

import pytest

from mulisa.core.use import MAX_ENGINE_CHARS, MAX_ENGINES, UseTally, parse_use

pytestmark = pytest.mark.unit


def test_it_adds_up_and_is_taken_once() -> None:
    tally = UseTally()
    tally.add("OpenAI", "tokens", 5)
    tally.add("OpenAI", "tokens", 7)
    tally.add_all({"OpenAI": {"seconds": 1.5}, "Azure": {"characters": 3}})
    use = {"OpenAI": {"tokens": 12, "seconds": 1.5}, "Azure": {"characters": 3}}
    assert tally.use == use
    assert tally.take() == use
    assert tally.take() == {}


def test_whatever_engines_are_called_it_can_be_told() -> None:
    tally = UseTally()
    for name in ("", "x" * 1000, *map(str, range(1000))):
        tally.add(name, "tokens", 1)
    use = tally.take()
    assert parse_use(use) == use
    assert len(use) == MAX_ENGINES and max(map(len, use)) == MAX_ENGINE_CHARS
    assert sum(units["tokens"] for units in use.values()) == 1002
