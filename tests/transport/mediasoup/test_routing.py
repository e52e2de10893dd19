"""Who hears whom on a real mediasoup, counted in packets at those who receive."""

from __future__ import annotations

import asyncio
import json

import pytest

from mulisa.core.errors import TransportError
from mulisa.core.events import (
    ParticipantJoined,
    ParticipantLeft,
    TrackSubscribed,
    TrackUnsubscribed,
)
from mulisa.core.routing import ROUTING_ATTRIBUTE, Routing, parse_routing
from mulisa.transport.mediasoup.transport import MediasoupTransport
from tests.mediasoup_server import MediasoupServer
from tests.transport.mediasoup.rooms import (
    A_WHILE,
    ALICE,
    BOB,
    CAROL,
    MULISA,
    call,
    eventually,
    packets_of,
    speaking,
)
from tests.transport.mesh.rooms import Witness, decoders, hear, pitch, tone

pytestmark = [pytest.mark.network, pytest.mark.slow]


async def hear_all(mulisa: MediasoupTransport) -> None:
    async for _ in mulisa.frames(ALICE):
        pass


async def packets_come(transport: MediasoupTransport) -> None:
    before = packets_of(transport)
    await eventually(lambda: packets_of(transport) - before > 20)


async def test_who_is_not_heard_sends_us_no_packet_from_the_acknowledgement_on(
    mediasoup: MediasoupServer,
) -> None:
    async with call(mediasoup, ALICE, MULISA) as room:
        alice, mulisa = room.transports[ALICE], room.transports[MULISA]
        async with speaking(alice.send_frame):
            for _ in range(3):
                await hear(mulisa, ALICE, 20)
                hearing = asyncio.create_task(hear_all(mulisa))
                await asyncio.sleep(0)
                await mulisa.hear(ALICE, False)
                before, decoding = packets_of(mulisa), decoders()
                await asyncio.sleep(A_WHILE)
                assert packets_of(mulisa) == before
                await room.witnesses[MULISA].until(TrackUnsubscribed(ALICE))
                await asyncio.wait_for(hearing, 1.0)

                await mulisa.hear(ALICE, True)
                await room.witnesses[MULISA].until(TrackSubscribed(ALICE))
                await hear(mulisa, ALICE, 20)
                assert decoders() == decoding + 1
            assert pitch(await hear(mulisa, ALICE, 30)) == pytest.approx(500.0, abs=2.5)


async def test_who_is_not_heard_stays_so_over_reloads_and_before_they_come(
    mediasoup: MediasoupServer,
) -> None:
    async with call(mediasoup, MULISA) as room:
        mulisa, witness = room.transports[MULISA], room.witnesses[MULISA]
        await mulisa.hear(ALICE, False)
        for _ in range(2):
            async with room.transport(ALICE) as alice:
                await witness.until(ParticipantJoined)
                await Witness(alice).until(TrackSubscribed(MULISA))
                async with speaking(alice.send_frame):
                    await asyncio.sleep(A_WHILE)
                assert packets_of(mulisa) == 0
            await witness.until(ParticipantLeft)
        assert TrackSubscribed(ALICE) not in witness.seen
        assert mulisa.routing == Routing(unheard=frozenset({ALICE}))
        await mulisa.hear(ALICE, True)
        async with room.transport(ALICE):
            await witness.until(TrackSubscribed(ALICE))


async def test_who_is_offered_and_not_wanted_can_be_wanted_later(
    mediasoup: MediasoupServer,
) -> None:
    async with call(mediasoup, ALICE) as room:
        mulisa = await room.join(MULISA, routing=Routing(unheard=frozenset({ALICE})))
        async with speaking(room.transports[ALICE].send_frame):
            await asyncio.sleep(A_WHILE)
            assert packets_of(mulisa) == 0
            await mulisa.hear(ALICE, True)
            assert pitch(await hear(mulisa, ALICE, 50)) == pytest.approx(500.0, abs=2.5)


async def test_the_routing_is_shown_to_everybody(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, ALICE, MULISA) as room:
        mulisa, alice = room.transports[MULISA], room.transports[ALICE]

        def shown() -> Routing:
            text = alice.participants[MULISA].attributes.get(ROUTING_ATTRIBUTE, "{}")
            return parse_routing(json.loads(text))

        await mulisa.hear(BOB, False)
        await mulisa.speak_to(frozenset({ALICE}))
        await eventually(lambda: shown() == mulisa.routing)
        assert mulisa.routing == Routing(frozenset({BOB}), frozenset({ALICE}))
        await mulisa.hear(BOB, True)
        await mulisa.speak_to(None)
        await eventually(lambda: shown() == Routing())


async def test_from_the_acknowledgement_on_nobody_else_gets_a_packet(
    mediasoup: MediasoupServer,
) -> None:
    async with call(mediasoup, ALICE, BOB, MULISA) as room:
        alice, bob, mulisa = (room.transports[who] for who in (ALICE, BOB, MULISA))
        async with speaking(mulisa.send_frame):
            await asyncio.gather(packets_come(alice), packets_come(bob))

            await mulisa.speak_to(frozenset({BOB}))
            before = packets_of(alice)
            await packets_come(bob)
            await asyncio.sleep(A_WHILE)
            assert packets_of(alice) == before

            await mulisa.speak_to(frozenset({ALICE}))
            before = packets_of(bob)
            await packets_come(alice)
            await asyncio.sleep(A_WHILE)
            assert packets_of(bob) == before

            await mulisa.speak_to(frozenset())
            counts = packets_of(alice), packets_of(bob)
            await asyncio.sleep(A_WHILE)
            assert (packets_of(alice), packets_of(bob)) == counts

            await mulisa.speak_to(None)
            await asyncio.gather(packets_come(alice), packets_come(bob))


async def test_listeners_hold_from_the_first_packet_and_for_who_comes_later(
    mediasoup: MediasoupServer,
) -> None:
    async with call(mediasoup) as room:
        alice = await room.join(ALICE)
        only_bob = Routing(listeners=frozenset({BOB}))
        mulisa = await room.join(MULISA, routing=only_bob)
        assert mulisa.routing == only_bob
        async with speaking(mulisa.send_frame):
            bob = await room.join(BOB)
            await packets_come(bob)
            carol = await room.join(CAROL)
            await asyncio.sleep(A_WHILE)
            assert packets_of(alice) == packets_of(carol) == 0


async def test_a_whisper_reaches_one_and_nobody_else_gets_a_packet(
    mediasoup: MediasoupServer,
) -> None:
    async with call(mediasoup, ALICE, BOB, MULISA) as room:
        alice, bob, mulisa = (room.transports[who] for who in (ALICE, BOB, MULISA))
        send = await mulisa.whisper(ALICE)
        assert await mulisa.whisper(ALICE) == send, "the producer is kept"
        before = packets_of(bob)
        async with speaking(send, 900.0):
            assert pitch(await hear(alice, MULISA, 50)) == pytest.approx(900.0, abs=2.5)
            carol = await room.join(CAROL)
            await room.witnesses[CAROL].until(TrackSubscribed(MULISA))
            await asyncio.sleep(A_WHILE)
        assert packets_of(bob) == before and packets_of(carol) == 0
        async with speaking(mulisa.send_frame):
            await asyncio.gather(packets_come(bob), packets_come(carol))


async def test_the_first_words_of_a_whisper_are_whole(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, BOB, MULISA) as room:
        mulisa, bob = room.transports[MULISA], room.transports[BOB]
        send = await mulisa.whisper(BOB)
        await eventually(lambda: bob._stay.consuming.follows(MULISA))
        hearing = asyncio.create_task(hear(bob, MULISA, 50))
        for samples in tone(900.0, 50):
            send(samples)
            await asyncio.sleep(0.02)
        heard = (await hearing).astype(float).reshape(-1, 240)
        loud = float(((heard**2).mean(axis=1) ** 0.5 > 1_500).sum() * 0.005)
        assert loud > 0.9, "of one second"


async def test_a_whisper_ends_with_its_listener_and_begins_again(
    mediasoup: MediasoupServer,
) -> None:
    async with call(mediasoup, MULISA) as room:
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


async def test_a_whisper_does_not_ask_whom_she_speaks_to(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, ALICE, MULISA) as room:
        mulisa, alice = room.transports[MULISA], room.transports[ALICE]
        await mulisa.speak_to(frozenset())
        async with speaking(await mulisa.whisper(ALICE)):
            await packets_come(alice)


async def test_where_everybody_consumes_everything_it_says_so(mediasoup: MediasoupServer) -> None:
    async with call(mediasoup, ALICE) as room:
        mulisa = await room.join(MULISA, plain=True)
        alice = room.transports[ALICE]
        await room.witnesses[ALICE].until(TrackSubscribed(MULISA))
        for attempt in (mulisa.whisper(ALICE), mulisa.speak_to(frozenset({ALICE}))):
            with pytest.raises(TransportError, match="lets everybody consume") as caught:
                await attempt
            assert not caught.value.retryable
        assert mulisa.routing == Routing()
        async with speaking(mulisa.send_frame):
            await packets_come(alice)
            await mulisa.speak_to(frozenset())
            before = packets_of(alice)
            await asyncio.sleep(A_WHILE)
            assert packets_of(alice) == before
            await mulisa.speak_to(None)
            await packets_come(alice)
        await mulisa.set_attributes({"lk.agent.state": "listening"})
