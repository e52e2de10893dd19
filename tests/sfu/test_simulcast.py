"""Key frames of each codec, and which layer is forwarded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.sfu.simulcast import Layers, begins_key_frame

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("codec", "payload", "is_key"),
    [
        ("vp8", "10 00", True),
        ("vp8", "10 01", False),  # an inter frame
        ("vp8", "00 00", False),  # within a partition
        ("vp8", "11 00", False),  # the second partition
        ("vp8", "90 80 12 00", True),  # 7-bit picture id
        ("vp8", "90 80 92 34 00", True),  # 15-bit picture id
        ("vp8", "90 e0 92 34 05 20 00", True),  # picture id, TL0PICIDX, TID
        ("vp8", "90 e0 92 34 05 20 01", False),
        ("vp8", "90", False),
        ("vp9", "08", True),
        ("vp9", "48", False),  # predicted
        ("vp9", "00", False),  # not a frame's start
        ("vp9", "a8 12 00", True),
        ("vp9", "a8 92 34 00", True),
        ("vp9", "a8 12 02", False),  # the second spatial layer
        ("h264", "65 88", True),
        ("h264", "67 42", True),
        ("h264", "41 9a", False),
        ("h264", "78 0002 67 42 0002 68 ce", True),  # STAP-A: SPS, PPS
        ("h264", "78 0002 41 9a", False),
        ("h264", "7c 85 88", True),  # FU-A: the first fragment of an IDR picture
        ("h264", "7c 05 88", False),
        ("av1", "08 0a", True),
        ("av1", "10 32", False),
        ("av1", "88 32", False),
        ("opus", "08", False),
    ],
)
def test_the_first_packet_of_a_key_frame_is_known(codec: str, payload: str, is_key: bool) -> None:
    assert begins_key_frame(codec, bytes.fromhex(payload)) is is_key


@given(st.sampled_from(["vp8", "vp9", "h264", "av1"]), st.binary(max_size=40))
def test_any_payload_has_an_answer(codec: str, payload: bytes) -> None:
    assert begins_key_frame(codec, payload) in (True, False)


def test_the_first_layer_with_a_key_frame_is_forwarded() -> None:
    layers = Layers(["q", "h", "f"])
    assert not layers.receive("q", False, now=0.0)
    assert layers.receive("q", True, now=0.1)
    assert layers.receive("q", False, now=0.2)


def test_a_better_layer_takes_over_at_its_key_frame() -> None:
    layers = Layers(["q", "h", "f"])
    layers.receive("q", True, now=0.0)
    assert not layers.receive("f", False, now=0.1)
    assert layers.best(0.1) == "f"
    assert layers.receive("q", False, now=0.1)
    assert not layers.receive("h", True, now=0.2)
    assert layers.receive("f", True, now=0.3)
    assert not layers.receive("q", True, now=0.3)


def test_a_layer_that_stopped_is_left_at_the_next_key_frame_of_another() -> None:
    layers = Layers(["q", "f"])
    layers.receive("f", True, now=0.0)
    assert not layers.receive("q", True, now=0.9)
    assert not layers.receive("q", False, now=1.1)
    assert layers.best(1.1) == "q"
    assert layers.receive("q", True, now=1.2)
    assert layers.current == "q"
    assert layers.best(9.0) is None
