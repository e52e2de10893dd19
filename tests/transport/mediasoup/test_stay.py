"""A stay in a room of an application that does what no application should."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from mulisa.core.errors import ConnectionLost, NegotiationError, TransportError
from mulisa.core.events import (
    ChatReceived,
    ListenerConnected,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
    TrackUnsubscribed,
)
from mulisa.core.room import Identity, Participant, RoomName
from mulisa.core.routing import Routing
from mulisa.core.transport import ChatMessage
from mulisa.transport import path as path_module
from mulisa.transport.mediasoup import media as media_module
from mulisa.transport.mediasoup import protoo_link as link_module
from mulisa.transport.mediasoup import speaking as speaking_module
from mulisa.transport.mediasoup import stay as stay_module
from mulisa.transport.mediasoup.demo import DemoSignalling
from mulisa.transport.mediasoup.transport import MediasoupTransport
from mulisa.transport.rtp.spurts import SpeechClock, TalkSpurts
from mulisa.wire.rtcp import ReceiverReport, SenderReport
from tests.transport.mediasoup.application import Application, application
from tests.transport.mediasoup.rooms import eventually
from tests.transport.mesh.rooms import PATIENCE, Witness, hear, pitch, say, tone

pytestmark = pytest.mark.network

ALICE, MULISA = Identity("alice"), Identity("mulisa")
PEER = {"id": "alice", "displayName": "Alice", "device": {"flag": "chrome"}}


def mulisa_at(app: Application, routing: Routing | None = None) -> MediasoupTransport:
    room = RoomName("kitchen")
    return MediasoupTransport(
        lambda: DemoSignalling(app.url, room, MULISA),
        room,
        Participant(MULISA, "Mulisa", kind="agent"),
        routing=routing,
    )


@pytest.fixture
async def app() -> AsyncIterator[Application]:
    async with application() as serving:
        yield serving


def opus(n_frames: int, frequency: float = 500.0) -> list[bytes]:
    """A tone as packets."""
    packets: list[bytes] = []
    spurts = TalkSpurts(SpeechClock(), lambda packet: packets.append(bytes(packet)))
    for samples in tone(frequency, n_frames):
        spurts.speak(samples)
    spurts.close()
    return packets


async def test_the_dialogue_is_the_demos(app: Application) -> None:
    app.joined = {"peers": [PEER], "abilities": []}
    async with mulisa_at(app) as mulisa:
        witness = Witness(mulisa)
        await witness.until(ParticipantJoined(Participant(ALICE, "Alice", muted=True)))
        await witness.until(ListenerConnected(ALICE))
        asked = app.methods()
        assert asked[0] == "getRouterRtpCapabilities"
        assert sorted(asked[1:5]) == ["connectWebRtcTransport"] * 2 + ["createWebRtcTransport"] * 2
        assert asked[5:] == ["join", "produce"]
        join = dict(app.asked)["join"]
        assert join["displayName"] == "Mulisa" and join["device"]["flag"] == "agent"
        assert [each["mimeType"] for each in join["rtpCapabilities"]["codecs"]] == ["audio/opus"]
        produce = dict(app.asked)["produce"]
        assert produce["kind"] == "audio" and produce["appData"] == {"source": "audio"}

        await app.notify("peerDisplayNameChanged", peerId="alice", displayName="Alice B.")
        renamed = await witness.until(ParticipantUpdated)
        assert isinstance(renamed, ParticipantUpdated) and renamed.participant.name == "Alice B."
        assert await app.offer("alice", "c1", 7)
        await witness.until(TrackSubscribed(ALICE))
        await app.notify("consumerPaused", consumerId="c1")
        await eventually(lambda: mulisa.participants[ALICE].muted)
        await app.notify("consumerResumed", consumerId="c1")
        await eventually(lambda: not mulisa.participants[ALICE].muted)
        await app.notify("activeSpeaker", peerId="alice", volume=-20)
        await eventually(lambda: mulisa.levels == {ALICE: -20})
        await app.notify("activeSpeaker", peerId=None)
        await eventually(lambda: mulisa.levels == {})
        await app.notify("consumerClosed", consumerId="c1")
        await witness.until(TrackUnsubscribed(ALICE))
        await app.notify("peerClosed", peerId="alice")
        await witness.until(ParticipantLeft)


@pytest.mark.parametrize("is_newer", [False, True])
async def test_the_demos_chat_goes_over_data_channels(app: Application, is_newer: bool) -> None:
    app.joined, app.has_data, app.is_newer = {"peers": [PEER]}, True, is_newer
    async with mulisa_at(app) as mulisa:
        witness = Witness(mulisa)
        await witness.until(ParticipantJoined)
        produced = dict(app.asked)["produceData"]
        assert produced["label"] == "chat" and produced["appData"] == {"channel": "chat"}
        assert dict(app.asked)["join"]["sctpCapabilities"]["numStreams"]["MIS"] == 128
        read: list[object] = []
        stream = produced["sctpStreamParameters"]["streamId"]
        app.endpoints["send"].channel(stream, read.append)
        await mulisa.send_chat(ChatMessage("m1", "Hello, everybody."))
        await mulisa.send_chat(ChatMessage("m2", "A secret.", listener=ALICE))
        await mulisa.send_chat(ChatMessage("m3", "Good bye."))
        await eventually(lambda: read == ["Hello, everybody.", "Good bye."])

        assert await app.offer_data("alice", "d1", 3)
        channel = app.endpoints["recv"].channel(3, read.append)
        await eventually(lambda: channel.readyState == "open")
        for text in ("Hello, Mulisa.", "", "x" * 5_000, b"\xff", "Are you there?"):
            channel.send(text)
        assert await written(witness) == "Hello, Mulisa."
        assert await written(witness) == "Are you there?"
        await app.notify("dataConsumerClosed", dataConsumerId="d1")
        assert await app.offer_data("alice", "d2", 3)
        channel.send("Once more.")
        assert await written(witness) == "Once more."


async def written(witness: Witness) -> str:
    """What Alice writes next."""
    message = await witness.until(ChatReceived)
    assert isinstance(message, ChatReceived) and message.identity == ALICE
    return message.text


@pytest.mark.parametrize(
    "odd",
    [
        {"label": "bot", "peerId": None},
        {"label": "other"},
        {"sctpStreamParameters": {"streamId": 5_000}},
        {"sctpStreamParameters": None},
    ],
)
async def test_a_data_channel_that_is_no_chat_is_refused(
    app: Application, odd: dict[str, Any]
) -> None:
    app.joined, app.has_data = {"peers": [PEER]}, True
    async with mulisa_at(app):
        assert not await app.offer_data("alice", "d1", 3, **odd)
        assert await app.offer_data("alice", "d2", 3)


async def test_who_may_not_write_can_speak(app: Application) -> None:
    def refuse(data: object) -> None:
        raise RuntimeError("no data here")

    app.joined, app.has_data = {"peers": [PEER]}, True
    app.answers["produceData"] = refuse
    async with mulisa_at(app) as mulisa:
        await mulisa.send_chat(ChatMessage("m1", "Hello?"))
        assert not await app.offer_data("alice", "d1", 3)
        assert await app.offer("alice", "c1", 7)


async def test_the_demos_newer_generation_is_understood(app: Application) -> None:
    app.is_newer = True
    app.joined = {"peers": [{"peerId": "alice", "displayName": "Alice"}]}
    async with mulisa_at(app) as mulisa:
        witness = Witness(mulisa)
        await witness.until(ParticipantJoined(Participant(ALICE, "Alice", muted=True)))
        directions = [
            data["appData"]["direction"]
            for method, data in app.asked
            if method == "createWebRtcTransport"
        ]
        assert sorted(directions) == ["consumer", "producer"]
        await app.notify("newPeer", peer={"peerId": "bob", "displayName": "Bob"})
        await witness.until(ParticipantJoined)
        assert mulisa.participants.keys() == {"alice", "bob"}
        assert await app.offer("alice", "c1", 7)
        await witness.until(TrackSubscribed(ALICE))
        await app.notify("activeSpeaker", peerId="alice")
        await eventually(lambda: mulisa.dominant_speaker == ALICE)
        await app.notify("speakingPeers", peerVolumes=[{"peerId": "bob", "volume": -30}])
        await eventually(lambda: mulisa.levels == {Identity("bob"): -30})

        await mulisa.hear(ALICE, False)
        assert app.asked[-2:] == [
            ("pauseConsumer", {"consumerId": "c1"}),
            ("getConsumerStats", {"consumerId": "c1"}),
        ]
        await mulisa.speak_to(frozenset())
        assert app.methods()[-2:] == ["pauseProducer", "getProducerStats"]


async def test_packets_are_heard_reported_on_and_counted(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stay_module, "REPORT_INTERVAL", 0.05)
    app.joined = {"peers": [PEER]}
    async with mulisa_at(app) as mulisa:
        assert await app.offer("alice", "c1", 7)
        receiving = app.endpoints["recv"]
        hearing = asyncio.create_task(hear(mulisa, ALICE, 50))
        await asyncio.sleep(0)
        receiving.send_rtcp(bytes(SenderReport(7, 1 << 32, 0, 1, 1)))
        for number, payload in enumerate(opus(50)):
            receiving.send_rtp(7, 65_520 + number & 0xFFFF, number * 960, payload)
        receiving.send_rtp(8, 1, 0, b"nobody's")
        receiving.send_raw(b"\x80\x64 not SRTP")
        receiving.send_raw(b"\x16 not DTLS")
        receiving.send_raw(b"")
        assert pitch((await hearing)[-24_000:]) == pytest.approx(500.0, abs=2.5)
        assert mulisa.stats(ALICE).packets_received == 50
        await eventually(lambda: bool(receiving.reports))
        report = receiving.reports[0]
        assert isinstance(report, ReceiverReport) and report.blocks[0].ssrc == 7
        assert report.blocks[0].packets_lost == 0


async def test_what_is_no_opus_ends_the_ear_and_nothing_else(app: Application) -> None:
    app.joined = {"peers": [PEER]}
    async with mulisa_at(app) as mulisa:
        witness = Witness(mulisa)
        assert await app.offer("alice", "c1", 7)
        await witness.until(TrackSubscribed(ALICE))
        for number in range(60):
            app.endpoints["recv"].send_rtp(7, number, number * 960, b"\xff\xff\xff\xff")
        await witness.until(TrackUnsubscribed(ALICE))
        await eventually(lambda: mulisa.stats(ALICE).packets_received == 60)


async def test_her_voice_is_one_stream_with_its_loudness(app: Application) -> None:
    async with mulisa_at(app) as mulisa:
        await say(mulisa, tone(500.0, 20))
        packets = app.endpoints["send"].packets
        await eventually(lambda: len(packets) == 25)
        (ssrc,) = {ssrc for ssrc, *_ in packets}
        assert ssrc == dict(app.asked)["produce"]["rtpParameters"]["encodings"][0]["ssrc"]
        sequences = [sequence for _, sequence, *_ in packets]
        assert sequences == list(range(sequences[0], sequences[0] + 25))
        levels = [level for _, _, level, _ in packets]
        assert set(levels[:20]) == {0x80 | 15} and set(levels[20:]) == {127}, "then silence"


async def test_who_is_not_wanted_is_declined_and_can_be_had_later(app: Application) -> None:
    app.joined = {"peers": [PEER]}
    async with mulisa_at(app, Routing(unheard=frozenset({ALICE}))) as mulisa:
        assert not await app.offer("alice", "c1", 7)
        assert "resumeConsumer" not in app.methods()
        await mulisa.hear(ALICE, True)
        assert app.asked[-1] == ("resumeConsumer", {"consumerId": "c1"})
        await mulisa.hear(ALICE, False)
        assert app.asked[-1] == ("pauseConsumer", {"consumerId": "c1"})


async def test_of_two_voices_the_newest_is_heard_and_then_the_other(app: Application) -> None:
    app.joined = {"peers": [PEER]}
    async with mulisa_at(app) as mulisa:
        assert await app.offer("alice", "c1", 7)
        assert await app.offer("alice", "c2", 8)
        await eventually(lambda: mulisa._stay.consuming.follows(ALICE))
        assert app.asked[-1] == ("pauseConsumer", {"consumerId": "c1"})
        ear = mulisa._stay.consuming.hearing(ALICE).ear
        assert ear is not None and ear.consumer.id == "c2"
        await app.notify("consumerClosed", consumerId="c2")
        await eventually(lambda: app.asked[-1] == ("resumeConsumer", {"consumerId": "c1"}))
        await eventually(lambda: mulisa._stay.consuming.follows(ALICE))


@pytest.mark.parametrize(
    "changes",
    [
        {"peerId": "nobody"},
        {"kind": "video"},
        {"kind": 5},
        {"rtpParameters": {}},
        {"rtpParameters": None},
        {"rtpParameters": {"codecs": [{"mimeType": "audio/PCMU"}], "encodings": [{"ssrc": 1}]}},
        {"rtpParameters": {"codecs": [{"mimeType": "audio/opus"}], "encodings": [{"ssrc": -1}]}},
        {"id": None},
    ],
)
async def test_consumers_that_cannot_be_are_declined(
    app: Application, changes: dict[str, Any]
) -> None:
    app.joined = {"peers": [PEER]}
    async with mulisa_at(app) as mulisa:
        assert not await app.offer("alice", "c1", 7, **changes)
        assert not await app.request("newDataConsumer", {"id": "d1"})
        assert await app.offer("alice", "c2", 8), "the next one is taken"
        assert not await app.offer("alice", "c2", 9), "but not twice"
        await eventually(lambda: mulisa._stay.consuming.follows(ALICE))


async def test_garbage_is_ignored_and_the_room_goes_on(app: Application) -> None:
    app.joined = {"peers": [PEER]}
    async with mulisa_at(app) as mulisa:
        witness = Witness(mulisa)
        for text in ("", "nonsense", "[]", "{}", '{"response": true, "id": 99, "ok": true}'):
            await app.send_text(text)
        hostile: list[Any] = [None, 5, "x", [], {}, {"peerId": 5}, {"peerId": "x" * 10_000}]
        methods = ("newPeer", "peerClosed", "consumerClosed", "consumerPaused", "activeSpeaker")
        more = ("speakingPeers", "dominantSpeaker", "listenerReady", "text", "unknown")
        for method in (*methods, *more, "peerDisplayNameChanged", "peerAttributesChanged"):
            for data in hostile:
                await app.send({"notification": True, "method": method, "data": data})
        await app.notify("newPeer", id="bob", displayName="\x1b[2J" * 50, attributes={"a": "b"})
        await app.notify("text", peerId="bob", text="no JSON")
        await app.notify("text", peerId="nobody", text='{"topic":"lk.chat","id":"m","text":"x"}')
        await app.notify("text", peerId="bob", text='{"topic":"lk.chat","id":"m","text":"hi"}')
        await witness.until(ChatReceived(Identity("bob"), "m", "hi"))
        bob = mulisa.participants[Identity("bob")]
        assert bob.name == "bob" and bob.attributes == {"a": "b"}
        chats = [each for each in witness.seen if isinstance(each, ChatReceived)]
        assert len(chats) == 1


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("getRouterRtpCapabilities", {"codecs": []}),
        ("getRouterRtpCapabilities", []),
        ("createWebRtcTransport", {}),
        ("createWebRtcTransport", {"id": "x", "iceCandidates": "none"}),
        ("join", {"peers": "none"}),
        ("produce", {}),
        ("produce", "x"),
    ],
)
async def test_answers_that_are_none_are_errors_and_nothing_is_left(
    app: Application, method: str, answer: object
) -> None:
    app.answers[method] = lambda data: answer
    with pytest.raises(TransportError) as caught:
        async with mulisa_at(app):
            pass
    assert not caught.value.retryable


async def test_who_comes_from_elsewhere_is_told_where_from(app: Application) -> None:
    app.status = 403
    with pytest.raises(TransportError, match=r"its own name: we come from http://127\.0\.0\.1$"):
        async with mulisa_at(app):
            pass


async def test_a_refusal_is_told_in_the_servers_words(app: Application) -> None:
    def refuse(data: object) -> None:
        raise RuntimeError("this room is full")

    app.answers["join"] = refuse
    with pytest.raises(TransportError, match="the server refuses: this room is full"):
        async with mulisa_at(app):
            pass


async def test_a_server_that_does_not_answer_is_not_waited_for(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "REQUEST_TIME", 0.2)
    app.answers["join"] = lambda data: asyncio.sleep(0.5)
    with pytest.raises(TransportError, match="did not answer 'join'"):
        async with mulisa_at(app):
            pass


async def test_media_over_tcp_alone_is_told(app: Application) -> None:
    def only_tcp(data: object) -> object:
        candidate = {"ip": "127.0.0.1", "port": 9, "protocol": "tcp", "priority": 1}
        return {
            "id": "t",
            "iceParameters": {"usernameFragment": "u", "password": "p"},
            "iceCandidates": [candidate],
            "dtlsParameters": {"fingerprints": [{"algorithm": "sha-256", "value": "AA:BB:CC"}]},
        }

    app.answers |= {"createWebRtcTransport": only_tcp, "connectWebRtcTransport": lambda data: {}}
    with pytest.raises(NegotiationError, match="TCP only"):
        async with mulisa_at(app):
            pass


async def test_an_address_that_is_of_no_use_does_no_harm(app: Application) -> None:
    usual = app._usual

    async def with_more(method: str, data: Any) -> Any:
        answer = await usual(method, data)
        if method == "createWebRtcTransport":
            (good,) = answer["iceCandidates"]
            others = ("2001:db8::1", "192.0.2.1")
            answer["iceCandidates"] = [
                *(good | {"ip": each, "priority": 5_000} for each in others),
                good | {"protocol": "tcp"},
                good | {"address": "localhost"},
            ]
        return answer

    app._usual = with_more  # type: ignore[method-assign]
    async with mulisa_at(app) as mulisa:
        assert mulisa._stay.connection is not None


async def test_a_name_without_an_address_is_told(app: Application) -> None:
    usual = app._usual

    async def nowhere(method: str, data: Any) -> Any:
        answer = await usual(method, data)
        if method == "createWebRtcTransport":
            answer["iceCandidates"][0] |= {"address": "nowhere.invalid"}
        return answer

    app._usual = nowhere  # type: ignore[method-assign]
    with pytest.raises(NegotiationError, match=r"nowhere\.invalid, which has no address"):
        async with mulisa_at(app):
            pass


async def test_a_media_end_that_is_somebody_else_is_not_trusted(app: Application) -> None:
    usual = app._usual

    async def another(method: str, data: Any) -> Any:
        answer = await usual(method, data)
        if method == "createWebRtcTransport":
            answer["dtlsParameters"]["fingerprints"][0]["value"] = ":".join(["AB"] * 32)
        return answer

    app._usual = another  # type: ignore[method-assign]
    with pytest.raises(NegotiationError, match="cannot be trusted"):
        async with mulisa_at(app):
            pass


async def test_a_media_end_that_does_not_answer_is_told_with_its_address(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media_module, "CONNECT_TIME", 0.3)
    usual = app._usual

    async def deaf(method: str, data: Any) -> Any:
        answer = await usual(method, data)
        for endpoint in app.endpoints.values():
            endpoint.is_deaf = True
        return answer

    app._usual = deaf  # type: ignore[method-assign]
    with pytest.raises(NegotiationError, match=r"it says it is at 127\.0\.0\.1:\d+"):
        async with mulisa_at(app):
            pass


async def test_who_is_dismissed_does_not_come_back(app: Application) -> None:
    async with mulisa_at(app) as mulisa:
        for endpoint in app.endpoints.values():
            endpoint.close()
        await app.close(4000)
        async with asyncio.timeout(PATIENCE):
            assert not [each async for each in mulisa.events() if isinstance(each, ChatReceived)]
        assert app.connections == 1


async def test_an_application_that_stops_dismisses_everybody_and_is_waited_for(
    app: Application,
) -> None:
    async with mulisa_at(app) as mulisa:
        app.status = 503  # of the proxy before it
        for endpoint in app.endpoints.values():
            endpoint.close()
        await app.close(4000)
        await eventually(lambda: mulisa._stay.connection is None)
        app.status = 0
        await eventually(lambda: app.connections == 2 and mulisa._stay.connection is not None)


@pytest.mark.parametrize("how", ["socket", "media", "both"])
async def test_what_is_lost_is_made_anew(app: Application, how: str) -> None:
    app.joined = {"peers": [PEER], "abilities": ["listeners"]}
    async with mulisa_at(app, Routing(frozenset({ALICE}), frozenset({ALICE}))) as mulisa:
        witness = Witness(mulisa)
        await witness.until(ParticipantJoined)
        if how != "socket":
            app.endpoints["recv"].close()
        if how != "media":
            await app.close(1011)
        await eventually(lambda: app.connections == 2 and "produce" in app.methods()[7:])
        await eventually(lambda: mulisa._stay.connection is not None)
        assert not await app.offer("alice", "c9", 9)
        produced = [data for method, data in app.asked if method == "produce"]
        assert all(each["appData"]["listeners"] == ["alice"] for each in produced)
        assert mulisa.participants.keys() == {ALICE}
        assert not [each for each in witness.seen if isinstance(each, ParticipantLeft)]


@pytest.mark.parametrize("direction", ["send", "recv"])
async def test_a_path_that_falls_silent_is_replaced(
    app: Application, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {"QUIET": 0.1, "UNANSWERED": 0.2, "ASK_INTERVAL": 0.05, "LOST_QUIET": 0.4}
    for name, seconds in times.items():
        monkeypatch.setattr(path_module, name, seconds)
    app.joined = {"peers": [PEER]}
    async with mulisa_at(app) as mulisa:
        await Witness(mulisa).until(ParticipantJoined)
        app.endpoints[direction].is_deaf = True
        await eventually(lambda: app.connections == 2 and mulisa._stay.connection is not None)
        assert await app.offer("alice", "c1", 7)


async def test_a_stay_that_ends_because_its_path_died_begins_again(app: Application) -> None:
    async with mulisa_at(app) as mulisa:
        connection = mulisa._stay.connection
        assert connection is not None
        for media in connection._media.values():
            media._is_closed = True  # as when nothing came for seconds, just before it is told
        await app.close(4000)
        await eventually(lambda: app.connections == 2 and mulisa._stay.connection is not None)


async def test_a_room_that_refuses_us_for_good_is_lost(app: Application) -> None:
    async with mulisa_at(app) as mulisa:
        app.answers["getRouterRtpCapabilities"] = lambda data: {"codecs": []}
        await app.close(1011)
        with pytest.raises(ConnectionLost):
            async with asyncio.timeout(PATIENCE):
                async for _ in mulisa.events():
                    pass


async def test_a_whisper_is_asked_for_with_its_listener(app: Application) -> None:
    app.joined = {"peers": [PEER], "abilities": ["listeners"]}
    async with mulisa_at(app) as mulisa:
        await Witness(mulisa).until(ParticipantJoined)
        send = await mulisa.whisper(ALICE)
        assert app.asked[-1][1]["appData"]["listeners"] == ["alice"]
        send(tone(500.0, 1)[0])
        whispered = app.asked[-1][1]["rtpParameters"]["encodings"][0]["ssrc"]
        packets = app.endpoints["send"].packets
        await eventually(lambda: bool(packets))
        assert {ssrc for ssrc, *_ in packets} == {whispered}
        await app.notify("peerClosed", peerId="alice")
        await eventually(lambda: app.methods()[-1] == "closeProducer")
        send(tone(500.0, 1)[0])  # of nobody any more


async def test_a_whisper_that_nobody_consumes_is_told(
    app: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking_module, "WHISPER_TIME", 0.2)
    app.joined = {"peers": [PEER], "abilities": ["listeners"]}
    async with mulisa_at(app) as mulisa:
        await Witness(mulisa).until(ParticipantJoined)

        def refuse(data: object) -> None:
            raise RuntimeError("none of its listeners consumes it")

        app.answers["produce"] = refuse
        with pytest.raises(TransportError, match="none of its listeners"):
            await mulisa.whisper(ALICE)


async def test_text_goes_where_it_is_meant_to(app: Application) -> None:
    app.joined = {"peers": [PEER], "abilities": ["text"]}
    async with mulisa_at(app) as mulisa:
        await mulisa.send_reception(frozenset({ALICE}))
        await eventually(lambda: app.methods()[-1] == "text")
        sent = app.asked[-1][1]
        assert sent["peerId"] is None
        assert json.loads(sent["text"]) == {"topic": "mulisa.reception", "heard": ["alice"]}


def test_loudness_is_told_in_dbov() -> None:
    from mulisa.transport.mediasoup.voice import level_of

    loud = np.full(960, 32_767, dtype=np.int16)
    assert level_of(loud) == 0
    assert level_of(np.zeros(960, dtype=np.int16)) == 127
    assert level_of(tone(500.0, 1)[0]) == 15
