from __future__ import annotations

from collections.abc import Iterator

import pytest

from mulisa.core.account import Account, Trouble, working_for


@pytest.fixture
def troubles() -> Iterator[list[Trouble]]:
    """What the room of the test is told of its engines."""
    told: list[Trouble] = []
    with working_for(Account(on_trouble=told.append)):
        yield told
