"""One connection of a client: what below it concerns its session, and its listener."""

from __future__ import annotations

from typing import cast

import pytest

from mulisa.core.room import ParticipantSid
from mulisa.sfu.connection import Connection
from mulisa.sfu.peer import PeerConnection, PeerObserver
from mulisa.sfu.port import RtcPort
from tests.sfu.media_peers import FakePeer, Stage, Voice, audio, to_audio

pytestmark = pytest.mark.unit


class OnePeer:
    """A port to which one client comes."""

    candidates = ()

    def __init__(self) -> None:
        self.peer = FakePeer()

    def connect(self, _: PeerObserver) -> PeerConnection:
        return cast(PeerConnection, self.peer)


class Listener:
    """Does nothing when its connection fails."""

    def connected(self) -> None: ...

    def failed(self, reason: str) -> None: ...

    def channel_opened(self, label: str) -> None: ...

    def data_received(self, label: str, data: bytes) -> None: ...


def test_who_no_longer_consents_gets_no_packet_more() -> None:
    stage, port = Stage(), OnePeer()
    voice = Voice(stage, stage.publisher(audio()))
    connection = Connection(
        cast(RtcPort, port), stage.forwarder, ParticipantSid("PA_x"), Listener()
    )
    connection.session.subscribe([to_audio()])
    voice.speak()
    path = port.peer.path
    assert path is not None and len(path.packets) == 1
    port.peer.path = port.peer.srtp = None  # as a peer does that fails
    connection.failed("no check for too long")
    voice.speak()
    assert len(path.packets) == 1
