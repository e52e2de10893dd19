from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, AudioFrame, Samples
from mulisa.core.errors import ConnectionLost, TransportError
from mulisa.core.events import (
    ChatReceived,
    ListenerConnected,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
    TrackUnsubscribed,
    TransportEvent,
)
from mulisa.core.room import Identity
from mulisa.core.routing import ROUTING_ATTRIBUTE, Routing
from mulisa.core.transport import Caption, ChatMessage, SubscriptionStats, Transport
from mulisa.transport.loopback import MAX_BUFFERED_FRAMES, LoopbackRoom, LoopbackTransport, Path

pytestmark = pytest.mark.unit

ALICE, BOB, CAROL = Identity("alice"), Identity("bob"), Identity("carol")
IS_A_TRANSPORT: type[Transport] = LoopbackTransport


def frame(number: int) -> Samples:
    return np.full(FRAME_SAMPLES, number, dtype=np.int16)


async def speak(transport: Transport, count: int) -> None:
    for number in range(count):
        transport.send_frame(frame(number))
        await asyncio.sleep(FRAME_DURATION)


async def collect(frames: AsyncIterator[AudioFrame]) -> list[AudioFrame]:
    return [frame async for frame in frames]


async def next_events(events: AsyncIterator[TransportEvent], count: int) -> list[TransportEvent]:
    return [await anext(events) for _ in range(count)]


async def test_both_learn_of_each_other_in_the_same_order() -> None:
    room = LoopbackRoom()
    async with room.join(ALICE, "Alice") as alice, room.join(BOB, "Bob", "agent") as bob:
        for one, other in ((alice, bob), (bob, alice)):
            events = await next_events(one.events(), 3)
            assert events[0] == ParticipantJoined(other.local)
            assert set(events[1:]) == {
                TrackSubscribed(other.local.identity),
                ListenerConnected(other.local.identity),
            }
            assert dict(one.participants) == {other.local.identity: other.local}
        assert alice.local.sid != bob.local.sid
        assert bob.local.is_agent


async def test_frames_arrive_in_order_within_the_delay() -> None:
    room = LoopbackRoom(delay=(0.02, 0.09))
    loop = asyncio.get_running_loop()
    async with room.join(ALICE) as alice, room.join(BOB) as bob:
        heard = asyncio.create_task(collect(bob.frames(ALICE)))
        began = loop.time()
        await speak(alice, 200)
        await asyncio.sleep(0.1)
        await alice.__aexit__(None, None, None)
        frames = await heard
    assert [int(frame.samples[0]) for frame in frames] == list(range(200))
    ages = [f.received_at - began - n * FRAME_DURATION for n, f in enumerate(frames)]
    assert min(ages) >= 0.02 - 1e-9
    assert max(ages) <= 0.09 + 1e-9
    assert max(ages) - min(ages) > 0.03


async def test_lost_frames_are_missing_and_counted_and_depend_on_the_seed_only() -> None:
    async def heard_with(seed: int) -> tuple[list[int], SubscriptionStats]:
        room = LoopbackRoom(seed=seed, loss=0.1)
        async with room.join(ALICE) as alice, room.join(BOB) as bob:
            heard = asyncio.create_task(collect(bob.frames(ALICE)))
            await speak(alice, 500)
            await asyncio.sleep(0.1)
            stats = bob.stats(ALICE)
            await alice.__aexit__(None, None, None)
            return [int(frame.samples[0]) for frame in await heard], stats

    first, stats = await heard_with(1)
    assert stats == SubscriptionStats(len(first), 0, 500 - len(first))
    assert 20 < stats.packets_lost < 90
    assert first == sorted(first)
    assert (await heard_with(1))[0] == first
    assert (await heard_with(2))[0] != first


async def test_a_slow_reader_loses_the_oldest_frames() -> None:
    room = LoopbackRoom()
    async with room.join(ALICE) as alice, room.join(BOB) as bob:
        await speak(alice, MAX_BUFFERED_FRAMES + 5)
        await asyncio.sleep(0.1)
        oldest = await anext(bob.frames(ALICE))
        assert int(oldest.samples[0]) == 5
        assert bob.stats(ALICE).frames_dropped == 5


async def test_everybody_hears_but_not_oneself() -> None:
    room = LoopbackRoom()
    async with room.join(ALICE) as alice, room.join(BOB) as bob, room.join("carol") as carol:
        await speak(alice, 1)
        for other in (bob, carol):
            assert int((await anext(other.frames(ALICE))).samples[0]) == 0
        assert await collect(alice.frames(ALICE)) == []
        assert alice.stats(ALICE) == SubscriptionStats(0, 0, 0)


async def test_what_is_no_frame_is_refused() -> None:
    async with LoopbackRoom().join(ALICE) as alice:
        with pytest.raises(ValueError, match="not a frame"):
            alice.send_frame(np.zeros(FRAME_SAMPLES // 2, dtype=np.int16))


async def test_leaving_ends_frames_and_events() -> None:
    room = LoopbackRoom()
    async with room.join(BOB) as bob:
        async with room.join(ALICE) as alice:
            heard = asyncio.create_task(collect(bob.frames(ALICE)))
            await asyncio.sleep(0)
        assert await heard == []
        assert [event async for event in alice.events()] != []
        events = await next_events(bob.events(), 5)
        assert events[-2:] == [TrackUnsubscribed(ALICE), ParticipantLeft(alice.local)]
        assert not bob.participants
        await alice.__aexit__(None, None, None)


async def test_somebody_who_comes_back_replaces_the_former_stay() -> None:
    room = LoopbackRoom()
    async with room.join(BOB) as bob, room.join(ALICE) as former:
        heard = asyncio.create_task(collect(bob.frames(ALICE)))
        await asyncio.sleep(0)
        async with room.join(ALICE) as alice:
            assert await heard == []
            assert [event async for event in former.events()]
            assert bob.participants[ALICE].sid == alice.local.sid != former.local.sid
            await speak(alice, 1)
            assert await anext(bob.frames(ALICE))


async def test_a_lost_room_raises() -> None:
    room = LoopbackRoom()
    async with room.join(ALICE) as alice:
        room.lose(ALICE)
        with pytest.raises(ConnectionLost):
            await anext(alice.events())
        with pytest.raises(TransportError):
            await alice.__aenter__()


async def test_a_replaced_connection_is_a_new_subscription() -> None:
    room = LoopbackRoom()
    async with room.join(ALICE) as alice, room.join(BOB) as bob:
        events = bob.events()
        await next_events(events, 3)
        heard = asyncio.create_task(collect(bob.frames(ALICE)))
        alice.send_frame(frame(1))
        await asyncio.sleep(0.1)
        alice.send_frame(frame(2))  # under way when the connection is replaced
        alice.replace_connections()
        assert [int(f.samples[0]) for f in await heard] == [1]
        alice.send_frame(frame(3))
        assert int((await anext(bob.frames(ALICE))).samples[0]) == 3
        assert await next_events(events, 2) == [TrackUnsubscribed(ALICE), TrackSubscribed(ALICE)]


async def test_text_reaches_everybody_else_in_order() -> None:
    room = LoopbackRoom(loss=0.9)
    async with room.join(ALICE) as alice, room.join(BOB) as bob:
        captions = [Caption("s1", ALICE, "word " * n, final=False) for n in range(20)]
        for caption in captions:
            await alice.send_caption(caption)
        await alice.send_chat(ChatMessage("m1", "hello"))
        await asyncio.sleep(0.1)
        assert bob.captions == captions
        assert alice.captions == []
        assert (await next_events(bob.events(), 4))[-1] == ChatReceived(ALICE, "m1", "hello")


async def test_attributes_and_mute_are_seen_by_others() -> None:
    room = LoopbackRoom()
    async with room.join(ALICE) as alice, room.join(BOB) as bob:
        await alice.set_attributes({"a": "1", "b": "2"})
        await alice.set_attributes({"a": "", "c": "3"})
        alice.set_muted(True)
        await speak(alice, 3)
        await asyncio.sleep(0.1)
        assert bob.participants[ALICE].attributes == {"b": "2", "c": "3"}
        assert bob.participants[ALICE].muted
        assert bob.stats(ALICE).frames_received == 0
        assert (await next_events(bob.events(), 6))[-1] == ParticipantUpdated(alice.local)


@given(
    st.lists(st.floats(0, 0.05), max_size=50),
    st.floats(0, 1),
    st.tuples(st.floats(0, 0.1), st.floats(0, 0.1)).map(lambda pair: (min(pair), max(pair))),
)
def test_a_path_never_reorders(gaps: list[float], loss: float, delay: tuple[float, float]) -> None:
    path, now, arrivals = Path("seed", loss, delay), 0.0, []
    for gap in gaps:
        now += gap
        if (arrival := path.arrival(now)) is not None:
            assert arrival >= now + delay[0]
            arrivals.append(arrival)
    assert arrivals == sorted(arrivals)


def routing_of(transport: Transport, seen_by: Transport) -> object:
    shown = seen_by.participants[transport.local.identity].attributes.get(ROUTING_ATTRIBUTE)
    return None if shown is None else json.loads(shown)


async def test_who_is_not_heard_sends_nothing_and_is_heard_again() -> None:
    room = LoopbackRoom()
    async with room.join(ALICE) as alice, room.join(BOB) as bob:
        await next_events(events := bob.events(), 3)
        heard = asyncio.create_task(collect(bob.frames(ALICE)))
        await speak(alice, 3)
        alice.send_frame(frame(9))  # on its way when nobody wants it any more
        await bob.hear(ALICE, False)
        await speak(alice, 3)
        await asyncio.sleep(0.1)
        numbers = [int(f.samples[0]) for f in await heard]
        assert numbers and numbers == [0, 1, 2][: len(numbers)]
        assert bob.stats(ALICE).frames_received == len(numbers)
        assert bob.routing == Routing(unheard=frozenset({ALICE}))
        assert routing_of(bob, alice) == {"hear": {"alice": False}, "speak_to": None}
        await bob.hear(ALICE, False)
        await bob.hear(ALICE, True)
        await speak(alice, 1)
        assert int((await anext(bob.frames(ALICE))).samples[0]) == 0
        assert routing_of(bob, alice) is None
        assert await next_events(events, 2) == [TrackUnsubscribed(ALICE), TrackSubscribed(ALICE)]


async def test_who_is_not_heard_stays_so_over_a_reload_and_before_they_come() -> None:
    room = LoopbackRoom()
    async with room.join(BOB) as bob:
        await bob.hear(ALICE, False)
        for _ in range(2):
            async with room.join(ALICE) as alice:
                await speak(alice, 2)
                await asyncio.sleep(0.1)
                alice.replace_connections()
                await speak(alice, 2)
                await asyncio.sleep(0.1)
        assert bob.stats(ALICE) == SubscriptionStats(0, 0, 0)
        assert {type(event) for event in await next_events(bob.events(), 6)} == {
            ParticipantJoined,
            ListenerConnected,
            ParticipantLeft,
        }


async def test_routing_given_at_the_beginning_holds_at_once() -> None:
    room = LoopbackRoom()
    routing = Routing(unheard=frozenset({ALICE}), listeners=frozenset({ALICE}))
    async with (
        room.join(ALICE) as alice,
        room.join(CAROL) as carol,
        room.join(BOB, kind="agent", routing=routing) as bob,
    ):
        for person in (alice, bob):
            await speak(person, 2)
        await asyncio.sleep(0.1)
        assert bob.stats(ALICE).frames_received == 0
        assert alice.stats(BOB).frames_received == 2
        assert carol.stats(BOB).frames_received == 0
        assert routing_of(bob, carol) == routing.to_json()


async def test_no_frame_arrives_after_speaking_to_others_is_acknowledged() -> None:
    room = LoopbackRoom(delay=(0.01, 0.2))
    async with room.join(ALICE) as alice, room.join(BOB) as bob, room.join(CAROL) as carol:
        await speak(alice, 10)
        await alice.speak_to(frozenset({BOB}))
        before = carol.stats(ALICE).frames_received
        assert before == 10, "what was on its way has arrived"
        await speak(alice, 5)
        await asyncio.sleep(0.3)
        assert carol.stats(ALICE).frames_received == before
        assert bob.stats(ALICE).frames_received == 15
        async with room.join("dora") as dora:
            await speak(alice, 1)
            await asyncio.sleep(0.3)
            assert dora.stats(ALICE).frames_received == 0
            await alice.speak_to(None)
            await speak(alice, 1)
            await asyncio.sleep(0.3)
            assert dora.stats(ALICE).frames_received == 1
        assert alice.routing == Routing()


async def test_a_whisper_reaches_its_listener_whatever_the_routing_says() -> None:
    room = LoopbackRoom(opening=0.3)
    async with room.join(ALICE) as alice, room.join(BOB) as bob, room.join(CAROL) as carol:
        await alice.speak_to(frozenset({CAROL}))
        began = asyncio.get_running_loop().time()
        whisper = await alice.whisper(BOB)
        assert asyncio.get_running_loop().time() - began == pytest.approx(0.3)
        whisper(frame(7))
        await asyncio.sleep(0.1)
        assert int((await anext(bob.frames(ALICE))).samples[0]) == 7
        assert carol.stats(ALICE).frames_received == 0
        with pytest.raises(ValueError, match="not a frame"):
            whisper(np.zeros(3, dtype=np.int16))
        with pytest.raises(TransportError, match="dora"):
            await alice.whisper(Identity("dora"))


async def test_words_to_one_listener_reach_nobody_else() -> None:
    room = LoopbackRoom()
    async with room.join(ALICE) as alice, room.join(BOB) as bob, room.join(CAROL) as carol:
        secret = Caption("s1", ALICE, "psst", final=True, listener=BOB)
        await alice.send_caption(secret)
        await alice.send_chat(ChatMessage("m1", "psst", BOB))
        await alice.send_caption(replace(secret, listener=Identity("nobody")))
        await asyncio.sleep(0.1)
        assert (bob.captions, carol.captions) == ([secret], [])
        await alice.send_chat(ChatMessage("m2", "hello"))
        assert [event async for event in chats(bob, 2)] == ["m1", "m2"]
        assert [event async for event in chats(carol, 1)] == ["m2"]


async def chats(transport: Transport, count: int) -> AsyncIterator[str]:
    """Ids of the next chat messages."""
    async for event in transport.events():
        if isinstance(event, ChatReceived):
            yield event.message_id
            count -= 1
        if not count:
            return


async def test_others_learn_who_is_received() -> None:
    room = LoopbackRoom()
    async with room.join(ALICE) as alice, room.join(BOB) as bob:
        await alice.send_reception(frozenset({BOB}))
        await asyncio.sleep(0.1)
        assert bob.receptions == {ALICE: {BOB}}
        await alice.send_reception(frozenset())
        await asyncio.sleep(0.1)
        assert bob.receptions == {ALICE: frozenset()}
