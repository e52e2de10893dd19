"""What participants publish: announced, bound to media, muted, ended. Pure."""

from __future__ import annotations

from collections.abc import Collection, Generator
from typing import Final, Literal

from livekit.protocol import models, rtc

from mulisa.sfu import messages
from mulisa.sfu.events import ExpectTrack, Report, RoomAction, SetMuted, Unpublish
from mulisa.sfu.media import Inbound, TrackSid
from mulisa.sfu.participants import Participant
from mulisa.sfu.publications import Publication
from mulisa.sfu.roster import Actions, Roster
from mulisa.sfu.sids import new_track_sid
from mulisa.sfu.subscribing import Subscribing

_TYPES: Final = (models.AUDIO, models.VIDEO)


class Publishing:
    """The publications of one room."""

    def __init__(self, roster: Roster, subscribing: Subscribing) -> None:
        self._roster = roster
        self._subscribing = subscribing

    def announce(self, publisher: Participant, request: rtc.SignalRequest) -> Actions:
        """``add_track``: the client is about to send a track."""
        wanted = request.add_track
        known = _waiting(publisher, wanted)
        if known is not None:  # asked again, by a client that missed the answer
            yield from self._roster.tell(publisher, messages.track_published(known))
            return
        if problem := self._problem(publisher, wanted):
            answer = messages.request_response(request, *problem)
            yield from self._roster.tell(publisher, answer)
            return
        sid = new_track_sid(wanted.type, wanted.source)
        publication = Publication(sid, wanted, self._roster.config.enabled_codecs)
        publisher.tracks[publication.sid] = publication
        yield ExpectTrack(publisher.sid, publication.sid, publication.request)
        yield from self._roster.tell(publisher, messages.track_published(publication))

    def bind(self, publisher: Participant, bound: Collection[Inbound]) -> Actions:
        """The client's media has m-lines for these tracks and for no others.

        Everybody is told before anybody is subscribed: clients drop media of what they do not know.
        """
        arrived = {inbound.track for inbound in bound}
        ended = [
            publication
            for publication in publisher.tracks.values()
            if publication.is_bound and publication.sid not in arrived
        ]
        for publication in ended:
            yield from self._end(publisher, publication)
        new = yield from self._take_in(publisher, bound)
        if ended or new:
            yield from self._roster.announce(publisher)
            yield from self._report("track_unpublished", publisher, ended)
            yield from self._report("track_published", publisher, new)
        for publication in new:
            if publication.info.muted:
                yield SetMuted(publication.sid, True)
            yield from self._subscribing.offer(publisher, publication)

    def _take_in(
        self, publisher: Participant, bound: Collection[Inbound]
    ) -> Generator[RoomAction, None, list[Publication]]:
        new = []
        for inbound in bound:
            publication = publisher.tracks.get(inbound.track)
            if publication is None or publication.is_bound:
                continue
            if publication.kind != inbound.kind:  # clients abort on a track of the wrong kind
                yield from self._withdraw(publisher, publication)
                continue
            publication.bind(inbound)
            self._roster.list_track(publisher, publication.sid)
            new.append(publication)
        return new

    def mute(self, publisher: Participant, request: rtc.SignalRequest) -> Actions:
        """The client has muted or unmuted a track of its own."""
        publication = publisher.tracks.get(TrackSid(request.mute.sid))
        if publication is None:
            answer = messages.request_response(request, rtc.RequestResponse.NOT_FOUND)
            yield from self._roster.tell(publisher, answer)
        else:
            yield from self.set_muted(publisher, publication, request.mute.muted)

    def set_muted(
        self, publisher: Participant, publication: Publication, is_muted: bool
    ) -> Actions:
        """Nothing of a muted track is forwarded; everybody is told."""
        if publication.info.muted == is_muted:
            return
        publication.info.muted = is_muted
        if publication.is_bound:
            yield SetMuted(publication.sid, is_muted)
            yield from self._roster.announce(publisher)

    def update_audio(self, publisher: Participant, request: rtc.SignalRequest) -> Actions:
        """The client's track has other features now."""
        publication = publisher.tracks.get(TrackSid(request.update_audio_track.track_sid))
        if publication is None or publication.kind != "audio":
            answer = messages.request_response(request, rtc.RequestResponse.NOT_FOUND)
            yield from self._roster.tell(publisher, answer)
            return
        publication.set_features(list(request.update_audio_track.features))
        if publication.is_bound:
            yield from self._roster.announce(publisher)

    def update_video(self, publisher: Participant, request: rtc.SignalRequest) -> Actions:
        """The client's track has another size now."""
        wanted = request.update_video_track
        publication = publisher.tracks.get(TrackSid(wanted.track_sid))
        if publication is None or publication.kind != "video":
            answer = messages.request_response(request, rtc.RequestResponse.NOT_FOUND)
            yield from self._roster.tell(publisher, answer)
            return
        publication.info.width, publication.info.height = wanted.width, wanted.height
        if publication.is_bound:
            yield from self._roster.announce(publisher)

    def enforce(self, publisher: Participant) -> Actions:
        """Take away what the publisher's permissions no longer allow; the caller announces it."""
        for publication in tuple(publisher.tracks.values()):
            if not publisher.permissions.may_publish(publication.info.source):
                yield from self._withdraw(publisher, publication)

    def close(self, publisher: Participant) -> Actions:
        """The publisher has gone, and all of its tracks with it."""
        ended = [publication for publication in publisher.tracks.values() if publication.is_bound]
        for publication in ended:
            yield from self._subscribing.end(publication.sid)
        publisher.tracks.clear()
        publisher.touch()
        yield from self._report("track_unpublished", publisher, ended)

    def _problem(
        self, publisher: Participant, wanted: rtc.AddTrackRequest
    ) -> tuple[messages.Reason, str] | None:
        if not publisher.permissions.may_publish(wanted.source):
            return rtc.RequestResponse.NOT_ALLOWED, "no permission to publish this source"
        if wanted.type not in _TYPES:
            return rtc.RequestResponse.UNSUPPORTED_TYPE, "only audio and video can be published"
        if wanted.sid:
            return rtc.RequestResponse.NOT_FOUND, "a track has one codec"
        if len(publisher.tracks) >= self._roster.config.max_tracks:
            return rtc.RequestResponse.LIMIT_EXCEEDED, "too many tracks"
        return None

    def _withdraw(self, publisher: Participant, publication: Publication) -> Actions:
        yield from self._end(publisher, publication)
        yield Unpublish(publisher.sid, publication.sid)
        yield from self._roster.tell(publisher, messages.track_unpublished(publication.sid))
        if publication.is_bound:
            yield from self._report("track_unpublished", publisher, [publication])

    def _end(self, publisher: Participant, publication: Publication) -> Actions:
        del publisher.tracks[publication.sid]
        publisher.touch()
        if publication.is_bound:
            yield from self._subscribing.end(publication.sid)

    def _report(
        self,
        event: Literal["track_published", "track_unpublished"],
        publisher: Participant,
        publications: Collection[Publication],
    ) -> Actions:
        for publication in publications:
            info = models.TrackInfo()
            info.CopyFrom(publication.info)
            yield Report(event, self._roster.info(), publisher.info(), info)


def _waiting(publisher: Participant, wanted: rtc.AddTrackRequest) -> Publication | None:
    """The track that was announced by the same request and is not bound yet."""
    for publication in publisher.tracks.values():
        if publication.request == wanted and not publication.is_bound:
            return publication
    return None
