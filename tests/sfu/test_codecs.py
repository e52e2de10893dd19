from __future__ import annotations

import pytest

from mulisa.sfu.codecs import identity, parameters, published_formats, subscribed_formats
from mulisa.sfu.media import Codec
from mulisa.wire.description import RTP, Format, Media

pytestmark = pytest.mark.unit

BASELINE = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id="


def media(kind: str, *formats: Format) -> Media:
    return Media(kind, "0", RTP, tuple(str(each.payload_type) for each in formats), formats=formats)


def h264(number: int, fmtp: str) -> Format:
    return Format(number, "h264", 90_000, fmtp=fmtp)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("42e01f", "42c00d", True),
        ("42e01f", "42E034", True),
        ("42e01f", "4d8028", True),
        ("42e01f", "42001f", False),
        ("4d001f", "4d0032", True),
        ("64001f", "640c1f", False),
        ("42e01f", "64001f", False),
        ("zz", "zz", True),
        ("f4001f", "f40032", True),
    ],
)
def test_h264_profiles_are_compared_without_the_level(one: str, other: str, is_same: bool) -> None:
    first, second = (identity("h264", parameters(BASELINE + each)) for each in (one, other))
    assert (first == second) is is_same


def test_h264_without_parameters_is_baseline_in_mode_0() -> None:
    assert identity("h264", {}) == ("h264", "0", "baseline")


def test_of_h264_the_format_is_taken_that_most_receivers_know() -> None:
    offered = media(
        "video",
        h264(1, "packetization-mode=1;profile-level-id=64001f"),
        h264(2, "packetization-mode=0;profile-level-id=42e01f"),
        h264(3, "packetization-mode=1;profile-level-id=42e01f"),
        h264(4, "packetization-mode=1;profile-level-id=42001f"),
    )
    assert [each.payload_type for each in published_formats(offered, None)] == [3]


def test_a_subscriber_takes_the_format_of_the_publishers_profile() -> None:
    offered = media("video", h264(5, BASELINE + "42001f"), h264(6, BASELINE + "42e01f"))
    codec = Codec("h264", 96, 90_000, fmtp=BASELINE + "42e034")
    assert [each.payload_type for each in subscribed_formats(offered, [codec])] == [6]
    assert subscribed_formats(offered, [Codec("h264", 96, 90_000, fmtp="")]) == ()


@pytest.mark.parametrize("fmtp", ["", "111", "111/111", "111/111/111", "111/112", "0/0"])
def test_red_is_taken_if_it_repeats_nothing_but_opus(fmtp: str) -> None:
    opus = Format(111, "opus", 48_000, 2)
    offered = media("audio", opus, Format(63, "red", 48_000, 2, fmtp))
    names = [each.name for each in published_formats(offered, None)]
    assert names == (["red", "opus"] if set(fmtp.split("/")) == {"111"} else ["opus"])


def test_what_is_no_opus_is_not_taken() -> None:
    others = (Format(0, "pcmu", 8_000), Format(1, "opus", 48_000, 1), Format(2, "opus", 16_000, 2))
    assert published_formats(media("audio", *others), None) == ()
    rtx, vp8 = Format(97, "rtx", 90_000, fmtp="apt=96"), Format(96, "vp8", 90_000)
    assert [each.name for each in published_formats(media("video", rtx, vp8), None)] == ["vp8"]
