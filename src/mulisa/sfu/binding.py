"""Which announced track each sending m-line of a client carries. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

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
    places = {track: mid for mid, track in bound.items()}
    by_mid = {each.mid: each for each in senders}
    named = _by_name(expected)
    for media in senders:
        former = bound.get(media.mid, TrackSid(""))
        if former in by_track and _is_for(by_track[former], media):
            continue
        for track in _called(media, named):
            place = places.get(track.track)
            if place is None or not _is_for(track, by_mid[place]):
                places.pop(former, None)
                bound.pop(place or "", None)  # it was taken for another m-line's
                bound[media.mid], places[track.track] = track.track, media.mid
                break
    pending = [each for each in expected if each.track not in places]
    for media in senders:
        if media.mid in fresh and media.mid not in bound:
            found = next((each for each in pending if each.kind == media.kind), None)
            if found:
                pending.remove(found)
                bound[media.mid] = found.track
    return bound


def _is_for(track: ExpectedTrack, media: Media) -> bool:
    return track.kind == media.kind and track.is_called(media.track_ids)


def _by_name(expected: Sequence[ExpectedTrack]) -> Mapping[str, Sequence[ExpectedTrack]]:
    """Tracks by each of their ids, the newest first."""
    named: dict[str, list[ExpectedTrack]] = {}
    for track in reversed(expected):
        for name in {track.cid, *track.cids}:
            named.setdefault(name, []).append(track)
    return named


def _called(media: Media, named: Mapping[str, Sequence[ExpectedTrack]]) -> Iterator[ExpectedTrack]:
    """The tracks that this m-line may be for, by its track id."""
    for name in media.track_ids:
        yield from (each for each in named.get(name, ()) if each.kind == media.kind)
