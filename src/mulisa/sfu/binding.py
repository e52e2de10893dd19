"""Which announced track each sending m-line of a client carries. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from mulisa.sfu.media import TrackSid
from mulisa.sfu.negotiation import ExpectedTrack
from mulisa.wire.description import Media


def bindings(
    senders: Sequence[Media],
    expected: Sequence[ExpectedTrack],
    before: Mapping[str, TrackSid],
    ended: Collection[TrackSid],
) -> dict[str, TrackSid]:
    """Tracks by mid: a track's m-line is the one with its track id, else the first unclaimed.

    `before` are those of the last time, which stay; none of `ended` is bound again.
    """
    by_track = {each.track: each for each in expected}
    bound = {each.mid: before[each.mid] for each in senders if before.get(each.mid) in by_track}
    pending = [
        each for each in expected if each.track not in {*bound.values(), *before.values(), *ended}
    ]
    for media in senders:
        current = by_track.get(bound.get(media.mid, TrackSid("")))
        if current and current.is_called(media.track_ids):
            continue
        named = [each for each in pending if each.is_called(media.track_ids)]
        _bind_one(media, named[::-1], bound, pending)  # the newest of the same name
    for media in senders:
        if media.mid not in bound:
            _bind_one(media, pending, bound, pending)
    return bound


def _bind_one(
    media: Media,
    candidates: Iterable[ExpectedTrack],
    bound: dict[str, TrackSid],
    pending: list[ExpectedTrack],
) -> None:
    found = next((each for each in candidates if each.kind == media.kind), None)
    if found:
        bound[media.mid] = found.track
        pending.remove(found)
