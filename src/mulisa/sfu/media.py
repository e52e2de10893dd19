"""What negotiation tells the forwarding path: whose packets are which, and as what they go out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NewType, TypeAlias

TrackSid = NewType("TrackSid", str)
"""Names one publication: ``TR_...``, new at every publish."""

MediaKind: TypeAlias = Literal["audio", "video"]

AUDIO_LEVEL: Final = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
"""RFC 6464."""
MID: Final = "urn:ietf:params:rtp-hdrext:sdes:mid"
"""RFC 8843, 15."""
RTP_STREAM_ID: Final = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
"""RFC 8852, 3.1."""
DEPENDENCY_DESCRIPTOR: Final = (
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)
"""Of which other frames a frame is made, and of which layers (AV1's RTP specification, A)."""


@dataclass(frozen=True, slots=True)
class Codec:
    """A payload type of one m-line, as its client numbers it."""

    name: str
    """Encoding name in lower case: opus, red, vp8, h264, vp9, av1."""
    payload_type: int
    clock_rate: int
    channels: int = 1
    fmtp: str = ""
    """Its format parameters as they stand in the SDP, which may be none."""
    feedback: frozenset[str] = frozenset()
    """RTCP feedback agreed for it, as in ``a=rtcp-fb`` (RFC 4585): nack, nack pli, ccm fir."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A published track, and how its packets are recognised on its publisher's connection."""

    track: TrackSid
    kind: MediaKind
    mid: str
    codecs: tuple[Codec, ...]
    """Those that our answer accepted, the preferred one first."""
    ssrcs: tuple[int, ...] = ()
    """As announced (``a=ssrc``, retransmission streams left out); none with RTP stream ids."""
    rids: tuple[str, ...] = ()
    """Simulcast layers, the smallest first; we forward one of them."""
    extensions: Mapping[str, int] = field(default_factory=dict)
    """Header extension ids of the m-line by URI (RFC 8285)."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """A subscribed track as its subscriber gets it."""

    track: TrackSid
    kind: MediaKind
    mid: str
    ssrc: int
    """Ours, new at every subscription."""
    codecs: tuple[Codec, ...]
    """What the subscriber takes, with its own payload types."""
    extensions: Mapping[str, int] = field(default_factory=dict)
