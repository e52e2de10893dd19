"""What a session tells the process around it: trouble with engines, and what they used."""

from __future__ import annotations

from mulisa.core.account import Trouble, Unit
from mulisa.core.metrics import SessionObserver
from mulisa.core.room import RoomName
from mulisa.core.use import UseTally
from mulisa.worker.status import EngineTrouble, LastWordsAwaited, OnStatus


class RoomObserver(SessionObserver):
    """Of one session in `room`."""

    def __init__(self, room: RoomName, on_status: OnStatus) -> None:
        self.room = room
        self._on_status = on_status
        self.use = UseTally()
        """What was used and not told yet."""

    def engine_used(self, engine: str, unit: Unit, amount: float) -> None:
        """Remember it."""
        self.use.add(engine, unit, amount)

    def engine_trouble(self, trouble: Trouble) -> None:
        """Tell it at once."""
        self._on_status(EngineTrouble.of(self.room, trouble))

    def last_words_awaited(self, limit: float) -> None:
        """Tell it at once."""
        self._on_status(LastWordsAwaited(self.room, limit))
