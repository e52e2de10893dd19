"""What `mulisa compare` measures: its rows, and the metrics of each. Pure.

One table for those who measure, calculate and draw. "N people" are the people in the call; Mulisa
comes on top. A figure's samples are one per person, per connection or per trial, as `each` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Topology = Literal["mesh", "sfu", "mediasoup"]
"""The mesh, the embedded SFU, and a further SFU, which is measured when its address is given."""
COMPARED: Final[tuple[Topology, ...]] = ("mesh", "sfu")
"""What the question is about: always measured, and set against each other."""
TOPOLOGIES: Final[tuple[Topology, ...]] = (*COMPARED, "mediasoup")
NAMES: Final[dict[Topology, str]] = {"mesh": "mesh", "sfu": "SFU", "mediasoup": "mediasoup"}
"""For people."""

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
    plain: str
    """What it is about, for who never heard of WebRTC."""
    see: str
    """One sentence: what to see in its chart."""
    charts: tuple[str, ...]
    """The metrics that are drawn, the most telling one first."""
    how: str
    """How it is measured, for who wants to trust it."""


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

    @property
    def is_counted(self) -> bool:
        """A number of things, which is the same however busy the machine is."""
        return self.unit in _COUNTED

    @property
    def unit_beside(self) -> str:
        """What stands beside the title; empty where that says what is counted."""
        is_said = self.is_counted or self.unit in self.title.lower()
        return "" if is_said else self.unit


_COUNTED: Final = frozenset(
    {
        "answers",
        "connections",
        "encodes",
        "endpoints",
        "entries",
        "lines",
        "offers",
        "operations",
        "packets",
        "pairs",
        "paths",
        "people",
        "streams",
        "tracks",
    }
)

ROWS: Final[tuple[Row, ...]] = (
    Row(
        "connections",
        "Connections",
        "A connection is a path of its own between two machines: found through both routers, "
        "encrypted, and kept alive. Each one costs time to make, memory, and a chance to fail.",
        "In the mesh each new person is one more connection for everybody; on the SFU everybody "
        "has one, whatever the number of people.",
        ("peer_connections", "connections_in_total"),
        "RTCPeerConnections that are connected, asked of every page and of Mulisa; a stream is "
        "an RTP stream whose packets arrive.",
    ),
    Row(
        "bandwidth",
        "Bandwidth",
        "How much of the internet line a call takes. Homes and phones can receive much more than "
        "they can send, so the upload is what runs out first.",
        "In the mesh the upload grows with every listener; on the SFU it stays that of one stream. "
        "The download is all other voices in both; on the SFU LiveKit's SDK adds Mulisa's silence.",
        ("upload_on_wire", "download_on_wire"),
        "getStats of every page, before and after some seconds: the RTP streams, and all that "
        "their transports carried, with the headers of UDP and IP added. As root a raw socket sees "
        "every packet as well. All people speak at once, then nobody does. Theory takes the bytes "
        "that the encoder made, and adds the headers.",
    ),
    Row(
        "joining",
        "Adding Mulisa to a running call",
        "People are talking, and somebody asks the AI to join. How much has to happen before "
        "everybody hears her and she hears everybody, and does anybody notice?",
        "In the mesh she negotiates with each person; on the SFU she makes one connection.",
        ("time_until_everybody_hears_her", "connections_made"),
        "A proxy between the pages and the server counts offers, answers and other signalling "
        "messages; the times end when each person's page has her track on an open connection, "
        "and when she has everyone's. An offer and its answer are how two ends agree on what "
        "they send each other (SDP).",
    ),
    Row(
        "injection",
        "Her voice to everybody",
        "She says one sentence to all. Her voice is made once; how often it must be compressed "
        "and sent, and does everybody hear it at the same time?",
        "She encodes once in both; in the mesh she sends a packet to each listener, on the SFU "
        "one packet that the SFU copies.",
        ("packets_per_frame", "text_to_ear"),
        "Packets are counted on the wire as they leave her; how often she encodes, by how many of "
        "them differ at one time. Each page listens to her track in WebAudio, and notes when sound "
        "begins. The time runs from the key that sends a question, so her thinking is in it.",
    ),
    Row(
        "control",
        "Who hears whom",
        "“Stop listening to Bob.” “Speak to Alice only.” How much has to happen until such a "
        "wish is true, and is it really true then?",
        "How long a change of routing takes until it holds, and how many packets came after it.",
        ("time_until_it_holds",),
        "An operator's request to the routing API; it is answered when the change holds. From "
        "that moment on packets that contradict it are counted where they would arrive: there "
        "must be none.",
    ),
    Row(
        "routing",
        "Routing without logic of our own",
        "Who hears whom has to be written down somewhere. With an SFU the server keeps that "
        "list; in a mesh it is code of one's own.",
        "What Mulisa's own code must know and do so that the right people hear the right voice.",
        ("lines_of_own_code",),
        "Lines of Mulisa's source that exist for one topology's routing alone, without blank "
        "lines, comments and docstrings; the modules are named with the figures. The state is "
        "what she has to keep at this size.",
    ),
    Row(
        "scalability",
        "Cost by size of the call",
        "What happens when more people come: whose computer has to work more, and where is the "
        "end?",
        "Who pays when the call grows: in the mesh every browser and Mulisa, on the SFU the SFU.",
        ("browser_cpu", "mulisa_cpu", "server_cpu", "packets_forwarded"),
        "CPU time of the processes while all people speak; all pages live in one Chromium, whose "
        "CPU is divided by their number. Curves are least squares of the degree that theory "
        "names, only through sizes at which the machine had room, and only where there are more "
        "sizes than such a curve would fit anyway.",
    ),
    Row(
        "churn",
        "Joins and leaves",
        "People come and go all the time. Whom does it disturb, and how much?",
        "What one person who comes or goes costs all others: in the mesh a connection each, on the "
        "SFU a renegotiation of the one that they have.",
        ("renegotiations",),
        "The same proxy counts what one more person, and then their leaving, sets off in the "
        "whole call.",
    ),
    Row(
        "nats",
        "Behind NATs",
        "Most computers stand behind a router that lets answers in, but no strangers. Two of "
        "them find each other with tricks; some routers and company networks defeat these, and "
        "then a relay (TURN) has to carry everything, or nobody hears anybody.",
        "In the mesh each pair must find a way; on the SFU each person only needs a way to the "
        "server.",
        ("pairs_that_need_a_relay", "pairs_connected_without_turn"),
        "Each person lives in a network namespace of their own behind a router of the named "
        "kind, made of the kernel's firewall; STUN and TURN are a real coturn. A pair counts "
        "when voice arrives in both directions.",
    ),
    Row(
        "impairment",
        "On a bad network",
        "Packets get lost, or come late. The receiving side makes sound up to fill the gaps, "
        "waits longer to have fewer of them, and in the end words get lost.",
        "How much of what is heard is invented to fill gaps, and what Mulisa still understands.",
        ("concealed_samples", "word_error_rate"),
        "Two people speak, each on a bad network of their own: the kernel's firewall loses "
        "packets, its traffic control limits the upload, a wire of our own holds them up. "
        "Concealed samples are those of getStats, delays are from the first sound at the mouth "
        "to the first at the ear, words are Mulisa's transcript against what was really said.",
    ),
    Row(
        "response",
        "How fast she answers and pauses",
        "Somebody asks her something: how long is the silence until she answers? Somebody "
        "interrupts her: how long until she is silent?",
        "From the end of a person's words to the first sound of hers, at each listener's ear.",
        ("response_latency", "pause_latency"),
        "Every listener's page notes when her voice begins and ends, on the one clock of the "
        "machine. Real engines, so recognition, thinking and the pause that tells a turn's end "
        "are in it.",
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
    Metric(
        "scalability",
        "mulisa_media_cpu",
        "% of a core",
        "CPU of Mulisa without her engines",
        "trial",
    ),
    Metric("scalability", "server_cpu", "% of a core", "CPU of the server", "trial"),
    Metric("scalability", "packets_forwarded", "packets/s", "Packets the server forwards", "trial"),
    Metric("scalability", "streams_in_total", "streams", "Streams received in the call", "trial"),
    Metric("scalability", "machine_busy", "%", "All cores of the machine in use", "trial"),
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
    # 9: the condition is one of `ways.CALLS`. Pairs are of all participants, Mulisa included.
    Metric("nats", "pairs", "pairs", "Pairs who want to hear each other", "trial", ()),
    Metric("nats", "paths", "paths", "Paths through NATs that must be found", "trial", ()),
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
    # 10: the condition is one of `impairments.IMPAIRMENTS`.
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
