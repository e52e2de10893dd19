"""Which published track a stream belongs to, by its first packet. Pure.

By mid, then RTP stream id, then the announced SSRC, then the only m-line of its payload type: Go
publishers write no header extensions, browsers with simulcast announce no SSRCs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mulisa.sfu.media import MID, RTP_STREAM_ID, Inbound
from mulisa.wire.rtp import Buffer, RtpHeader


class Recognised(NamedTuple):
    """A stream's track, and which of its simulcast layers it is (empty: it has none)."""

    inbound: Inbound
    rid: str = ""


def recognise(header: RtpHeader, buffer: Buffer, inbounds: Iterable[Inbound]) -> Recognised | None:
    """The track that the packet is of; None if there is none, or more than one candidate.

    A packet of an unknown payload type belongs to no track: padding and retransmissions that were
    not agreed on must not take a stream's place.
    """
    fitting = [each for each in inbounds if _takes(each, header.payload_type)]
    elements = header.elements(buffer)
    for inbound in fitting:
        if _text(elements, inbound, MID) == inbound.mid:
            return _layer(inbound, _text(elements, inbound, RTP_STREAM_ID))
    for inbound in fitting:
        rid = _text(elements, inbound, RTP_STREAM_ID)
        if rid is not None and rid in inbound.rids:
            return Recognised(inbound, rid)
    for inbound in fitting:
        if header.ssrc in inbound.ssrcs:
            return _layer(inbound, None)
    if len(fitting) == 1 and not any(_has_text(elements, each) for each in fitting):
        return _layer(fitting[0], None)
    return None


def _layer(inbound: Inbound, rid: str | None) -> Recognised | None:
    if not inbound.rids:
        return Recognised(inbound)
    return Recognised(inbound, rid) if rid is not None and rid in inbound.rids else None


def _takes(inbound: Inbound, payload_type: int) -> bool:
    return any(codec.payload_type == payload_type for codec in inbound.codecs)


def _has_text(elements: Mapping[int, bytes], inbound: Inbound) -> bool:
    """True if the packet names an m-line, which then is another one."""
    return _text(elements, inbound, MID) is not None


def _text(elements: Mapping[int, bytes], inbound: Inbound, uri: str) -> str | None:
    value = elements.get(inbound.extensions.get(uri, 0))
    return None if value is None else value.decode("ascii", "replace")
