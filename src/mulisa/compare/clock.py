"""The one clock of a comparison: what pages, kernel and this process all read."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> float:
    """Seconds since 1970."""
    return datetime.now(UTC).timestamp()
