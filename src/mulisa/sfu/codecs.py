"""Which codecs of a client's m-line are taken, and with which parameters. Pure.

Of each codec one format is taken, so within an m-line its name tells the payload type. Formats
for retransmission are refused: streams repair themselves (RFC 4585, 6.2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from mulisa.sfu.media import (
    AUDIO_LEVEL,
    DEPENDENCY_DESCRIPTOR,
    MID,
    RTP_STREAM_ID,
    Codec,
    MediaKind,
)
from mulisa.sfu.negotiation import ExpectedTrack
from mulisa.wire.description import Format, Media

OPUS: Final = "opus"
RED: Final = "red"
VIDEO_CODECS: Final = ("vp8", "h264", "vp9", "av1")
DESCRIBED: Final = frozenset({"av1"})
"""Those whose layers only the dependency descriptor tells; the others' payload says it too."""
FEEDBACK: Final[Mapping[MediaKind, frozenset[str]]] = {
    "audio": frozenset({"nack"}),
    "video": frozenset({"nack", "nack pli", "ccm fir"}),
}
PUBLISHED_EXTENSIONS: Final[Mapping[MediaKind, tuple[str, ...]]] = {
    "audio": (AUDIO_LEVEL, MID),
    "video": (MID, RTP_STREAM_ID, DEPENDENCY_DESCRIPTOR),
}
SUBSCRIBED_EXTENSIONS: Final[Mapping[MediaKind, tuple[str, ...]]] = {
    "audio": (AUDIO_LEVEL,),
    "video": (DEPENDENCY_DESCRIPTOR,),
}
_STEREO: Final = {"stereo": "1", "maxaveragebitrate": "510000"}
_KEPT_OF_OPUS: Final = ("minptime", "useinbandfec")
_H264_PROFILES: Final = (
    # profile_idc, the bits of profile_iop that matter, their values (RFC 6184, table 5)
    (0x42, 0b01001111, 0b01000000, "constrained baseline"),
    (0x4D, 0b10001111, 0b10000000, "constrained baseline"),
    (0x58, 0b11001111, 0b11000000, "constrained baseline"),
    (0x42, 0b01001111, 0b00000000, "baseline"),
    (0x58, 0b11001111, 0b10000000, "baseline"),
    (0x4D, 0b10101111, 0b00000000, "main"),
    (0x64, 0b11111111, 0b00000000, "high"),
    (0x64, 0b11111111, 0b00001100, "constrained high"),
)


def published_formats(media: Media, expected: ExpectedTrack | None) -> tuple[Format, ...]:
    """What we take of a publisher's m-line, the preferred first; none: refuse it."""
    if media.kind == "audio":
        return _published_audio(media, expected)
    taken = sorted(
        _one_per_codec(media.formats),
        key=lambda each: expected is None or each.name != expected.codec,
    )
    return tuple(_with_feedback(each, "video") for each in taken)


def _published_audio(media: Media, expected: ExpectedTrack | None) -> tuple[Format, ...]:
    """RED comes first: the first is what is sent."""
    opus = _opus(media)
    if not opus:
        return ()
    red = _red(media, opus) if expected is None or expected.wants_red else None
    opus = replace(opus, fmtp=_opus_parameters(opus, expected))
    both = (red, opus) if red else (opus,)
    return tuple(_with_feedback(each, "audio") for each in both)


def subscribed_formats(media: Media, codecs: Sequence[Codec]) -> tuple[Format, ...]:
    """What of a track in these codecs a subscriber takes on its m-line; none: it cannot."""
    if media.kind == "audio":
        opus = _opus(media)
        red = _red(media, opus) if opus else None
        found = [each for each in (opus, red) if each]
    else:
        by_identity = {identity(each.name, each.parameters): each for each in media.formats[::-1]}
        wanted = (identity(each.name, parameters(each.fmtp)) for each in codecs)
        found = [by_identity[each] for each in wanted if each in by_identity]
    kind: MediaKind = "audio" if media.kind == "audio" else "video"
    return tuple(_with_feedback(_as_sent(each), kind) for each in found)


def codecs(formats: Iterable[Format]) -> tuple[Codec, ...]:
    """The same in the words of the forwarding path."""
    return tuple(
        Codec(
            each.name,
            each.payload_type,
            each.clock_rate,
            each.channels,
            each.fmtp,
            frozenset(each.feedback),
        )
        for each in formats
    )


def kept(extensions: Mapping[str, int], uris: Iterable[str]) -> dict[str, int]:
    """Those header extensions that we use, with the client's ids."""
    return {uri: extensions[uri] for uri in uris if uri in extensions}


def parameters(fmtp: str) -> dict[str, str]:
    """Format parameters by name."""
    return Format(0, "", 0, fmtp=fmtp).parameters


def identity(name: str, found: Mapping[str, str]) -> tuple[str, ...]:
    """Two video formats with the same one understand each other's packets."""
    if name == "h264":
        return (name, found.get("packetization-mode", "0"), _h264_profile(found))
    if name == "vp9":
        return (name, found.get("profile-id", "0"))
    if name == "av1":
        return (name, found.get("profile", "0"))
    return (name,)


def _h264_profile(found: Mapping[str, str]) -> str:
    """The level is left out: what is too much for a receiver is its decoder's matter."""
    text = found.get("profile-level-id", "42001f").lower()
    try:
        idc, iop = bytes.fromhex(text)[:2]
    except ValueError:
        return text
    for profile, mask, value, name in _H264_PROFILES:
        if idc == profile and iop & mask == value:
            return name
    return text[:4]


def _one_per_codec(formats: Iterable[Format]) -> list[Format]:
    """The best of each known video codec, in the order of the offer."""
    best: dict[str, Format] = {}
    for each in formats:
        if each.name in VIDEO_CODECS and each.clock_rate == 90_000:
            known = best.get(each.name)
            if known is None or _rank(each) > _rank(known):
                best[each.name] = each
    return list(best.values())


def _rank(found: Format) -> int:
    """How many receivers understand it: profile 0 all, and constrained baseline in mode 1."""
    told = found.parameters
    if found.name == "h264":
        _, mode, profile = identity(found.name, told)
        return 2 * (profile == "constrained baseline") + (mode == "1")
    return int(identity(found.name, told) in ((found.name, "0"), (found.name,)))


def _opus(media: Media) -> Format | None:
    for each in media.formats:
        if each.name == OPUS and each.clock_rate == 48_000 and each.channels == 2:
            return each
    return None


def _red(media: Media, opus: Format) -> Format | None:
    """Redundant Opus and nothing else (RFC 2198)."""
    for each in media.formats:
        if each.name == RED and each.clock_rate == 48_000:
            payloads = set(each.fmtp.replace(" ", "").split("/"))
            if payloads == {str(opus.payload_type)}:
                return each
    return None


def _opus_parameters(opus: Format, expected: ExpectedTrack | None) -> str:
    """What we say steers the sender (RFC 7587, 6.1)."""
    chosen = _kept_of_opus(opus)
    if expected and expected.wants_dtx:
        chosen["usedtx"] = "1"
    if expected and expected.is_stereo:
        chosen |= _STEREO
    return _fmtp(chosen)


def _kept_of_opus(opus: Format) -> dict[str, str]:
    told = opus.parameters
    return {name: told[name] for name in _KEPT_OF_OPUS if name in told}


def _as_sent(found: Format) -> Format:
    return replace(found, fmtp=_fmtp(_kept_of_opus(found))) if found.name == OPUS else found


def _fmtp(chosen: Mapping[str, str]) -> str:
    return ";".join(f"{name}={value}" for name, value in chosen.items())


def _with_feedback(found: Format, kind: MediaKind) -> Format:
    return replace(found, feedback=tuple(each for each in found.feedback if each in FEEDBACK[kind]))
