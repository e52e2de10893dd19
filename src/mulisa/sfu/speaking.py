"""Who is told that somebody speaks. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from mulisa.core.room import ParticipantSid
from mulisa.sfu import messages
from mulisa.sfu.media import TrackSid
from mulisa.sfu.participants import Participant
from mulisa.sfu.roster import Actions, Roster
from mulisa.sfu.speakers import Speakers


class Speaking:
    """The active speakers of one room, as each participant knows them.

    Told are those who receive something of a speaker, and the speaker: a private voice is not
    betrayed by its loudness.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._speakers = Speakers()
        self._levels: dict[ParticipantSid, float] = {}
        self._told: dict[ParticipantSid, dict[ParticipantSid, float]] = {}

    def measure(self, levels: Mapping[TrackSid, tuple[float, float]]) -> Actions:
        """The loudness of all tracks since the last time."""
        owners = {
            track.sid: publisher.sid
            for publisher, track in self._roster.tracks()
            if track.kind == "audio" and not track.info.muted
        }
        heard = {track: level for track, level in levels.items() if track in owners}
        self._levels = self._speakers.measure(heard, owners)
        for participant in self._roster:
            yield from self._tell(participant)

    def settle(self) -> Actions:
        """Tracks may have ended, and nothing is measured of those."""
        if self._levels:
            sounding = {who.sid for who, track in self._roster.tracks() if track.kind == "audio"}
            silent = self._levels.keys() - sounding
            for sid in silent:
                self._silence(sid)
            if silent:
                for participant in self._roster:
                    yield from self._tell(participant)

    def begin_anew(self, sid: ParticipantSid) -> None:
        """This participant may have missed what it was told."""
        self._told.pop(sid, None)

    def forget(self, sid: ParticipantSid) -> None:
        """This participant has gone."""
        self.begin_anew(sid)
        self._silence(sid)

    def _silence(self, sid: ParticipantSid) -> None:
        self._speakers.forget(sid)
        self._levels.pop(sid, None)

    def _tell(self, participant: Participant) -> Actions:
        known = self._told.get(participant.sid, {})
        current = self._concerning(participant) if self._levels else {}
        if current == known or not participant.has_socket:
            return
        silent = [sid for sid in known if sid not in current]
        self._told[participant.sid] = current
        yield from self._roster.tell(participant, messages.speakers(current, silent))

    def _concerning(self, participant: Participant) -> dict[ParticipantSid, float]:
        """Each of the speakers that this participant hears, and itself."""
        found = map(self._roster.track, participant.subscribed)
        heard = {publisher.sid for publisher, _ in filter(None, found)} | {participant.sid}
        return {sid: level for sid, level in self._levels.items() if sid in heard}
