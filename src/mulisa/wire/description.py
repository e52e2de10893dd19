"""A session description as values (RFC 8866, RFC 9429): what one end offers or answers. Pure.

`mulisa.wire.sdp` reads them from text and writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

Direction: TypeAlias = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Setup: TypeAlias = Literal["actpass", "active", "passive"]
"""Who begins with DTLS (RFC 8842): the active end is the client."""

RTP: Final = "UDP/TLS/RTP/SAVPF"
RTP_PROTOCOLS: Final = frozenset({RTP, "TCP/DTLS/RTP/SAVPF", "RTP/SAVPF"})
"""What an m-line of media may say; all mean the same (RFC 9429, 5.1.2)."""
SCTP_PROTOCOLS: Final = frozenset({"UDP/DTLS/SCTP", "TCP/DTLS/SCTP"})
DATA_CHANNELS: Final = "webrtc-datachannel"


def direction_of(*, sends: bool, receives: bool) -> Direction:
    """The direction of an m-line whose end sends, receives, both or neither."""
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """One end's ufrag and password (RFC 8839, 5.4); new ones mean an ICE restart."""

    ufrag: str
    pwd: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hash of one end's certificate (RFC 8122)."""

    algorithm: str
    """sha-256, sha-384 or sha-512."""
    value: str
    """Upper-case hexadecimal bytes with colons between them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An address at which we can be reached: a host candidate; TCP ones are passive."""

    address: str
    port: int
    protocol: Literal["udp", "tcp"]
    priority: int
    foundation: str


@dataclass(frozen=True, slots=True)
class Format:
    """A payload type and what it stands for on its m-line."""

    payload_type: int
    name: str
    """Encoding name in lower case."""
    clock_rate: int
    channels: int = 1
    fmtp: str = ""
    feedback: tuple[str, ...] = ()
    """RTCP feedback (RFC 4585) as it stands in ``a=rtcp-fb``, without the payload type."""

    @property
    def parameters(self) -> dict[str, str]:
        """The format parameters by name in lower case; one without a value has an empty one."""
        found = {}
        for parameter in self.fmtp.split(";"):
            name, _, value = parameter.strip().partition("=")
            if name:
                found[name.lower()] = value.strip()
        return found


@dataclass(frozen=True, slots=True)
class Source:
    """An RTP stream as its sender announces it (RFC 5576)."""

    ssrc: int
    cname: str = ""
    msid: str = ""
    repairs: int = 0
    """The SSRC of the stream that this one repairs (FID, FEC-FR); 0: it carries media itself."""


@dataclass(frozen=True, slots=True)
class Media:
    """An m-line and what stands under it, what stands once for the whole session included."""

    kind: str
    """audio, video, application; of another kind, or of a rejected one, little else is known."""
    mid: str
    protocol: str
    tokens: tuple[str, ...]
    """The formats as they stand on the m-line."""
    is_rejected: bool = False
    """Port 0, and not for being bundled only (RFC 9429, 5.3.1)."""
    direction: Direction = "sendrecv"
    formats: tuple[Format, ...] = ()
    """Those with an rtpmap, the preferred one first."""
    extensions: Mapping[str, int] = field(default_factory=dict)
    """RTP header extension ids by URI (RFC 8285)."""
    msids: tuple[str, ...] = ()
    """``stream track`` (RFC 8830)."""
    sources: tuple[Source, ...] = ()
    rids: tuple[str, ...] = ()
    """Simulcast layers in the order of ``a=simulcast`` (RFC 8853), the alternatives left out."""
    is_muxed: bool = True
    """RTP and RTCP come on one port (RFC 8858)."""
    credentials: IceCredentials | None = None
    fingerprint: Fingerprint | None = None
    setup: Setup | None = None
    sctp_port: int | None = None
    candidates: tuple[Candidate, ...] = ()
    """Only written: theirs are not needed, their checks tell where they are."""

    @property
    def is_known(self) -> bool:
        """Whether it is media or data channels over DTLS; of others nothing more was read."""
        if self.kind == "application":
            return self.protocol in SCTP_PROTOCOLS
        return self.kind in ("audio", "video") and self.protocol in RTP_PROTOCOLS

    @property
    def sends(self) -> bool:
        """Whether the end that described it may send."""
        return not self.is_rejected and self.direction in ("sendrecv", "sendonly")

    @property
    def receives(self) -> bool:
        """Whether the end that described it may receive."""
        return not self.is_rejected and self.direction in ("sendrecv", "recvonly")

    @property
    def ssrcs(self) -> tuple[int, ...]:
        """The streams that carry media: those for retransmission are left out."""
        return tuple(source.ssrc for source in self.sources if not source.repairs)

    @property
    def track_ids(self) -> tuple[str, ...]:
        """The ids of the tracks that it says it sends; none, one, or one in two spellings."""
        msids = (*self.msids, *(source.msid for source in self.sources))
        return tuple(dict.fromkeys(msid.split(" ")[1] for msid in msids if " " in msid))


@dataclass(frozen=True, slots=True)
class Description:
    """An offer or an answer."""

    media: tuple[Media, ...]
    bundle: tuple[str, ...] = ()
    """Mids that share one transport (RFC 9143); the first of them describes it."""
    session_id: int = 0
    version: int = 0
    """Grows with each description of a session."""
    is_ice_lite: bool = False
