"""RED payloads (RFC 2198)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.wire.red import alone, primary_start, with_payload_type

pytestmark = pytest.mark.unit


def red(payload_type: int, *blocks: bytes) -> bytes:
    """Blocks of 20 ms at 48 kHz; the last one is the primary block."""
    *earlier, primary = blocks
    heads = b""
    for distance, block in zip(range(len(earlier), 0, -1), earlier, strict=True):
        heads += bytes((0x80 | payload_type,)) + (960 * distance << 10 | len(block)).to_bytes(3)
    return heads + bytes((payload_type,)) + b"".join(earlier) + primary


_blocks = st.lists(st.binary(max_size=1023), min_size=1, max_size=5)


@given(_blocks, st.integers(0, 127), st.integers(0, 127))
def test_the_primary_block_is_the_last(blocks: list[bytes], before: int, after: int) -> None:
    payload = red(before, *blocks)
    assert payload[primary_start(payload) :] == blocks[-1]
    assert with_payload_type(payload, after) == red(after, *blocks)


def test_a_block_alone() -> None:
    assert alone(b"opus", 111) == red(111, b"opus")


@pytest.mark.parametrize(
    "payload", [b"", b"\xef", b"\xef\0\0\1", b"\xef\0\0\5\x6fabcd", b"\xef\0\0\0" * 3]
)
def test_what_is_no_red_is_refused(payload: bytes) -> None:
    assert primary_start(payload) == -1


@settings(max_examples=2000)
@given(st.binary(max_size=80), st.integers(0, 127))
def test_any_bytes_are_refused_or_have_blocks(payload: bytes, payload_type: int) -> None:
    start = primary_start(payload)
    if start < 0:
        return
    assert 0 < start <= len(payload)
    changed = with_payload_type(payload, payload_type)
    assert len(changed) == len(payload)
    assert primary_start(changed) == start
    assert changed[start:] == payload[start:]


@pytest.mark.slow
@settings(max_examples=8_000)
@given(st.binary(max_size=80), st.integers(0, 127))
def test_any_bytes_are_refused_or_have_blocks_however_many(
    payload: bytes,
    payload_type: int,
) -> None:
    test_any_bytes_are_refused_or_have_blocks.hypothesis.inner_test(payload, payload_type)  # type: ignore[attr-defined]
