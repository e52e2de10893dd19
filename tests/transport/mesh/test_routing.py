"""Who hears whom in a mesh, counted packet by packet at both ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiortc import AudioStreamTrack, RTCPeerConnection

from mulisa.core.errors import TransportError
from mulisa.core.events import (
    ListenerConnected,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
    TrackUnsubscribed,
)
from mulisa.core.room import Identity
from mulisa.core.routing import ROUTING_ATTRIBUTE, Routing, parse_routing
from mulisa.core.transport import Caption, ChatMessage
from mulisa.transport.mesh import routing as routing_module
from mulisa.transport.mesh.pair import Pair, PairEvent
from mulisa.transport.mesh.peer import Peer
from mulisa.transport.mesh.signaling import AnswerTo, ClientMessage
from mulisa.transport.mesh.transport import MeshTransport
from mulisa.transport.text import Reception
from tests.transport.mesh.rooms import (
    EVERYBODY,
    PATIENCE,
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

ALICE, BOB, CAROL, MULISA = (Identity(name) for name in ("alice", "bob", "carol", "mulisa"))


@asynccontextmanager
async def in_the_room(
    room: Gateway, identity: Identity, routing: Routing = EVERYBODY
) -> AsyncIterator[MeshTransport]:
    kind = "agent" if identity == MULISA else "standard"
    async with room.transport(identity, kind, routing) as transport:
        yield transport


@asynccontextmanager
async def talking(*speakers: MeshTransport) -> AsyncIterator[None]:
    """All of them speak without a pause, as a browser sends."""
    tasks = [asyncio.create_task(say(speaker, tone(440.0, 3_000))) for speaker in speakers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def packets_sent(sender: MeshTransport, to: Identity) -> int:
    """By the present connection, as aiortc counts them."""
    peer = peer_of(sender, to)
    count: int = getattr(peer._audio.sender, "_RTCRtpSender__packet_count")  # noqa: B009
    return count


def peer_of(transport: MeshTransport, identity: Identity) -> Peer:
    pair = transport._pair_of(identity)
    assert pair is not None and pair._peer is not None
    return pair._peer


def packets_received(listener: MeshTransport, of: Identity) -> int:
    return listener.stats(of).packets_received


async def until_more(listener: MeshTransport, of: Identity, n_packets: int = 10) -> None:
    """So many packets more have come."""
    goal = packets_received(listener, of) + n_packets
    async with asyncio.timeout(PATIENCE):
        while packets_received(listener, of) < goal:  # noqa: ASYNC110, aiortc's counter is mute
            await asyncio.sleep(0.01)


async def test_after_the_acknowledgement_no_packet_more_reaches_who_is_not_spoken_to() -> None:
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, BOB) as bob,
        in_the_room(room, MULISA) as mulisa,
        talking(mulisa),
    ):
        for each in (alice, bob):
            await until_more(each, MULISA)
        for _ in range(5):
            await mulisa.speak_to(frozenset({ALICE}))
            assert mulisa.routing == Routing(listeners=frozenset({ALICE}))
            sent, received = packets_sent(mulisa, BOB), packets_received(bob, MULISA)
            assert sent == received, "what was on its way has arrived"
            await until_more(alice, MULISA)
            assert packets_sent(mulisa, BOB) == sent
            assert packets_received(bob, MULISA) == received
            await mulisa.speak_to(None)
            await until_more(bob, MULISA)


async def test_an_acknowledgement_waits_for_what_is_on_its_way() -> None:
    """Through a network in which each packet takes 0.3 s, one way."""
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, MULISA) as mulisa,
    ):
        await Witness(alice).until(TrackSubscribed(MULISA))
        for one, other in ((alice, MULISA), (mulisa, ALICE)):
            slow_down(one, other, 0.3)
        async with talking(alice, mulisa):
            await until_more(alice, MULISA)
            assert packets_sent(mulisa, ALICE) > packets_received(alice, MULISA) + 5
            await mulisa.speak_to(frozenset())
            assert packets_sent(mulisa, ALICE) == packets_received(alice, MULISA)
            assert packets_sent(alice, MULISA) > packets_received(mulisa, ALICE) + 5
            await mulisa.hear(ALICE, False)
            assert packets_sent(alice, MULISA) == packets_received(mulisa, ALICE)


def slow_down(sender: MeshTransport, to: Identity, seconds: float) -> None:
    """All that is sent on this connection, in order."""
    loop = asyncio.get_running_loop()

    def delay(wire: asyncio.DatagramTransport) -> None:
        send = wire.sendto

        def send_unless_closed(*arguments: Any) -> None:
            if not wire.is_closing():
                send(*arguments)

        def send_later(*arguments: Any) -> None:
            loop.call_later(seconds, send_unless_closed, *arguments)

        setattr(wire, "sendto", send_later)  # noqa: B010

    ice = peer_of(sender, to)._audio.receiver.transport.transport._connection
    for pair in ice._nominated.values():
        delay(pair.protocol.transport)


async def test_who_comes_later_is_spoken_to_only_if_everybody_is() -> None:
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, MULISA) as mulisa,
    ):
        await mulisa.speak_to(frozenset({ALICE}))
        async with in_the_room(room, BOB) as bob, talking(mulisa):
            await Witness(bob).until(TrackSubscribed(MULISA))
            await until_more(alice, MULISA, 50)
            assert packets_received(bob, MULISA) == 0
            await mulisa.speak_to(None)
            await until_more(bob, MULISA)
        async with in_the_room(room, CAROL) as carol, talking(mulisa):
            await until_more(carol, MULISA)


async def test_the_end_of_a_talk_spurt_goes_only_to_listeners() -> None:
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, BOB) as bob,
        in_the_room(room, MULISA) as mulisa,
    ):
        await Witness(mulisa).until(TrackSubscribed(ALICE), TrackSubscribed(BOB))
        await mulisa.whisper(BOB)
        await say(mulisa, tone(440.0, 10))
        await mulisa.speak_to(frozenset({ALICE}))
        received = packets_received(bob, MULISA)
        await until_more(alice, MULISA, 5)
        assert packets_received(bob, MULISA) == received <= 10


async def test_a_whisper_reaches_one_only_whatever_the_routing_says() -> None:
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, BOB) as bob,
        in_the_room(room, MULISA) as mulisa,
    ):
        for each in (alice, bob):
            await Witness(each).until(TrackSubscribed(MULISA))
        await mulisa.speak_to(frozenset())
        send = await mulisa.whisper(BOB)
        listening = asyncio.create_task(hear(bob, MULISA, 40))
        for samples in tone(700.0, 60):
            send(samples)
            await asyncio.sleep(0.02)
        assert pitch((await listening)[4_800:]) == pytest.approx(700.0, abs=3.0)
        assert packets_received(alice, MULISA) == packets_sent(mulisa, ALICE) == 0

        await mulisa.speak_to(None)
        # What is left of the whisper comes first, and at most half a second of silence after it.
        listeners = [
            asyncio.create_task(hear(each, MULISA, n)) for each, n in ((alice, 40), (bob, 75))
        ]
        await say(mulisa, tone(500.0, 60))
        for task in listeners:
            assert pitch((await task)[-24_000:]) == pytest.approx(500.0, abs=3.0)


async def test_nobody_can_whisper_to_who_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routing_module, "ROUTING_TIME", 0.2)
    async with gateway() as room, in_the_room(room, MULISA) as mulisa:
        with pytest.raises(TransportError, match="alice"):
            await mulisa.whisper(ALICE)
        async with in_the_room(room, ALICE):
            await Witness(mulisa).until(ParticipantJoined)
            monkeypatch.setattr(Pair, "is_listening", False)
            with pytest.raises(TransportError, match="alice"):
                await mulisa.whisper(ALICE)


async def test_who_is_not_heard_sends_nothing_and_can_be_heard_again() -> None:
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, BOB) as bob,
        in_the_room(room, MULISA) as mulisa,
    ):
        at_mulisa = Witness(mulisa)
        await at_mulisa.until(TrackSubscribed(ALICE), TrackSubscribed(BOB))
        for each in (alice, bob):
            await Witness(each).until(TrackSubscribed, TrackSubscribed)
        connection = peer_of(mulisa, ALICE).connection
        async with talking(alice, bob, mulisa):
            for _ in range(5):
                await until_more(mulisa, ALICE)
                with_all = decoders()
                reading = asyncio.create_task(count(mulisa, ALICE))
                await mulisa.hear(ALICE, False)
                sent, received = packets_sent(alice, MULISA), packets_received(mulisa, ALICE)
                assert received == sent, "all that was sent on this connection has arrived"
                assert decoders() == with_all - 1
                async with asyncio.timeout(PATIENCE):
                    await reading
                await at_mulisa.until(TrackUnsubscribed(ALICE))
                await until_more(mulisa, BOB)
                assert packets_sent(alice, MULISA) == sent
                assert packets_received(mulisa, ALICE) == received
                await mulisa.hear(ALICE, True)
                await at_mulisa.until(TrackSubscribed(ALICE))
                await until_more(mulisa, ALICE)
                assert decoders() == with_all
            heard = await hear(mulisa, ALICE, 40)
            assert pitch(heard[4_800:]) == pytest.approx(440.0, abs=3.0)
        assert peer_of(mulisa, ALICE).connection == connection, "renegotiated, not replaced"


async def count(transport: MeshTransport, identity: Identity) -> int:
    n_frames = 0
    async for _ in transport.frames(identity):
        n_frames += 1
    return n_frames


async def test_renegotiating_with_one_interrupts_nobody() -> None:
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, BOB) as bob,
        in_the_room(room, MULISA) as mulisa,
    ):
        for each in (alice, bob):
            await Witness(each).until(TrackSubscribed(MULISA))
            await mulisa.whisper(each.local.identity)
        before = {id(each): packets_sent(mulisa, each.local.identity) for each in (alice, bob)}
        listening = [asyncio.create_task(hear(each, MULISA, 150)) for each in (alice, bob)]
        async with asyncio.TaskGroup() as tasks:
            speaking = tasks.create_task(say(mulisa, tone(440.0, 170)))
            while not speaking.done():
                await mulisa.hear(ALICE, False)
                await mulisa.hear(ALICE, True)
                await asyncio.sleep(0.2)  # the gateway takes 50 messages a second
        for each, task in zip((alice, bob), listening, strict=True):
            heard = (await task)[9_600:]
            for start in range(0, len(heard) - 9_600, 9_600):
                assert pitch(heard[start : start + 9_600]) == pytest.approx(440.0, abs=5.0)
            sent = packets_sent(mulisa, each.local.identity) - before[id(each)]
            assert sent >= 170, "every frame went to both"


@pytest.mark.parametrize("she_is_newcomer", [True, False])
async def test_who_is_not_heard_is_not_heard_after_a_reload(she_is_newcomer: bool) -> None:
    """Whoever offers: no packet ever comes, and no decoder runs."""
    unheard = Routing(unheard=frozenset({ALICE}))
    first, second = (ALICE, MULISA) if she_is_newcomer else (MULISA, ALICE)
    async with gateway() as room, in_the_room(room, BOB) as bob:
        for _ in range(2):
            async with (
                in_the_room(room, first, unheard if first == MULISA else Routing()) as one,
                in_the_room(room, second, unheard if second == MULISA else Routing()) as two,
            ):
                alice, mulisa = (one, two) if she_is_newcomer else (two, one)
                await Witness(alice).until(TrackSubscribed(MULISA))
                async with talking(alice, bob):
                    await until_more(mulisa, BOB, 30)
                    assert packets_sent(alice, MULISA) == packets_received(mulisa, ALICE) == 0
                    await mulisa.hear(ALICE, False)
                    await mulisa.hear(ALICE, True)
                    await until_more(mulisa, ALICE)


@pytest.mark.parametrize("she_is_newcomer", [True, False])
async def test_hearing_can_change_while_a_connection_is_made(she_is_newcomer: bool) -> None:
    first, second = (ALICE, MULISA) if she_is_newcomer else (MULISA, ALICE)
    async with (
        gateway() as room,
        in_the_room(room, first) as one,
        in_the_room(room, second) as two,
    ):
        alice, mulisa = (one, two) if she_is_newcomer else (two, one)
        await Witness(mulisa).until(ParticipantJoined)
        async with talking(alice):
            for _ in range(3):
                await mulisa.hear(ALICE, False)
                received = packets_received(mulisa, ALICE)
                send = await mulisa.whisper(ALICE)
                send(tone(440.0, 1)[0])
                await until_more(alice, MULISA, 1)
                assert packets_received(mulisa, ALICE) == received
                await mulisa.hear(ALICE, True)
                await until_more(mulisa, ALICE)


async def test_a_reload_of_who_is_not_heard_changes_nothing() -> None:
    async with gateway() as room, in_the_room(room, MULISA) as mulisa:
        at_mulisa = Witness(mulisa)
        await mulisa.hear(ALICE, False)
        for _ in range(3):
            async with in_the_room(room, ALICE) as alice, talking(alice):
                await Witness(alice).until(TrackSubscribed(MULISA))
                await mulisa.whisper(ALICE)
                assert packets_sent(alice, MULISA) == packets_received(mulisa, ALICE) == 0
            await at_mulisa.until(ParticipantLeft)
        assert not [each for each in at_mulisa.seen if isinstance(each, TrackSubscribed)]


async def test_a_broken_connection_of_who_is_not_heard_is_replaced_by_one_like_it() -> None:
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, MULISA) as mulisa,
        talking(alice),
    ):
        await until_more(mulisa, ALICE)
        await mulisa.hear(ALICE, False)
        at_alice = Witness(alice)
        await at_alice.until(TrackSubscribed(MULISA))
        received = packets_received(mulisa, ALICE)
        await peer_of(alice, MULISA)._rtc.close()
        await at_alice.until(TrackSubscribed(MULISA))
        await mulisa.whisper(ALICE)
        assert packets_received(mulisa, ALICE) == received
        await mulisa.hear(ALICE, True)
        await until_more(mulisa, ALICE)


async def test_who_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told of, and the connection that follows obeys from the start."""
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, MULISA) as mulisa,
        talking(alice),
    ):
        at_alice = Witness(alice)
        await at_alice.until(TrackSubscribed(MULISA))
        await until_more(mulisa, ALICE)
        pair = alice._pair_of(MULISA)
        assert pair is not None
        connection, send = peer_of(alice, MULISA).connection, pair._send

        def lose_answers(message: ClientMessage) -> None:
            if not isinstance(message, AnswerTo) or message.connection != connection:
                send(message)

        pair._send = lose_answers
        with monkeypatch.context() as patch:
            patch.setattr(routing_module, "ROUTING_TIME", 0.3)
            with pytest.raises(TransportError, match="alice"):
                await mulisa.hear(ALICE, False)
        await at_alice.until(TrackSubscribed(MULISA))
        await mulisa.hear(ALICE, False)
        assert peer_of(alice, MULISA).connection != connection
        assert packets_sent(alice, MULISA) == 0, "on the connection that replaced it"


async def test_a_renegotiation_keeps_what_numbers_mean() -> None:
    """Payload types and header extensions are the newcomer's, as browsers choose them."""
    async with (
        gateway() as room,
        in_the_room(room, MULISA) as mulisa,
        mallory(room) as socket,
        closing(RTCPeerConnection()) as theirs,
    ):
        joined = await next_of(socket, "joined")
        theirs.addTrack(AudioStreamTrack())
        await theirs.setLocalDescription()
        sdp = theirs.localDescription.sdp
        for ours, browsers in ((" 96 ", " 111 "), (":96 ", ":111 "), ("extmap:1 ", "extmap:9 ")):
            assert ours in sdp
            sdp = sdp.replace(ours, browsers)
        names = {"to": joined["participants"][0]["sid"], "connection": "theirs00"}
        await socket.send_json({"type": "offer", "sdp": sdp, **names})
        first = numbers((await next_of(socket, "answer"))["sdp"])
        assert any("111 opus" in line for line in first)
        assert any("extmap:9 " in line for line in first)
        asking = asyncio.create_task(mulisa.hear(Identity("mallory"), False))
        again = await next_of(socket, "offer")
        assert again["connection"] == "theirs00" and "a=sendonly" in again["sdp"]
        assert numbers(again["sdp"]) == first
        asking.cancel()
        await asyncio.wait({asking})


def numbers(sdp: str) -> list[str]:
    """The lines of the audio section that give payload types and extension ids a meaning."""
    audio = sdp.split("m=audio", 1)[1].split("m=", 1)[0]
    return sorted(x for x in audio.splitlines() if x.startswith(("a=rtpmap", "a=extmap")))


async def test_a_person_who_leaves_meanwhile_is_no_failure() -> None:
    async with gateway() as room, in_the_room(room, MULISA) as mulisa:
        at_mulisa = Witness(mulisa)
        async with in_the_room(room, ALICE):
            await at_mulisa.until(TrackSubscribed(ALICE))
            peer = peer_of(mulisa, ALICE)
            peer_answers = asyncio.create_task(mulisa.hear(ALICE, False))
        async with asyncio.timeout(PATIENCE):
            await peer_answers
        assert not peer.is_connected or not peer.may_be_heard


async def test_the_routing_is_shown_to_everybody() -> None:
    routing = Routing(unheard=frozenset({BOB}))
    async with gateway() as room, in_the_room(room, ALICE) as alice:
        at_alice = Witness(alice)
        async with in_the_room(room, MULISA, routing) as mulisa:
            assert mulisa.routing == routing
            assert await shown(at_alice) == routing
            await mulisa.set_attributes({"lk.agent.state": "listening"})
            assert await shown(at_alice) == routing
            await mulisa.speak_to(frozenset({ALICE}))
            assert await shown(at_alice) == Routing(frozenset({BOB}), frozenset({ALICE}))
            await mulisa.speak_to(None)
            assert await shown(at_alice) == routing
            await mulisa.hear(BOB, True)
            assert await shown(at_alice) is None
            assert alice.participants[MULISA].attributes == {"lk.agent.state": "listening"}


async def shown(witness: Witness) -> Routing | None:
    """By the next update; None if the attribute is gone."""
    event = await witness.until(ParticipantUpdated)
    assert isinstance(event, ParticipantUpdated)
    text = event.participant.attributes.get(ROUTING_ATTRIBUTE)
    return None if text is None else parse_routing(json.loads(text))


async def test_text_to_one_reaches_one_only() -> None:
    """Read where the page reads it, below the transport, which has no use for captions."""
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, BOB) as bob,
        in_the_room(room, MULISA) as mulisa,
    ):
        whispered = Caption("S1", MULISA, "for your ears", final=True, listener=ALICE)
        aloud = Caption("S2", MULISA, "for everybody", final=True)
        chats = [ChatMessage("m1", "psst", listener=ALICE), ChatMessage("m2", "hello")]
        reception = frozenset({ALICE, BOB})
        for each in (alice, bob):
            await Witness(each).until(TrackSubscribed(MULISA))
        texts = {ALICE: texts_from_her(alice), BOB: texts_from_her(bob)}
        await mulisa.send_chat(ChatMessage("m0", "the channel is open"))
        for who in (ALICE, BOB):
            assert await within_patience(texts[who]) == ChatMessage("m0", "the channel is open")
        for caption in (whispered, aloud):
            await mulisa.send_caption(caption)
        for chat in chats:
            await mulisa.send_chat(chat)
        await mulisa.send_reception(reception)
        sent = [whispered, aloud, *chats, Reception(reception)]
        for who, expected in ((ALICE, sent), (BOB, [aloud, chats[1], Reception(reception)])):
            assert [await within_patience(texts[who]) for _ in expected] == expected


async def test_what_others_say_to_hear_is_known_and_only_of_who_is_here() -> None:
    async with (
        gateway() as room,
        in_the_room(room, ALICE) as alice,
        in_the_room(room, MULISA) as mulisa,
    ):
        await Witness(mulisa).until(ListenerConnected(ALICE))
        assert mulisa.receptions == {}
        claims = frozenset({ALICE, MULISA, Identity("nobody")})
        async with asyncio.timeout(PATIENCE):
            while not mulisa.receptions:  # what is sent before the channel is open is lost
                await alice.send_reception(claims)
                await asyncio.sleep(0.05)
        assert mulisa.receptions == {ALICE: {MULISA}}


def texts_from_her(listener: MeshTransport) -> asyncio.Queue[PairEvent]:
    """What the connection to Mulisa brings from now on, but for audio."""
    texts: asyncio.Queue[PairEvent] = asyncio.Queue()
    pair = next(pair for pair in listener._pairs.values() if pair.identity == MULISA)
    pair._report = lambda _, event: (
        texts.put_nowait(event) if isinstance(event, Caption | ChatMessage | Reception) else None
    )
    return texts


async def within_patience(texts: asyncio.Queue[PairEvent]) -> PairEvent:
    async with asyncio.timeout(PATIENCE):
        return await texts.get()
