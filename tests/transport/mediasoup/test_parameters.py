"""mediasoup's objects as JSON: what is taken, what is refused, what we say of ourselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import ConfigError, TransportError
from mulisa.core.room import Identity, RoomName
from mulisa.transport.mediasoup.address import room_url
from mulisa.transport.mediasoup.hearing import Consumer
from mulisa.transport.mediasoup.parameters import (
    AUDIO_LEVEL,
    OpusParameters,
    RouterCapabilities,
    RtpParameters,
    TransportOptions,
    parse,
)

pytestmark = pytest.mark.unit

OPTIONS: dict[str, Any] = {
    "id": "t1",
    "iceParameters": {"usernameFragment": "abcd", "password": "secret+/", "iceLite": True},
    "iceCandidates": [
        {"foundation": "udp", "ip": "10.0.0.1", "port": 4000, "priority": 1, "protocol": "udp"},
        {"foundation": "tcp", "address": "h.example", "port": 4001, "protocol": "tcp"},
    ],
    "dtlsParameters": {
        "role": "auto",
        "fingerprints": [{"algorithm": "SHA-256", "value": "AA:BB:CC:DD"}],
    },
    "sctpParameters": None,
}
ROUTER: dict[str, Any] = {
    "codecs": [
        {"kind": "video", "mimeType": "video/VP8", "clockRate": 90_000},
        {
            "kind": "audio",
            "mimeType": "audio/opus",
            "clockRate": 48_000,
            "channels": 2,
            "preferredPayloadType": 100,
        },
    ],
    "headerExtensions": [{"kind": "audio", "uri": AUDIO_LEVEL, "preferredId": 10}],
}


def test_a_transport_is_read_as_both_generations_of_mediasoup_name_it() -> None:
    options = parse(TransportOptions, OPTIONS, "a transport")
    assert [each.host for each in options.ice_candidates] == ["10.0.0.1", "h.example"]
    assert options.ice_parameters.username_fragment == "abcd"
    assert options.dtls_parameters.fingerprints[0].algorithm == "sha-256"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", ""),
        ("id", 5),
        ("iceCandidates", []),
        ("iceCandidates", [{"ip": "10.0.0.1", "port": 0}]),
        ("iceCandidates", [{"ip": "10.0.0.1\r\n", "port": 1}]),
        ("iceCandidates", OPTIONS["iceCandidates"][:1] * 65),
        ("iceParameters", {"usernameFragment": "a b", "password": "x"}),
        ("dtlsParameters", {"fingerprints": []}),
        ("dtlsParameters", None),
    ],
)
def test_a_transport_that_is_none_is_refused_by_the_name_of_its_field(
    path: str, value: object
) -> None:
    with pytest.raises(TransportError, match=f"a transport that is none: {path}") as caught:
        parse(TransportOptions, OPTIONS | {path: value}, "a transport")
    assert not caught.value.retryable


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x), max_leaves=5))
def test_anything_else_raises_only_our_error(data: object) -> None:
    for model in (TransportOptions, RouterCapabilities, RtpParameters):
        with pytest.raises(TransportError):
            parse(model, data, "it")


def test_a_router_without_opus_is_told() -> None:
    only_video = parse(RouterCapabilities, {"codecs": ROUTER["codecs"][:1]}, "capabilities")
    with pytest.raises(TransportError, match="no Opus among its mediaCodecs"):
        OpusParameters(only_video)


def test_our_voice_is_opus_that_is_often_silent_and_says_how_loud_it_is() -> None:
    opus = OpusParameters(parse(RouterCapabilities, ROUTER, "capabilities"))
    sending = opus.sending(1234, "us")
    assert sending["codecs"][0]["payloadType"] == opus.payload_type == 100
    assert sending["encodings"] == [{"ssrc": 1234, "dtx": True}]
    assert [each["uri"] for each in sending["headerExtensions"]] == [AUDIO_LEVEL]
    assert [each["mimeType"] for each in opus.capabilities()["codecs"]] == ["audio/opus"]

    bare = OpusParameters(parse(RouterCapabilities, {"codecs": ROUTER["codecs"]}, "capabilities"))
    assert bare.level_id is None and bare.sending(1, "us")["headerExtensions"] == []


def test_only_opus_is_consumed() -> None:
    def consumer(mime_type: str) -> Consumer | None:
        codec = {"mimeType": mime_type, "payloadType": 100, "clockRate": 48_000}
        raw = {"codecs": [codec], "encodings": [{"ssrc": 7}]}
        return Consumer.of("c1", parse(RtpParameters, raw, "a consumer"), muted=False)

    assert consumer("audio/PCMU") is None
    found = consumer("audio/Opus")
    assert found is not None and (found.ssrc, found.payload_type) == (7, 100)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://host:4443", "wss://host:4443/?roomId=r+1&peerId=m"),
        ("ws://host/ws?token=a%20b", "ws://host/ws?token=a+b&roomId=r+1&peerId=m"),
        ("ws://host/?roomId=other&peerId=x", "ws://host/?roomId=r+1&peerId=m"),
    ],
)
def test_a_room_is_found_as_the_demo_wants_it(url: str, expected: str) -> None:
    assert room_url(url, RoomName("r 1"), Identity("m")) == expected


@pytest.mark.parametrize("url", ["", "host", "https://host", "wss://", "ws://[", "wss:host"])
def test_what_is_no_websocket_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="no WebSocket of a mediasoup application"):
        room_url(url, RoomName("r"), Identity("m"))
