"""From a publisher's connection to its subscribers': what each of them receives."""

from __future__ import annotations

import pytest

from mulisa.wire.srtp import AES_128_CM, AES_128_GCM, AES_256_GCM, SrtpProfile
from tests.sfu.media_peers import OPUS, Stage, Voice, audio, to_audio

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("profile", [AES_128_GCM, AES_256_GCM, AES_128_CM])
def test_a_packet_reaches_its_subscriber_as_the_subscriber_negotiated_it(
    profile: SrtpProfile,
) -> None:
    stage = Stage()
    voice = Voice(stage, stage.publisher(audio()))
    peer, session = stage.join(profile)
    session.subscribe([to_audio("TR_a", OPUS, ssrc=77)])
    voice.speak(payload=b"hello")
    (packet,) = peer.take()
    assert (packet.ssrc, packet.payload_type, packet.payload) == (77, 111, b"hello")
    assert packet.extensions.audio_level == (True, 30)
    assert packet.extensions.mid is None
