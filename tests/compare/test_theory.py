"""What theory says, against numbers worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mulisa.compare.metrics import (
    COMPARED,
    JOIN,
    LEAVE,
    METRIC_OF,
    METRICS,
    SILENCE,
    SPEAK_TO_ONE,
    SPEECH,
    STOP_HEARING,
    Topology,
)
from mulisa.compare.theory import DTX_STREAM, Stream, degree_of, expected

pytestmark = pytest.mark.unit


def of(row: str, name: str, people: int, condition: str = "") -> tuple[float | None, ...]:
    """Mesh and SFU."""
    metric = METRIC_OF[row, name]
    return tuple(expected(metric, topology, people, condition) for topology in COMPARED)


@pytest.mark.parametrize(
    ("people", "each", "total"), [(1, (1, 1), (1, 2)), (2, (2, 1), (3, 3)), (6, (6, 1), (21, 7))]
)
def test_connections(people: int, each: tuple[int, int], total: tuple[int, int]) -> None:
    """N - 1 other people and Mulisa in the mesh; one with the SFU."""
    assert of("connections", "peer_connections", people) == each
    assert of("connections", "connections_in_total", people) == total


def test_everybody_hears_everybody_in_both() -> None:
    """Five participants, four voices each."""
    assert of("scalability", "streams_in_total", 4) == (20, 20)
    assert of("connections", "streams_received", 4) == (4, 4)
    assert of("connections", "streams_sent", 4) == (4, 1)


def test_growth_is_quadratic_where_it_is() -> None:
    total = METRIC_OF["connections", "connections_in_total"]
    server = METRIC_OF["scalability", "server_cpu"]
    assert [degree_of(total, topology) for topology in COMPARED] == [2, 1]
    assert [degree_of(server, topology) for topology in COMPARED] == [0, 2]
    assert degree_of(METRIC_OF["response", "response_latency"], "mesh") is None


def test_her_coming_costs_connections_in_the_mesh_and_m_lines_on_the_sfu() -> None:
    assert of("joining", "connections_made", 4) == (4, 1)
    assert of("joining", "offers", 4) == (4, 7)
    assert of("joining", "people_who_renegotiate", 4) == (4, 4)


def test_one_sentence_is_encoded_once() -> None:
    assert of("injection", "encodes_per_frame", 4) == (1, 1)
    assert of("injection", "packets_per_frame", 4) == (4, 1)


def test_changes_of_routing() -> None:
    assert of("control", "operations", 4, STOP_HEARING) == (1, 1)
    assert of("control", "operations", 4, SPEAK_TO_ONE) == (3, 1)
    assert of("control", "packets_after_acknowledgement", 4, SPEAK_TO_ONE) == (0, 0)


def test_messages_of_a_change() -> None:
    """Two people; the last of them show it to everybody."""
    assert of("control", "signalling_messages", 2, STOP_HEARING) == (4 + 4, 4 + 6)
    assert of("control", "signalling_messages", 2, SPEAK_TO_ONE) == (4, None)


def test_joins_and_leaves() -> None:
    assert of("churn", "renegotiations", 4, JOIN) == (4, 6)
    assert of("churn", "people_who_renegotiate", 4, JOIN) == (3, 3)
    assert of("churn", "connections_closed", 4, LEAVE) == (4, 1)
    assert of("churn", "renegotiations", 4, LEAVE) == (0, 0)


def test_a_stream_on_the_wire() -> None:
    """20 ms of 32 kb/s are 80 bytes; 12 of RTP, 16 of AES-GCM, 8 of UDP, 20 of IP: 136 bytes."""
    assert Stream().wire_kbps == pytest.approx(136 * 8 * 50 / 1000)
    assert Stream().rtp_kbps == pytest.approx(92 * 8 * 50 / 1000)
    assert Stream(rtp_header_bytes=20, srtp_tag_bytes=10, ip_bytes=40).wire_kbps == pytest.approx(
        158 * 8 * 50 / 1000
    )


def test_silence_with_dtx_is_next_to_nothing() -> None:
    """57 bytes, two and a half times a second."""
    assert DTX_STREAM.wire_kbps == pytest.approx(57 * 8 * 2.5 / 1000, rel=0.02)


@pytest.mark.parametrize(("topology", "sent"), [("mesh", 4), ("sfu", 1)])
def test_bandwidth(topology: Topology, sent: int) -> None:
    stream = Stream(payload_kbps=30, rtp_header_bytes=20)

    def kbps(name: str) -> float | None:
        return expected(METRIC_OF["bandwidth", name], topology, 4, SPEECH, stream)

    assert kbps("upload") == pytest.approx(sent * 38)
    assert kbps("upload_on_wire") == pytest.approx(sent * 55.6)
    assert kbps("download_on_wire") == pytest.approx(3 * 55.6)
    assert kbps("payload_per_stream") == 30
    assert kbps("upload_explained") == 100


def test_of_silence_nothing_is_known_before_it_is_encoded() -> None:
    upload = METRIC_OF["bandwidth", "upload"]
    assert expected(upload, "mesh", 4, SILENCE) is None
    quiet = Stream(payload_kbps=4)
    assert expected(upload, "mesh", 4, SILENCE, quiet) == pytest.approx(4 * quiet.rtp_kbps)


def test_what_the_server_forwards_grows_with_the_square() -> None:
    """Each person's 50 packets a second go to three others and to Mulisa."""
    assert of("scalability", "packets_forwarded", 4) == (0, 4 * 4 * 50)
    assert of("scalability", "packets_forwarded", 8) == (0, 8 * 8 * 50)


def test_of_more_than_eight_the_sfu_forwards_the_loudest_five() -> None:
    """Nine people: five voices to eight of them or so, all nine and hers to and from Mulisa."""
    assert of("scalability", "packets_forwarded", 9) == (0, (5 * 8 + 9) * 50)
    assert of("scalability", "streams_in_total", 9) == (90, 5 * 8 + 9 + 9)
    assert of("connections", "streams_received", 9) == (9, 6)
    voice = Stream().wire_kbps
    mesh, sfu = of("bandwidth", "download_on_wire", 9, SPEECH)
    assert mesh == pytest.approx(8 * voice)
    assert sfu == pytest.approx(5 * voice)


def test_silence_of_hers_costs_where_her_encoder_goes_on() -> None:
    hers = Stream(payload_kbps=12.0)
    download = METRIC_OF["bandwidth", "download"]
    voice = Stream(payload_kbps=30.0)
    assert expected(download, "sfu", 4, SPEECH, voice, hers) == pytest.approx(
        3 * voice.rtp_kbps + hers.rtp_kbps
    )
    forwarded = METRIC_OF["scalability", "packets_forwarded"]
    assert expected(forwarded, "sfu", 4, "", voice, hers) == 4 * 4 * 50 + 4 * 50
    assert expected(forwarded, "mesh", 4, "", voice, hers) == 0


def test_of_times_and_cpu_theory_says_nothing() -> None:
    silent = [metric for metric in METRICS if metric.unit in ("ms", "% of a core", "lines")]
    assert silent
    for metric in silent:
        condition = metric.conditions[0] if metric.conditions else ""
        assert expected(metric, "mesh", 4, condition) is None


def test_the_document_says_the_same() -> None:
    """docs/mesh-or-sfu.md: N, connections of each, in the call, upload, download, packets."""
    text = (Path(__file__).parents[2] / "docs" / "mesh-or-sfu.md").read_text()
    rows = [
        [int(cell.replace(",", "")) for cell in re.findall(r"\d{1,3}(?:,\d{3})+|\d+", line)]
        for line in text.splitlines()
        if re.match(r"\| \d+ \|", line)
    ]
    assert [row[0] for row in rows] == [2, 3, 4, 6, 10, 25]
    for people, *said in rows:
        assert said == [round(value) for value in figures_of(people)]


def figures_of(people: int) -> list[float]:
    """A line of the document's table."""
    values = [
        *of("connections", "peer_connections", people),
        *of("connections", "connections_in_total", people),
        *of("bandwidth", "upload_on_wire", people, SPEECH),
        *of("bandwidth", "download_on_wire", people, SPEECH),
        of("scalability", "packets_forwarded", people)[1],
    ]
    return [value for value in values if value is not None]
