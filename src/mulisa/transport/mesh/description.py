"""What we take of a peer's description, and how ours differ from what aiortc would write."""

from __future__ import annotations

import ipaddress
from typing import Final

from aiortc import RTCRtpReceiver, RTCSessionDescription
from aiortc.codecs import CODECS
from aiortc.rtcicetransport import RTCIceCandidate
from aiortc.rtcrtpparameters import (
    RTCRtpCodecCapability,
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
)
from aiortc.sdp import SessionDescription, candidate_from_sdp

from mulisa.core.errors import NegotiationError
from mulisa.transport.mesh.signaling import IceCandidate

MAX_REMOTE_CANDIDATES: Final = 64
"""Of one connection; each is checked against all of ours."""

_END: Final = "a=end-of-candidates"


def opus_only() -> list[RTCRtpCodecCapability]:
    """No G.711, and in-band FEC: a browser sends mono at about 32 kb/s, with copies when we report
    loss (RFC 7587, 6.1). What we send has them whatever the browser asks for.

    aiortc writes its descriptions from one list of codecs for the whole process.
    """
    for codec in CODECS["audio"]:
        if codec.mimeType == "audio/opus":
            codec.parameters["useinbandfec"] = 1
    capabilities = RTCRtpReceiver.getCapabilities("audio")
    assert capabilities is not None
    return [codec for codec in capabilities.codecs if codec.mimeType == "audio/opus"]


def renegotiating(
    offer: RTCSessionDescription,
    codecs: list[RTCRtpCodecParameters],
    extensions: list[RTCRtpHeaderExtensionParameters],
) -> RTCSessionDescription:
    """The offer with the payload types and header extension ids that are in use.

    aiortc offers its own anew, though its sender keeps those with which it began; what they mean
    must not change within a session (RFC 3264, 8.3.2; RFC 8285, 5).
    """
    description = SessionDescription.parse(offer.sdp)
    for media in description.media:
        if media.kind == "audio":
            media.fmt = [codec.payloadType for codec in codecs]
            media.rtp.codecs = codecs
            media.rtp.headerExtensions = extensions
    return RTCSessionDescription(sdp=str(description), type="offer")


def check_shape(sdp: str) -> None:
    """One Opus m-line, at most one data channel, and a fingerprint for each.

    aiortc would make a decoder for every m-line, and its connecting task, which nobody awaits,
    fails without a fingerprint.
    """
    media = SessionDescription.parse(sdp).media
    kinds = [m.kind for m in media]
    if kinds.count("audio") != 1 or kinds.count("application") > 1 or len(kinds) > 2:
        raise NegotiationError(f"expected one audio and one data m-line, found {kinds}")
    if not all(m.dtls is not None and m.dtls.fingerprints for m in media):
        raise NegotiationError("an m-line has no DTLS fingerprint")


def with_more_to_come(sdp: str) -> str:
    """Our description as that of one who trickles (RFC 8838, 4.1); aiortc says it never does."""
    lines = sdp.splitlines()
    return "\r\n".join(line for line in lines if line != _END) + "\r\n"


def without_useless_candidates(sdp: str) -> str:
    """The description with those candidates alone that `usable_candidate` would take.

    They never end: a peer that names no address that we can use may still reach ours, and aioice
    would give up before it does.
    """
    lines = []
    n_candidates = 0
    for line in sdp.splitlines():
        if line == _END:
            continue
        if line.startswith("a=candidate:"):
            n_candidates += 1
            if n_candidates > MAX_REMOTE_CANDIDATES or _parse_candidate(line[2:]) is None:
                continue
        lines.append(line)
    return "\r\n".join(lines) + "\r\n"


def usable_candidate(candidate: IceCandidate) -> RTCIceCandidate | None:
    """As aiortc has it; None if we cannot use it (mDNS, TCP, garbage)."""
    parsed = _parse_candidate(candidate.candidate)
    if parsed is not None:
        parsed.sdpMid = candidate.sdp_mid
        parsed.sdpMLineIndex = candidate.sdp_m_line_index
        if parsed.sdpMid is None and parsed.sdpMLineIndex is None:
            return None
    return parsed


def _parse_candidate(line: str) -> RTCIceCandidate | None:
    """A UDP candidate with an address (RFC 8839, 5.1); None for anything else.

    mDNS names are left out: resolving one takes seconds, and a browser that hides its addresses
    still reaches ours.
    """
    try:
        parsed = candidate_from_sdp(line.removeprefix("candidate:"))
        ipaddress.ip_address(parsed.ip)
    except (AssertionError, ValueError, IndexError):
        return None
    usable = parsed.protocol.lower() == "udp" and 0 < parsed.port < 65536 and parsed.component == 1
    return parsed if usable else None
