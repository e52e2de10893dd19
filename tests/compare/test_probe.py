"""The arithmetic of two readings of getStats."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mulisa.compare.probe import Connection, Stream, concealed_ms, traffic
from mulisa.core.errors import MulisaError

pytestmark = pytest.mark.unit

SSRC = 7
FIRST = Connection(
    at=100.0,
    number=0,
    name="bob",
    bytes_sent=1_000,
    bytes_received=2_000,
    packets_sent=10,
    packets_received=20,
    srtp="AES_CM_128_HMAC_SHA1_80",
    codec="audio/opus",
    local_port=1111,
    local_type="host",
    remote="127.0.0.1:2222",
    sent={SSRC: Stream(10, 800, 200)},
    received={SSRC: Stream(20, 1_600, 400, 480, 48_000)},
)


def later(seconds: float, packets: int, payload: int, header: int) -> Connection:
    """So many packets more, each as large, and nothing else on the wire."""
    tag = 10
    sent = packets * (payload + header + tag)
    return replace(
        FIRST,
        at=FIRST.at + seconds,
        bytes_sent=FIRST.bytes_sent + sent,
        packets_sent=FIRST.packets_sent + packets,
        sent={SSRC: Stream(10 + packets, 800 + packets * payload, 200 + packets * header)},
    )


def test_a_stream_is_its_payload_its_headers_and_what_the_wire_adds() -> None:
    found = traffic([FIRST], [later(2.0, packets=100, payload=80, header=20)])
    assert found.payload_per_stream == (100 * 80 * 8 / 1000 / 2,)
    assert found.packets_per_stream == (50.0,)
    assert found.upload == 100 * 100 * 8 / 1000 / 2
    assert found.upload_on_wire == 100 * (100 + 10 + 28) * 8 / 1000 / 2
    assert found.made_bytes == 100 * (100 + 10 + 28)
    assert (found.header_bytes, found.tag_bytes) == (20, 10)
    assert found.download == found.download_on_wire == 0


def test_ipv6_has_longer_headers() -> None:
    before, after = replace(FIRST, remote="::1:2222"), later(1.0, 50, 80, 20)
    found = traffic([before], [replace(after, remote="::1:2222")])
    assert found.upload_on_wire == 50 * (100 + 10 + 48) * 8 / 1000
    assert found.ip_bytes == 40


def test_connections_add_up_and_silent_streams_are_none() -> None:
    silent = replace(FIRST, number=1, local_port=3333)
    before, after = [FIRST, silent], [later(1.0, 50, 80, 20), replace(silent, at=101.0)]
    found = traffic(before, after)
    assert len(found.payload_per_stream) == 1
    assert found.upload == 50 * 100 * 8 / 1000


def test_a_connection_may_change_its_port_but_not_be_another() -> None:
    moved = replace(later(1.0, 50, 80, 20), local_port=9999)
    assert traffic([FIRST], [moved]).upload > 0
    with pytest.raises(MulisaError, match="no connection"):
        traffic([FIRST], [replace(moved, number=5)])


def test_the_worst_stream_says_how_much_was_made_up() -> None:
    received = {SSRC: Stream(70, 1, 1, 480 + 960, 96_000), 8: Stream(9, 1, 1, 48_000, 48_000)}
    assert concealed_ms([FIRST], [replace(FIRST, received=received)]) == 20.0  # 8 came later
