"""What the SFU refuses, beside what `core.errors` names. The messages are safe to send back."""

from __future__ import annotations

from mulisa.core.errors import InputError


class NotFound(InputError):
    """There is no such room, participant or track."""


class LimitExceeded(InputError):
    """One more room, participant, track or byte than is allowed."""
