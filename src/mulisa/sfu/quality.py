"""How good each participant's connection is, and who is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from livekit.protocol import models, rtc

from mulisa.core.room import ParticipantSid
from mulisa.sfu.participants import Participant
from mulisa.sfu.roster import Actions, Roster

_BEST_SCORE: Final = 4.5
_GOOD_ABOVE: Final = 3.0
"""A mean opinion score; E-model (ITU-T G.107) scores above 4.1 satisfy, below 2.5 do not."""
_EXCELLENT_ABOVE: Final = 4.1
_CODEC_DELAY_MS: Final = 10.0

Quality = models.ConnectionQuality


def score(loss: float, round_trip: float) -> float:
    """Mean opinion score, 1 to 4.5, of speech over a connection.

    A simplified E-model: delay beyond 160 ms and each per cent of lost packets cost.
    """
    delay = round_trip * 1000 / 2 + _CODEC_DELAY_MS
    rating = 93.2 - (delay / 40 if delay < 160 else (delay - 120) / 10) - 250 * loss
    if rating <= 0:
        return 1.0
    mos = 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6
    return min(_BEST_SCORE, max(1.0, mos))


def quality(mos: float) -> Quality:
    """What participants are shown."""
    if mos > _EXCELLENT_ABOVE:
        return Quality.EXCELLENT
    return Quality.GOOD if mos > _GOOD_ABOVE else Quality.POOR


class Qualities:
    """The quality of every connection of one room; told when one of them changes."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._scores: dict[ParticipantSid, float] = {}
        self._told: dict[ParticipantSid, set[ParticipantSid]] = {}
        """Whose quality each participant knows."""

    def begin(self, participant: Participant) -> Actions:
        """A connection was established: all is well until something else is measured."""
        self._scores[participant.sid] = _BEST_SCORE
        yield from self._tell(participant, [participant.sid, *self._heard_by(participant)])
        yield from self._tell_hearers([participant.sid], but=participant)

    def introduce(self, participant: Participant) -> Actions:
        """It began to receive something: the quality of those whom it hears now."""
        known = self._told.get(participant.sid, set())
        yield from self._tell(participant, self._heard_by(participant) - known)

    def measure(self, connections: Mapping[ParticipantSid, tuple[float, float]]) -> Actions:
        """Loss (0 to 1) and round-trip time (seconds) of some connections."""
        changed = []
        for sid, (loss, round_trip) in connections.items():
            if sid not in self._scores:
                continue
            before, self._scores[sid] = self._scores[sid], score(loss, round_trip)
            if quality(before) != quality(self._scores[sid]):
                changed.append(sid)
        if changed:
            yield from self._tell_hearers(changed)

    def forget(self, sid: ParticipantSid) -> None:
        """The participant has gone."""
        self._scores.pop(sid, None)
        self._told.pop(sid, None)
        for known in self._told.values():
            known.discard(sid)

    def _tell_hearers(
        self, changed: list[ParticipantSid], but: Participant | None = None
    ) -> Actions:
        """Tell those who receive something of a participant, and the participant."""
        for participant in self._roster:
            if participant is but or not participant.is_active:
                continue
            concerned = {participant.sid, *self._heard_by(participant)}
            yield from self._tell(participant, [sid for sid in changed if sid in concerned])

    def _tell(self, participant: Participant, sids: Iterable[ParticipantSid]) -> Actions:
        update = rtc.ConnectionQualityUpdate()
        for sid in dict.fromkeys(sids):
            if sid in self._scores:
                mos = self._scores[sid]
                update.updates.add(participant_sid=sid, quality=quality(mos), score=mos)
                self._told.setdefault(participant.sid, set()).add(sid)
        if update.updates:
            message = rtc.SignalResponse(connection_quality=update)
            yield from self._roster.tell(participant, message)

    def _heard_by(self, participant: Participant) -> set[ParticipantSid]:
        found = map(self._roster.track, participant.subscribed)
        return {publisher.sid for publisher, _ in filter(None, found)}
