"""Answers to a client's offers: mode v1's only connection, v0's publisher one. Pure.

The client decides which m-lines there are; we say what flows on them. It publishes on those on
which it sends, and those on which it receives are given to the tracks that it wants.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mulisa.sfu.binding import bindings
from mulisa.sfu.codecs import (
    PUBLISHED_EXTENSIONS,
    SUBSCRIBED_EXTENSIONS,
    codecs,
    kept,
    published_formats,
    subscribed_formats,
)
from mulisa.sfu.media import RTP_STREAM_ID, Inbound, MediaKind, Outbound, TrackSid
from mulisa.sfu.negotiation import (
    MAX_IDLE,
    Answered,
    ExpectedTrack,
    OurSide,
    WantedTrack,
    msid_of,
    random_ssrc,
)
from mulisa.sfu.offered import KINDS, Offer, check_continuity, kind_of, usable_offer
from mulisa.wire import sdp
from mulisa.wire.description import Description, Format, Media, Source, direction_of


@dataclass(frozen=True, slots=True)
class _Subscription:
    """A wanted track on the m-line that it was given."""

    wanted: WantedTrack
    ssrc: int
    formats: tuple[Format, ...]

    @property
    def track(self) -> TrackSid:
        """What flows here."""
        return self.wanted.track

    @property
    def msid(self) -> str:
        """See `msid_of`."""
        return msid_of(self.wanted.publisher, self.wanted.track)


@dataclass(frozen=True, slots=True)
class _State:
    """All that lasts from one answer to the next."""

    offer: Offer | None = None
    bound: Mapping[str, TrackSid] = field(default_factory=dict)
    """Published tracks by mid."""
    ended: frozenset[TrackSid] = frozenset()
    """Published once: never bound again."""
    formats: Mapping[str, tuple[Format, ...]] = field(default_factory=dict)
    """What we receive, by mid."""
    given: Mapping[str, _Subscription] = field(default_factory=dict)
    unsupported: frozenset[TrackSid] = frozenset()
    version: int = 0


class AnsweringNegotiation:
    """The descriptions of one connection whose offers are the client's."""

    def __init__(self, draw: Callable[[], int] = random_ssrc) -> None:
        """`draw` gives random numbers from 1 to 2**32 - 1."""
        self._draw = draw
        self._session_id = draw()
        self._state = _State()
        self._released: set[TrackSid] = set()
        self._retired: set[TrackSid] = set()
        self._reader = sdp.Reader()
        self._last_read: Offer | None = None

    def restarts_ice(self, offer: str) -> bool:
        """Whether the answer needs new credentials of ours, because the offer has new ones.

        Raises NegotiationError.
        """
        before = self._state.offer
        return before is not None and self._read(offer).remote != before.remote

    def answer(
        self,
        offer: str,
        ours: OurSide,
        expected: Sequence[ExpectedTrack],
        wanted: Sequence[WantedTrack],
    ) -> Answered:
        """Answer an offer.

        `expected` are all tracks that the client announced and that have not ended, `wanted` all
        that it is to receive. An m-line that a track loses here is inactive in this answer and
        can be given to another one in the next: clients see a new track only then.

        Raises NegotiationError; everything is then as it was before.
        """
        read = self._read(offer)
        if self._state.offer:
            check_continuity(self._state.offer, read)
        state = self._bind(replace(self._state, offer=read), read, expected, self._fresh(read))
        state = self._give(replace(state, version=state.version + 1), read, wanted)
        state = replace(state, formats=_received(state, read, expected))
        self._state, self._released, self._retired = state, set(), set()
        return self._answered(read, ours, wanted)

    def bind(self, expected: Sequence[ExpectedTrack]) -> tuple[Inbound, ...]:
        """All published tracks, after tracks were announced whose m-line was offered before."""
        if self._state.offer:
            self._state = self._bind(self._state, self._state.offer, expected)
        return self._inbound()

    def release(self, track: TrackSid) -> None:
        """A subscription ends: if it is wanted again later, that is a new one."""
        self._released.add(track)

    def retire(self, track: TrackSid) -> None:
        """The track has ended: its m-line is taken back in the next answer, whenever that is."""
        self._retired.add(track)

    def needs_offer(self, wanted: Sequence[WantedTrack]) -> tuple[int, int] | None:
        """Whether the client has to offer again, so that it receives what is wanted.

        How many m-lines of audio and of video it has to add for that, which may be none; None
        when all is as it should be but for a few tracks that have ended, or when it has not
        offered yet.
        """
        state = self._state
        if state.offer is None:
            return None
        given = self._live()
        wanted_now = {each.track for each in wanted}
        new = [each for each in wanted if each.track not in given | state.unsupported]
        idle = {each.track for each in state.given.values()} - (wanted_now & given)
        if not new and idle <= self._retired and len(idle) <= MAX_IDLE:
            return None
        audio, video = (self._extra(state.offer, kind, new) for kind in KINDS)
        return audio, video

    def _extra(self, offer: Offer, kind: MediaKind, new: Iterable[WantedTrack]) -> int:
        free = sum(each.receives and each.mid not in self._state.given for each in offer.of(kind))
        return max(0, sum(each.kind == kind for each in new) - free)

    def _live(self) -> set[TrackSid]:
        """Tracks with an m-line that have not been released since."""
        return {each.track for each in self._state.given.values()} - self._released

    def _read(self, text: str) -> Offer:
        if self._last_read is None or self._last_read.text != text:
            description = self._reader.read(text)
            self._last_read = usable_offer(text, description, self._state.offer)
        return self._last_read

    def _fresh(self, read: Offer) -> set[str]:
        """The m-lines on which something is sent that was not sent before."""
        before = {each.mid: each.track_ids for each in self._senders()}
        return {each.mid for each in read.senders if before.get(each.mid) != each.track_ids}

    def _senders(self) -> list[Media]:
        return self._state.offer.senders if self._state.offer else []

    def _bind(
        self,
        state: _State,
        read: Offer,
        expected: Sequence[ExpectedTrack],
        fresh: Collection[str] = (),
    ) -> _State:
        living = [each for each in expected if each.track not in state.ended]
        bound = bindings(read.senders, living, state.bound, fresh)
        gone = set(state.bound.values()) - set(bound.values())
        ended = (state.ended | gone) & {each.track for each in expected}
        return replace(state, bound=bound, ended=frozenset(ended))

    def _give(self, state: _State, read: Offer, wanted: Sequence[WantedTrack]) -> _State:
        """M-lines for what is wanted; those that it has are kept."""
        live = {each.track: each for each in wanted if each.track not in self._released}
        given = dict(_kept_subscriptions(state, read, self._state.offer, live))
        has = {each.track for each in given.values()}
        has |= {each.track for each in state.given.values()}  # what is lost here comes back later
        free = [each for kind in KINDS for each in read.of(kind) if each.receives]
        free = [each for each in free if each.mid not in state.given]
        free.sort(key=lambda each: each.sends)  # what publishes is taken last
        unsupported = set()
        for each in wanted:
            if each.track in has:
                continue
            if chosen := _first_fit(free, each):
                media, formats = chosen
                free.remove(media)
                ssrc = self._new_ssrc(read, given.values())
                given[media.mid] = _Subscription(each, ssrc, formats)
            elif _is_unsupported(read, each):
                unsupported.add(each.track)
        return replace(state, given=given, unsupported=frozenset(unsupported))

    def _new_ssrc(self, read: Offer, given: Collection[_Subscription]) -> int:
        used = {source.ssrc for media in read.media for source in media.sources}
        used |= {each.ssrc for each in given}
        used |= {each.ssrc for each in self._state.given.values()}
        while (ssrc := self._draw()) in used:
            pass
        return ssrc

    def _answered(self, read: Offer, ours: OurSide, wanted: Sequence[WantedTrack]) -> Answered:
        state = self._state
        return Answered(
            remote=read.remote,
            fingerprint=read.fingerprint,
            outbound=tuple(self._outbound(read)),
            mid_to_track={mid: each.track for mid, each in state.given.items()},
            unsupported=tuple(each.track for each in wanted if each.track in state.unsupported),
            sdp=sdp.write(self._description(read, ours)),
            inbound=self._inbound(),
            missing=self.needs_offer(wanted) or (0, 0),
            has_data=any(media.kind == "application" for media in read.taken.values()),
        )

    def _inbound(self) -> tuple[Inbound, ...]:
        offer = self._state.offer
        return tuple(
            Inbound(
                track=track,
                kind=kind_of(offer.taken[mid]),
                mid=mid,
                codecs=codecs(self._state.formats[mid]),
                ssrcs=offer.taken[mid].ssrcs,
                rids=_layers(offer.taken[mid]),
                extensions=_published_extensions(offer.taken[mid]),
            )
            for mid, track in self._state.bound.items()
            if offer
        )

    def _outbound(self, read: Offer) -> Iterator[Outbound]:
        for mid, each in self._state.given.items():
            media = read.taken[mid]
            kind = kind_of(media)
            extensions = kept(media.extensions, SUBSCRIBED_EXTENSIONS[kind])
            yield Outbound(each.track, kind, mid, each.ssrc, codecs(each.formats), extensions)

    def _description(self, read: Offer, ours: OurSide) -> Description:
        return Description(
            media=tuple(self._answer_media(media, read, ours) for media in read.media),
            bundle=tuple(read.taken),
            session_id=self._session_id,
            version=self._state.version,
            is_ice_lite=True,
        )

    def _answer_media(self, media: Media, read: Offer, ours: OurSide) -> Media:
        if media.mid not in read.taken:
            return Media(media.kind, media.mid, media.protocol, media.tokens[:1], is_rejected=True)
        answer = Media(
            media.kind,
            media.mid,
            media.protocol,
            media.tokens,
            credentials=ours.credentials,
            fingerprint=ours.fingerprint,
            setup="passive",
            candidates=ours.candidates if media.mid == next(iter(read.taken)) else (),
        )
        return answer if media.kind == "application" else self._answer_rtp(media, answer)

    def _answer_rtp(self, media: Media, answer: Media) -> Media:
        given = self._state.given.get(media.mid)
        received = self._state.formats[media.mid] if media.sends or not given else ()
        formats = _merged(received, given.formats if given else ())
        return replace(
            answer,
            tokens=tuple(str(each.payload_type) for each in formats),
            direction=direction_of(sends=given is not None, receives=media.sends),
            formats=formats,
            extensions=_published_extensions(media),
            rids=_layers(media) if media.sends else (),
            msids=(given.msid,) if given else (),
            sources=(Source(given.ssrc, given.wanted.publisher, given.msid),) if given else (),
        )


def _kept_subscriptions(
    state: _State, read: Offer, before: Offer | None, live: Mapping[TrackSid, WantedTrack]
) -> Iterator[tuple[str, _Subscription]]:
    for mid, each in state.given.items():
        media, wanted = read.taken.get(mid), live.get(each.track)
        if media is None or wanted is None or not media.receives:
            continue
        if before and media is before.taken.get(mid) and wanted == each.wanted:
            yield mid, each
        elif formats := subscribed_formats(media, wanted.codecs):
            yield mid, replace(each, wanted=wanted, formats=formats)


def _first_fit(
    free: Iterable[Media], wanted: WantedTrack
) -> tuple[Media, tuple[Format, ...]] | None:
    for media in free:
        if media.kind == wanted.kind and (formats := subscribed_formats(media, wanted.codecs)):
            return media, formats
    return None


def _is_unsupported(read: Offer, wanted: WantedTrack) -> bool:
    """The client could receive tracks of the kind, but none in this codec."""
    lines = [media for media in read.of(wanted.kind) if media.receives]
    return bool(lines) and not _first_fit(lines, wanted)


def _received(
    state: _State, read: Offer, expected: Iterable[ExpectedTrack]
) -> dict[str, tuple[Format, ...]]:
    by_track = {each.track: each for each in expected}
    bound = {
        mid: published_formats(read.taken[mid], by_track[track])
        for mid, track in state.bound.items()
    }
    return {**read.formats, **bound}


def _merged(first: Iterable[Format], second: Iterable[Format]) -> tuple[Format, ...]:
    by_payload: dict[int, Format] = {}
    for each in (*first, *second):
        by_payload.setdefault(each.payload_type, each)
    return tuple(by_payload.values())


def _published_extensions(media: Media) -> dict[str, int]:
    """Those that a publisher needs, taken on every m-line of the kind.

    Chromium offers an extension that was refused on one m-line on no other one any more, and then
    cannot even describe simulcast, which needs RTP stream ids.
    """
    return kept(media.extensions, PUBLISHED_EXTENSIONS[kind_of(media)])


def _layers(media: Media) -> tuple[str, ...]:
    """Simulcast layers, which only RTP stream ids tell apart; LiveKit's names, low to high."""
    if media.kind != "video" or RTP_STREAM_ID not in media.extensions:
        return ()
    named = ("q", "h", "f")
    rids = media.rids
    return tuple(sorted(rids, key=named.index)) if set(rids) <= set(named) else rids
