"""A room in memory, with a seeded network between its participants.

For tests, examples and benchmarks of the agent alone. Times are those of the running event loop,
so a conversation runs in virtual time as well. A lost frame is missing for good, as behind a
jitter buffer that conceals nothing; delays vary but never reorder a stream.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Final, Self

import numpy as np

from mulisa.core.audio import FRAME_SAMPLES, AudioFrame, Samples
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
from mulisa.core.room import (
    Identity,
    Participant,
    ParticipantKind,
    ParticipantSid,
    RoomName,
    Topology,
    parse_room_name,
)
from mulisa.core.routing import ROUTING_ATTRIBUTE, Routing, RoutingChange
from mulisa.core.transport import Caption, ChatMessage, SendFrame, SubscriptionStats

EVERYBODY: Final = Routing()
"""Hears everybody and speaks to everybody."""
MAX_BUFFERED_FRAMES: Final = 100
"""A reader that is slower than this (2 s) loses the oldest frames."""


class Path:
    """When what is sent from one participant to another arrives. Pure."""

    def __init__(self, seed: str, loss: float, delay: tuple[float, float]) -> None:
        """`loss` is a probability, `delay` the shortest and the longest in seconds."""
        self._random = random.Random(seed)
        self._loss = loss
        self._delay = delay
        self._latest = float("-inf")

    def arrival(self, now: float) -> float | None:
        """Never before that of what was sent earlier; None if it is lost."""
        is_lost = self._random.random() < self._loss
        self._latest = max(self._latest, now + self._random.uniform(*self._delay))
        return None if is_lost else self._latest

    @property
    def latest(self) -> float:
        """When the last of what was sent so far arrives."""
        return self._latest


class LoopbackRoom:
    """The room itself: who is in it and how far they are from each other."""

    def __init__(
        self,
        name: str = "loopback",
        *,
        seed: int = 0,
        loss: float = 0.0,
        delay: tuple[float, float] = (0.02, 0.05),
        opening: float = 0.0,
    ) -> None:
        """`loss` (of frames; text is never lost) and `delay` hold for each direction.

        `opening`: seconds until a whisper reaches its listener, as on a server that must ask.
        """
        self.name = parse_room_name(name)
        self._seed = seed
        self._loss = loss
        self._delay = delay
        self.opening = opening
        self._stays = 0
        self._present: dict[Identity, LoopbackTransport] = {}

    def join(
        self,
        identity: str,
        name: str = "",
        kind: ParticipantKind = "standard",
        routing: Routing = EVERYBODY,
    ) -> LoopbackTransport:
        """A transport for one participant; entering it joins, and `routing` holds from then on.

        Whoever is there under the same identity is replaced then.
        """
        local = Participant(Identity(identity), name or identity, kind=kind)
        return LoopbackTransport(self, local, routing)

    def remove(self, identity: str) -> None:
        """Show somebody the door: their `events` end."""
        self._present[Identity(identity)].end(None)

    def lose(self, identity: str) -> None:
        """Cut somebody's connection to the room: their `events` raise ConnectionLost."""
        self._present[Identity(identity)].end(ConnectionLost("the loopback room is out of reach"))

    # What follows is for its transports.

    def others(self, transport: LoopbackTransport) -> list[LoopbackTransport]:
        """Everybody but one."""
        return [other for other in self._present.values() if other is not transport]

    def enter(self, transport: LoopbackTransport) -> ParticipantSid:
        """Add to those who are present."""
        if former := self._present.get(transport.local.identity):
            former.end(None)
        self._present[transport.local.identity] = transport
        self._stays += 1
        return ParticipantSid(f"PA_{self._stays}")

    def present(self, identity: Identity) -> LoopbackTransport | None:
        """Who is in the room under this identity."""
        return self._present.get(identity)

    def leave(self, transport: LoopbackTransport) -> None:
        """Remove from those who are present."""
        del self._present[transport.local.identity]

    def path(self, sender: Participant, receiver: Participant, *, loss: bool) -> Path:
        """The way from one to the other."""
        seed = f"{self._seed} {sender.identity} {receiver.identity} {loss}"
        return Path(seed, self._loss if loss else 0.0, self._delay)


class LoopbackTransport:
    """One stay in a `LoopbackRoom`; implements `mulisa.core.transport.Transport`."""

    def __init__(
        self, room: LoopbackRoom, local: Participant, routing: Routing = EVERYBODY
    ) -> None:
        self.captions: list[Caption] = []
        """Received from others, oldest first."""
        self.receptions: dict[Identity, frozenset[Identity]] = {}
        """Whom each of the others heard, as they said last."""
        self.speech_expected = 0
        """How often `expect_speech` was called."""
        self._loopback = room
        self._local = replace(local, attributes=_shown(local.attributes, routing))
        self._routing = routing
        self._events: asyncio.Queue[TransportEvent | ConnectionLost | None] = asyncio.Queue()
        self._listeners: dict[Identity, _Listener] = {}
        self._subscriptions: dict[Identity, _Subscription] = {}
        self._participants: dict[Identity, Participant] = {}
        self._is_inside = False

    @property
    def room(self) -> RoomName:
        """The room's name."""
        return self._loopback.name

    @property
    def topology(self) -> Topology:
        """A mesh: everybody sends to everybody."""
        return "mesh"

    @property
    def local(self) -> Participant:
        """Ourselves."""
        return self._local

    @property
    def participants(self) -> Mapping[Identity, Participant]:
        """Everybody else in the room now."""
        return self._participants

    async def events(self) -> AsyncIterator[TransportEvent]:
        """What happens in the room; see `Transport.events`."""
        while (event := await self._events.get()) is not None:
            if isinstance(event, ConnectionLost):
                raise event
            yield event

    async def frames(self, identity: Identity) -> AsyncIterator[AudioFrame]:
        """Voice of one participant; ends at once if they cannot be heard."""
        subscription = self._subscriptions.get(identity)
        while subscription is not None and (frame := await subscription.next_frame()):
            yield frame

    def send_frame(self, samples: Samples) -> None:
        """Speak 20 ms to all listeners. Raises ValueError if it is not a frame."""
        _check_frame(samples)
        if self._is_inside and not self._local.muted:
            for identity, listener in self._listeners.items():
                if self._routing.speaks_to(identity):
                    listener.send_frame(samples)

    def expect_speech(self) -> None:
        """Nothing is to be done here; it is counted."""
        self.speech_expected += 1

    async def whisper(self, listener: Identity) -> SendFrame:
        """Speak to one person only; see `Transport.whisper`."""
        await asyncio.sleep(self._loopback.opening)
        if not self._is_inside or listener not in self._listeners:
            raise TransportError(f"{listener} is not here to be whispered to")
        return partial(self._whisper_frame, self._listeners[listener])

    @property
    def routing(self) -> Routing:
        """Whom we hear and to whom we speak."""
        return self._routing

    async def hear(self, identity: Identity, on: bool) -> None:
        """Receive somebody's voice or do not; see `Transport.hear`."""
        before = self._routing
        self._show_routing(before.changed(RoutingChange({identity: on})))
        sender = self._loopback.present(identity)
        if sender is None or not self._is_inside or before.hears(identity) == on:
            return
        if on:
            self.subscribe(sender.local)
        else:
            self.unsubscribe(sender.local)

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """Send our voice to these only; what is on its way to others has arrived then."""
        self._show_routing(replace(self._routing, listeners=listeners))
        for identity, listener in list(self._listeners.items()):
            if not self._routing.speaks_to(identity):
                await listener.all_arrived()

    async def send_caption(self, caption: Caption) -> None:
        """Show words to everybody or to their listener; they are in the others' `captions`."""
        for listener in self._listeners_of(caption.listener):
            listener.send_text(lambda other: other.captions.append(caption))

    async def send_chat(self, message: ChatMessage) -> None:
        """Send a typed message to everybody or to its listener."""
        event = ChatReceived(self._local.identity, message.message_id, message.text)
        for listener in self._listeners_of(message.listener):
            listener.send_text(lambda other: other.notice(event))

    async def send_reception(self, heard: frozenset[Identity]) -> None:
        """Tell everybody whom we hear; it is in the others' `receptions`."""
        told = {self._local.identity: heard}
        for listener in self._listeners_of(None):
            listener.send_text(lambda other: other.receptions.update(told))

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Merge into our attributes; an empty value removes a key."""
        self._update(replace(self._local, attributes=_merged(self._local.attributes, attributes)))

    def set_muted(self, muted: bool) -> None:
        """Stop or go on being heard; what is sent while muted goes nowhere."""
        self._update(replace(self._local, muted=muted))

    def replace_connections(self) -> None:
        """As after a broken pair: others' `frames` of us end, and they are subscribed anew."""
        for other in self._loopback.others(self):
            other.unsubscribe(self._local)
            self._connect(other)

    def stats(self, identity: Identity) -> SubscriptionStats:
        """Counters of one participant's subscription."""
        subscription = self._subscriptions.get(identity)
        return subscription.stats() if subscription else SubscriptionStats(0, 0, 0)

    async def __aenter__(self) -> Self:
        if self._local.sid:
            raise TransportError("a loopback transport is one stay; join again", retryable=False)
        self._local = replace(self._local, sid=self._loopback.enter(self))
        self._is_inside = True
        for other in self._loopback.others(self):
            self._meet(other.local)
            other._meet(self.local)
            self._connect(other)
            other._connect(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(None)

    # What follows is for the room and its transports.

    def end(self, reason: ConnectionLost | None) -> None:
        """Be outside; `reason` is what `events` raises. Idempotent."""
        if not self._is_inside:
            return
        self._is_inside = False
        self._loopback.leave(self)
        for other in self._loopback.others(self):
            other.unsubscribe(self._local)
            other._forget(self)
        for subscription in self._subscriptions.values():
            subscription.end()
        self._listeners.clear()
        self._participants.clear()
        self._events.put_nowait(reason)

    def notice(self, event: TransportEvent) -> None:
        """Report an event, unless we are outside."""
        if self._is_inside:
            self._events.put_nowait(event)

    def subscribe(self, sender: Participant) -> _Subscription:
        """Hear somebody from now on."""
        subscription = self._subscriptions[sender.identity] = _Subscription()
        self.notice(TrackSubscribed(sender.identity))
        return subscription

    def unsubscribe(self, sender: Participant) -> None:
        """Hear somebody no longer. Idempotent."""
        subscription = self._subscriptions.get(sender.identity)
        if subscription is not None and not subscription.has_ended:
            subscription.end()
            self.notice(TrackUnsubscribed(sender.identity))

    def subscription(self, identity: Identity) -> _Subscription | None:
        """What we hear of somebody, or heard of them last."""
        return self._subscriptions.get(identity)

    def _meet(self, other: Participant) -> None:
        self._participants[other.identity] = other
        self.notice(ParticipantJoined(other))

    def _connect(self, other: LoopbackTransport) -> None:
        self._listeners[other.local.identity] = _Listener(self, other)
        self.notice(ListenerConnected(other.local.identity))

    def _forget(self, other: LoopbackTransport) -> None:
        self._listeners.pop(other.local.identity, None)
        gone = self._participants.pop(other.local.identity)
        self.notice(ParticipantLeft(gone))

    def _listeners_of(self, identity: Identity | None) -> list[_Listener]:
        if identity is None:
            return list(self._listeners.values())
        return [self._listeners[identity]] if identity in self._listeners else []

    def _whisper_frame(self, listener: _Listener, samples: Samples) -> None:
        _check_frame(samples)
        if self._is_inside and not self._local.muted:
            listener.send_frame(samples)

    def _show_routing(self, routing: Routing) -> None:
        self._routing = routing
        shown = _shown(self._local.attributes, routing)
        if shown != self._local.attributes:
            self._update(replace(self._local, attributes=shown))

    def _update(self, local: Participant) -> None:
        self._local = local
        for other in self._loopback.others(self):
            other._participants[local.identity] = local
            other.notice(ParticipantUpdated(local))


class _Listener:
    """The way from a sender to one who hears them, unless they chose not to."""

    def __init__(self, sender: LoopbackTransport, receiver: LoopbackTransport) -> None:
        room = sender._loopback
        self._sender = sender.local.identity
        self._receiver = receiver
        self._voice = room.path(sender.local, receiver.local, loss=True)
        self._text = room.path(sender.local, receiver.local, loss=False)
        self._under_way: deque[tuple[_Subscription, Samples]] = deque()
        self._texts: deque[Callable[[LoopbackTransport], None]] = deque()
        if receiver.routing.hears(self._sender):
            receiver.subscribe(sender.local)

    def send_frame(self, samples: Samples) -> None:
        """Let it arrive, or not."""
        subscription = self._receiver.subscription(self._sender)
        if subscription is None or subscription.has_ended:
            return
        loop = asyncio.get_running_loop()
        arrival = self._voice.arrival(loop.time())
        if arrival is None:
            subscription.packets_lost += 1
            return
        # Timers that are due at the same time may fire in any order, so they carry nothing.
        self._under_way.append((subscription, samples))
        loop.call_at(arrival, self._deliver_frame)

    async def all_arrived(self) -> None:
        """Wait until nothing that was sent before is on its way."""
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        loop.call_at(self._voice.latest, arrived.set_result, None)
        # It wakes us in the loop's next turn, after all timers that are due at the same time.
        await arrived

    def send_text(self, deliver: Callable[[LoopbackTransport], None]) -> None:
        """Let it arrive."""
        loop = asyncio.get_running_loop()
        arrival = self._text.arrival(loop.time())
        assert arrival is not None
        self._texts.append(deliver)
        loop.call_at(arrival, self._deliver_text)

    def _deliver_frame(self) -> None:
        subscription, samples = self._under_way.popleft()
        subscription.put(AudioFrame(samples, asyncio.get_running_loop().time()))

    def _deliver_text(self) -> None:
        self._texts.popleft()(self._receiver)


class _Subscription:
    """Frames of one participant that wait to be heard by another."""

    def __init__(self) -> None:
        self.packets_lost = 0
        self._received = 0
        self._dropped = 0
        self._frames: deque[AudioFrame] = deque()
        self._changed = asyncio.Event()
        self._has_ended = False

    def put(self, frame: AudioFrame) -> None:
        """A frame arrived; after the end it is too late."""
        if self._has_ended:
            return
        self._received += 1
        self._frames.append(frame)
        if len(self._frames) > MAX_BUFFERED_FRAMES:
            self._frames.popleft()
            self._dropped += 1
        self._changed.set()

    @property
    def has_ended(self) -> bool:
        """Nothing more arrives."""
        return self._has_ended

    def end(self) -> None:
        """Nothing more arrives. Idempotent."""
        self._has_ended = True
        self._changed.set()

    async def next_frame(self) -> AudioFrame | None:
        """The oldest frame; None at the end."""
        while not self._frames:
            if self._has_ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._frames.popleft()

    def stats(self) -> SubscriptionStats:
        """The counters."""
        return SubscriptionStats(self._received, self._dropped, self.packets_lost)


def _check_frame(samples: Samples) -> None:
    if samples.shape != (FRAME_SAMPLES,) or samples.dtype != np.int16:
        raise ValueError(f"not a frame: {samples.dtype}, shape {samples.shape}")


def _shown(attributes: Mapping[str, str], routing: Routing) -> Mapping[str, str]:
    """The attributes with the routing among them, unless it is the default."""
    return _merged(attributes, {ROUTING_ATTRIBUTE: routing.as_attribute()})


def _merged(attributes: Mapping[str, str], news: Mapping[str, str]) -> Mapping[str, str]:
    """An empty value removes a key."""
    return {key: value for key, value in {**attributes, **news}.items() if value}
