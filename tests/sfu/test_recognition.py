"""Which track a stream belongs to."""

from __future__ import annotations

import pytest
from aiortc.rtp import RtpPacket

from mulisa.sfu.media import Inbound
from mulisa.sfu.recognition import recognise
from mulisa.wire.rtp import RtpHeader
from tests.sfu.media_peers import RED, UPSTREAM_IDS, VP8, audio, extensions, video

pytestmark = pytest.mark.unit

MICROPHONE = audio("TR_mic", mid="0", ssrcs=[100])
SCREEN = audio("TR_screen", mid="1", ssrcs=[200])
CAMERA = video("TR_camera", rids=["q", "h"])


def find(
    *tracks: Inbound,
    payload_type: int = 111,
    ssrc: int = 1,
    mid: str | None = None,
    rid: str | None = None,
) -> tuple[str, str] | None:
    packet = RtpPacket(payload_type, ssrc=ssrc)
    packet.extensions.mid, packet.extensions.rtp_stream_id = mid, rid
    data = packet.serialize(extensions(UPSTREAM_IDS))
    header = RtpHeader()
    assert header.read(data, len(data))
    found = recognise(header, data, tracks)
    return None if found is None else (found.inbound.track, found.rid)


def test_the_mid_decides_whatever_the_ssrc() -> None:
    assert find(MICROPHONE, SCREEN, ssrc=100, mid="1") == ("TR_screen", "")


def test_without_a_mid_the_announced_ssrc_decides() -> None:
    assert find(MICROPHONE, SCREEN, ssrc=200) == ("TR_screen", "")


def test_of_two_tracks_none_is_guessed() -> None:
    assert find(MICROPHONE, SCREEN, ssrc=300) is None


def test_the_only_track_of_its_payload_type_needs_no_name() -> None:
    assert find(MICROPHONE, CAMERA, ssrc=300) == ("TR_mic", "")


def test_a_packet_that_names_another_m_line_is_of_no_track() -> None:
    assert find(MICROPHONE, ssrc=300, mid="7") is None


def test_a_payload_type_that_was_not_agreed_on_is_of_no_track() -> None:
    assert find(MICROPHONE, payload_type=63, ssrc=100, mid="0") is None
    assert find(audio("TR_mic", RED), payload_type=63, mid="0") == ("TR_mic", "")


def test_layers_are_told_apart_by_their_rid() -> None:
    assert find(MICROPHONE, CAMERA, payload_type=96, mid="1", rid="h") == ("TR_camera", "h")
    assert find(MICROPHONE, CAMERA, payload_type=96, rid="q") == ("TR_camera", "q")


@pytest.mark.parametrize("rid", [None, "f"])
def test_a_stream_of_no_known_layer_is_of_no_track(rid: str | None) -> None:
    assert find(CAMERA, payload_type=96, mid="1", rid=rid) is None
    assert find(CAMERA, payload_type=96, rid=rid) is None


def test_tracks_without_extensions_are_never_named_by_them() -> None:
    bare = Inbound(MICROPHONE.track, "audio", "", (VP8,))
    assert find(bare, payload_type=96) == ("TR_mic", "")
    assert find(bare, bare, payload_type=96) is None
