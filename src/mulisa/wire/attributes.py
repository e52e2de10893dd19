"""What stands in the ``a=`` lines of a session description, which nobody vouches for. Pure.

Each function reads one kind of attribute, and raises NegotiationError for one that is malformed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from mulisa.core.errors import NegotiationError
from mulisa.wire.description import (
    Direction,
    Fingerprint,
    Format,
    IceCredentials,
    Setup,
    Source,
)

MAX_ATTRIBUTES: Final = 512
"""Of one name under one m-line: browsers have up to 100, for feedback of many codecs."""

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
DIRECTIONS: Final[tuple[Direction, ...]] = ("sendrecv", "sendonly", "recvonly", "inactive")
_SETUPS: Mapping[str, Setup] = {"actpass": "actpass", "active": "active", "passive": "passive"}
_MAX_SSRC = 0xFFFFFFFF

Attributes: TypeAlias = Mapping[str, list[str]]
"""The values of ``a=`` lines by name, in their order; one without a value has an empty one."""


def attributes(lines: Iterable[str]) -> Attributes:
    """Those of the lines that are attributes."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            found[name].append(value)
    if any(len(values) > MAX_ATTRIBUTES for name, values in found.items() if name != "candidate"):
        raise NegotiationError(f"an m-line has at most {MAX_ATTRIBUTES} attributes of one name")
    return dict(found)


def mid(own: Attributes) -> str:
    """The name of the m-line, which may be none (RFC 5888)."""
    return _one(own, "mid", _MID)


def direction(own: Attributes, common: Attributes) -> Direction:
    """Which way media flows (RFC 8866, 6.7)."""
    found = (each for where in (own, common) for each in DIRECTIONS if each in where)
    return next(found, "sendrecv")


def msids(own: Attributes) -> tuple[str, ...]:
    """Stream and track ids (RFC 8830)."""
    return tuple(_checked(value, _MSID, "msid") for value in own.get("msid", []))


def formats(tokens: Iterable[str], own: Attributes) -> tuple[Format, ...]:
    """What the payload types of an m-line stand for, in its order; those without an rtpmap not."""
    maps = {int(payload): rest for payload, *rest in _matches(own, "rtpmap", _RTPMAP)}
    fmtp = {found[0]: found[1] for found in _matches(own, "fmtp", _FOR_FORMAT)}
    feedback = list(_matches(own, "rtcp-fb", _FOR_FORMAT))
    found = []
    for payload in dict.fromkeys(_payload_type(token) for token in tokens):
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


def extensions(both: Attributes) -> dict[str, int]:
    """Header extension ids by URI (RFC 8285, 5)."""
    found: dict[str, int] = {}
    for number, uri in _matches(both, "extmap", _EXTMAP):
        if 1 <= int(number) <= 255:  # others are suggestions for later (RFC 8285, 6)
            found.setdefault(uri, int(number))
    if len(found) != len(set(found.values())):
        raise NegotiationError("two header extensions of an m-line have the same id")
    return found


def sources(own: Attributes) -> tuple[Source, ...]:
    """The streams that are announced (RFC 5576)."""
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


def _repairs(own: Attributes) -> dict[int, int]:
    """Which SSRC repairs which (RFC 5576, 4.2; RFC 5956): the first of a group has the media."""
    found = {}
    for value in own.get("ssrc-group", []):
        semantics, *members = value.split()
        if semantics in ("FID", "FEC-FR") and len(members) >= 2:
            first, *others = (_number(each, 1, _MAX_SSRC, "SSRC") for each in members)
            found.update({other: first for other in others if other != first})
    return found


def rids(own: Attributes) -> tuple[str, ...]:
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


def credentials(both: Attributes) -> IceCredentials | None:
    """RFC 8839, 5.4."""
    ufrag, pwd = _one(both, "ice-ufrag", _UFRAG), _one(both, "ice-pwd", _PWD)
    return IceCredentials(ufrag, pwd) if ufrag and pwd else None


def fingerprint(both: Attributes) -> Fingerprint | None:
    """RFC 8122; of several hashes of a certificate the one that everybody knows."""
    found = []
    for value in both.get("fingerprint", []):
        algorithm, _, digits = _checked(value, _FINGERPRINT, "fingerprint").partition(" ")
        one = Fingerprint(algorithm.lower(), digits.strip().upper())
        if len(one.value) == _HASH_CHARS.get(one.algorithm):
            found.append(one)
    return min(found, key=lambda each: each.algorithm) if found else None


def setup(both: Attributes) -> Setup | None:
    """Who begins with DTLS (RFC 8842)."""
    values = both.get("setup", [])
    if values and values[0] not in _SETUPS:
        raise NegotiationError(f"not a value of a=setup: {values[0][:80]!r}")
    return _SETUPS[values[0]] if values else None


def sctp_port(own: Attributes) -> int | None:
    """RFC 8841, 5."""
    values = own.get("sctp-port", [])
    return _number(values[0], 1, 65_535, "SCTP port") if values else None


def _payload_type(token: str) -> int:
    return _number(token, 0, 127, "payload type")


def _number(text: str, least: int, most: int, what: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise NegotiationError(f"not a {what}: {text[:40]!r}")
    if not least <= int(text) <= most:
        raise NegotiationError(f"a {what} is between {least} and {most}: {text}")
    return int(text)


def _one(attributes: Attributes, name: str, pattern: re.Pattern[str]) -> str:
    """The value of an attribute, or nothing if there is none."""
    values = attributes.get(name, [])
    return _checked(values[0], pattern, name) if values else ""


def _checked(value: str, pattern: re.Pattern[str], name: str) -> str:
    if not pattern.fullmatch(value):
        raise NegotiationError(f"not a value of a={name}: {value[:80]!r}")
    return value


def _matches(attributes: Attributes, name: str, pattern: re.Pattern[str]) -> Iterator[list[str]]:
    """The groups of every value of an attribute."""
    for value in attributes.get(name, []):
        found = pattern.fullmatch(value)
        if not found:
            raise NegotiationError(f"not a value of a={name}: {value[:80]!r}")
        yield [group or "" for group in found.groups()]
