from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from mulisa.core.errors import TransportError
from mulisa.core.events import ParticipantJoined, TransportEvent
from mulisa.core.room import AGENT_STATE_ATTRIBUTE, AgentState, Identity
from mulisa.core.routing import Routing, RoutingChange
from mulisa.core.transport import Transport
from mulisa.transport.loopback import LoopbackRoom
from mulisa.worker.observed import ObservedTransport

pytestmark = pytest.mark.unit

ALICE, BOB = Identity("alice"), Identity("bob")
DEAF = Routing(frozenset({ALICE}))


class Slow:
    """A transport whose routing takes a second, and that tells which changes overlap."""

    def __init__(self, refuses: Identity | None = None) -> None:
        self.routing = Routing()
        self.asked: list[object] = []
        self._refuses = refuses
        self._is_busy = False

    async def __aenter__(self) -> Slow:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def hear(self, identity: Identity, on: bool) -> None:
        await self._change(RoutingChange({identity: on}), identity == self._refuses)

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        await self._change(RoutingChange(sets_listeners=True, speak_to=listeners), False)

    async def _change(self, change: RoutingChange, refused: bool) -> None:
        assert not self._is_busy, "two changes at once"
        self._is_busy = True
        self.asked.append(change)
        await asyncio.sleep(1.0)
        self._is_busy = False
        if refused:
            raise TransportError("nobody answers")
        self.routing = self.routing.changed(change)


def observed(inner: Any, **observers: Any) -> ObservedTransport:
    return ObservedTransport(cast(Transport, inner), Routing(), **observers)


async def test_changes_wait_until_we_are_in_the_room_and_come_one_after_another() -> None:
    inner, told = Slow(), list[Routing]()
    transport = observed(inner, on_routing=told.append)
    change = RoutingChange({ALICE: False, BOB: False}, sets_listeners=True, speak_to=frozenset())
    by_api = asyncio.create_task(transport.route(change))
    await asyncio.sleep(5.0)
    assert inner.asked == []
    async with transport:
        by_voice = asyncio.create_task(transport.hear(BOB, True))
        assert await by_api == Routing(frozenset({ALICE, BOB}), frozenset())
        await by_voice
    assert len(inner.asked) == 4
    last = Routing(frozenset({ALICE}), frozenset())
    assert told == [Routing(frozenset({ALICE, BOB}), frozenset()), last]
    assert transport.routing == last


async def test_what_the_agent_was_told_by_voice_is_told_and_what_changes_nothing_is_not() -> None:
    told: list[Routing] = []
    async with observed(Slow(), on_routing=told.append) as transport:
        await transport.speak_to(None)
        await transport.speak_to(frozenset({BOB}))
        await transport.speak_to(frozenset({BOB}))
    assert told == [Routing(listeners=frozenset({BOB}))]


async def test_of_a_change_that_fails_half_way_the_first_half_is_told() -> None:
    told: list[Routing] = []
    async with observed(Slow(refuses=BOB), on_routing=told.append) as transport:
        with pytest.raises(TransportError, match="nobody answers"):
            await transport.route(RoutingChange({ALICE: False, BOB: False}))
        assert told == [DEAF]
        assert await transport.route(RoutingChange({ALICE: True})) == Routing()


async def test_a_change_that_is_given_up_leaves_the_next_one_its_turn() -> None:
    inner = Slow()
    async with observed(inner) as transport:
        waiting = asyncio.create_task(transport.hear(ALICE, False))
        given_up = asyncio.create_task(transport.hear(BOB, False))
        await asyncio.sleep(0.5)
        given_up.cancel()
        assert await transport.route(RoutingChange({BOB: True})) == DEAF
        assert waiting.done()
        assert len(inner.asked) == 2


async def test_what_happens_in_the_room_is_seen_by_both() -> None:
    room, seen, states = LoopbackRoom(), list[TransportEvent](), list[AgentState]()
    entered: list[str] = []
    transport = observed(
        room.join("mulisa", kind="agent"),
        on_entered=lambda: entered.append("now"),
        on_event=seen.append,
        on_state=states.append,
    )
    assert entered == []
    async with transport, room.join("alice"):
        assert entered == ["now"]
        event = await anext(aiter(transport.events()))
        assert isinstance(event, ParticipantJoined) and event.participant.identity == ALICE
        assert seen == [event]
        await transport.set_attributes({AGENT_STATE_ATTRIBUTE: "thinking"})
        await transport.set_attributes({"other": "x"})
        assert states == [AgentState.THINKING]
        assert transport.local.attributes["other"] == "x"


async def test_whom_each_hears_is_told_when_the_session_tells_whom_she_hears() -> None:
    room, told = LoopbackRoom(), dict[Identity, frozenset[Identity]]()
    transport = observed(
        room.join("mulisa", kind="agent"), on_reception=lambda who, heard: told.update({who: heard})
    )
    async with transport, room.join("alice") as alice, room.join("bob"):
        await transport.send_reception(frozenset({ALICE}))
        assert told == {"mulisa": {ALICE}}
        await alice.send_reception(frozenset({BOB}))
        await asyncio.sleep(1.0)
        await transport.send_reception(frozenset())
        assert told == {"mulisa": frozenset(), ALICE: {BOB}}
        await asyncio.sleep(1.0)
        assert alice.receptions[Identity("mulisa")] == frozenset(), "the others are told, too"
