"""RTP headers: the same as another reader finds, and never more than the packet holds."""

from __future__ import annotations

import pytest
from aiortc.rtp import RtpPacket, pack_header_extensions
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.wire.rtp import RtpHeader, extension_block, sequence_delta, timestamp_delta

pytestmark = pytest.mark.unit

FIXED = bytes.fromhex("80 6f 0001 00000002 00000003")
WITH_EXTENSION = bytes.fromhex("90 6f 0001 00000002 00000003")

_elements = st.lists(
    st.tuples(st.integers(1, 14), st.binary(min_size=1, max_size=16)),
    min_size=1,
    max_size=6,
    unique_by=lambda element: element[0],
)
_long_elements = st.lists(
    st.tuples(st.integers(1, 255), st.binary(max_size=40)),
    min_size=1,
    max_size=6,
    unique_by=lambda element: element[0],
)


def read(data: bytes) -> RtpHeader | None:
    header = RtpHeader()
    return header if header.read(bytearray(data + bytes(8)), len(data)) else None


def with_extensions(elements: list[tuple[int, bytes]], payload: bytes = b"payload") -> bytes:
    profile, value = pack_header_extensions(elements)
    words = (len(value) // 4).to_bytes(2)
    return WITH_EXTENSION + profile.to_bytes(2) + words + value + payload


def test_numbers_wrap_around() -> None:
    assert sequence_delta(2, 65535) == 3
    assert sequence_delta(65535, 2) == -3
    assert timestamp_delta(5, 2**32 - 5) == 10
    assert timestamp_delta(2**32 - 5, 5) == -10


@given(
    st.integers(0, 127),
    st.integers(0, 1),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 2**32 - 1), max_size=15),
    st.binary(max_size=50),
    st.integers(0, 255),
)
def test_a_packet_is_read_as_it_was_written(
    kind: int, marker: int, sequence: int, number: int, csrc: list[int], body: bytes, padding: int
) -> None:
    packet = RtpPacket(kind, marker, sequence, number, number ^ 1, body)
    packet.csrc, packet.padding_size = csrc, padding
    data = packet.serialize()
    header = read(data)
    assert header is not None
    assert (header.payload_type, header.is_marked) == (kind, bool(marker))
    assert (header.sequence, header.timestamp, header.ssrc) == (sequence, number, number ^ 1)
    assert data[header.payload_start : header.payload_end] == body


@given(_elements | _long_elements)
def test_extensions_are_found(elements: list[tuple[int, bytes]]) -> None:
    data = with_extensions(elements)
    header = read(data)
    assert header is not None
    assert data[header.payload_start : header.payload_end] == b"payload"
    assert header.elements(data) == dict(elements)
    for number, value in elements:
        assert header.first_byte(data, number) == (value[0] if value else -1)
    for absent in {1, 7, 14} - dict(elements).keys():
        assert header.first_byte(data, absent) == -1


@given(st.integers(1, 14), st.binary(max_size=255))
def test_an_element_is_found_in_the_block_that_was_written_of_it(number: int, value: bytes) -> None:
    data = WITH_EXTENSION + extension_block(number, value) + b"payload"
    header = read(data)
    assert header is not None
    assert header.elements(data) == {number: value}
    assert data[header.payload_start : header.payload_end] == b"payload"
    assert (data[12] == 0xBE) is (0 < len(value) <= 16)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FIXED[:11],
        b"\x40" + FIXED[1:],  # version 1
        b"\x81" + FIXED[1:],  # a contributing source that is not there
        WITH_EXTENSION,
        WITH_EXTENSION + b"\xbe\xde\0\1abc",
        b"\xa0" + FIXED[1:] + b"ab\0",  # padding of no byte
        b"\xa0" + FIXED[1:] + b"ab\4",  # more padding than there is
    ],
)
def test_what_is_no_packet_is_refused(data: bytes) -> None:
    assert read(data) is None


def test_a_length_beyond_the_buffer_is_refused() -> None:
    assert not RtpHeader().read(FIXED, 13)


@pytest.mark.parametrize("value", ["10", "1f aabbcc", "00 00 00 1f", "f0 1e 10 1e", "05 00 00 00"])
def test_a_broken_element_is_none(value: str) -> None:
    elements = bytes.fromhex(value).ljust(4, b"\0")
    data = WITH_EXTENSION + b"\xbe\xde\0\1" + elements[:4]
    header = read(data)
    assert header is not None
    assert 0 not in header.elements(data)
    assert header.elements(data).keys() <= {1}


@settings(max_examples=2000)
@given(st.binary(max_size=120) | st.binary(max_size=60).map(WITH_EXTENSION.__add__))
def test_no_bytes_lead_outside_the_packet(data: bytes) -> None:
    header = read(data)
    if header is None:
        return
    assert 12 <= header.payload_start <= header.payload_end <= len(data)
    exact = bytes(data)
    for number, value in header.elements(exact).items():
        assert value in exact
        assert 0 < number < 256
    assert all(-1 <= header.first_byte(exact, number) <= 255 for number in range(1, 16))


@pytest.mark.slow
@settings(max_examples=8_000)
@given(st.binary(max_size=120) | st.binary(max_size=60).map(WITH_EXTENSION.__add__))
def test_no_bytes_lead_outside_the_packet_however_many(
    data: bytes,
) -> None:
    test_no_bytes_lead_outside_the_packet.hypothesis.inner_test(data)  # type: ignore[attr-defined]
