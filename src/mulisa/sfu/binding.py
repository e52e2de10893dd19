"""Which announced track each sending m-line of a client carries. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mulisa.sfu.media import TrackSid
from mulisa.sfu.negotiation import ExpectedTrack
from mulisa.wire.description import Media


def bindings(
    senders: Sequence[Media],
    expected: Sequence[ExpectedTrack],
    before: Mapping[str, TrackSid],
    fresh: Collection[str] = (),
) -> dict[str, TrackSid]:
    """Tracks by mid. An m-line belongs to the newest track that has its track id.

    What has no such m-line goes to one of `fresh` that nobody claims, for some browsers publish
    under another id than they announced; only to those, since others may send what has ended.
    `before` are the bindings of the last time, which stay unless an m-line has another track now.
    """
    by_track = {each.track: each for each in expected}
    bound = {each.mid: before[each.mid] for each in senders if before.get(each.mid) in by_track}
    for media in senders:
        current = by_track.get(bound.get(media.mid, TrackSid("")))
        if current is None or not _is_for(current, media):
            _bind_by_name(media, senders, expected, bound)
    for media in senders:
        if media.mid in fresh and media.mid not in bound:
            pending = (each for each in expected if each.track not in bound.values())
            found = next((each.track for each in pending if each.kind == media.kind), None)
            if found:
                bound[media.mid] = found
    return bound


def _is_for(track: ExpectedTrack, media: Media) -> bool:
    return track.kind == media.kind and track.is_called(media.track_ids)


def _bind_by_name(
    media: Media,
    senders: Sequence[Media],
    expected: Sequence[ExpectedTrack],
    bound: dict[str, TrackSid],
) -> None:
    """Also a track that some other m-line was taken for, unless by name as well."""
    places = {track: mid for mid, track in bound.items()}
    by_mid = {each.mid: each for each in senders}
    for track in reversed(expected):
        place = places.get(track.track)
        if _is_for(track, media) and not (place and _is_for(track, by_mid[place])):
            if place:
                del bound[place]
            bound[media.mid] = track.track
            return
