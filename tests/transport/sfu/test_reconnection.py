"""A LiveKit server that goes and comes back, sockets that are cut, and being shown the door."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from livekit import api, rtc
from livekit.rtc._proto.room_pb2 import SimulateScenarioKind

from mulisa.core.errors import ConnectionLost
from mulisa.core.events import (
    ChatReceived,
    ParticipantJoined,
    ParticipantLeft,
    TrackSubscribed,
    TrackUnsubscribed,
)
from mulisa.core.routing import Routing
from mulisa.core.transport import Caption, ChatMessage
from mulisa.transport.sfu import stay as stay_module
from mulisa.transport.sfu import voice as voice_module
from mulisa.transport.sfu.transport import SFUTransport
from tests.livekit_server import LiveKitServer
from tests.network import TcpProxy
from tests.transport.mesh.rooms import PATIENCE, Witness, hear, pitch, say, tone
from tests.transport.sfu.rooms import ALICE, BOB, CAROL, MULISA, call, eventually
from tests.transport.sfu.test_routing import A_WHILE, packets_of, speaking

pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture
def own_server(livekit_program: str) -> Iterator[LiveKitServer]:
    """One that may be stopped."""
    with LiveKitServer(livekit_program) as server:
        yield server


async def away_and_back(transport: SFUTransport) -> None:
    """Return once it has noticed that the server was gone, and has come back."""
    stay = transport._stay
    async with asyncio.timeout(PATIENCE):
        await stay.watch.until(lambda: not stay.is_connected)
        await stay.watch.until(lambda: stay.is_connected)


async def talk(speaker: SFUTransport, listener: SFUTransport, frequency: float) -> None:
    """One of them says something and the other one hears it."""
    hearing = asyncio.create_task(hear(listener, speaker.local.identity, 100))
    speaker.expect_speech()
    await say(speaker, tone(frequency, 100))
    assert pitch((await hearing)[-24_000:]) == pytest.approx(frequency, abs=2.5)


async def test_a_server_that_was_restarted_finds_everything_as_before(
    own_server: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_module, "WARM_TIME", 0.5)
    async with call(own_server, ALICE, BOB, MULISA) as room:
        alice, mulisa = room.transports[ALICE], room.transports[MULISA]
        witness = room.witnesses[MULISA]
        await mulisa.set_attributes({"lk.agent.state": "listening"})
        await mulisa.hear(BOB, False)
        await mulisa.speak_to(frozenset({ALICE}))
        routing = mulisa.routing
        await witness.until(TrackUnsubscribed(BOB))
        witness.seen.clear()

        coming_back = [
            asyncio.create_task(away_and_back(each)) for each in room.transports.values()
        ]
        final = asyncio.create_task(caption_while_away(mulisa))
        await asyncio.to_thread(own_server.restart)
        await asyncio.gather(*coming_back)
        await final
        await witness.until(TrackUnsubscribed(ALICE), TrackSubscribed(ALICE))

        await talk(alice, mulisa, 400.0)
        await eventually(lambda: bool(alice._stay.hearing(MULISA).track_sids))
        await talk(mulisa, alice, 600.0)
        assert mulisa.routing == routing
        attributes = alice.participants[MULISA].attributes
        assert attributes["lk.agent.state"] == "listening" and "mulisa.routing" in attributes
        bob = room.transports[BOB]
        await asyncio.sleep(2.0)  # until nothing comes of Alice
        async with speaking(mulisa.send_frame), speaking(bob.send_frame):
            before = await packets_of(bob), await packets_of(mulisa)
            await asyncio.sleep(A_WHILE)
            assert (await packets_of(bob), await packets_of(mulisa)) == before
            assert TrackSubscribed(BOB) not in witness.seen
        came_and_went = (ParticipantJoined, ParticipantLeft)
        assert not [each for each in witness.seen if isinstance(each, came_and_went)]


async def caption_while_away(mulisa: SFUTransport) -> None:
    stay = mulisa._stay
    async with asyncio.timeout(PATIENCE):
        await stay.watch.until(lambda: not stay.is_connected)
        await mulisa.send_caption(Caption("s1", ALICE, "and", final=False))
        await mulisa.send_caption(Caption("s1", ALICE, "and so", final=True))


async def test_who_does_not_come_back_has_left(
    own_server: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stay_module, "RETURN_TIME", 1.0)
    async with call(own_server, ALICE, MULISA) as room:
        mulisa, witness = room.transports[MULISA], room.witnesses[MULISA]
        coming_back = asyncio.create_task(away_and_back(mulisa))
        await asyncio.to_thread(own_server.stop, at_once=True)
        await room.transports[ALICE]._stay.leave()
        await asyncio.to_thread(own_server.start)
        await coming_back
        left = await witness.until(ParticipantLeft)
        assert isinstance(left, ParticipantLeft) and left.participant.identity == ALICE
        assert mulisa.participants == {}


@pytest.mark.parametrize(
    "scenario",
    [
        SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT,
        SimulateScenarioKind.SIMULATE_FULL_RECONNECT,
    ],
    ids=["resume", "anew"],
)
async def test_after_a_reconnection_the_routing_holds_and_nothing_leaked(
    livekit: LiveKitServer, scenario: SimulateScenarioKind.ValueType
) -> None:
    async with call(livekit, ALICE, BOB, MULISA) as room:
        mulisa, bob = room.transports[MULISA], room.transports[BOB]
        carol = await room.join_plainly(CAROL)
        await mulisa.speak_to(frozenset({ALICE}))
        send = await mulisa.whisper(BOB)
        async with speaking(mulisa.send_frame):
            before = await carol.all_packets()
            coming_back = asyncio.create_task(away_and_back(mulisa))
            await mulisa._stay.room.simulate_scenario(scenario)
            await coming_back
            await asyncio.sleep(3.0)
            assert await carol.all_packets() == before == 0, "not for a moment"
        await eventually(lambda: bool(room.transports[ALICE]._stay.hearing(MULISA).track_sids))
        await talk(mulisa, room.transports[ALICE], 500.0)
        whisper = mulisa._stay.speaking._whispers[BOB].sid
        await eventually(lambda: bob._stay.hearing(MULISA).track_sids >= {whisper})
        hearing = asyncio.create_task(hear(bob, MULISA, 100))
        for samples in tone(900.0, 120):
            send(samples)
            await asyncio.sleep(0.02)
        assert pitch((await hearing)[-24_000:]) == pytest.approx(900.0, abs=2.5)
        assert mulisa.routing == Routing(listeners=frozenset({ALICE}))


async def test_a_websocket_that_is_cut_costs_nobody_a_word(livekit: LiveKitServer) -> None:
    async with TcpProxy(("127.0.0.1", livekit.port)) as proxy, call(livekit, ALICE) as room:
        mulisa = await room.join(MULISA, url=f"ws://127.0.0.1:{proxy.port}")
        witness = room.witnesses[MULISA]
        await witness.until(TrackSubscribed(ALICE))
        await room.witnesses[ALICE].until(TrackSubscribed(MULISA))
        coming_back = asyncio.create_task(away_and_back(mulisa))
        hearing = asyncio.create_task(hear(mulisa, ALICE, 100))
        async with speaking(room.transports[ALICE].send_frame, 400.0):
            assert proxy.cut() >= 1
            await coming_back
            heard = await hearing
        assert pitch(heard[-24_000:]) == pytest.approx(400.0, abs=2.5)
        assert TrackUnsubscribed(ALICE) not in witness.seen, "media did not notice"
        await mulisa.send_chat(ChatMessage("m1", "here I am"))
        await room.witnesses[ALICE].until(ChatReceived(MULISA, "m1", "here I am"))
        await talk(mulisa, room.transports[ALICE], 600.0)


async def test_a_server_that_stays_away_is_lost(own_server: LiveKitServer) -> None:
    async with call(own_server, ALICE, MULISA) as room:
        await asyncio.to_thread(own_server.stop, at_once=True)
        with pytest.raises(ConnectionLost, match="out of reach"):
            async with asyncio.timeout(120.0):
                async for event in room.transports[MULISA].events():
                    room.witnesses[MULISA].seen.append(event)
        assert room.transports[MULISA].participants == {}


async def test_who_is_removed_or_replaced_has_left(livekit: LiveKitServer) -> None:
    async with call(livekit, ALICE) as room:
        async with room.transport(MULISA) as mulisa:
            await room.remove(MULISA)
            await the_end(mulisa)
        async with room.transport(MULISA) as mulisa, room.transport(MULISA) as other:
            await the_end(mulisa)
            await Witness(other).until(TrackSubscribed(ALICE))
            async with room.server.api() as livekit_api:
                await livekit_api.room.delete_room(api.DeleteRoomRequest(room=room.room))
            await the_end(other)


async def the_end(transport: SFUTransport) -> None:
    """The events end, and that is no failure."""
    async with asyncio.timeout(PATIENCE):
        async for _ in transport.events():
            pass


async def test_a_token_that_has_expired_is_good_for_coming_back(
    own_server: LiveKitServer,
) -> None:
    """The server renews it; its leeway for clocks is a minute."""
    async with call(own_server, ALICE) as room:
        mulisa = await room.join(MULISA, ttl=-50.0)
        await room.witnesses[MULISA].until(TrackSubscribed(ALICE))
        await asyncio.sleep(15.0)
        expired = own_server.token(MULISA, room.room, ttl=-66.0)
        with pytest.raises(Exception, match="401|token"):
            await rtc.Room().connect(own_server.url, expired)
        for scenario in (
            SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT,
            SimulateScenarioKind.SIMULATE_FULL_RECONNECT,
        ):
            coming_back = asyncio.create_task(away_and_back(mulisa))
            await mulisa._stay.room.simulate_scenario(scenario)
            await coming_back
        await eventually(lambda: bool(mulisa._stay.hearing(ALICE).track_sids))
        await talk(room.transports[ALICE], mulisa, 500.0)
