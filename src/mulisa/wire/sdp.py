"""Session descriptions as text: reads what nobody vouches for, writes our own. Pure.

Read is what an SFU needs to know; of the rest no more than that it is well-formed text. Whatever
comes, `parse` returns a description or raises NegotiationError.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from mulisa.core.errors import NegotiationError
from mulisa.wire.description import (
    Candidate,
    Description,
    Direction,
    Fingerprint,
    Format,
    IceCredentials,
    Media,
    Setup,
    Source,
)

MAX_CHARS: Final = 2_000_000
"""An offer of livekit-client has 1.2 kB per m-line of audio and 5.5 kB per one of video."""
MAX_MEDIA: Final = 512
MAX_LINE_CHARS: Final = 4_096
DATA_PORT: Final = 5_000
"""The SCTP port of everybody who does not say another."""
MAX_MESSAGE_BYTES: Final = 65_535
"""As LiveKit's server says; its clients then send no message of more than 64 000 bytes."""
SPELLINGS: Final = {"vp8": "VP8", "vp9": "VP9", "h264": "H264", "av1": "AV1"}
"""Encoding names are the same in any case (RFC 8866, 6.6), but these are usual."""
MAX_PER_MEDIA: Final = 128
"""Attributes of one name under one m-line, and payload types."""

_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]")
_LINE = re.compile(r"[a-z]=.*")
_MEDIA = re.compile(r"m=([a-z]{1,32}) (\d{1,5})(?:/\d{1,5})? ([A-Za-z/]{1,32})((?: [!-~]{1,64})+)")
_MID = re.compile(r"[\w!#$%&'*+.^`{|}~-]{1,32}", re.ASCII)
_RTPMAP = re.compile(r"(\d{1,3}) ([\w.+-]{1,64})/(\d{1,9})(?:/(\d{1,3}))?", re.ASCII)
_FOR_FORMAT = re.compile(r"(\d{1,3}|\*) +(\S.*)", re.ASCII)
_EXTMAP = re.compile(r"(\d{1,5})(?:/[a-z]{1,16})? +([!-~]{1,256})(?: .*)?", re.ASCII)
_MSID = re.compile(r"[!-~]{1,256}(?: [!-~]{1,256})?")
_SSRC = re.compile(r"(\d{1,10}) +([\w-]{1,64})(?::(.*))?", re.ASCII)
_RID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_UFRAG = re.compile(r"[A-Za-z0-9+/=_-]{4,256}")
_PWD = re.compile(r"[A-Za-z0-9+/=_-]{22,256}")
_FINGERPRINT = re.compile(r"([A-Za-z0-9-]{1,16}) +([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})*)")
_HASH_CHARS = {"sha-256": 95, "sha-384": 143, "sha-512": 191}
_DIRECTIONS: tuple[Direction, ...] = ("sendrecv", "sendonly", "recvonly", "inactive")
_SETUPS: Mapping[str, Setup] = {"actpass": "actpass", "active": "active", "passive": "passive"}
_MAX_SSRC = 0xFFFFFFFF

_Attributes = Mapping[str, list[str]]
"""The values of ``a=`` lines by name, in their order; one without a value has an empty one."""


def parse(text: str) -> Description:
    """An offer or answer of somebody else. Raises NegotiationError, which says what is wrong."""
    session, *sections = _sections(text)
    common = _attributes(session)
    media = tuple(_media(lines[0], _attributes(lines[1:]), common) for lines in sections)
    mids = [each.mid for each in media if each.mid]
    session_id, version = _origin(session)
    if len(mids) != len(set(mids)):
        raise NegotiationError("two m-lines have the same mid")
    return Description(
        media=media,
        bundle=_bundle(common, mids),
        session_id=session_id,
        version=version,
        is_ice_lite="ice-lite" in common,
    )


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


def _sections(text: str) -> list[list[str]]:
    """The session's lines, then each m-line with its own."""
    if len(text) > MAX_CHARS:
        raise NegotiationError(f"a description has at most {MAX_CHARS} characters")
    if _CONTROLS.search(text):
        raise NegotiationError("a description has control characters")
    sections: list[list[str]] = [[]]
    for number, line in enumerate(_lines(text), 1):
        if len(line) > MAX_LINE_CHARS or not _LINE.fullmatch(line):
            raise NegotiationError(f"line {number} of a description is none: {line[:40]!r}")
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    if sections[0][:1] != ["v=0"]:
        raise NegotiationError("a description begins with v=0")
    if len(sections) > MAX_MEDIA + 1:
        raise NegotiationError(f"a description has at most {MAX_MEDIA} m-lines")
    return sections


def _lines(text: str) -> Iterator[str]:
    for line in text.rstrip("\r\n").split("\n"):
        yield line.removesuffix("\r")


def _attributes(lines: list[str]) -> _Attributes:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            found[name].append(value)
    if any(len(values) > MAX_PER_MEDIA for name, values in found.items() if name != "candidate"):
        raise NegotiationError(f"an m-line has at most {MAX_PER_MEDIA} attributes of one name")
    return dict(found)


def _origin(session: list[str]) -> tuple[int, int]:
    """The session's id and version."""
    for line in session:
        if found := re.fullmatch(r"o=\S+ (\d{1,20}) (\d{1,20}) .*", line, re.ASCII):
            return int(found[1]), int(found[2])
    raise NegotiationError("a description has an o-line")


def _bundle(common: _Attributes, mids: list[str]) -> tuple[str, ...]:
    """The first group of m-lines on one transport; a second one is no group for us."""
    for value in common.get("group", []):
        semantics, *members = value.split(" ")
        if semantics == "BUNDLE":
            if len(members) != len(set(members)) or not set(members) <= set(mids):
                raise NegotiationError("the BUNDLE group does not fit the m-lines")
            return tuple(members)
    return ()


def _media(line: str, own: _Attributes, common: _Attributes) -> Media:
    found = _MEDIA.fullmatch(line)
    if not found:
        raise NegotiationError(f"not an m-line: {line[:80]!r}")
    kind, port, protocol = found[1], int(found[2]), found[3]
    tokens = tuple(found[4].split())
    if len(tokens) > MAX_PER_MEDIA:
        raise NegotiationError(f"an m-line has at most {MAX_PER_MEDIA} payload types")
    mid = _one(own, "mid", _MID)
    media = Media(kind, mid, protocol, tokens)
    is_rejected = port == 0 and "bundle-only" not in own
    if is_rejected or not media.is_known:
        return replace(media, is_rejected=is_rejected, direction="inactive")
    return _live_media(media, own, common)


def _live_media(media: Media, own: _Attributes, common: _Attributes) -> Media:
    both = {**common, **own}
    return replace(
        media,
        direction=next((each for each in _DIRECTIONS if each in both), "sendrecv"),
        formats=_formats(media, own),
        extensions=_extensions(both),
        msids=tuple(value for value in own.get("msid", []) if _checked(value, _MSID, "msid")),
        sources=_sources(own),
        rids=_rids(own),
        is_muxed="rtcp-mux" in own,
        credentials=_credentials(both),
        fingerprint=_fingerprint(both.get("fingerprint", [])),
        setup=_setup(both),
        sctp_port=_sctp_port(own),
    )


def _one(attributes: _Attributes, name: str, pattern: re.Pattern[str]) -> str:
    """The value of an attribute, or nothing if there is none."""
    values = attributes.get(name, [])
    return _checked(values[0], pattern, name) if values else ""


def _checked(value: str, pattern: re.Pattern[str], name: str) -> str:
    if not pattern.fullmatch(value):
        raise NegotiationError(f"not a value of a={name}: {value[:80]!r}")
    return value


def _matches(attributes: _Attributes, name: str, pattern: re.Pattern[str]) -> Iterator[list[str]]:
    """The groups of every value of an attribute."""
    for value in attributes.get(name, []):
        found = pattern.fullmatch(value)
        if not found:
            raise NegotiationError(f"not a value of a={name}: {value[:80]!r}")
        yield [group or "" for group in found.groups()]


def _formats(media: Media, own: _Attributes) -> tuple[Format, ...]:
    """In the order of the m-line; payload types without an rtpmap are none of ours."""
    if media.kind == "application":
        return ()
    maps = {int(payload): rest for payload, *rest in _matches(own, "rtpmap", _RTPMAP)}
    fmtp = {found[0]: found[1] for found in _matches(own, "fmtp", _FOR_FORMAT)}
    feedback = list(_matches(own, "rtcp-fb", _FOR_FORMAT))
    found = []
    for payload in dict.fromkeys(_payload_type(token) for token in media.tokens):
        if payload in maps:
            name, clock_rate, channels = maps[payload]
            heard = (value for whose, value in feedback if whose in (str(payload), "*"))
            found.append(
                Format(
                    payload_type=payload,
                    name=name.lower(),
                    clock_rate=int(clock_rate),
                    channels=int(channels or 1),
                    fmtp=fmtp.get(str(payload), ""),
                    feedback=tuple(dict.fromkeys(heard)),
                )
            )
    return tuple(found)


def _payload_type(token: str) -> int:
    return _number(token, 0, 127, "payload type")


def _number(text: str, least: int, most: int, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise NegotiationError(f"not a {what}: {text[:40]!r}")
    if not least <= int(text) <= most:
        raise NegotiationError(f"a {what} is between {least} and {most}: {text}")
    return int(text)


def _extensions(both: _Attributes) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, uri in _matches(both, "extmap", _EXTMAP):
        if 1 <= int(number) <= 255:  # others are suggestions for later (RFC 8285, 6)
            found.setdefault(uri, int(number))
    if len(found) != len(set(found.values())):
        raise NegotiationError("two header extensions of an m-line have the same id")
    return found


def _sources(own: _Attributes) -> tuple[Source, ...]:
    told: defaultdict[int, dict[str, str]] = defaultdict(dict)
    for ssrc, name, value in _matches(own, "ssrc", _SSRC):
        told[_number(ssrc, 1, _MAX_SSRC, "SSRC")].setdefault(name, value)
    repairs = _repairs(own)
    for facts in told.values():
        if facts.get("msid"):
            _checked(facts["msid"], _MSID, "ssrc")
    return tuple(
        Source(ssrc, facts.get("cname", ""), facts.get("msid", ""), repairs.get(ssrc, 0))
        for ssrc, facts in told.items()
    )


def _repairs(own: _Attributes) -> dict[int, int]:
    """Which SSRC repairs which (RFC 5576, 4.2; RFC 5956): the first of a group has the media."""
    found = {}
    for value in own.get("ssrc-group", []):
        semantics, *members = value.split()
        if semantics in ("FID", "FEC-FR") and len(members) >= 2:
            first, *others = (_number(each, 1, _MAX_SSRC, "SSRC") for each in members)
            found.update({other: first for other in others if other != first})
    return found


def _rids(own: _Attributes) -> tuple[str, ...]:
    """``a=simulcast:send q;~h,x;f``: of alternatives the first, paused ones too (RFC 8853)."""
    value = " ".join(own.get("simulcast", []))
    found = re.search(r"\b(?:send|recv) ([!-~]{1,1024})", value)
    if not found:
        return ()
    rids = [each.partition(",")[0].removeprefix("~") for each in found[1].split(";")]
    told = {rid.partition(" ")[0] for rid in own.get("rid", [])}
    if len(rids) > len(set(rids)) or not set(rids) <= told:
        raise NegotiationError(f"a=simulcast does not fit the a=rid lines: {value[:80]!r}")
    return tuple(_checked(rid, _RID, "rid") for rid in rids)


def _credentials(both: _Attributes) -> IceCredentials | None:
    ufrag, pwd = _one(both, "ice-ufrag", _UFRAG), _one(both, "ice-pwd", _PWD)
    return IceCredentials(ufrag, pwd) if ufrag and pwd else None


def _fingerprint(values: list[str]) -> Fingerprint | None:
    """Of several hashes of a certificate the one that everybody knows."""
    found = []
    for value in values:
        algorithm, _, digits = _checked(value, _FINGERPRINT, "fingerprint").partition(" ")
        fingerprint = Fingerprint(algorithm.lower(), digits.strip().upper())
        if len(fingerprint.value) == _HASH_CHARS.get(fingerprint.algorithm):
            found.append(fingerprint)
    return min(found, key=lambda each: each.algorithm) if found else None


def _setup(both: _Attributes) -> Setup | None:
    values = both.get("setup", [])
    if values and values[0] not in _SETUPS:
        raise NegotiationError(f"not a value of a=setup: {values[0][:80]!r}")
    return _SETUPS[values[0]] if values else None


def _sctp_port(own: _Attributes) -> int | None:
    values = own.get("sctp-port", [])
    return _number(values[0], 1, 65_535, "SCTP port") if values else None
