"""Who receives which track: what each wants, brought in line with what it may. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from livekit.protocol import models, rtc

from mulisa.core.errors import SignalingError
from mulisa.sfu import messages
from mulisa.sfu.events import Pause, Subscribe, Unsubscribe
from mulisa.sfu.media import TrackSid
from mulisa.sfu.participants import Participant
from mulisa.sfu.permissions import Audience
from mulisa.sfu.publications import Publication
from mulisa.sfu.roster import Actions, Roster


class Subscribing:
    """The subscriptions of one room.

    What is taken away is taken away at once: the Unsubscribe is among the actions of the very
    event that forbade it, before whatever answers a later request.
    """

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    def update(self, subscriber: Participant, request: rtc.UpdateSubscription) -> Actions:
        """A client says which tracks it wants or does not want."""
        for track in _all_tracks(request):
            found = self._roster.track(track)
            if found and not found[0].is_hidden:
                subscriber.wishes[track] = request.subscribe
                yield from self._settle(subscriber, *found)
            elif request.subscribe:
                error = rtc.SubscriptionResponse(
                    track_sid=track, err=models.SubscriptionError.SE_TRACK_NOTFOUND
                )
                yield from self._roster.tell(
                    subscriber, rtc.SignalResponse(subscription_response=error)
                )

    def restore(self, subscriber: Participant, state: rtc.SyncState) -> Actions:
        """What a client that resumes had wanted; tracks that ended meanwhile are passed over."""
        for track in _all_tracks(state.subscription):
            if found := self._roster.track(track):
                subscriber.wishes[track] = state.subscription.subscribe
                yield from self._settle(subscriber, *found)
        yield from self._pause(subscriber, state.track_sids_disabled, is_paused=True)

    def repeat(self, subscriber: Participant) -> Actions:
        """What it was told of permissions, which it may have missed."""
        for track, is_admitted in subscriber.admitted.items():
            if found := self._roster.track(track):
                message = messages.permission_update(found[0].sid, track, is_allowed=is_admitted)
                yield from self._roster.tell(subscriber, message)

    def set_track(self, subscriber: Participant, request: rtc.UpdateTrackSettings) -> Actions:
        """A client wants a track held back for a while, or no longer."""
        yield from self._pause(subscriber, request.track_sids, is_paused=request.disabled)

    def set_audience(self, publisher: Participant, request: rtc.SubscriptionPermission) -> Actions:
        """A publisher says who may receive its tracks; nonsense leaves all as it was."""
        try:
            publisher.audience = Audience.from_message(request, self._roster.identity_of)
        except SignalingError:
            return
        for publication in publisher.tracks.values():
            if publication.is_bound:
                yield from self.offer(publisher, publication)

    def offer(self, publisher: Participant, publication: Publication) -> Actions:
        """Settle who receives this track."""
        for subscriber in self._roster:
            yield from self._settle(subscriber, publisher, publication)

    def settle_all(self, subscriber: Participant) -> Actions:
        """Settle what this participant receives."""
        for publisher, publication in self._roster.tracks():
            yield from self._settle(subscriber, publisher, publication)

    def end(self, track: TrackSid) -> Actions:
        """The track is gone: nobody receives it any more."""
        for subscriber in self._roster:
            if track in subscriber.subscribed:
                yield Unsubscribe(subscriber.sid, track, has_ended=True)
        self._roster.strike_track(track)

    def begun(self, subscriber: Participant, track: TrackSid) -> Actions:
        """A subscriber's connection can carry the track: its publisher is told of the first."""
        found = self._roster.track(track)
        if found is None or track not in subscriber.subscribed:
            return
        publisher, publication = found
        if not publication.is_heard:
            publication.is_heard = True
            yield from self._roster.tell(
                publisher,
                rtc.SignalResponse(track_subscribed=rtc.TrackSubscribed(track_sid=track)),
            )

    def _settle(
        self, subscriber: Participant, publisher: Participant, publication: Publication
    ) -> Actions:
        if subscriber is publisher:
            return
        track = publication.sid
        is_wanted = subscriber.wants(track)
        is_admitted = subscriber.is_recorder or publisher.audience.admits(
            subscriber.identity, track
        )
        may = subscriber.permissions.can_subscribe and not publisher.is_hidden and is_admitted
        if track in subscriber.subscribed and not (is_wanted and may):
            subscriber.subscribed.discard(track)
            yield Unsubscribe(subscriber.sid, track)
        if is_wanted and not publisher.is_hidden:
            yield from self._tell_permission(subscriber, publisher, track, is_admitted)
        if is_wanted and may and track not in subscriber.subscribed:
            subscriber.subscribed.add(track)
            yield Subscribe(subscriber.sid, track, publisher.sid)
            if track in subscriber.paused:
                yield Pause(subscriber.sid, track, True)

    def _tell_permission(
        self, subscriber: Participant, publisher: Participant, track: TrackSid, is_admitted: bool
    ) -> Actions:
        """Only of what changed: clients take a track to be allowed until told otherwise."""
        if is_admitted != subscriber.admitted.get(track, True):
            subscriber.admitted[track] = is_admitted
            message = messages.permission_update(publisher.sid, track, is_allowed=is_admitted)
            yield from self._roster.tell(subscriber, message)

    def _pause(self, subscriber: Participant, tracks: Iterable[str], *, is_paused: bool) -> Actions:
        for track in map(TrackSid, tracks):
            if self._roster.track(track) is None or is_paused == (track in subscriber.paused):
                continue
            if is_paused:
                subscriber.paused.add(track)
            else:
                subscriber.paused.discard(track)
            if track in subscriber.subscribed:
                yield Pause(subscriber.sid, track, is_paused)


def _all_tracks(request: rtc.UpdateSubscription) -> list[TrackSid]:
    """Of both lists, each once."""
    tracks = list(request.track_sids)
    for group in request.participant_tracks:
        tracks.extend(group.track_sids)
    return [TrackSid(track) for track in dict.fromkeys(tracks)]
