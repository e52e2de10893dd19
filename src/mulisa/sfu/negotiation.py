"""What negotiation is given and what comes of it. Pure.

`answering` answers the client's offers (the only connection of mode v1, v0's publisher one),
`offering` makes the offers of v0's subscriber connection.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from mulisa.core.errors import NegotiationError
from mulisa.core.room import ParticipantSid
from mulisa.sfu.media import Codec, Inbound, MediaKind, Outbound, TrackSid
from mulisa.wire.description import Candidate, Fingerprint, IceCredentials

MAX_IDLE: Final = 8
"""So many m-lines of tracks that have ended wait until there is something else to negotiate: a
client takes what ended away as soon as it is told, and a leave costs nobody an offer."""


def random_ssrc() -> int:
    """An SSRC, or another number of 32 bits that is not 0."""
    return secrets.randbits(32) or 1


def msid_of(publisher: ParticipantSid, track: TrackSid) -> str:
    """Stream and track id of a subscribed track: clients read who and what it is from either."""
    return f"{publisher}|{track} {track}"


class NothingAccepted(NegotiationError):
    """A client refuses every m-line of our first offers, so nothing is known of its transport."""

    def __init__(self, unsupported: tuple[TrackSid, ...]) -> None:
        super().__init__("the client refuses every m-line of the offer")
        self.unsupported = unsupported


@dataclass(frozen=True, slots=True)
class OurSide:
    """What our descriptions say about the transport."""

    credentials: IceCredentials
    fingerprint: Fingerprint
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class ExpectedTrack:
    """A track that the client announced and that has not ended."""

    track: TrackSid
    cid: str
    """The id of its track in the client's descriptions."""
    kind: MediaKind
    cids: tuple[str, ...] = ()
    """More ids: the client may publish it in several codecs."""
    codec: str = ""
    """Encoding name of the video codec to be preferred, in lower case; empty: the client's."""
    wants_dtx: bool = True
    wants_red: bool = True
    is_stereo: bool = False

    def is_called(self, ids: tuple[str, ...]) -> bool:
        """Whether one of these track ids is this track's."""
        return any(each == self.cid or each in self.cids for each in ids)


@dataclass(frozen=True, slots=True)
class WantedTrack:
    """A track that the client is to receive."""

    track: TrackSid
    publisher: ParticipantSid
    kind: MediaKind
    codecs: tuple[Codec, ...]
    """Of its `Inbound`."""


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What both ends have agreed on, as far as it concerns the media and the transport."""

    remote: IceCredentials
    fingerprint: Fingerprint
    """The client's."""
    outbound: tuple[Outbound, ...]
    """Those of the wanted tracks that have an m-line now."""
    mid_to_track: dict[str, TrackSid]
    """All of `outbound`."""
    unsupported: tuple[TrackSid, ...]
    """Wanted tracks whose codec the client refuses."""


@dataclass(frozen=True, slots=True)
class Answered(Negotiated):
    """An offer of the client's was answered."""

    sdp: str
    """Our answer."""
    inbound: tuple[Inbound, ...]
    """All published tracks that have an m-line; the others are pending or gone."""
    missing: tuple[int, int]
    """How many m-lines of audio and of video the client has to add for the wanted tracks."""
    has_data: bool
    """The connection carries data channels."""
