"""aiortc's RTCPeerConnection takes our descriptions; nobody is at the other end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCSessionDescription

from mulisa.sfu.answering import AnsweringNegotiation
from mulisa.sfu.media import TrackSid
from mulisa.sfu.negotiation import Answered, ExpectedTrack, WantedTrack
from mulisa.sfu.offering import OfferingNegotiation
from tests.sfu.recordings import OURS, wanted_track

pytestmark = pytest.mark.network


@pytest.fixture
async def connection() -> AsyncIterator[RTCPeerConnection]:
    connection = RTCPeerConnection()
    yield connection
    await connection.close()


async def exchange(
    connection: RTCPeerConnection,
    negotiation: AnsweringNegotiation,
    expected: list[ExpectedTrack],
    *wanted: WantedTrack,
) -> Answered:
    offer = await connection.createOffer()
    await connection.setLocalDescription(offer)
    sdp = connection.localDescription.sdp
    answered = negotiation.answer(sdp, OURS, expected, wanted)
    await connection.setRemoteDescription(RTCSessionDescription(answered.sdp, "answer"))
    return answered


async def test_answers_are_taken(connection: RTCPeerConnection) -> None:
    negotiation = AnsweringNegotiation()
    connection.createDataChannel("_reliable")
    microphone = AudioStreamTrack()
    sender = connection.addTrack(microphone)
    connection.addTransceiver("audio", direction="recvonly")
    expected = [ExpectedTrack(TrackSid("TR_mic"), microphone.id, "audio")]

    answered = await exchange(connection, negotiation, expected, wanted_track("a"))
    assert [each.track for each in answered.inbound] == ["TR_mic"]
    assert [each.currentDirection for each in connection.getTransceivers()] == [
        "sendonly",
        "recvonly",
    ]
    assert answered.has_data

    sender.replaceTrack(None)
    connection.getTransceivers()[0].direction = "inactive"
    answered = await exchange(connection, negotiation, expected)
    assert (answered.inbound, answered.outbound) == ((), ())
    assert [each.currentDirection for each in connection.getTransceivers()] == ["inactive"] * 2


async def test_offers_are_answered(connection: RTCPeerConnection) -> None:
    negotiation = OfferingNegotiation()
    for wanted in ([wanted_track("a")], [wanted_track("a"), wanted_track("v", "video")]):
        offer = negotiation.offer(OURS, wanted)
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        accepted = negotiation.accept(connection.localDescription.sdp)
        assert [each.track for each in accepted.outbound] == [each.track for each in wanted]
        assert [each.codecs[0].name for each in accepted.outbound] == ["opus", "vp8"][: len(wanted)]
