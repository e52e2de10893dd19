"""What must pass an SFU as it is: codecs, redundancy, silence, encryption, pictures."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc
from playwright.async_api import Page

from tests.browser.people import until
from tests.conformance.browser_client import BrowserClient
from tests.conformance.clients import PATIENCE, hears, sees, subscribes
from tests.conformance.conftest import BOTH_SDKS, Join
from tests.conformance.python_client import PythonClient
from tests.conformance.test_tracks import packets_in_a_while

pytestmark = pytest.mark.browser

KEY = "a key that the server never sees"
HUE = 210
"""Degrees: the colour of a picture."""
SHADE = 15
"""Degrees by which codecs may change it."""
REDUNDANCY = 1.5
"""Times as large at least is a packet with the frame before in it."""
SILENT = 15
"""Packets in `A_WHILE`: a voice with DTX sends fewer while it is silent, one without more."""

WITH_AND_WITHOUT = pytest.mark.parametrize(
    "is_on", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["with", "without"]
)


async def test_redundancy_goes_to_those_who_know_it(python_join: Join) -> None:
    alice: PythonClient = await python_join("alice")
    bob: BrowserClient = await python_join("bob", sdk="browser")
    carol: BrowserClient = await python_join("carol", sdk="browser", options={"withoutRed": True})
    await alice.publish(440.0, "plain", red=False)
    await alice.publish(600.0, "redundant", red=True, source="screen_share_audio")
    for client in (bob, carol):
        await hears(client, "alice", 440.0, "plain")
        await hears(client, "alice", 600.0, "redundant")
    for name, is_redundant in (("redundant", True), ("plain", False)):
        sizes = [await bytes_per_packet(client, name) for client in (bob, carol)]
        assert (sizes[0] > REDUNDANCY * sizes[1]) is is_redundant, (name, sizes)


@WITH_AND_WITHOUT
async def test_a_browsers_voice_is_heard_with_redundancy_and_without(
    python_join: Join, is_on: bool
) -> None:
    alice: BrowserClient = await python_join("alice", sdk="browser")
    bob = await python_join("bob")
    await alice.publish(440.0, red=is_on)
    await hears(bob, "alice", 440.0)
    carol: BrowserClient = await python_join("carol", sdk="browser", options={"withoutRed": True})
    await hears(carol, "alice", 440.0)


@WITH_AND_WITHOUT
async def test_silence_is_sent_or_not_as_the_publisher_likes(join: Join, is_on: bool) -> None:
    alice, bob = await join("alice"), await join("bob")
    await alice.publish(440.0, dtx=is_on, red=False)
    await hears(bob, "alice", 440.0)
    assert await packets_in_a_while(bob) > SILENT
    await alice.set_tone(0.0)
    await hears(bob, "alice", 0.0)
    await until(
        lambda: packets_in_a_while(bob),
        lambda packets: (packets <= SILENT) is is_on,
        "silence",
        PATIENCE,
    )
    await alice.set_tone(600.0)
    await hears(bob, "alice", 600.0)


@BOTH_SDKS
async def test_encrypted_voices_pass_untouched(join: Join) -> None:
    options = encrypted(join.sdk)
    alice, bob = await join("alice", options=options), await join("bob", options=options)
    carol: PythonClient = await join("carol", sdk="python")
    await alice.publish(440.0)
    await bob.publish(600.0)
    await hears(alice, "bob", 600.0)
    await hears(bob, "alice", 440.0)
    await subscribes(carol, "alice", "bob")
    assert await packets_in_a_while(carol) > SILENT
    for _ in range(10):
        assert abs(await carol.pitch("alice") - 440.0) > 12.0
        assert abs(await carol.pitch("bob") - 600.0) > 12.0
        await asyncio.sleep(0.05)
    dave = await join("dave", sdk="python", options=encrypted("python"))
    await hears(dave, "alice", 440.0)


async def test_pictures_are_seen(python_join: Join) -> None:
    alice: BrowserClient = await python_join("alice", sdk="browser")
    bob: BrowserClient = await python_join("bob", sdk="browser")
    await alice.publish(440.0)
    await alice.publish_video(simulcast=True, videoCodec="vp8")
    await moves(bob)
    await hears(bob, "alice", 440.0)
    await bob.subscribe("alice", False, "picture")
    await sees(bob, lambda view: not view.is_subscribed("alice", "picture"), "the picture go")
    await bob.subscribe("alice", True, "picture")
    await moves(bob)
    carol = await python_join("carol")
    await subscribes(carol, "alice", name="picture")
    await until(lambda: frames_of(carol), lambda frames: frames > 5, "frames", PATIENCE)
    await alice.unpublish("picture")
    await sees(bob, lambda view: view.track("alice", "picture") is None, "no picture")
    await hears(bob, "alice", 440.0)


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["vp8", "h264", "vp9", "av1"])
async def test_pictures_of_every_codec_are_seen_at_once(python_join: Join, codec: str) -> None:
    page = await python_join.browser_page()
    if codec not in await encoders(page):
        pytest.skip(f"this browser does not encode {codec}")
    alice: BrowserClient = await python_join("alice", sdk="browser")
    bob: BrowserClient = await python_join("bob", sdk="browser")
    layers: dict[str, Any] = {"simulcast": codec in ("vp8", "h264")}
    await alice.publish_video(videoCodec=codec, backupCodec=False, hue=HUE, **layers)
    await shows(bob, codec)
    sent = [each for each in await alice.stats("outbound-rtp") if each["kind"] == "video"]
    assert (len(sent) > 1) is layers["simulcast"], sent
    asked = [each.get("pliCount", 0) + each.get("firCount", 0) for each in sent]
    carol: BrowserClient = await python_join("carol", sdk="browser")
    await shows(carol, codec)
    sent = [each for each in await alice.stats("outbound-rtp") if each["kind"] == "video"]
    assert sum(each.get("pliCount", 0) + each.get("firCount", 0) for each in sent) > sum(asked)
    for client in (bob, carol):
        (received,) = await pictures(client)
        assert received["keyFramesDecoded"] >= 1
        assert (
            received["packetsReceived"] < sum(each["packetsSent"] for each in sent)
            or not (layers["simulcast"])
        )


async def encoders(page: Page) -> set[str]:
    """Names of the video codecs in which this browser can send."""
    names: list[str] = await page.evaluate(
        "() => RTCRtpSender.getCapabilities('video').codecs.map(({mimeType}) => mimeType)"
    )
    return {each.partition("/")[2].lower() for each in names}


async def shows(client: BrowserClient, codec: str) -> None:
    """Wait until alice's picture moves, in her colour; it came in this codec."""
    await moves(client)
    await until(
        lambda: client.hue("alice"),
        lambda hue: hue is not None and abs(hue - HUE) < SHADE,
        "alice's colour",
        PATIENCE,
    )
    (received,) = await pictures(client)
    (used,) = [each for each in await client.stats("codec") if each["id"] == received["codecId"]]
    assert used["mimeType"].lower().removeprefix("video/") == codec


async def pictures(client: BrowserClient) -> list[dict[str, Any]]:
    """The browser's reports of the video that comes."""
    reports = await client.stats("inbound-rtp")
    return [each for each in reports if each["kind"] == "video" and each.get("packetsReceived")]


async def bytes_per_packet(client: BrowserClient, name: str) -> float:
    """What has come of one of alice's tracks so far."""
    inbound = await client.inbound("alice", name)
    return float(inbound["bytesReceived"] / inbound["packetsReceived"])


async def moves(client: BrowserClient) -> None:
    """Wait until a picture is seen, and goes on."""

    async def decoded() -> int:
        frames = [
            each.get("framesDecoded", 0)
            for each in await client.stats("inbound-rtp")
            if each["kind"] == "video"
        ]
        return max(frames, default=0)

    first = await until(decoded, bool, "a picture", PATIENCE)
    await until(decoded, lambda frames: frames > first + 10, "a moving picture", PATIENCE)


async def frames_of(client: PythonClient) -> int:
    """Pictures that were decoded on all its tracks."""
    return sum(each.inbound.frames_decoded for each in await client.inbound())


def encrypted(sdk: str) -> dict[str, Any]:
    """Room options of who has the key."""
    if sdk == "browser":
        return {"e2eeKey": KEY}
    keys = rtc.KeyProviderOptions(shared_key=KEY.encode())
    return {"encryption": rtc.E2EEOptions(key_provider_options=keys)}
