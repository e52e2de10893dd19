"""Session descriptions as text: reads what nobody vouches for, writes our own. Pure.

Read is what an SFU needs to know; of the rest no more than that it is well-formed text. Whatever
comes is read as a description or raises NegotiationError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from mulisa.core.errors import NegotiationError
from mulisa.wire import attributes as read
from mulisa.wire.attributes import Attributes
from mulisa.wire.description import Candidate, Description, Format, Media

MAX_CHARS: Final = 2_000_000
"""An offer of livekit-client has 1.2 kB per m-line of audio and 5.5 kB per one of video."""
MAX_MEDIA: Final = 512
MAX_LINE_CHARS: Final = 4_096
MAX_FORMATS: Final = 128
"""Of one m-line: there are no more payload types."""
DATA_PORT: Final = 5_000
"""The SCTP port of everybody who does not say another."""
MAX_MESSAGE_BYTES: Final = 65_535
"""As LiveKit's server says; its clients then send no message of more than 64 000 bytes."""
SPELLINGS: Final = {"vp8": "VP8", "vp9": "VP9", "h264": "H264", "av1": "AV1"}
"""Encoding names are the same in any case (RFC 8866, 6.6), but these are usual."""
INHERITED: Final = frozenset(
    {"ice-ufrag", "ice-pwd", "fingerprint", "setup", "extmap", *read.DIRECTIONS}
)
"""Attributes that stand for every m-line if they stand before the first."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]")
_LINE = re.compile(r"[a-z]=[^\r]*")
_MEDIA = re.compile(r"m=([a-z]{1,32}) (\d{1,5})(?:/\d{1,5})? ([A-Za-z/]{1,32})((?: [!-~]{1,64})+)")
_ORIGIN = re.compile(r"o=\S+ (\d{1,20}) (\d{1,20}) .*", re.ASCII)


def parse(text: str) -> Description:
    """An offer or answer of somebody else. Raises NegotiationError, which says what is wrong."""
    return Reader().read(text)


class Reader:
    """Reads the descriptions that one end sends one after the other.

    An m-line that stands in the next one as it stood in the last is not read again: in a room of
    200 an offer has 200 kB, and all but a few lines are as before.
    """

    def __init__(self) -> None:
        self._inherited: Attributes = {}
        self._known: dict[str, Media] = {}

    def read(self, text: str) -> Description:
        """See `parse`."""
        session, *sections = _sections(text)
        lines = _lines(session)
        common = read.attributes(lines)
        media = self._media(sections, common)
        mids = [each.mid for each in media if each.mid]
        if len(mids) != len(set(mids)):
            raise NegotiationError("two m-lines have the same mid")
        session_id, version = _origin(lines)
        return Description(
            media=media,
            bundle=_bundle(common, mids),
            session_id=session_id,
            version=version,
            is_ice_lite="ice-lite" in common,
        )

    def _media(self, sections: list[str], common: Attributes) -> tuple[Media, ...]:
        inherited = {name: values for name, values in common.items() if name in INHERITED}
        known = self._known if inherited == self._inherited else {}
        found = {each: known.get(each) or _media(_lines(each), inherited) for each in sections}
        self._inherited, self._known = inherited, found
        return tuple(found[each] for each in sections)


def write(description: Description) -> str:
    """The text of a description of ours; what `parse` reads of it is the same again."""
    origin = f"{description.session_id} {description.version}"
    lines = ["v=0", f"o=- {origin} IN IP4 127.0.0.1", "s=-", "t=0 0"]
    if description.is_ice_lite:
        lines.append("a=ice-lite")
    if description.bundle:
        lines.append(f"a=group:BUNDLE {' '.join(description.bundle)}")
    lines += ["a=msid-semantic:WMS *", "a=extmap-allow-mixed"]
    for fingerprint in dict.fromkeys(each.fingerprint for each in description.media):
        if fingerprint:  # one and the same for all
            lines.append(f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}")
    for media in description.media:
        lines += _media_lines(media)
    return "".join(f"{line}\r\n" for line in lines)


def _media_lines(media: Media) -> Iterator[str]:
    port = 0 if media.is_rejected else 9
    yield f"m={media.kind} {port} {media.protocol} {' '.join(media.tokens)}"
    yield "c=IN IP4 0.0.0.0"
    if media.mid:
        yield f"a=mid:{media.mid}"
    if media.is_rejected:
        yield "a=inactive"
        return
    yield from _transport_lines(media)
    if media.kind == "application":
        yield f"a=sctp-port:{media.sctp_port or DATA_PORT}"
        yield f"a=max-message-size:{MAX_MESSAGE_BYTES}"
    else:
        yield from _rtp_lines(media)


def _transport_lines(media: Media) -> Iterator[str]:
    for candidate in media.candidates:
        yield f"a=candidate:{_candidate(candidate)}"
    if media.candidates:
        yield "a=end-of-candidates"
    if media.credentials:
        yield f"a=ice-ufrag:{media.credentials.ufrag}"
        yield f"a=ice-pwd:{media.credentials.pwd}"
    if media.setup:
        yield f"a=setup:{media.setup}"


def _candidate(candidate: Candidate) -> str:
    tail = " tcptype passive" if candidate.protocol == "tcp" else ""
    return (
        f"{candidate.foundation} 1 {candidate.protocol} {candidate.priority} "
        f"{candidate.address} {candidate.port} typ host{tail}"
    )


def _rtp_lines(media: Media) -> Iterator[str]:
    yield f"a={media.direction}"
    if media.is_muxed:
        yield "a=rtcp-mux"
    yield "a=rtcp-rsize"
    for uri, number in media.extensions.items():
        yield f"a=extmap:{number} {uri}"
    for found in media.formats:
        yield from _format_lines(found, is_audio=media.kind == "audio")
    if media.rids:  # ours are only ever those that we take
        yield from (f"a=rid:{rid} recv" for rid in media.rids)
        yield f"a=simulcast:recv {';'.join(media.rids)}"
    yield from (f"a=msid:{msid}" for msid in media.msids)
    for source in media.sources:
        yield f"a=ssrc:{source.ssrc} cname:{source.cname}"
        yield f"a=ssrc:{source.ssrc} msid:{source.msid}"


def _format_lines(found: Format, *, is_audio: bool) -> Iterator[str]:
    channels = f"/{found.channels}" if is_audio and found.channels > 1 else ""
    name = SPELLINGS.get(found.name, found.name)
    yield f"a=rtpmap:{found.payload_type} {name}/{found.clock_rate}{channels}"
    yield from (f"a=rtcp-fb:{found.payload_type} {each}" for each in found.feedback)
    if found.fmtp:
        yield f"a=fmtp:{found.payload_type} {found.fmtp}"


def _sections(text: str) -> list[str]:
    """The session's lines, then each m-line with its own."""
    if len(text) > MAX_CHARS:
        raise NegotiationError(f"a description has at most {MAX_CHARS} characters")
    if _CONTROLS.search(text):
        raise NegotiationError("a description has control characters")
    session, *sections = text.rstrip("\r\n").replace("\r\n", "\n").split("\nm=")
    if len(sections) > MAX_MEDIA:
        raise NegotiationError(f"a description has at most {MAX_MEDIA} m-lines")
    if session.partition("\n")[0] != "v=0":
        raise NegotiationError("a description begins with v=0")
    return [session, *(f"m={section}" for section in sections)]


def _lines(section: str) -> list[str]:
    lines = section.split("\n")
    for line in lines:
        if len(line) > MAX_LINE_CHARS or not _LINE.fullmatch(line):
            raise NegotiationError(f"not a line of a description: {line[:40]!r}")
    return lines


def _origin(session: list[str]) -> tuple[int, int]:
    """The session's id and version."""
    for line in session:
        if found := _ORIGIN.fullmatch(line):
            return int(found[1]), int(found[2])
    raise NegotiationError("a description has an o-line")


def _bundle(common: Attributes, mids: list[str]) -> tuple[str, ...]:
    """The first group of m-lines on one transport; a second one is no group for us."""
    for value in common.get("group", []):
        semantics, *members = value.split(" ")
        if semantics == "BUNDLE":
            if len(members) != len(set(members)) or not set(members) <= set(mids):
                raise NegotiationError("the BUNDLE group does not fit the m-lines")
            return tuple(members)
    return ()


def _media(lines: list[str], common: Attributes) -> Media:
    found = _MEDIA.fullmatch(lines[0])
    if not found:
        raise NegotiationError(f"not an m-line: {lines[0][:80]!r}")
    tokens = tuple(found[4].split())
    if len(tokens) > MAX_FORMATS:
        raise NegotiationError(f"an m-line has at most {MAX_FORMATS} payload types")
    own = read.attributes(lines)
    media = Media(kind=found[1], mid=read.mid(own), protocol=found[3], tokens=tokens)
    is_rejected = int(found[2]) == 0 and "bundle-only" not in own
    if is_rejected or not media.is_known:
        return replace(media, is_rejected=is_rejected, direction="inactive")
    return _live_media(media, own, common)


def _live_media(media: Media, own: Attributes, common: Attributes) -> Media:
    both = {**common, **own}
    return replace(
        media,
        direction=read.direction(own, common),
        formats=() if media.kind == "application" else read.formats(media.tokens, own),
        extensions=read.extensions(both),
        msids=read.msids(own),
        sources=read.sources(own),
        rids=read.rids(own),
        is_muxed="rtcp-mux" in own,
        credentials=read.credentials(both),
        fingerprint=read.fingerprint(both),
        setup=read.setup(both),
        sctp_port=read.sctp_port(own),
    )
