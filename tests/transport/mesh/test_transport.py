"""Participants of a mesh room over real sockets: aiortc on both sides, the gateway between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCSessionDescription

from mulisa.core.errors import SignalingError, TransportError
from mulisa.core.events import (
    ChatReceived,
    ListenerConnected,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
    TrackUnsubscribed,
)
from mulisa.core.room import Identity
from mulisa.core.transport import Caption, ChatMessage, SubscriptionStats
from mulisa.transport.mesh import pair as pair_module
from mulisa.transport.mesh.pair import PairEvent
from mulisa.transport.mesh.peer import Peer
from mulisa.transport.mesh.transport import MeshTransport
from mulisa.transport.rtp.decoding import MAX_GARBLED
from mulisa.transport.rtp.opus import OpusDecoder
from tests.transport.mesh.rooms import (
    PATIENCE,
    ROOM,
    Gateway,
    Witness,
    closing,
    decoders,
    gateway,
    hear,
    mallory,
    next_of,
    pitch,
    say,
    tone,
)

pytestmark = pytest.mark.network

ALICE, BOB, MULISA = Identity("alice"), Identity("bob"), Identity("mulisa")
HEARD = (TrackSubscribed, ListenerConnected)


@pytest.fixture(autouse=True)
def no_decoder_is_left() -> Iterator[None]:
    yield
    assert decoders() == 0


@asynccontextmanager
async def call(
    room: Gateway, *people: Identity
) -> AsyncIterator[tuple[dict[Identity, MeshTransport], dict[Identity, Witness]]]:
    """Everybody in the room, Mulisa too, connected with everybody else in both directions."""
    async with AsyncExitStack() as stack:
        transports: dict[Identity, MeshTransport] = {}
        for identity in (*people, MULISA):
            kind = "agent" if identity == MULISA else "standard"
            transports[identity] = await stack.enter_async_context(room.transport(identity, kind))
        witnesses = {identity: Witness(transport) for identity, transport in transports.items()}
        for identity, witness in witnesses.items():
            others = [other for other in transports if other != identity]
            await witness.until(*[what(other) for other in others for what in HEARD])
        yield transports, witnesses


async def test_a_tone_arrives_with_its_pitch_and_length() -> None:
    async with gateway() as room, call(room, ALICE) as (transports, _):
        alice, mulisa = transports[ALICE], transports[MULISA]
        for speaker, listener, who in ((alice, mulisa, ALICE), (mulisa, alice, MULISA)):
            listening = asyncio.create_task(hear(listener, who, 50))
            await say(speaker, tone(440.0, 55))
            heard = await listening
            assert pitch(heard[4_800:]) == pytest.approx(440.0, abs=2.0)
            assert np.max(np.abs(heard[4_800:])) == pytest.approx(8_000, rel=0.15)
            stats = listener.stats(who)
            assert stats.frames_received >= 50 and stats.packets_lost == stats.frames_dropped == 0


async def test_three_participants_hear_each_other_apart_and_she_encodes_once() -> None:
    async with gateway() as room, call(room, ALICE, BOB) as (transports, _):
        alice, bob, mulisa = transports[ALICE], transports[BOB], transports[MULISA]
        at_mulisa = [asyncio.create_task(hear(mulisa, who, 40)) for who in (ALICE, BOB)]
        await asyncio.gather(say(alice, tone(300.0, 45)), say(bob, tone(700.0, 45)))
        from_alice, from_bob = [await task for task in at_mulisa]
        assert pitch(from_alice[4_800:]) == pytest.approx(300.0, abs=2.0)
        assert pitch(from_bob[4_800:]) == pytest.approx(700.0, abs=2.0)

        of_her = [asyncio.create_task(hear(each, MULISA, 40)) for each in (alice, bob)]
        before = mulisa._voice.frames_encoded
        await say(mulisa, tone(500.0, 45))
        for task in of_her:
            assert pitch((await task)[4_800:]) == pytest.approx(500.0, abs=2.0)
        assert 45 <= mulisa._voice.frames_encoded - before < 2 * 45, "once, not per listener"


async def test_who_was_there_and_who_comes_later_are_both_reported() -> None:
    async with gateway() as room:
        async with room.transport("alice") as alice:
            assert alice.room == ROOM and alice.topology == "mesh"
            assert alice.local.identity == ALICE and not alice.local.is_agent
            at_alice = Witness(alice)
            async with room.transport("mulisa", "agent") as mulisa:
                assert list(mulisa.participants) == [ALICE]
                await Witness(mulisa).until(ParticipantJoined(alice.local))
                joined = await at_alice.until(ParticipantJoined)
                assert isinstance(joined, ParticipantJoined)
                assert joined.participant == mulisa.local and joined.participant.is_agent
            left = await at_alice.until(ParticipantLeft)
            assert isinstance(left, ParticipantLeft) and left.participant.identity == MULISA
            assert alice.participants == {}


async def test_who_leaves_can_no_longer_be_heard() -> None:
    async with gateway() as room, AsyncExitStack() as others:
        async with room.transport("mulisa", "agent") as mulisa:
            at_mulisa = Witness(mulisa)
            alice = await others.enter_async_context(room.transport("alice"))
            await at_mulisa.until(TrackSubscribed(ALICE))
            hearing = asyncio.create_task(collect(mulisa, ALICE))
            await others.aclose()
            await at_mulisa.until(TrackUnsubscribed(ALICE), ParticipantLeft)
            async with asyncio.timeout(PATIENCE):
                assert await hearing == 0
            assert await collect(mulisa, ALICE) == 0, "and there is nothing to iterate"
            assert mulisa.stats(ALICE) == SubscriptionStats(0, 0, 0)
            assert alice.participants == {}


async def collect(transport: MeshTransport, identity: Identity) -> int:
    """Frames until the iterator ends."""
    n_frames = 0
    async for _ in transport.frames(identity):
        n_frames += 1
    return n_frames


async def test_chat_and_attributes_reach_everybody() -> None:
    async with gateway() as room, call(room, ALICE, BOB) as (transports, witnesses):
        await transports[ALICE].send_chat(ChatMessage("m1", "hello \U0001f44b"))
        for who in (BOB, MULISA):
            await witnesses[who].until(ChatReceived(ALICE, "m1", "hello \U0001f44b"))
        await transports[MULISA].set_attributes({"lk.agent.state": "thinking", "x": "y"})
        await transports[MULISA].set_attributes({"lk.agent.state": "speaking", "x": ""})
        for who in (ALICE, BOB):
            for state in ({"lk.agent.state": "thinking", "x": "y"}, {"lk.agent.state": "speaking"}):
                event = await witnesses[who].until(ParticipantUpdated)
                assert isinstance(event, ParticipantUpdated)
                assert event.participant.identity == MULISA
                assert event.participant.attributes == state
        assert transports[MULISA].local.attributes == {"lk.agent.state": "speaking"}
        with pytest.raises(SignalingError):
            await transports[MULISA].set_attributes({"x": "y" * 10_000})


async def test_chat_waits_for_those_who_are_still_connecting() -> None:
    async with gateway() as room:
        async with room.transport("alice") as alice, room.transport("mulisa", "agent") as mulisa:
            await mulisa.send_chat(ChatMessage("m1", "welcome"))
            await mulisa.send_chat(ChatMessage("m2", "Alice"))
            await Witness(alice).until(
                ChatReceived(MULISA, "m1", "welcome"), ChatReceived(MULISA, "m2", "Alice")
            )


async def test_who_types_like_a_machine_is_not_listened_to_all_the_time() -> None:
    async with gateway() as room, call(room, ALICE, BOB) as (transports, witnesses):
        heard: list[tuple[Identity, str]] = []

        async def hear_chats(last: tuple[Identity, str]) -> None:
            while last not in heard:
                event = await witnesses[MULISA].until(ChatReceived)
                assert isinstance(event, ChatReceived)
                heard.append((event.identity, event.text))

        async def keep_asking() -> None:
            while True:
                await transports[ALICE].send_chat(ChatMessage("m", "still there?"))
                await asyncio.sleep(0.2)

        for _ in range(300):
            await transports[ALICE].send_chat(ChatMessage("m", "spam"))
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(keep_asking())
            await hear_chats((ALICE, "still there?"))
            asking.cancel()
        assert heard.count((ALICE, "spam")) < 40
        await transports[BOB].send_chat(ChatMessage("m", "hello"))
        await hear_chats((BOB, "hello"))


async def test_captions_go_to_people() -> None:
    """Read where the page reads them, below the transport, which has no use for captions."""
    captions: asyncio.Queue[PairEvent] = asyncio.Queue()
    async with gateway() as room, call(room, ALICE) as (transports, witnesses):
        await transports[MULISA].send_chat(ChatMessage("m1", "the channel is open"))
        await witnesses[ALICE].until(ChatReceived)
        (pair,) = transports[ALICE]._pairs.values()
        pair._report = lambda _, event: captions.put_nowait(event)
        spoken = Caption("S1", ALICE, "what was", final=False)
        settled = Caption("S1", ALICE, "what I said", final=True, interrupted=True, unspoken="…")
        await transports[MULISA].send_caption(spoken)
        await transports[MULISA].send_caption(settled)
        async with asyncio.timeout(PATIENCE):
            assert [await captions.get(), await captions.get()] == [spoken, settled]


async def test_two_agents_exchange_text_but_no_audio() -> None:
    async with gateway() as room:
        async with (
            room.transport("mulisa", "agent") as one,
            room.transport("other", "agent") as two,
        ):
            await Witness(one).until(ParticipantJoined)
            await one.send_chat(ChatMessage("m1", "hello"))
            at_two = Witness(two)
            await at_two.until(ChatReceived(MULISA, "m1", "hello"))
            assert not [event for event in at_two.seen if isinstance(event, HEARD)]


async def test_a_broken_connection_is_replaced() -> None:
    async with gateway() as room, call(room, ALICE) as (transports, witnesses):
        (pair,) = transports[ALICE]._pairs.values()
        assert pair._peer is not None
        hearing = asyncio.create_task(collect(transports[MULISA], ALICE))
        await pair._peer._rtc.close()
        await witnesses[MULISA].until(
            TrackUnsubscribed(ALICE), TrackSubscribed(ALICE), ListenerConnected(ALICE)
        )
        async with asyncio.timeout(PATIENCE):
            await hearing
        await witnesses[ALICE].until(TrackUnsubscribed(MULISA), TrackSubscribed(MULISA))
        listening = asyncio.create_task(hear(transports[ALICE], MULISA, 30))
        await say(transports[MULISA], tone(440.0, 40))
        assert pitch((await listening)[4_800:]) == pytest.approx(440.0, abs=3.0)


async def test_a_voice_that_cannot_be_decoded_is_a_broken_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> int:
        raise ValueError("not Opus")

    async with gateway() as room, call(room, ALICE) as (transports, witnesses):
        hearing = asyncio.create_task(collect(transports[MULISA], ALICE))
        with monkeypatch.context() as patch:
            patch.setattr(OpusDecoder, "duration", fail)
            await say(transports[ALICE], tone(440.0, MAX_GARBLED + 5))
            await witnesses[MULISA].until(TrackUnsubscribed(ALICE))
        async with asyncio.timeout(PATIENCE):
            await hearing
        await witnesses[MULISA].until(TrackSubscribed(ALICE))
        listening = asyncio.create_task(hear(transports[MULISA], ALICE, 30))
        await say(transports[ALICE], tone(440.0, 40))
        assert pitch((await listening)[4_800:]) == pytest.approx(440.0, abs=3.0)


async def test_an_offer_that_nobody_answers_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_module, "CONNECT_TIME", 0.3)
    async with gateway() as room, mallory(room) as mallory_socket:
        await next_of(mallory_socket, "joined")
        async with room.transport("mulisa", "agent"):
            first = await next_of(mallory_socket, "offer")
            second = await next_of(mallory_socket, "offer")
            assert first["connection"] != second["connection"]


FINGERPRINT = "a=fingerprint:sha-256 " + ":".join(["AB"] * 32)
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\n"
    "a=rtpmap:111 opus/48000/2\r\n"
)
ICE = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
GARBAGE = {
    "nothing": "v=0",
    "noise": "v=0\r\nm=\r\nm=audio\r\na=a=a=\r\n",
    "no fingerprint": f"v=0\r\n{AUDIO}{ICE}a=setup:actpass\r\n",
    "no ICE": f"v=0\r\n{AUDIO}a=setup:actpass\r\n{FINGERPRINT}\r\n",
    "video": f"v=0\r\n{AUDIO.replace('audio', 'video')}{ICE}a=setup:actpass\r\n{FINGERPRINT}\r\n",
    "twenty m-lines": f"v=0\r\n{ICE}{FINGERPRINT}\r\na=setup:actpass\r\n" + AUDIO * 20,
    "no Opus": f"v=0\r\n{AUDIO.replace('opus', 'speex')}{ICE}a=setup:actpass\r\n{FINGERPRINT}\r\n",
    "bad candidates": (
        f"v=0\r\n{AUDIO}{ICE}a=setup:actpass\r\n{FINGERPRINT}\r\n"
        "a=candidate:x\r\na=candidate:1 1 udp 1 not-an-address 1 typ host\r\n"
        "a=candidate:1 1 udp 1 0b3f0a6e-1.local 9 typ host\r\n"
    ),
    "not a peer": f"v=0\r\n{AUDIO}{ICE}a=setup:actpass\r\n{FINGERPRINT}\r\n",
}


@pytest.mark.parametrize("sdp", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_from_one_peer_leaves_the_others_alone(sdp: str) -> None:
    async with gateway() as room, call(room, ALICE) as (transports, _):
        async with mallory(room) as socket:
            joined = await next_of(socket, "joined")
            for other in joined["participants"]:
                to = {"to": other["sid"], "connection": "garbage1"}
                await socket.send_json({"type": "offer", "sdp": sdp, **to})
                for line in ("", "candidate:", "candidate:1 1 udp 1 x.local 9 typ host", "\0" * 99):
                    candidate = {"candidate": line, "sdpMid": "0"}
                    await socket.send_json({"type": "candidate", "candidate": candidate, **to})
                await socket.send_json({"type": "answer", "sdp": sdp, **to})
            listening = asyncio.create_task(hear(transports[MULISA], ALICE, 30))
            await say(transports[ALICE], tone(440.0, 40))
            assert pitch((await listening)[4_800:]) == pytest.approx(440.0, abs=3.0)


async def test_a_peer_that_replaces_its_connection_all_the_time_slows_only_itself() -> None:
    async with gateway() as room, call(room, ALICE) as (transports, _):
        async with mallory(room) as socket:
            joined = await next_of(socket, "joined")
            her = next(p["sid"] for p in joined["participants"] if p["kind"] == "agent")
            listening = asyncio.create_task(hear(transports[MULISA], ALICE, 30))
            for i in range(300):
                offer = {"type": "offer", "to": her, "sdp": GARBAGE["not a peer"]}
                await socket.send_json(offer | {"connection": f"again{i:04}"})
            await say(transports[ALICE], tone(440.0, 40))
            assert pitch((await listening)[4_800:]) == pytest.approx(440.0, abs=3.0)
            answer = await next_of(socket, "answer")
            assert answer["connection"] == "again0000"


async def test_who_leaves_while_their_connection_is_replaced_leaves_nothing_half_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_go = asyncio.Event(), asyncio.Event()
    closed: list[str] = []
    aclose = Peer.aclose

    async def slowly(peer: Peer) -> None:
        begun.set()
        await may_go.wait()
        await aclose(peer)
        closed.append(peer.connection)

    monkeypatch.setattr(Peer, "aclose", slowly)
    async with gateway() as room, room.transport("mulisa", "agent") as mulisa:
        witness = Witness(mulisa)
        async with mallory(room) as socket:
            joined = await next_of(socket, "joined")
            offer = {"type": "offer", "to": joined["participants"][0]["sid"]}
            offer |= {"sdp": GARBAGE["not a peer"]}
            await socket.send_json(offer | {"connection": "former00"})
            await next_of(socket, "answer")
            await socket.send_json(offer | {"connection": "latter00"})
            async with asyncio.timeout(PATIENCE):
                await begun.wait()
        await witness.until(ParticipantLeft)
        may_go.set()
    assert closed == ["former00"]


async def test_a_garbage_answer_is_followed_by_a_fresh_offer() -> None:
    async with gateway() as room, mallory(room) as socket:
        await next_of(socket, "joined")
        async with room.transport("mulisa", "agent"):
            offer = await next_of(socket, "offer")
            answer = {"type": "answer", "to": offer["from"], "connection": offer["connection"]}
            await socket.send_json(answer | {"sdp": "v=0 nonsense"})
            again = await next_of(socket, "offer")
            assert again["connection"] != offer["connection"]


async def test_a_removed_participant_ends_without_an_error() -> None:
    async with gateway() as room, room.transport("alice") as alice:
        room.endpoint.remove(ROOM, ALICE)
        async with asyncio.timeout(PATIENCE):
            assert [event async for event in alice.events()] == []
            assert [event async for event in alice.events()] == [], "and again"


async def test_a_refused_token_is_not_worth_a_retry() -> None:
    async with gateway() as room:
        with pytest.raises(TransportError, match="token") as refused:
            async with MeshTransport(room.url, "nonsense"):
                pass
        assert not refused.value.retryable


async def test_an_unreachable_gateway_is_worth_a_retry() -> None:
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:9") as refused:
        async with MeshTransport("ws://127.0.0.1:9", "nonsense"):
            pass
    assert refused.value.retryable


async def test_joining_can_be_cancelled_at_any_time() -> None:
    async with gateway() as room, room.transport("alice"):
        for n_steps in range(0, 60, 6):
            task = asyncio.create_task(enter_and_leave(room))
            for _ in range(n_steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        await room.until(lambda happened: len(room.endpoint.rooms()[0].stays) == 1)


async def enter_and_leave(room: Gateway) -> None:
    async with room.transport("mulisa", "agent") as mulisa:
        await Witness(mulisa).until(TrackSubscribed)


async def test_who_comes_without_a_microphone_is_heard_once_there_is_one() -> None:
    async with gateway() as room, mallory(room) as socket, closing(RTCPeerConnection()) as theirs:
        await next_of(socket, "joined")
        async with room.transport("mulisa", "agent") as mulisa:
            at_mulisa = Witness(mulisa)
            offer = await next_of(socket, "offer")
            names = {"to": offer["from"], "connection": offer["connection"]}
            await theirs.setRemoteDescription(RTCSessionDescription(offer["sdp"], "offer"))
            (audio,) = theirs.getTransceivers()
            audio.direction = "recvonly"
            await theirs.setLocalDescription()
            sdp = theirs.localDescription.sdp
            await socket.send_json({"type": "answer", "sdp": sdp, **names})
            await at_mulisa.until(ListenerConnected)
            assert not [e for e in at_mulisa.seen if isinstance(e, TrackSubscribed)]

            theirs.addTrack(AudioStreamTrack())
            await theirs.setLocalDescription()
            sdp = theirs.localDescription.sdp
            await socket.send_json({"type": "offer", "sdp": sdp, **names})
            answer = await next_of(socket, "answer")
            assert answer["connection"] == offer["connection"], "renegotiated, not replaced"
            await theirs.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
            await at_mulisa.until(TrackSubscribed)
            assert len(await hear(mulisa, Identity("mallory"), 20)) == 20 * 960


@pytest.mark.slow
async def test_many_stays_leave_nothing_behind() -> None:
    process = psutil.Process()
    async with gateway() as room, room.transport("mulisa", "agent") as mulisa:
        at_mulisa = Witness(mulisa)
        before = 0
        for stay in range(40):
            async with room.transport("alice") as alice:
                if stay % 2:
                    await at_mulisa.until(TrackSubscribed(ALICE))
                    await say(alice, tone(440.0, 5))
            await at_mulisa.until(ParticipantLeft)
            if stay == 4:
                before = process.num_fds()
        assert process.num_fds() <= before + 2
