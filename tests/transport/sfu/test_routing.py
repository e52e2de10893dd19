"""Who hears whom on a real LiveKit server, counted in packets at those who receive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mulisa.core.errors import TransportError
from mulisa.core.events import (
    ParticipantJoined,
    ParticipantLeft,
    TrackSubscribed,
    TrackUnsubscribed,
)
from mulisa.core.room import Identity
from mulisa.core.routing import ROUTING_ATTRIBUTE, Routing, parse_routing
from mulisa.core.transport import SendFrame
from mulisa.transport.sfu import voice as voice_module
from mulisa.transport.sfu.inbound import inbound_of_all
from mulisa.transport.sfu.transport import SFUTransport
from tests.livekit_server import LiveKitServer
from tests.transport.mesh.rooms import PATIENCE, Witness, hear, pitch, tone
from tests.transport.sfu.rooms import ALICE, BOB, CAROL, MULISA, Call, PlainClient, call

pytestmark = [pytest.mark.network, pytest.mark.slow]

A_WHILE = 0.8
"""Seconds in which a voice that is heard sends forty packets."""


@asynccontextmanager
async def speaking(send: SendFrame, frequency: float = 500.0) -> AsyncIterator[None]:
    """Without a pause, until the block ends."""

    async def go_on() -> None:
        loop = asyncio.get_running_loop()
        begin, sound = loop.time(), tone(frequency, 50)
        for n in range(10_000):
            await asyncio.sleep(max(0.0, begin + n * 0.02 - loop.time()))
            send(sound[n % 50])

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def packets_of(transport: SFUTransport) -> int:
    """Packets that have come to us on everything that is negotiated now."""
    inbound = await inbound_of_all(transport._stay.room)
    return sum(each.packets_received for each in inbound.values())


async def packets_come(listener: PlainClient | SFUTransport) -> None:
    """A server looks for subscriptions that are allowed again every few seconds."""

    async def received() -> int:
        if isinstance(listener, PlainClient):
            return await listener.all_packets()
        return await packets_of(listener)

    async with asyncio.timeout(PATIENCE):
        before = await received()
        while await received() - before < 20:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_who_is_not_heard_sends_us_no_packet_from_the_acknowledgement_on(
    livekit: LiveKitServer,
) -> None:
    async with call(livekit, ALICE, MULISA) as room:
        alice, mulisa = room.transports[ALICE], room.transports[MULISA]
        async with speaking(alice.send_frame):
            await hear(mulisa, ALICE, 20)
            hearing = asyncio.create_task(hear_all(mulisa))
            await mulisa.hear(ALICE, False)
            before = await packets_of(mulisa)
            await asyncio.sleep(A_WHILE)
            assert await packets_of(mulisa) == before
            await room.witnesses[MULISA].until(TrackUnsubscribed(ALICE))
            await asyncio.wait_for(hearing, 1.0)

            await mulisa.hear(ALICE, True)
            await room.witnesses[MULISA].until(TrackSubscribed(ALICE))
            await hear(mulisa, ALICE, 20)
            assert pitch(await hear(mulisa, ALICE, 30)) == pytest.approx(500.0, abs=2.5)


async def hear_all(mulisa: SFUTransport) -> None:
    async for _ in mulisa.frames(ALICE):
        pass


async def test_who_is_not_heard_stays_so_over_reloads_and_before_they_come(
    livekit: LiveKitServer,
) -> None:
    async with call(livekit, MULISA) as room:
        mulisa, witness = room.transports[MULISA], room.witnesses[MULISA]
        await mulisa.hear(ALICE, False)
        for _ in range(2):
            async with room.transport(ALICE) as alice:
                await witness.until(ParticipantJoined)
                await Witness(alice).until(TrackSubscribed(MULISA))
                async with speaking(alice.send_frame):
                    await asyncio.sleep(A_WHILE)
                assert await packets_of(mulisa) == 0
            await witness.until(ParticipantLeft)
        assert TrackSubscribed(ALICE) not in witness.seen
        assert mulisa.routing == Routing(unheard=frozenset({ALICE}))
        await mulisa.hear(ALICE, True)
        async with room.transport(ALICE):
            await witness.until(TrackSubscribed(ALICE))


async def test_the_routing_is_shown_to_everybody(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        mulisa = room.transports[MULISA]
        alice = await room.join_plainly(ALICE)

        def shown() -> Routing:
            text = alice.sdk.remote_participants[MULISA].attributes.get(ROUTING_ATTRIBUTE, "{}")
            return parse_routing(json.loads(text))

        await mulisa.hear(BOB, False)
        await mulisa.speak_to(frozenset({ALICE}))
        await alice.until(lambda: shown() == mulisa.routing)
        assert mulisa.routing == Routing(frozenset({BOB}), frozenset({ALICE}))
        await mulisa.hear(BOB, True)
        await mulisa.speak_to(None)
        await alice.until(lambda: shown() == Routing())


async def both(room: Call) -> tuple[PlainClient, SFUTransport]:
    """Alice with a client that knows nothing of us, Bob with ours; both hear Mulisa."""
    alice = await room.join_plainly(ALICE)
    bob = await room.join(BOB)
    mulisa = room.transports[MULISA]
    await room.witnesses[MULISA].until(ParticipantJoined, ParticipantJoined)
    await alice.until(lambda: mulisa._stay.speaking.voice_sid in alice.subscribed)
    await room.witnesses[BOB].until(TrackSubscribed(MULISA))
    return alice, bob


async def test_from_the_acknowledgement_on_nobody_else_gets_a_packet(
    livekit: LiveKitServer,
) -> None:
    async with call(livekit, MULISA) as room:
        mulisa = room.transports[MULISA]
        alice, bob = await both(room)
        async with speaking(mulisa.send_frame):
            await asyncio.sleep(A_WHILE)
            assert await alice.all_packets() > 20 and await packets_of(bob) > 20

            await mulisa.speak_to(frozenset({BOB}))
            before, at_bob = await alice.all_packets(), await packets_of(bob)
            await asyncio.sleep(A_WHILE)
            assert await alice.all_packets() == before
            assert await packets_of(bob) - at_bob > 20

            await mulisa.speak_to(frozenset({ALICE}))
            before = await packets_of(bob)
            await asyncio.sleep(A_WHILE)
            assert await packets_of(bob) == before
            await packets_come(alice)

            await mulisa.speak_to(frozenset())
            counts = await alice.all_packets(), await packets_of(bob)
            await asyncio.sleep(A_WHILE)
            assert (await alice.all_packets(), await packets_of(bob)) == counts

            await mulisa.speak_to(None)
            await packets_come(alice)
            await packets_come(bob)


async def test_listeners_hold_from_the_first_packet_and_for_who_comes_later(
    livekit: LiveKitServer,
) -> None:
    async with call(livekit) as room:
        alice = await room.join_plainly(ALICE)
        only_bob = Routing(listeners=frozenset({BOB}))
        mulisa = await room.join(MULISA, routing=only_bob)
        assert mulisa.routing == only_bob
        async with speaking(mulisa.send_frame):
            bob = await room.join_plainly(BOB)
            await bob.until(lambda: mulisa._stay.speaking.voice_sid in bob.subscribed)
            carol = await room.join_plainly(CAROL)
            await asyncio.sleep(A_WHILE)
            assert await bob.all_packets() > 20
            assert await alice.all_packets() == await carol.all_packets() == 0


async def test_a_whisper_reaches_one_and_the_voice_goes_on_for_all(
    livekit: LiveKitServer,
) -> None:
    async with call(livekit, MULISA) as room:
        mulisa = room.transports[MULISA]
        alice, bob = await both(room)
        send = await mulisa.whisper(ALICE)
        assert await mulisa.whisper(ALICE) == send, "the track is kept"
        whisper = mulisa._stay.speaking._whispers[ALICE].sid
        carol = await room.join_plainly(CAROL)
        await carol.until(lambda: mulisa._stay.speaking.voice_sid in carol.subscribed)
        async with speaking(send, 900.0):
            await asyncio.sleep(A_WHILE)
            assert await alice.packets(whisper) > 20
            dave = await room.join_plainly(Identity("dave"))
            await dave.until(lambda: mulisa._stay.speaking.voice_sid in dave.subscribed)
            await asyncio.sleep(A_WHILE)
        for other in (carol, dave):
            assert whisper not in other.subscribed
            assert mulisa._stay.speaking.voice_sid in other.subscribed
        assert len(bob._stay.hearing(MULISA).track_sids) == 1

        before = [await each.all_packets() for each in (carol, dave)]
        async with speaking(mulisa.send_frame):
            await asyncio.sleep(A_WHILE)
        after = [await each.all_packets() for each in (carol, dave)]
        assert all(b - a > 20 for a, b in zip(before, after, strict=True)), "they hear her voice"


async def test_the_first_words_of_a_whisper_are_whole(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        mulisa, bob = room.transports[MULISA], await room.join(BOB)
        await room.witnesses[MULISA].until(ParticipantJoined)
        await room.witnesses[BOB].until(TrackSubscribed(MULISA))
        hearing = asyncio.create_task(hear(bob, MULISA, 120))
        send = await mulisa.whisper(BOB)
        for samples in tone(900.0, 50):
            send(samples)
            await asyncio.sleep(0.02)
        heard = (await hearing).astype(float).reshape(-1, 240)
        loud = float((((heard**2).mean(axis=1)) ** 0.5 > 1_500).sum() * 0.005)
        assert loud > 0.9, "of one second"


async def test_a_whisper_ends_with_its_listener_and_begins_again(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        mulisa, witness = room.transports[MULISA], room.witnesses[MULISA]
        with pytest.raises(TransportError, match="not in the room"):
            await mulisa.whisper(BOB)
        for _ in range(2):
            async with room.transport(BOB):
                await witness.until(ParticipantJoined)
                await mulisa.whisper(BOB)
                assert set(mulisa._stay.speaking._whispers) == {BOB}
            await witness.until(ParticipantLeft)
            assert not mulisa._stay.speaking._whispers


async def test_a_whisper_does_not_ask_whom_she_speaks_to(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        mulisa = room.transports[MULISA]
        alice = await room.join_plainly(ALICE)
        await room.witnesses[MULISA].until(ParticipantJoined)
        await mulisa.speak_to(frozenset())
        async with speaking(await mulisa.whisper(ALICE)):
            await asyncio.sleep(A_WHILE)
            assert await alice.all_packets() > 20


@pytest.mark.parametrize("is_warm", [True, False], ids=["warm", "cold"])
async def test_a_host_who_mutes_her_is_not_contradicted(
    livekit: LiveKitServer, is_warm: bool
) -> None:
    async with call(livekit, MULISA) as room:
        mulisa = room.transports[MULISA]
        alice, _ = await both(room)
        if is_warm:
            mulisa.expect_speech()
            await packets_come(alice)
        await room.mute(MULISA, mulisa._stay.speaking.voice_sid)
        async with asyncio.timeout(PATIENCE):
            await mulisa._stay.watch.until(lambda: mulisa.routing.listeners is not None)
        assert mulisa.routing == Routing(listeners=frozenset())
        async with speaking(mulisa.send_frame):
            await asyncio.sleep(2.0)  # the server itself goes on with silence for a second
            before = await alice.all_packets()
            await asyncio.sleep(A_WHILE)
            assert await alice.all_packets() == before, "she tries, and is not heard"
            await mulisa.speak_to(None)
            await packets_come(alice)


async def test_her_own_mute_is_no_hosts(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_module, "WARM_TIME", 0.1)
    async with call(livekit, MULISA) as room:
        mulisa = room.transports[MULISA]
        await room.join_plainly(ALICE)
        await room.witnesses[MULISA].until(ParticipantJoined)
        for _ in range(5):
            mulisa.expect_speech()
            await asyncio.sleep(0.3)
        assert mulisa.routing == Routing()
