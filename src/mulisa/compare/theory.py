"""What theory says of a metric, and how it grows with the call. Pure.

N people and Mulisa are M = N + 1 participants. A full mesh has M(M - 1) / 2 connections: it grows
with the square of M, not exponentially. An SFU has M. *Who copies* is the whole difference: in
both, everybody hears everybody, which is M(M - 1) streams received; in the mesh the speaker's
browser sends each of them, on the SFU the server does. So the SFU's work grows with the square of M
as well, but on a machine with a data centre's uplink, and without encoding.

mediasoup has a transport, and so a connection, per direction, which makes two of one; nothing that
crosses its signalling is an offer or an answer (SDP), since each end makes its own of RTP
parameters. Who copies is the same as on any SFU, but the example forwards everything: choosing the
loudest is the application's to do.

Beyond eight open microphones that stops: the SFU forwards the loudest five (`sfu.loudest`), so
its work grows in proportion, and nobody's download grows at all. A mesh has no such place.

What theory does not know (times, CPU, lines of code) it does not say: None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mulisa.compare import impairments, ways
from mulisa.compare.metrics import (
    JOIN,
    LEAVE,
    SILENCE,
    SPEAK_TO_ONE,
    STOP_HEARING,
    TOPOLOGIES,
    Metric,
    Topology,
)
from mulisa.sfu.loudest import LoudestConfig

Growth = tuple[float, ...]
"""Coefficients of a polynomial in N, the constant first: (1, 0, 0.5) is 1 + N² / 2."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One RTP stream of Opus, and what each packet of it costs on the wire (RFC 3550, 3711)."""

    payload_kbps: float = 32.0
    """What the encoder makes, kb/s; Chromium's Opus for speech has about this on average."""
    packets_per_second: float = 50.0
    """20 ms each."""
    rtp_header_bytes: float = 12.0
    """With extensions: `headerBytesSent` / `packetsSent` of getStats."""
    srtp_tag_bytes: float = 16.0
    """AES-GCM (RFC 7714); 10 for AES_CM_128_HMAC_SHA1_80."""
    udp_bytes: float = 8.0
    ip_bytes: float = 20.0
    """IPv4; 40 for IPv6."""

    @property
    def rtp_kbps(self) -> float:
        """Payload and RTP headers: what getStats counts."""
        return self.payload_kbps + self._kbps_of(self.rtp_header_bytes)

    @property
    def wire_kbps(self) -> float:
        """IP packets."""
        others = self.srtp_tag_bytes + self.udp_bytes + self.ip_bytes
        return self.rtp_kbps + self._kbps_of(others)

    def _kbps_of(self, bytes_per_packet: float) -> float:
        return bytes_per_packet * 8 * self.packets_per_second / 1000


SPEECH_STREAM: Final = Stream()
SILENT: Final = Stream(payload_kbps=0.0, packets_per_second=0.0)
"""Nothing is sent."""
DTX_STREAM: Final = Stream(payload_kbps=0.02, packets_per_second=2.5)
"""Silence with Opus DTX: one byte each 400 ms (libopus sends every twentieth frame)."""

ALL_FORWARDED: Final = LoudestConfig().min_publishers
"""With more open microphones than these the SFU chooses."""
LOUDEST: Final = LoudestConfig().count
"""How many it then forwards."""

NONE: Final[Growth] = (0,)
ONE: Final[Growth] = (1,)
OTHERS: Final[Growth] = (-1, 1)
"""N - 1: all people but oneself."""
TWO: Final[Growth] = (2,)
ALL: Final[Growth] = (0, 1)
"""N: all participants but oneself, or all people."""
EVERYBODY: Final[Growth] = (1, 1)
"""M, with Mulisa."""
TWO_EACH: Final[Growth] = (2, 2)
"""2 M."""
PAIRS: Final[Growth] = (0, 0.5, 0.5)
"""M(M - 1) / 2."""
STREAMS: Final[Growth] = (0, 1, 1)
"""M(M - 1): everybody hears everybody else."""
NEWCOMER: Final[Growth] = (3, 1)
"""With LiveKit's protocol Mulisa offers to connect, to publish, and to receive what the others
publish; each of N others offers once, to receive her."""
VISITOR: Final[Growth] = (2, 1)
"""A page is given what others publish in the answer to its first offer, and offers to publish."""

HER_OWN: Final[Mapping[Topology, int]] = {"mesh": 0, "sfu": 1, "mediasoup": 2}
"""Connections of Mulisa that end at a server."""

_COUNTS: Final[Mapping[tuple[str, str], tuple[Growth, Growth, Growth]]] = {
    # (row, metric): (mesh, SFU, mediasoup)
    ("connections", "peer_connections"): (ALL, ONE, TWO),
    ("connections", "remote_endpoints"): (ALL, ONE, TWO),
    ("connections", "connections_of_mulisa"): (ALL, ONE, TWO),
    ("connections", "connections_in_total"): (PAIRS, EVERYBODY, TWO_EACH),
    ("connections", "streams_sent"): (ALL, ONE, ONE),
    ("connections", "streams_received"): (ALL, ALL, ALL),
    # A pair in the mesh is one offer and one answer. On the SFU each person's one connection is
    # renegotiated for an m-line of hers, beside her own: fewer connections, not fewer offers.
    ("joining", "offers"): (ALL, NEWCOMER, NONE),
    ("joining", "answers"): (ALL, NEWCOMER, NONE),
    ("joining", "people_who_renegotiate"): (ALL, ALL, ALL),
    ("joining", "connections_made"): (ALL, ONE, TWO),
    ("injection", "encodes_per_frame"): (ONE, ONE, ONE),
    ("injection", "tracks"): (ALL, ONE, ONE),
    ("injection", "packets_per_frame"): (ALL, ONE, ONE),
    ("scalability", "streams_in_total"): (STREAMS, STREAMS, STREAMS),
}

_UNDER: Final[Mapping[tuple[str, str, str], tuple[Growth, Growth | None, Growth | None]]] = {
    # (row, metric, condition): (mesh, SFU, mediasoup)
    ("control", "operations", STOP_HEARING): (ONE, ONE, ONE),
    ("control", "operations", SPEAK_TO_ONE): (OTHERS, ONE, ONE),
    # The mesh: an offer and an answer, each to the relay and from it. The SFU: what she wants, that
    # her connection needs another m-line now, her offer, its answer. Then both show it to all: she
    # tells it, and each participant is told; on the SFU she gets a receipt and a new token.
    ("control", "signalling_messages", STOP_HEARING): ((6, 1), (8, 1), None),
    # In the mesh there is nothing to agree on; she shows it to all.
    ("control", "signalling_messages", SPEAK_TO_ONE): ((2, 1), None, None),
    ("control", "packets_after_acknowledgement", STOP_HEARING): (NONE, NONE, NONE),
    ("control", "packets_after_acknowledgement", SPEAK_TO_ONE): (NONE, NONE, NONE),
    # N counts who came, or who went: N - 1 other people and Mulisa have it to do with them.
    ("churn", "renegotiations", JOIN): (ALL, VISITOR, NONE),
    ("churn", "people_who_renegotiate", JOIN): (OTHERS, OTHERS, OTHERS),
    ("churn", "connections_made", JOIN): (ALL, ONE, TWO),
    ("churn", "connections_closed", JOIN): (NONE, NONE, NONE),
    ("churn", "renegotiations", LEAVE): (NONE, NONE, NONE),
    ("churn", "people_who_renegotiate", LEAVE): (NONE, NONE, OTHERS),
    ("churn", "connections_made", LEAVE): (NONE, NONE, NONE),
    ("churn", "connections_closed", LEAVE): (ALL, ONE, TWO),
}

_DEGREES: Final[Mapping[tuple[str, str], tuple[int, int, int]]] = {
    # What has no formula, but a law: the degree in N on (mesh, SFU, mediasoup).
    ("scalability", "browser_cpu"): (1, 1, 1),
    ("scalability", "mulisa_cpu"): (1, 1, 1),
    ("scalability", "mulisa_media_cpu"): (1, 1, 1),
    ("scalability", "server_cpu"): (0, 2, 2),
    ("bandwidth", "upload_on_wire"): (1, 0, 0),
    ("bandwidth", "download_on_wire"): (1, 1, 1),
}


def expected(
    metric: Metric,
    topology: Topology,
    participants: int,
    condition: str = "",
    stream: Stream | None = None,
    hers: Stream | None = None,
) -> float | None:
    """What theory says, in the metric's unit; None where it says nothing.

    `participants` are the people. `stream` is one voice under this condition, as its encoder made
    it; without it speech is taken for `SPEECH_STREAM`, and of silence nothing is known, because
    without DTX it costs what the room's noise costs. `hers` is what Mulisa's track costs while she
    is silent: nothing in the mesh; on the SFU her encoder (libwebrtc) goes on with silence.
    """
    if (metric.row, metric.name) in _CHOSEN and chooses(topology, participants):
        return _CHOSEN[metric.row, metric.name](participants)
    growth = growth_of(metric, topology, condition)
    if growth is not None:
        return value_at(growth, participants)
    if metric.row == "bandwidth":
        voice = _voice(condition, stream)
        return _bandwidth(metric.name, topology, participants, voice, hers or SILENT)
    if metric.row == "nats":
        return ways.expected(metric.name, topology, condition)
    if (metric.row, metric.name) == ("impairment", "concealed_samples"):
        voice = stream or SPEECH_STREAM
        return impairments.concealed(topology, participants, condition, voice.wire_kbps)
    if (metric.row, metric.name) == ("scalability", "packets_forwarded"):
        return _forwarded(topology, participants, stream or SPEECH_STREAM, hers or SILENT)
    return None


def growth_of(metric: Metric, topology: Topology, condition: str = "") -> Growth | None:
    """The formula of what can be counted; None for what cannot."""
    key = (metric.row, metric.name)
    both = _UNDER.get((*key, condition)) or _COUNTS.get(key)
    return both and both[TOPOLOGIES.index(topology)]


def degree_of(metric: Metric, topology: Topology) -> int | None:
    """How a metric grows with N: 0 not at all, 1 in proportion, 2 with the square; else None."""
    growth = growth_of(metric, topology)
    if growth is not None:
        return len(growth) - 1
    both = _DEGREES.get((metric.row, metric.name))
    return None if both is None else both[TOPOLOGIES.index(topology)]


def value_at(growth: Growth, participants: float) -> float:
    """The polynomial at N."""
    return sum(factor * participants**power for power, factor in enumerate(growth))


def _voice(condition: str, stream: Stream | None) -> Stream | None:
    return stream or (None if condition == SILENCE else SPEECH_STREAM)


def _bandwidth(
    name: str, topology: Topology, participants: int, stream: Stream | None, hers: Stream
) -> float | None:
    """Of one person, when all people's microphones are open and Mulisa is silent."""
    if name == "upload_explained":
        return 100.0
    if stream is None:
        return None
    sent = participants if topology == "mesh" else 1
    received = _voices_received(topology, participants)
    return {
        "upload": sent * stream.rtp_kbps,
        "download": received * stream.rtp_kbps + hers.rtp_kbps,
        "upload_on_wire": sent * stream.wire_kbps,
        "download_on_wire": received * stream.wire_kbps + hers.wire_kbps,
        "payload_per_stream": stream.payload_kbps,
        "packets_per_stream": stream.packets_per_second,
    }[name]


def chooses(topology: Topology, participants: int) -> bool:
    """Whether only the loudest are forwarded, with all people's microphones open."""
    return topology == "sfu" and participants > ALL_FORWARDED


def _voices_received(topology: Topology, participants: int) -> int:
    """Of people, by one who is not among the loudest."""
    return LOUDEST if chooses(topology, participants) else participants - 1


def _voices_forwarded(topology: Topology, participants: int) -> int:
    """Of people, to all participants: each to all others, or the loudest; to Mulisa, all."""
    if chooses(topology, participants):
        return LOUDEST * (participants - 1) + participants
    return participants * participants


def _forwarded(topology: Topology, participants: int, stream: Stream, hers: Stream) -> float:
    """Packets a second: each person's to all others and to Mulisa, and hers to all people."""
    if topology == "mesh":
        return 0.0
    voices = _voices_forwarded(topology, participants) * stream.packets_per_second
    return voices + participants * hers.packets_per_second


_CHOSEN: Final[Mapping[tuple[str, str], Callable[[int], float]]] = {
    # What is counted in streams; Mulisa is always forwarded, and hears all.
    ("connections", "streams_received"): lambda people: LOUDEST + 1,
    ("scalability", "streams_in_total"): lambda people: _voices_forwarded("sfu", people) + people,
}
