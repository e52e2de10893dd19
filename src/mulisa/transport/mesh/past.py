"""What a gateway may have forgotten: stays that it no longer has, or never had. Pure."""

from __future__ import annotations

from typing import Final

from mulisa.core.room import ParticipantSid

RESTORE_TIME: Final = 60.0
"""Seconds for which stays come back that a gateway has no memory of: those of before its start,
and those of a room to which nobody was attached any more."""


class Past:
    """Which stays that we do not have may be restored."""

    def __init__(self, restores_until: float) -> None:
        self._restores_until = restores_until
        self._ended: set[ParticipantSid] | None = set()
        """In the first minute; None after it, when no stay of before can be restored."""
        self._faded: dict[ParticipantSid, float] = {}
        """Until when these may be; the oldest first."""

    def ended(self, sid: ParticipantSid) -> None:
        """Others were told so: it does not come back."""
        if self._ended is not None:
            self._ended.add(sid)

    def faded(self, sid: ParticipantSid, now: float) -> None:
        """It is over here, and nobody was told."""
        self._forget(now)
        self._faded[sid] = now + RESTORE_TIME

    def restores(self, sid: ParticipantSid, now: float) -> bool:
        """For a sid that we gave, at any time."""
        self._forget(now)
        if self._faded.pop(sid, None) is not None:
            return True
        return self._ended is not None and sid not in self._ended

    def _forget(self, now: float) -> None:
        if now > self._restores_until:
            self._ended = None
        for sid, until in list(self._faded.items()):
            if until > now:
                return
            del self._faded[sid]
