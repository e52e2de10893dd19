"""An internet of network namespaces for a test, which is skipped where they are not to be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mulisa.compare import internet as networks


@contextmanager
def internet() -> Iterator[networks.Internet]:
    """One until the block ends."""
    if reason := networks.why_not():
        pytest.skip(reason)
    with networks.internet() as made:
        yield made
