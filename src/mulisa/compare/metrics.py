"""What `mulisa compare` measures: its rows, and the metrics of each. Pure.

One table for those who measure, calculate and draw. "N people" are the people in the call; Mulisa
comes on top. A figure's samples are one per person, per connection or per trial, as `each` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Topology = Literal["mesh", "sfu"]
TOPOLOGIES: Final[tuple[Topology, ...]] = ("mesh", "sfu")

RowName = Literal[
    "connections",
    "bandwidth",
    "joining",
    "injection",
    "control",
    "routing",
    "scalability",
    "churn",
    "nats",
    "impairment",
    "response",
]

SPEECH: Final = "speech"
SILENCE: Final = "silence"
STOP_HEARING: Final = "stop hearing one person"
SPEAK_TO_ONE: Final = "speak to one only"
JOIN: Final = "one person joins"
LEAVE: Final = "one person leaves"


@dataclass(frozen=True, slots=True)
class Row:
    """A question that the report answers, in the order of the report."""

    name: RowName
    title: str
    see: str
    """One sentence: what to see in its chart."""
    charts: tuple[str, ...]
    """The metrics that are drawn, the most telling one first."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured quantity; (`row`, `name`) is unique."""

    row: RowName
    name: str
    unit: str
    title: str
    each: str
    """What one sample is of."""
    conditions: tuple[str, ...] = ("",)
    """The conditions it is measured under; empty: any text, such as "loss 5 %"."""


ROWS: Final[tuple[Row, ...]] = (
    Row(
        "connections",
        "Connections",
        "In the mesh each new person is one more connection for everybody; on the SFU everybody "
        "has one, whatever the number of people.",
        ("peer_connections", "connections_in_total"),
    ),
    Row(
        "bandwidth",
        "Bandwidth",
        "In the mesh the upload grows with every listener; on the SFU it stays that of one stream. "
        "The download is the same in both.",
        ("upload_on_wire", "download_on_wire"),
    ),
    Row(
        "joining",
        "Adding Mulisa to a running call",
        "In the mesh she negotiates with each person; on the SFU she makes one connection.",
        ("time_until_everybody_hears_her", "connections_made"),
    ),
    Row(
        "injection",
        "Her voice to everybody",
        "She encodes once in both; in the mesh she sends a packet to each listener, on the SFU "
        "one packet that the SFU copies.",
        ("packets_per_frame", "text_to_ear"),
    ),
    Row(
        "control",
        "Who hears whom",
        "How long a change of routing takes until it holds, and how many packets came after it.",
        ("time_until_it_holds",),
    ),
    Row(
        "routing",
        "Routing without logic of our own",
        "What Mulisa's own code must know and do so that the right people hear the right voice.",
        ("lines_of_own_code",),
    ),
    Row(
        "scalability",
        "Cost by size of the call",
        "Who pays when the call grows: in the mesh every browser and Mulisa, on the SFU the SFU.",
        ("browser_cpu", "mulisa_cpu", "server_cpu", "packets_forwarded"),
    ),
    Row(
        "churn",
        "Joins and leaves",
        "What one person who comes or goes costs all others: in the mesh a connection each, on the "
        "SFU a renegotiation of the one that they have.",
        ("renegotiations",),
    ),
    Row(
        "nats",
        "Behind NATs",
        "In the mesh each pair must find a way; on the SFU each person only needs a way to the "
        "server.",
        ("pairs_that_need_a_relay", "pairs_connected_without_turn"),
    ),
    Row(
        "impairment",
        "On a bad network",
        "How much of what is heard is invented to fill gaps, and what Mulisa still understands.",
        ("concealed_samples", "word_error_rate"),
    ),
    Row(
        "response",
        "How fast she answers and pauses",
        "From the end of a person's words to the first sound of hers, at each listener's ear.",
        ("response_latency", "pause_latency"),
    ),
)

_BOTH: Final = (SPEECH, SILENCE)
_CHANGES: Final = (STOP_HEARING, SPEAK_TO_ONE)
_COMINGS: Final = (JOIN, LEAVE)

METRICS: Final[tuple[Metric, ...]] = (
    # 1: RTCPeerConnections that are connected, and RTP streams that carry packets.
    Metric("connections", "peer_connections", "connections", "Connections of one person", "person"),
    Metric(
        "connections", "remote_endpoints", "endpoints", "Addresses one person sends to", "person"
    ),
    Metric("connections", "connections_of_mulisa", "connections", "Connections of Mulisa", "trial"),
    Metric(
        "connections", "connections_in_total", "connections", "Connections in the call", "trial"
    ),
    Metric("connections", "streams_sent", "streams", "Streams one person sends", "person"),
    Metric("connections", "streams_received", "streams", "Streams one person receives", "person"),
    # 2: "speech": this person speaks all the time (upload), all others do (download).
    Metric("bandwidth", "upload", "kb/s", "Upload of one person, by getStats", "person", _BOTH),
    Metric("bandwidth", "download", "kb/s", "Download of one person, by getStats", "person", _BOTH),
    Metric(
        "bandwidth", "upload_on_wire", "kb/s", "Upload of one person, on the wire", "person", _BOTH
    ),
    Metric(
        "bandwidth",
        "download_on_wire",
        "kb/s",
        "Download of one person, on the wire",
        "person",
        _BOTH,
    ),
    Metric("bandwidth", "payload_per_stream", "kb/s", "Opus alone, of one stream", "stream", _BOTH),
    Metric(
        "bandwidth",
        "packets_per_stream",
        "packets/s",
        "Packets of one stream",
        "stream",
        _BOTH,
    ),
    Metric(
        "bandwidth",
        "upload_explained",
        "%",
        "Upload on the wire, of what the encoders made plus overhead",
        "person",
        _BOTH,
    ),
    # 3: from the moment she is asked to come.
    Metric("joining", "signalling_messages", "messages", "Signalling messages", "trial"),
    Metric("joining", "offers", "offers", "Offers", "trial"),
    Metric("joining", "answers", "answers", "Answers", "trial"),
    Metric("joining", "people_who_renegotiate", "people", "People who must negotiate", "trial"),
    Metric("joining", "connections_made", "connections", "Connections made to add her", "trial"),
    Metric(
        "joining",
        "time_until_everybody_hears_her",
        "ms",
        "From asking her to come until everybody hears her",
        "trial",
    ),
    Metric(
        "joining",
        "time_until_she_hears_everybody",
        "ms",
        "From asking her to come until she hears everybody",
        "trial",
    ),
    Metric(
        "joining", "gap_for_the_others", "ms", "Longest gap in what others hear meanwhile", "person"
    ),
    # 4: one sentence, to all.
    Metric("injection", "encodes_per_frame", "encodes", "Encodes per 20 ms of her voice", "trial"),
    Metric("injection", "tracks", "tracks", "Tracks she sends", "trial"),
    Metric("injection", "packets_per_frame", "packets", "Packets she sends per 20 ms", "trial"),
    Metric("injection", "packets_per_sentence", "packets", "Packets of one sentence", "trial"),
    Metric("injection", "text_to_ear", "ms", "From her words to an ear", "listener"),
    Metric(
        "injection",
        "spread_between_listeners",
        "ms",
        "From the first ear to the last",
        "trial",
    ),
    # 5
    Metric("control", "operations", "operations", "Changes that Mulisa makes", "trial", _CHANGES),
    Metric("control", "signalling_messages", "messages", "Signalling messages", "trial", _CHANGES),
    Metric(
        "control", "time_until_it_holds", "ms", "Until a change of routing holds", "trial", _CHANGES
    ),
    Metric(
        "control",
        "packets_after_acknowledgement",
        "packets",
        "Packets after its acknowledgement",
        "trial",
        _CHANGES,
    ),
    # 6
    Metric("routing", "state_entries", "entries", "Routing state Mulisa keeps", "trial"),
    Metric(
        "routing",
        "lines_of_own_code",
        "lines",
        "Lines of our own only for routing",
        "trial",
    ),
    # 7: all people speak and hear.
    Metric("scalability", "browser_cpu", "% of a core", "CPU of one browser", "person"),
    Metric("scalability", "mulisa_cpu", "% of a core", "CPU of Mulisa", "trial"),
    Metric("scalability", "server_cpu", "% of a core", "CPU of the server", "trial"),
    Metric("scalability", "packets_forwarded", "packets/s", "Packets the server forwards", "trial"),
    Metric("scalability", "streams_in_total", "streams", "Streams received in the call", "trial"),
    # 8
    Metric(
        "churn",
        "renegotiations",
        "offers",
        "Offers in the whole call",
        "trial",
        _COMINGS,
    ),
    Metric(
        "churn",
        "people_who_renegotiate",
        "people",
        "People who negotiate, beside the one",
        "trial",
        _COMINGS,
    ),
    Metric("churn", "connections_made", "connections", "Connections made", "trial", _COMINGS),
    Metric("churn", "connections_closed", "connections", "Connections closed", "trial", _COMINGS),
    Metric("churn", "signalling_messages", "messages", "Signalling messages", "trial", _COMINGS),
    # 9: the condition names the NAT, such as "symmetric" or "UDP blocked".
    Metric("nats", "pairs", "pairs", "Pairs that must find a way", "trial", ()),
    Metric("nats", "pairs_that_need_a_relay", "pairs", "Pairs that need a relay", "trial", ()),
    Metric(
        "nats",
        "pairs_connected_without_turn",
        "pairs",
        "Pairs that hear each other without TURN",
        "trial",
        (),
    ),
    Metric(
        "nats",
        "pairs_connected_with_turn",
        "pairs",
        "Pairs that hear each other with TURN",
        "trial",
        (),
    ),
    # 10: the condition names the impairment, such as "loss 5 %" or "uplink 256 kb/s".
    Metric("impairment", "concealed_samples", "%", "Sound invented to fill gaps", "listener", ()),
    Metric("impairment", "mouth_to_ear_delay", "ms", "From mouth to ear", "listener", ()),
    Metric(
        "impairment",
        "word_error_rate",
        "%",
        "Words Mulisa gets wrong",
        "trial",
        (),
    ),
    # 11
    Metric(
        "response", "response_latency", "ms", "From the end of a turn to her answer", "listener"
    ),
    Metric("response", "pause_latency", "ms", "From an interruption to her silence", "listener"),
    Metric("response", "spread_between_listeners", "ms", "First ear to last ear", "trial"),
)

ROW_OF: Final = {row.name: row for row in ROWS}
METRIC_OF: Final[Mapping[tuple[str, str], Metric]] = {
    (metric.row, metric.name): metric for metric in METRICS
}


def metrics_of(row: RowName) -> tuple[Metric, ...]:
    """The metrics of a row, in the order of the table."""
    return tuple(metric for metric in METRICS if metric.row == row)
