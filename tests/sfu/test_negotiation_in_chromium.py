"""Chromium's own RTCPeerConnection takes our descriptions, over many renegotiations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from mulisa.compare.browser import FLAGS
from mulisa.sfu.answering import AnsweringNegotiation
from mulisa.sfu.media import TrackSid
from mulisa.sfu.negotiation import Answered, ExpectedTrack, Negotiated, WantedTrack
from mulisa.sfu.offering import OfferingNegotiation
from tests.sfu.recordings import OURS, VP8, wanted_track

pytestmark = pytest.mark.browser

CONNECTION = """
window.connection = new RTCPeerConnection();
window.heard = [];
connection.ontrack = ({transceiver, streams}) => heard.push([transceiver.mid, streams[0].id]);
window.senders = {};
window.publish = (cid, kind, encodings = []) => {
  const context = new AudioContext();
  const track = kind === "audio"
    ? context.createMediaStreamDestination().stream.getAudioTracks()[0]
    : document.createElement("canvas").captureStream().getVideoTracks()[0];
  const options = {direction: "sendonly", sendEncodings: encodings};
  const transceiver = connection.addTransceiver(track, options);
  senders[cid] = transceiver.sender;
  return track.id;
};
window.offer = async () => {
  await connection.setLocalDescription(await connection.createOffer());
  return connection.localDescription.sdp;
};
window.accept = async (sdp) => {
  heard = [];
  await connection.setRemoteDescription({type: "answer", sdp});
  return state();
};
window.answer = async (sdp) => {
  heard = [];
  await connection.setRemoteDescription({type: "offer", sdp});
  await connection.setLocalDescription();
  return {...state(), sdp: connection.localDescription.sdp};
};
window.state = () => ({
  heard,
  directions: Object.fromEntries(
    connection.getTransceivers().map(({mid, currentDirection}) => [mid, currentDirection]),
  ),
});
"""


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*FLAGS])
        try:
            page = await browser.new_page()
            await page.evaluate(CONNECTION)
            yield page
        finally:
            await browser.close()


class Single:
    """Mode v1: the page offers everything."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.negotiation = AnsweringNegotiation()
        self.expected: list[ExpectedTrack] = []
        self.state: dict[str, Any] = {}

    async def publish(self, name: str, kind: Any, layers: Sequence[str] = ()) -> None:
        encodings = [{"rid": rid} for rid in layers] or [{}]
        cid = await self.page.evaluate(
            "([cid, kind, encodings]) => publish(cid, kind, encodings)", [name, kind, encodings]
        )
        self.expected.append(ExpectedTrack(TrackSid(f"TR_{name}"), cid, kind))

    async def exchange(self, *wanted: WantedTrack) -> Answered:
        offer = await self.page.evaluate("offer()")
        answered = self.negotiation.answer(offer, OURS, self.expected, wanted)
        self.state = await self.page.evaluate("(sdp) => accept(sdp)", answered.sdp)
        return answered

    @property
    def heard(self) -> list[list[str]]:
        return sorted(self.state["heard"])


async def test_answers_are_taken(page: Page) -> None:
    single = Single(page)
    await page.evaluate("""() => {
      connection.createDataChannel("_reliable");
      for (const kind of ["audio", "audio", "video"]) {
        connection.addTransceiver(kind, {direction: "recvonly"});
      }
    }""")
    a, b, video = wanted_track("a"), wanted_track("b"), wanted_track("v", "video")

    await single.exchange()
    assert set(single.state["directions"].values()) == {"inactive"}

    answered = await single.exchange(a, video)
    places = {track: mid for mid, track in answered.mid_to_track.items()}
    assert single.heard == sorted(
        [
            [places[a.track], "PA_other|TR_a"],
            [places[video.track], "PA_other|TR_v"],
        ]
    )

    await single.publish("mic", "audio")
    await single.publish("cam", "video", ["q", "h", "f"])
    answered = await single.exchange(a, video)
    assert {each.track for each in answered.inbound} == {"TR_mic", "TR_cam"}
    camera = next(each for each in answered.inbound if each.kind == "video")
    assert camera.rids == ("q", "h", "f")
    directions = single.state["directions"]
    assert {directions[each.mid] for each in answered.inbound} == {"sendonly"}
    assert single.heard == []

    answered = await single.exchange(b, video)
    assert single.state["directions"][places[a.track]] == "inactive"
    assert [mid for mid, _ in single.heard] == [
        mid for mid, track in answered.mid_to_track.items() if track == b.track
    ]

    answered = await single.exchange(b, video, a)
    assert single.heard == [[places[a.track], "PA_other|TR_a"]]

    await page.evaluate("connection.removeTrack(senders.mic)")
    answered = await single.exchange(b)
    assert [each.track for each in answered.inbound] == ["TR_cam"]
    assert sum(each == "recvonly" for each in single.state["directions"].values()) == 1


async def test_answers_steer_what_is_sent(page: Page) -> None:
    single = Single(page)
    await single.publish("mic", "audio")
    await single.publish("cam", "video", ["q", "h", "f"])
    await single.exchange()
    sent = await page.evaluate("""() => Object.fromEntries(Object.entries(senders).map(
      ([name, sender]) => {
        const {codecs, encodings, headerExtensions} = sender.getParameters();
        return [name, {codec: codecs[0].mimeType, fmtp: codecs.at(-1).sdpFmtpLine,
          rids: encodings.map(({rid}) => rid), extensions: headerExtensions.map(({uri}) => uri)}];
      }))""")
    assert sent["mic"]["codec"] == "audio/red"
    assert "usedtx=1" in sent["mic"]["fmtp"]
    assert sent["cam"]["rids"] == ["q", "h", "f"]
    assert any(uri.endswith("ssrc-audio-level") for uri in sent["mic"]["extensions"])
    assert any(uri.endswith("rtp-stream-id") for uri in sent["cam"]["extensions"])


async def test_an_m_line_of_video_is_given_to_another_codec(page: Page) -> None:
    single = Single(page)
    await page.evaluate("connection.addTransceiver('video', {direction: 'recvonly'})")
    await single.exchange(wanted_track("v", "video"))
    await single.exchange()
    vp9 = wanted_track("w", "video", replace(VP8, name="vp9", fmtp="profile-id=0"))
    (outbound,) = (await single.exchange(vp9)).outbound
    assert [each.name for each in outbound.codecs] == ["vp9"]
    assert single.heard == [[outbound.mid, "PA_other|TR_w"]]


async def test_an_ice_restart_is_answered(page: Page) -> None:
    single = Single(page)
    await single.publish("mic", "audio")
    await single.exchange()
    await page.evaluate("connection.restartIce()")
    offer = await page.evaluate("connection.createOffer().then(({sdp}) => sdp)")
    assert single.negotiation.restarts_ice(offer)
    assert (await single.exchange()).inbound


class Dual:
    """Mode v0's subscriber connection: we offer."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.negotiation = OfferingNegotiation()
        self.state: dict[str, Any] = {}

    async def exchange(self, *wanted: WantedTrack) -> Negotiated:
        offer = self.negotiation.offer(OURS, wanted)
        self.state = await self.page.evaluate("(sdp) => answer(sdp)", offer)
        return self.negotiation.accept(self.state["sdp"])


async def test_offers_are_answered(page: Page) -> None:
    dual = Dual(page)
    a, b, video = wanted_track("a"), wanted_track("b"), wanted_track("v", "video")
    accepted = await dual.exchange(a, video)
    assert dual.state["heard"] == [["0", "PA_other|TR_a"], ["1", "PA_other|TR_v"]]
    assert [[codec.name for codec in each.codecs] for each in accepted.outbound] == [
        ["opus", "red"],
        ["vp8"],
    ]
    assert "a=setup:active" in dual.state["sdp"]

    accepted = await dual.exchange(b)
    assert dual.state["heard"] == [["2", "PA_other|TR_b"]]
    assert dual.state["directions"] == {"0": "inactive", "1": "inactive", "2": "recvonly"}

    accepted = await dual.exchange(b, a, video)
    assert dual.state["heard"] == [["0", "PA_other|TR_a"], ["1", "PA_other|TR_v"]]
    assert accepted.mid_to_track == {"0": "TR_a", "1": "TR_v", "2": "TR_b"}
    assert accepted.unsupported == ()


async def test_a_codec_that_a_browser_lacks_is_told(page: Page) -> None:
    dual = Dual(page)
    unknown = wanted_track("v", "video", replace(VP8, name="theora"))
    accepted = await dual.exchange(wanted_track("a"), unknown)
    assert accepted.unsupported == ("TR_v",)
    assert [each.track for each in accepted.outbound] == ["TR_a"]
    accepted = await dual.exchange(wanted_track("a"), wanted_track("b"))
    assert [each.track for each in accepted.outbound] == ["TR_a", "TR_b"]
