"""What a page's getStats says of all its connections, and the arithmetic of two readings. Pure
but for `read`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mulisa.compare.browser import Person
from mulisa.compare.capture import IPV4_BYTES, IPV6_BYTES, UDP_BYTES
from mulisa.core.errors import MulisaError

_SRTP_TAG_BYTES: Final = {"SHA1_80": 10, "SHA1_32": 4}
"""By how a profile ends; it is AES_CM_128_HMAC_SHA1_80 by IANA, others write it otherwise."""
_GCM_TAG_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Stream:
    """Counters of one RTP stream."""

    packets: int
    payload_bytes: int
    header_bytes: int
    concealed_samples: int = 0
    """Of sound that was made up, silence left out."""
    samples: int = 0
    who: str = ""
    """Identity of who is heard in it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Counters of one connected RTCPeerConnection."""

    at: float
    number: int
    """Which of all that the page ever made."""
    name: str
    """Identity of the other end in a mesh; publisher or subscriber with an SFU."""
    bytes_sent: int
    """UDP payload: RTP, RTCP, data channels and DTLS."""
    bytes_received: int
    packets_sent: int
    packets_received: int
    srtp: str
    codec: str
    local_port: int
    local_type: str
    remote: str
    """Address and port of the other end."""
    sent: Mapping[int, Stream]
    """By SSRC."""
    received: Mapping[int, Stream]

    @property
    def ip_bytes(self) -> int:
        """Of the IP header; getStats counts neither this nor UDP's."""
        return IPV6_BYTES if self.remote.count(":") > 1 else IPV4_BYTES

    @property
    def tag_bytes(self) -> int:
        """What SRTP adds to each packet."""
        return _SRTP_TAG_BYTES.get(self.srtp[-7:], _GCM_TAG_BYTES)


@dataclass(frozen=True, slots=True)
class Counts:
    """Of all connections that a page ever made."""

    made: int
    """Those that got connected."""
    closed: int
    negotiations: int
    """Offers that were answered, whoever made them."""


async def read(person: Person) -> list[Connection]:
    """All connections of a page that are connected now."""
    found = await person.page.evaluate("window.compare.readings()")
    return [_connection(each) for each in found]


async def counts(person: Person) -> Counts:
    """Of all connections of a page so far."""
    return Counts(**await person.page.evaluate("window.compare.counts()"))


async def stops(person: Person) -> list[tuple[float, float]]:
    """When sound went on that had stood still on this page, and for how many seconds."""
    found = await person.page.evaluate("window.compare.stops()")
    return [(at / 1000, length / 1000) for at, length in found]


def _connection(given: Mapping[str, Any]) -> Connection:
    kept = {name: given[name] for name in _KEPT}
    sent = {ssrc: Stream(*counters) for ssrc, *counters in given["outbound"]}
    received = {ssrc: Stream(*counters) for ssrc, *counters in given["inbound"]}
    return Connection(at=given["at"] / 1000, sent=sent, received=received, **kept)


_KEPT: Final = (
    "number",
    "name",
    "bytes_sent",
    "bytes_received",
    "packets_sent",
    "packets_received",
    "srtp",
    "codec",
    "local_port",
    "local_type",
    "remote",
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of one person between two readings; kb/s unless it says otherwise."""

    upload: float
    """RTP packets as getStats counts them: payload and headers."""
    download: float
    upload_on_wire: float
    """IP packets, everything that went over these connections included."""
    download_on_wire: float
    payload_per_stream: tuple[float, ...]
    """Opus alone, per stream that was sent."""
    packets_per_stream: tuple[float, ...]
    """Per second."""
    made_bytes: int
    """What the encoders made, with RTP, SRTP, UDP and IP around it."""
    header_bytes: float
    """Of RTP, per packet."""
    tag_bytes: int
    ip_bytes: int
    heard: Mapping[str, tuple[float, float, float]]
    """By who is heard: kb/s of Opus, packets per second, bytes of RTP's header per packet."""


def pairs(
    before: Sequence[Connection], after: Sequence[Connection]
) -> list[tuple[Connection, Connection]]:
    """Connections that were there at both readings of one page."""
    return [(a, b) for b in after for a in before if a.number == b.number]


def traffic(before: Sequence[Connection], after: Sequence[Connection]) -> Traffic:
    """What happened between two readings of one page, whose connections stayed the same."""
    both = pairs(before, after)
    if not both:
        raise MulisaError("no connection was there all the time")
    seconds = sum(b.at - a.at for a, b in both) / len(both)
    sent = [_since(a.sent, b.sent, ssrc) for a, b in both for ssrc in b.sent]
    received = [_since(a.received, b.received, ssrc) for a, b in both for ssrc in b.received]
    flowing = [stream for stream in sent if stream.packets]
    tag = max((each.tag_bytes for each in after), default=0)
    header = max((each.ip_bytes for each in after), default=0)
    around = header + UDP_BYTES
    on_wire = sum(
        b.bytes_sent - a.bytes_sent + around * (b.packets_sent - a.packets_sent) for a, b in both
    )
    from_wire = sum(
        b.bytes_received - a.bytes_received + around * (b.packets_received - a.packets_received)
        for a, b in both
    )
    packets = sum(stream.packets for stream in flowing)
    made = sum(_made_bytes(a, b) for a, b in both)
    return Traffic(
        upload=_kbps(_rtp_bytes(sent), seconds),
        download=_kbps(_rtp_bytes(received), seconds),
        upload_on_wire=_kbps(on_wire, seconds),
        download_on_wire=_kbps(from_wire, seconds),
        payload_per_stream=tuple(_kbps(stream.payload_bytes, seconds) for stream in flowing),
        packets_per_stream=tuple(stream.packets / seconds for stream in flowing),
        made_bytes=made,
        header_bytes=sum(stream.header_bytes for stream in flowing) / packets if packets else 0.0,
        tag_bytes=tag,
        ip_bytes=header,
        heard={each.who: _rates(each, seconds) for each in received if each.who and each.packets},
    )


def _made_bytes(before: Connection, after: Connection) -> int:
    """What the encoders made for one connection, with everything around it."""
    sent = [_since(before.sent, after.sent, ssrc) for ssrc in after.sent]
    around = after.tag_bytes + after.ip_bytes + UDP_BYTES
    return _rtp_bytes(sent) + around * sum(stream.packets for stream in sent)


def _rates(stream: Stream, seconds: float) -> tuple[float, float, float]:
    return (
        _kbps(stream.payload_bytes, seconds),
        stream.packets / seconds,
        stream.header_bytes / stream.packets,
    )


def _since(before: Mapping[int, Stream], after: Mapping[int, Stream], ssrc: int) -> Stream:
    old, new = before.get(ssrc, Stream(0, 0, 0)), after[ssrc]
    return Stream(
        new.packets - old.packets,
        new.payload_bytes - old.payload_bytes,
        new.header_bytes - old.header_bytes,
        who=new.who,
    )


def concealed_ms(before: Sequence[Connection], after: Sequence[Connection]) -> float:
    """Sound made up between two readings, on the worst stream that was there at both, in ms."""
    old = {ssrc: stream for each in before for ssrc, stream in each.received.items()}
    new = {ssrc: stream for each in after for ssrc, stream in each.received.items()}
    made_up = [
        new[ssrc].concealed_samples - old[ssrc].concealed_samples for ssrc in old.keys() & new
    ]
    return max(made_up, default=0) / 48


def _rtp_bytes(streams: Sequence[Stream]) -> int:
    return sum(stream.payload_bytes + stream.header_bytes for stream in streams)


def _kbps(count: int, seconds: float) -> float:
    return count * 8 / 1000 / seconds
