"""Offers of ours: mode v0's subscriber connection. Pure.

An m-line per track that the client receives. M-lines of tracks that are gone stay, inactive, and
are given to others once the client has answered that they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mulisa.core.errors import NegotiationError
from mulisa.sfu.codecs import FEEDBACK, OPUS, RED, codecs, identity, kept, parameters
from mulisa.sfu.media import (
    AUDIO_LEVEL,
    DEPENDENCY_DESCRIPTOR,
    Codec,
    MediaKind,
    Outbound,
    TrackSid,
)
from mulisa.sfu.negotiation import (
    MAX_IDLE,
    Negotiated,
    NothingAccepted,
    OurSide,
    WantedTrack,
    msid_of,
    random_ssrc,
)
from mulisa.wire import sdp
from mulisa.wire.description import (
    RTP,
    Description,
    Fingerprint,
    Format,
    IceCredentials,
    Media,
    Source,
    direction_of,
)

OPUS_TYPE: Final = 111
RED_TYPE: Final = 63
FIRST_TYPES: Final[Mapping[tuple[str, ...], int]] = {
    ("vp8",): 96,
    ("vp9", "0"): 98,
    ("vp9", "2"): 100,
    ("h264", "1", "constrained baseline"): 102,
    ("h264", "0", "constrained baseline"): 125,
    ("av1", "0"): 45,
}
"""Payload types of video as browsers number them."""
MORE_TYPES: Final = (*range(103, 111), *range(112, 125), 126, 127, *range(35, 45), *range(46, 63))
"""For other profiles, as they come; no number collides with RTCP (RFC 5761, 4)."""
EXTENSIONS: Final[Mapping[MediaKind, Mapping[str, int]]] = {
    "audio": {AUDIO_LEVEL: 1},
    "video": {DEPENDENCY_DESCRIPTOR: 2},
}


@dataclass(frozen=True, slots=True)
class _Given:
    """What an m-line is given to."""

    wanted: WantedTrack
    ssrc: int

    @property
    def msid(self) -> str:
        """See `msid_of`."""
        return msid_of(self.wanted.publisher, self.wanted.track)


@dataclass(frozen=True, slots=True)
class _Slot:
    """One m-line."""

    mid: str
    kind: MediaKind
    formats: tuple[Format, ...]
    given: _Given | None = None
    is_resting: bool = False
    """It lost its track, which the client has not answered yet."""
    is_refused: bool = False
    """The client closed it; another one with a new mid may take its place (RFC 9429, 5.2.2)."""

    @property
    def is_free(self) -> bool:
        return self.given is None and not self.is_resting


class OfferingNegotiation:
    """The descriptions of one connection whose offers are ours; one offer at a time."""

    def __init__(self, draw: Callable[[], int] = random_ssrc) -> None:
        """`draw` gives random numbers from 1 to 2**32 - 1."""
        self._draw = draw
        self._session_id = draw()
        self._version = 0
        self._slots: tuple[_Slot, ...] = ()
        self._mids = 0
        self._reader = sdp.Reader()
        self._is_pending = False
        self._transport: tuple[IceCredentials, Fingerprint] | None = None
        self._released: set[TrackSid] = set()
        self._retired: set[TrackSid] = set()
        self._unsupported: set[TrackSid] = set()
        self._types: dict[tuple[str, ...], int] = dict(FIRST_TYPES)

    def offer(self, ours: OurSide, wanted: Sequence[WantedTrack]) -> str:
        """An offer with all that the client is to receive; other credentials restart ICE.

        It takes the place of an offer that was never answered. A track that loses its m-line here
        gets another one in the next offer at the earliest: see `needs_offer`.
        """
        lost = {each.track for each in self._given()} & self._released
        live = {each.track: each for each in wanted if each.track not in lost}
        slots = [_kept(slot, live) for slot in self._slots]
        has = {slot.given.wanted.track for slot in slots if slot.given}
        self._unsupported &= {each.track for each in wanted}
        for each in wanted:
            if each.track in live and each.track not in has | self._unsupported:
                self._place(slots, each)
        self._slots, self._released, self._retired = tuple(slots), set(), set()
        self._version += 1
        self._is_pending = True
        return sdp.write(self._description(ours))

    def accept(self, answer: str) -> Negotiated:
        """The client's answer to the offer.

        Raises NegotiationError; the offer is then still without an answer. Raises NothingAccepted
        instead when it is answered, but there is no connection yet that could be spoken of.
        """
        if not self._is_pending:
            raise NegotiationError("an answer came that nobody waits for")
        read = self._reader.read(answer)
        self._check(read)
        self._transport = _transport(read) or self._transport
        unsupported = tuple(dict.fromkeys((*self._settle(read), *self._unsupported)))
        self._is_pending = False
        if self._transport is None:
            raise NothingAccepted(unsupported)
        outbound = tuple(self._outbound(read))
        return Negotiated(
            *self._transport,
            outbound=outbound,
            mid_to_track={each.mid: each.track for each in outbound},
            unsupported=unsupported,
        )

    def release(self, track: TrackSid) -> None:
        """A subscription ends: if it is wanted again later, that is a new one."""
        self._released.add(track)

    def retire(self, track: TrackSid) -> None:
        """The track has ended: its m-line is taken back in the next offer, whenever that is."""
        self._retired.add(track)

    def needs_offer(self, wanted: Sequence[WantedTrack]) -> bool:
        """Whether the last offer holds something else than what is wanted, and has not ended."""
        given = {each.track for each in self._given()}
        asked = {each.track for each in wanted} - self._unsupported
        idle = given - (asked - self._released)
        return not asked <= given or not idle <= self._retired or len(idle) > MAX_IDLE

    def _given(self) -> Iterator[WantedTrack]:
        return (slot.given.wanted for slot in self._slots if slot.given)

    def _place(self, slots: list[_Slot], wanted: WantedTrack) -> None:
        """On a free m-line of the kind, in the place of a closed one, or on a new one."""
        formats = tuple(self._formats(wanted))
        if not formats:
            self._unsupported.add(wanted.track)
            return
        given = _Given(wanted, self._new_ssrc(slots))
        for index, slot in enumerate(slots):
            if slot.is_refused:
                slots[index] = _Slot(self._new_mid(), wanted.kind, formats, given)
                return
            if slot.is_free and slot.kind == wanted.kind:
                slots[index] = replace(slot, formats=formats, given=given)
                return
        slots.append(_Slot(self._new_mid(), wanted.kind, formats, given))

    def _new_mid(self) -> str:
        self._mids += 1
        return str(self._mids - 1)

    def _new_ssrc(self, slots: Sequence[_Slot]) -> int:
        used = {slot.given.ssrc for slot in (*slots, *self._slots) if slot.given}
        while (ssrc := self._draw()) in used:
            pass
        return ssrc

    def _formats(self, wanted: WantedTrack) -> Iterator[Format]:
        feedback = tuple(sorted(FEEDBACK[wanted.kind]))
        if wanted.kind == "audio":
            yield Format(OPUS_TYPE, OPUS, 48_000, 2, _opus_parameters(wanted.codecs), feedback)
            yield Format(RED_TYPE, RED, 48_000, 2, f"{OPUS_TYPE}/{OPUS_TYPE}")
            return
        for codec in wanted.codecs:
            if payload_type := self._payload_type(codec):
                yield Format(
                    payload_type, codec.name, codec.clock_rate, fmtp=codec.fmtp, feedback=feedback
                )

    def _payload_type(self, codec: Codec) -> int | None:
        """One and the same on all m-lines, as BUNDLE demands (RFC 9143, 9.1)."""
        key = identity(codec.name, parameters(codec.fmtp))
        if key not in self._types:
            free = [each for each in MORE_TYPES if each not in self._types.values()]
            if not free:
                return None
            self._types[key] = free[0]
        return self._types[key]

    def _description(self, ours: OurSide) -> Description:
        bundle = tuple(slot.mid for slot in self._slots if not slot.is_refused)
        return Description(
            media=tuple(
                _media(slot, ours, is_first=slot.mid in bundle[:1]) for slot in self._slots
            ),
            bundle=bundle,
            session_id=self._session_id,
            version=self._version,
            is_ice_lite=True,
        )

    def _check(self, read: Description) -> None:
        mine = [(slot.mid, slot.kind) for slot in self._slots]
        if [(media.mid, media.kind) for media in read.media] != mine:
            raise NegotiationError("the answer has other m-lines than the offer")

    def _settle(self, read: Description) -> Iterator[TrackSid]:
        """Take note of what the answer says of each m-line; the tracks that it refuses."""
        slots = []
        for slot, media in zip(self._slots, read.media, strict=True):
            settled = replace(slot, is_resting=False, is_refused=media.is_rejected)
            if slot.given and not _accepted(slot, media):
                yield slot.given.wanted.track
                settled = replace(settled, given=None)
            slots.append(settled)
        self._slots = tuple(slots)

    def _outbound(self, read: Description) -> Iterator[Outbound]:
        for slot, media in zip(self._slots, read.media, strict=True):
            if slot.given and slot.given.wanted.track not in self._released:
                yield Outbound(
                    track=slot.given.wanted.track,
                    kind=slot.kind,
                    mid=slot.mid,
                    ssrc=slot.given.ssrc,
                    codecs=codecs(_accepted(slot, media)),
                    extensions=kept(media.extensions, EXTENSIONS[slot.kind]),
                )


def _kept(slot: _Slot, live: Mapping[TrackSid, WantedTrack]) -> _Slot:
    if slot.given is None or slot.given.wanted.track in live:
        return slot
    return replace(slot, given=None, is_resting=True)


def _media(slot: _Slot, ours: OurSide, *, is_first: bool) -> Media:
    tokens = tuple(str(each.payload_type) for each in slot.formats)
    if slot.is_refused:
        return Media(slot.kind, slot.mid, RTP, tokens[:1], is_rejected=True)
    given = slot.given
    return Media(
        slot.kind,
        slot.mid,
        RTP,
        tokens,
        direction=direction_of(sends=given is not None, receives=False),
        formats=slot.formats,
        extensions=EXTENSIONS[slot.kind],
        msids=(given.msid,) if given else (),
        sources=(Source(given.ssrc, given.wanted.publisher, given.msid),) if given else (),
        credentials=ours.credentials,
        fingerprint=ours.fingerprint,
        setup="passive",  # pion would answer actpass of an ICE-lite end by being passive itself
        candidates=ours.candidates if is_first else (),
    )


def _opus_parameters(wanted: Sequence[Codec]) -> str:
    """The client's answer asks for stereo if we say that it comes (livekit-client does)."""
    is_stereo = any(parameters(each.fmtp).get("stereo") == "1" for each in wanted)
    return "minptime=10;useinbandfec=1" + (";sprop-stereo=1" if is_stereo else "")


def _transport(answer: Description) -> tuple[IceCredentials, Fingerprint] | None:
    """Of all m-lines; the first one of the group describes it. None if all are refused.

    Its a=setup is not looked at: pion says passive there, and is active as it was offered.
    """
    by_mid = {media.mid: media for media in answer.media if not media.is_rejected}
    tagged = next((by_mid[mid] for mid in answer.bundle or by_mid if mid in by_mid), None)
    if tagged is None:
        return None
    if not tagged.credentials or not tagged.fingerprint:
        raise NegotiationError("the answer lacks ICE credentials or a sha-256 fingerprint")
    return tagged.credentials, tagged.fingerprint


def _accepted(slot: _Slot, media: Media) -> tuple[Format, ...]:
    """The offered formats that the client takes, as it numbers them."""
    if not media.receives or not media.is_muxed:
        return ()
    theirs = {identity(each.name, each.parameters): each for each in media.formats[::-1]}
    found = (theirs.get(identity(each.name, each.parameters)) for each in slot.formats)
    return tuple(each for each in found if each)
