"""The SDP of a bare audio client: its offers, and what it reads in answers (RFC 8829)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

OPUS: Final = 111
"""Payload type, as browsers number it."""
LEVEL_EXTENSION: Final = 1
Setup: TypeAlias = Literal["active", "passive"]

_CANDIDATE = re.compile(r"candidate:\S+ 1 udp \d+ (127\.\S+) (\d+) typ host", re.IGNORECASE)
_AUDIO: Final = f"""\
m=audio 9 UDP/TLS/RTP/SAVPF {OPUS}
c=IN IP4 0.0.0.0
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:{OPUS} opus/48000/2
a=fmtp:{OPUS} minptime=10;useinbandfec=1
a=rtcp-fb:{OPUS} nack
a=extmap:{LEVEL_EXTENSION} urn:ietf:params:rtp-hdrext:ssrc-audio-level
a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid
"""
_DATA: Final = """\
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=sctp-port:5000
a=max-message-size:262144
"""


@dataclass(frozen=True, slots=True)
class Ours:
    """What an offer says of our transport."""

    ufrag: str
    pwd: str
    fingerprint: str
    """SHA-256, in upper case with colons."""
    port: int
    """On loopback."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A track of ours."""

    cid: str
    ssrc: int


@dataclass(frozen=True, slots=True)
class Theirs:
    """What an answer says of the server's transport."""

    ufrag: str
    pwd: str
    fingerprint: str
    setup: Setup
    """``active`` means that it begins the DTLS handshake."""
    candidates: tuple[tuple[str, int], ...]
    """Addresses for UDP."""


def offer(ours: Ours, version: int, sent: Sequence[Sent], receiving: int) -> str:
    """Data channels, then the m-lines that take tracks, then those of our own tracks.

    m-lines keep their places in later offers as long as only one of the two grows.
    """
    media = [_DATA + "a=sendrecv\n"]
    media += [_AUDIO + "a=recvonly\n"] * receiving
    media += [_AUDIO + _sending(track) for track in sent]
    transport = (
        f"a=ice-ufrag:{ours.ufrag}\na=ice-pwd:{ours.pwd}\na=ice-options:trickle\n"
        f"a=fingerprint:sha-256 {ours.fingerprint}\na=setup:actpass\n"
        f"a=candidate:1 1 udp 2130706431 127.0.0.1 {ours.port} typ host\n"
    )
    mids = " ".join(str(mid) for mid in range(len(media)))
    head = (
        f"v=0\no=- 1 {version} IN IP4 127.0.0.1\ns=-\nt=0 0\n"
        f"a=group:BUNDLE {mids}\na=extmap-allow-mixed\na=msid-semantic: WMS *\n"
    )
    lines = (f"{section}a=mid:{mid}\n{transport}" for mid, section in enumerate(media))
    return (head + "".join(lines)).replace("\n", "\r\n")


def read_answer(sdp: str) -> Theirs:
    """Of the first m-line, which all others are bundled with. Raises LookupError."""
    fingerprint = _attribute(sdp, "fingerprint").split()[1].upper()
    setup: Setup = "active" if _attribute(sdp, "setup") == "active" else "passive"
    found = tuple(candidates(sdp.splitlines()))
    return Theirs(
        _attribute(sdp, "ice-ufrag"), _attribute(sdp, "ice-pwd"), fingerprint, setup, found
    )


def candidates(lines: Iterable[str]) -> list[tuple[str, int]]:
    """Hosts by UDP on loopback: that is where we are."""
    found = (_CANDIDATE.search(line) for line in lines)
    return [(match[1], int(match[2])) for match in found if match]


def _sending(track: Sent) -> str:
    return (
        f"a=sendonly\na=msid:- {track.cid}\n"
        f"a=ssrc:{track.ssrc} cname:bench\na=ssrc:{track.ssrc} msid:- {track.cid}\n"
    )


def _attribute(sdp: str, name: str) -> str:
    match = re.search(rf"^a={name}:(.*?)\r?$", sdp, re.MULTILINE)
    if not match:
        raise LookupError(f"an answer without a={name}:\n{sdp}")
    return match[1].strip()
