"""A relay with a clock, and what each of its clients got."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from mulisa.core.room import Identity, ParticipantKind, ParticipantSid, RoomName
from mulisa.transport.mesh.outcome import Close, Outcome, RoomEvent, Send
from mulisa.transport.mesh.relay import MAX_PEOPLE, MeshRelay, Resumption

SECRET = "secret"
KITCHEN, HALL = RoomName("kitchen"), RoomName("hall")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Gateway:
    """A relay, the clock, and what each client got."""

    def __init__(self, max_people: int = MAX_PEOPLE) -> None:
        self.now = 100.0
        self.relay = MeshRelay(max_people=max_people, secret=SECRET, now=self.now)
        self.got: dict[ParticipantSid, list[dict[str, Any]]] = {}
        self.closed: dict[ParticipantSid, str] = {}
        self.away: set[ParticipantSid] = set()
        """Who has no socket now."""
        self.events: list[RoomEvent] = []

    def enter(
        self,
        identity: str,
        room: RoomName = KITCHEN,
        kind: ParticipantKind = "standard",
        may_update: bool = True,
        resumes: Resumption | None = None,
    ) -> ParticipantSid:
        """Somebody comes with a token for this; their sid."""
        sid, outcome = self.relay.enter(
            room,
            Identity(identity),
            identity.title(),
            kind,
            may_update=may_update,
            resumption=resumes,
            now=self.now,
            at=NOON,
        )
        self.away.discard(sid)
        self.perform(outcome)
        return sid

    def resume(self, identity: str, sid: ParticipantSid, received: int = 0) -> ParticipantSid:
        """Somebody comes back and asks for this stay; the sid that they get."""
        return self.enter(identity, resumes=Resumption(sid, received))

    def lose(self, sid: ParticipantSid) -> None:
        """The socket of a stay is lost."""
        self.away.add(sid)
        self.perform(self.relay.detach(sid, self.now))

    def wait(self, seconds: float) -> None:
        """Let time pass, and do what falls due meanwhile."""
        end = self.now + seconds
        while (deadline := self.relay.deadline()) is not None and deadline <= end:
            assert deadline >= self.now
            self.now = deadline
            self.perform(self.relay.expire(self.now))
        self.now = end

    def restart(self) -> None:
        """Kill the gateway, and start another one."""
        self.relay = MeshRelay(secret=SECRET, now=self.now)
        self.away.clear()
        self.got.clear()

    def send(self, sender: ParticipantSid, /, **message: Any) -> None:
        """A client sends this."""
        self.send_text(sender, json.dumps(message))

    def send_text(self, sid: ParticipantSid, text: str) -> None:
        """A client sends this, whatever it is."""
        self.perform(self.relay.receive(sid, text, self.now))

    def perform(self, outcome: Outcome) -> None:
        """What the server would do; checks that it can be done."""
        for each in outcome:
            match each:
                case Send(sid, text):
                    assert sid not in self.closed, "nothing is sent after the close"
                    assert sid not in self.away, "nothing is sent without a socket"
                    self.got.setdefault(sid, []).append(json.loads(text))
                case Close(sid, reason):
                    assert sid not in self.closed
                    assert sid not in self.away
                    self.closed[sid] = reason
                case _:
                    self.events.append(each)

    def news(self, sid: ParticipantSid) -> list[dict[str, Any]]:
        """What a client got since the last time."""
        return self.got.pop(sid, [])
