"""What is made of her packets, and of the moments at which she was audible."""

from __future__ import annotations

import pytest

from mulisa.compare.answering import encodes, frames_of, last_before_silence
from mulisa.compare.capture import Packet

pytestmark = pytest.mark.unit

SIZES = (90, 85, 97, 60)


def voice(ssrc: int, sizes: tuple[int, ...] = SIZES) -> list[Packet]:
    """A packet per 20 ms."""
    head = bytes([0x80, 111]) + bytes(6) + ssrc.to_bytes(4, "big")
    return [Packet(n * 0.02, 1, 2, size, head) for n, size in enumerate(sizes)]


def test_what_was_encoded_once_is_the_same_for_all() -> None:
    fanned_out = voice(1) + voice(2) + voice(3)
    assert (frames_of(fanned_out), encodes(fanned_out)) == (4, 4)


def test_longer_headers_are_no_other_encoder() -> None:
    over_ipv6 = tuple(size + 20 for size in SIZES)
    assert encodes(voice(1) + voice(2, over_ipv6)) == 4


def test_an_encoder_for_each_shows_in_the_sizes() -> None:
    assert encodes(voice(1) + voice(2, (91, 85, 99, 61))) == 6


def test_who_began_to_listen_late_heard_the_same() -> None:
    assert encodes(voice(1) + voice(2, SIZES[1:])) == 4


def test_nothing_sent_is_nothing_encoded() -> None:
    assert (frames_of([]), encodes([])) == (0, 0)


def test_a_pause_ends_the_sound_that_was_there() -> None:
    spans = [(1.0, 2.0), (5.0, 7.5), (9.0, None)]
    assert last_before_silence(spans, 6.0) == 7.5
    assert last_before_silence(spans, 3.0) is None
    assert last_before_silence(spans, 10.0) is None
