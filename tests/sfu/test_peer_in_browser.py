"""Chromium's own libwebrtc against our end of a connection, without signalling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page

from mulisa.sfu.peer import PeerConnection
from mulisa.sfu.port import RtcPort
from tests.browser.people import browser_at
from tests.sfu.clients import LIMIT, Observer, answer_to

pytestmark = pytest.mark.browser

OFFER = """async () => {
  const context = new AudioContext(), tone = context.createOscillator();
  const out = context.createMediaStreamDestination();
  tone.connect(out); tone.start();
  window.pc = new RTCPeerConnection();
  window.channel = pc.createDataChannel("_reliable");
  window.heard = new Promise(resolve => { channel.onmessage = e => resolve(e.data); });
  channel.binaryType = "arraybuffer";
  pc.addTrack(out.stream.getAudioTracks()[0], out.stream);
  await pc.setLocalDescription();
  return pc.localDescription.sdp;
}"""
ANSWER = "sdp => pc.setRemoteDescription({type: 'answer', sdp})"
SEND = """async text => {
  if (channel.readyState != "open") await new Promise(resolve => { channel.onopen = resolve; });
  channel.send(text);
}"""
HEARD = "async () => (await heard).byteLength"
RESTART = """async () => {
  await pc.setLocalDescription(await pc.createOffer({iceRestart: true}));
  return pc.localDescription.sdp;
}"""
PAIR = """async () => {
  const stats = await pc.getStats();
  const transport = [...stats.values()].find(each => each.type == "transport");
  const pair = stats.get(transport.selectedCandidatePairId);
  const remote = stats.get(pair.remoteCandidateId);
  return [remote.protocol, transport.srtpCipher, remote.usernameFragment];
}"""


@pytest.fixture
async def page(chromium: str) -> AsyncIterator[Page]:
    async with browser_at(chromium) as browser:
        yield await browser.new_page()


async def packets(peer: PeerConnection, count: int) -> list[bytes]:
    """The next packets of media."""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    peer.on_rtp = lambda buffer, length: arrived.put_nowait(bytes(buffer[:length]))
    async with asyncio.timeout(LIMIT):
        return [await arrived.get() for _ in range(count)]


async def told(observer: Observer, *expected: Any) -> None:
    """Wait for this event; the browser may change its way before it."""
    while (event := await observer.told()) != expected:
        assert event == ("path_changed",)


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_a_browser_connects_talks_and_restarts(page: Page, protocol: str) -> None:
    async with await RtcPort.open("0.0.0.0") as port:
        observer = Observer()
        peer = port.connect(observer)
        chosen = [each for each in port.candidates if each.protocol == protocol]
        await page.evaluate(ANSWER, answer_to(await page.evaluate(OFFER), peer, chosen))
        await told(observer, "connected")
        await told(observer, "opened", "_reliable")
        await page.evaluate(SEND, "up")
        await told(observer, "data", "_reliable", b"up")
        assert peer.send_data("_reliable", bytes(60_000))
        assert await page.evaluate(HEARD) == 60_000
        assert len(await packets(peer, 20)) == 20
        assert await page.evaluate(PAIR) == [
            protocol,
            "SRTP_AEAD_AES_128_GCM",
            peer.local.ufrag,
        ]

        before = peer.local
        offer = await page.evaluate(RESTART)
        peer.restart_ice()
        await page.evaluate(ANSWER, answer_to(offer, peer, chosen))
        async with asyncio.timeout(LIMIT):
            while port.find(before.ufrag.encode()):
                await packets(peer, 1)
        assert len(await packets(peer, 20)) == 20
        assert peer.is_connected and peer.srtp is not None and not peer.srtp.rejected
        peer.close()
