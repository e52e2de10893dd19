"""A client's offer, and what of it we can take. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mulisa.core.errors import NegotiationError
from mulisa.sfu.codecs import published_formats
from mulisa.sfu.media import MediaKind
from mulisa.wire.description import (
    DATA_CHANNELS,
    Description,
    Fingerprint,
    Format,
    IceCredentials,
    Media,
)

KINDS: Final[tuple[MediaKind, ...]] = ("audio", "video")


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer, and what of it we can take."""

    text: str
    media: tuple[Media, ...]
    taken: Mapping[str, Media]
    """The m-lines that are not refused by mid, in the order of the BUNDLE group."""
    formats: Mapping[str, tuple[Format, ...]]
    """What we would receive on those of media, whatever they are for, by mid."""
    remote: IceCredentials
    fingerprint: Fingerprint

    def of(self, kind: MediaKind) -> Iterator[Media]:
        """The m-lines of a kind that we take."""
        return (media for media in self.media if media.mid in self.taken and media.kind == kind)

    @property
    def senders(self) -> list[Media]:
        """The m-lines on which the client sends."""
        return [media for kind in KINDS for media in self.of(kind) if media.sends]


def usable_offer(text: str, offer: Description, before: Offer | None) -> Offer:
    """`before`, the offer before it, spares looking again at m-lines that are the same.

    Raises NegotiationError if nothing of it can be taken, or no transport be made.
    """
    formats = {
        each.mid: before.formats[each.mid]
        if before and each is before.taken.get(each.mid)
        else published_formats(each, None)
        for each in offer.media
        if _is_media(each)
    }
    taken = _taken(offer, formats)
    if not taken:
        raise NegotiationError("the offer has no m-line that could be accepted")
    tagged = next(iter(taken.values()))  # describes the transport of all (RFC 9143, 7.3.1)
    if not tagged.credentials or not tagged.fingerprint:
        raise NegotiationError("the offer lacks ICE credentials or a sha-256 fingerprint")
    if tagged.setup == "passive":
        raise NegotiationError("the offer says a=setup:passive, but our end begins no DTLS")
    return Offer(text, offer.media, taken, formats, tagged.credentials, tagged.fingerprint)


def _is_media(media: Media) -> bool:
    return media.is_known and media.kind != "application" and not media.is_rejected


def _taken(offer: Description, formats: Mapping[str, tuple[Format, ...]]) -> dict[str, Media]:
    """What can share one transport: without a BUNDLE group that is the first m-line alone."""
    usable = {each.mid: each for each in offer.media if each.mid and _is_usable(each, formats)}
    bundle = offer.bundle or tuple(usable)[:1]
    taken = {mid: usable[mid] for mid in bundle if mid in usable}
    data = [mid for mid, media in taken.items() if media.kind == "application"]
    for mid in data[1:]:
        del taken[mid]
    return taken


def _is_usable(media: Media, formats: Mapping[str, tuple[Format, ...]]) -> bool:
    if media.is_rejected or not media.is_known:
        return False
    if media.kind == "application":
        return media.tokens == (DATA_CHANNELS,)
    return media.is_muxed and bool(formats[media.mid])


def check_continuity(before: Offer, now: Offer) -> None:
    """M-lines stay where they are; one that was refused may be recycled (RFC 9429, 5.2.2)."""
    if len(now.media) < len(before.media):
        raise NegotiationError("the offer has fewer m-lines than the one before")
    for old, new in zip(before.media, now.media, strict=False):
        is_same = (old.mid, old.kind) == (new.mid, new.kind)
        if not is_same and old.mid in before.taken:
            raise NegotiationError(f"the m-line {old.mid} has become another one")


def kind_of(media: Media) -> MediaKind:
    """Of an m-line that we take."""
    return "audio" if media.kind == "audio" else "video"
