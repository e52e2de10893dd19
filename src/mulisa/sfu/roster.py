"""Who is in a room, and how all of them are told. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TypeAlias

from livekit.protocol import models, rtc

from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.sfu import messages
from mulisa.sfu.events import Report, RoomAction, RoomConfig, Send
from mulisa.sfu.media import TrackSid
from mulisa.sfu.participants import Participant
from mulisa.sfu.publications import Publication

Actions: TypeAlias = Iterator[RoomAction]
"""What is to be done, in order; nothing happens to the room's state until it is iterated."""


class Roster:
    """The participants of one room, and what is told of the room itself."""

    def __init__(self, name: RoomName, sid: str, config: RoomConfig, at: datetime) -> None:
        self.name, self.sid, self.config, self.metadata = name, sid, config, ""
        self._at = at
        self._by_sid: dict[ParticipantSid, Participant] = {}
        self._by_identity: dict[Identity, Participant] = {}
        self._publishers: dict[TrackSid, Participant] = {}
        self.revision = 0
        """Grows whenever something changes that `info` says."""

    def __iter__(self) -> Iterator[Participant]:
        return iter(tuple(self._by_sid.values()))

    def get(self, sid: ParticipantSid) -> Participant | None:
        """One who is here by the name of the stay."""
        return self._by_sid.get(sid)

    def named(self, identity: Identity) -> Participant | None:
        """One who is here by identity."""
        return self._by_identity.get(identity)

    def identity_of(self, sid: ParticipantSid) -> Identity | None:
        """Whose stay it is; None for one that is over."""
        participant = self._by_sid.get(sid)
        return participant.identity if participant else None

    def add(self, participant: Participant) -> None:
        """Somebody is here; nobody else of that identity may be."""
        self.revision += 1
        self._by_sid[participant.sid] = participant
        self._by_identity[participant.identity] = participant

    def remove(self, participant: Participant) -> None:
        """Somebody is gone."""
        self.revision += 1
        del self._by_sid[participant.sid]
        del self._by_identity[participant.identity]

    def list_track(self, publisher: Participant, track: TrackSid) -> None:
        """Others may subscribe to it now."""
        self.revision += 1
        self._publishers[track] = publisher

    def strike_track(self, track: TrackSid) -> None:
        """It has ended: nobody has or wants it any more."""
        self.revision += 1
        self._publishers.pop(track, None)
        for participant in self:
            participant.forget_track(track)

    def track(self, sid: TrackSid) -> tuple[Participant, Publication] | None:
        """A published track and whose it is."""
        publisher = self._publishers.get(sid)
        return (publisher, publisher.tracks[sid]) if publisher else None

    def tracks(self) -> Iterator[tuple[Participant, Publication]]:
        """All published tracks, the oldest first."""
        return iter([(owner, owner.tracks[sid]) for sid, owner in self._publishers.items()])

    def info(self) -> models.Room:
        """What is told of the room."""
        visible = [participant for participant in self if not participant.is_hidden]
        return models.Room(
            sid=self.sid,
            name=self.name,
            empty_timeout=int(self.config.empty_timeout),
            departure_timeout=int(self.config.departure_timeout),
            max_participants=self.config.max_participants,
            creation_time=int(self._at.timestamp()),
            creation_time_ms=int(self._at.timestamp() * 1000),
            enabled_codecs=self.codecs(),
            metadata=self.metadata,
            num_participants=sum(not participant.is_dependent for participant in visible),
            num_publishers=sum(participant.is_publisher for participant in visible),
            active_recording=any(participant.is_recorder for participant in self),
        )

    def codecs(self) -> list[models.Codec]:
        """What may be published."""
        return [models.Codec(mime=mime) for mime in self.config.enabled_codecs]

    def tell(self, participant: Participant, message: rtc.SignalResponse) -> Actions:
        """Send to one, if there is a socket."""
        if participant.has_socket:
            yield Send(participant.sid, message)

    def tell_all(self, message: rtc.SignalResponse, but: Participant | None = None) -> Actions:
        """Send the same to everybody."""
        for participant in self:
            if participant is not but:
                yield from self.tell(participant, message)

    def announce(self, participant: Participant, *, to_itself: bool = True) -> Actions:
        """Something about a participant has changed: tell everybody who may know of it."""
        participant.touch()
        info = participant.info()
        message = messages.update([info])
        if participant.is_hidden:
            if to_itself:
                yield from self.tell(participant, message)
        else:
            yield from self.tell_all(message, but=None if to_itself else participant)
        yield Report("participant_updated", self.info(), info)
