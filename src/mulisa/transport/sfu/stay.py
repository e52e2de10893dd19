"""One connection to a room, through all its interruptions: who is there and what they publish.

What the SDK's callbacks tell is passed on as events, in order; what it does not do by itself after
a reconnection is done again here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final

from livekit import rtc

from mulisa.core.errors import ConnectionLost, MulisaError, SignalingError
from mulisa.core.events import (
    ListenerConnected,
    TrackSubscribed,
    TrackUnsubscribed,
    TransportEvent,
)
from mulisa.core.reception import Receptions
from mulisa.core.room import Identity
from mulisa.core.routing import Routing
from mulisa.ending import within
from mulisa.transport.attendance import Attendance
from mulisa.transport.sfu.chats import Chats
from mulisa.transport.sfu.hearing import Hearing
from mulisa.transport.sfu.inbound import until_over
from mulisa.transport.sfu.joining import CLOSED, end_of, join
from mulisa.transport.sfu.own import OwnAttributes
from mulisa.transport.sfu.people import (
    describe,
    in_order_of_coming,
    is_present,
    kind_of,
    voices_of,
    wanted_voices,
)
from mulisa.transport.sfu.speaking import ROUTED_METHOD, STILL_SUBSCRIBED, Speaking
from mulisa.transport.sfu.text import CHAT_TOPIC, RECEPTION_TOPIC, parse_reception
from mulisa.transport.watch import Watch

logger = logging.getLogger(__name__)

LEAVE_TIME: Final = 2.0
RETURN_TIME: Final = 5.0
"""After we came back to a server, those who were there before have this long to do so, too."""
UNEXPLAINED_TIME: Final = 0.5
"""Who is gone without a reason has left if our connection is still there after this."""
UNSUBSCRIBE_TIME: Final = 2.0
"""What an unsubscription of ours may take before an agent that asks for it is told so."""
BAD_PAYLOAD: Final = 2_000


class Stay:
    """Created and used within one event loop."""

    def __init__(self, url: str, routing: Routing) -> None:
        self.routing = routing
        """Whom we hear; `settle` after a change. Whom we speak to is for `speaking`, too."""
        self.room = rtc.Room()
        self.watch = Watch()
        """Told of every change in who is there, connected and subscribed."""
        self.attendance = Attendance()
        self.own = OwnAttributes(self.room)
        self.speaking = Speaking(
            self.room,
            routing.listeners,
            watch=self.watch,
            people=self.people,
            barrier=self.own.barrier,
        )
        self.is_connected = False
        self.was_closed = False
        """The server ended the room, and our stay with it."""
        self._url = url
        self._chats = Chats(self._notice, self.watch, self.attendance.present)
        self._hearings: dict[Identity, Hearing] = {}
        self._asked: dict[Identity, set[str]] = {}
        self._listening: set[Identity] = set()
        self.receptions = Receptions()
        self._events: asyncio.Queue[TransportEvent | _End] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_begun = False
        self._has_ended = False

    async def enter(self, token: str, *, relay_only: bool) -> None:
        """Join, and be ready to hear and to speak. Raises TransportError."""
        for name, handler in self._handlers().items():
            self.room.on(name, handler)
        self.room.register_text_stream_handler(CHAT_TOPIC, self._chats.receive)
        await join(self.room, self._url, token, relay_only=relay_only)
        self.is_connected = True
        try:
            self.room.local_participant.register_rpc_method(ROUTED_METHOD, self._routed)
            await self.speaking.begin()
            await self.own.show_routing(self.routing)
            self._meet_everybody()
        except BaseException:
            await self.leave()
            raise

    async def leave(self) -> None:
        """Go at once, and leave no task."""
        self._end(None)
        await self.speaking.aclose()
        for hearing in self._hearings.values():
            await hearing.aclose()
        await self._chats.aclose()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if not await within(LEAVE_TIME, self.room.disconnect()):
            logger.warning("the server was not told in time that we left")

    async def events(self) -> AsyncIterator[TransportEvent]:
        """As `Transport.events`."""
        while True:
            event = await self._events.get()
            if isinstance(event, _End):
                self._events.put_nowait(event)
                if event.error is not None:
                    raise event.error
                return
            yield event

    def people(self) -> list[Identity]:
        """Who is in the room but agents."""
        return [who for who, each in self.attendance.present.items() if not each.is_agent]

    def hearing(self, identity: Identity) -> Hearing:
        """What we receive of somebody, over all their stays."""
        if identity not in self._hearings:
            self._hearings[identity] = Hearing(
                identity, lambda is_heard: self._on_hearing(identity, is_heard)
            )
        return self._hearings[identity]

    def settle(self, identity: Identity) -> None:
        """Ask for what shall be received of somebody, and for nothing else."""
        remote = self.room.remote_participants.get(identity)
        if remote is None:
            return
        wanted = {each.sid for each in wanted_voices(remote)} if self.shall_hear(remote) else set()
        asked = self._asked.setdefault(identity, set())
        for publication in voices_of(remote):
            is_wanted = publication.sid in wanted
            if isinstance(publication, rtc.RemoteTrackPublication) and is_wanted != (
                publication.sid in asked
            ):
                publication.set_subscribed(is_wanted)
        self._asked[identity] = wanted

    def shall_hear(self, remote: rtc.RemoteParticipant) -> bool:
        """Whether routing lets this voice come, and it is not that of one agent for another."""
        are_agents = kind_of(remote) == kind_of(self.room.local_participant) == "agent"
        return not are_agents and self.routing.hears(Identity(remote.identity))

    def microphone_of(self, identity: Identity) -> str | None:
        """The track that somebody speaks into, ourselves included."""
        local = self.room.local_participant
        if identity == local.identity:
            return self.speaking.voice_sid or None
        remote = self.room.remote_participants.get(identity)
        voices = voices_of(remote) if remote else []
        return voices[-1].sid if voices else None

    def _handlers(self) -> Mapping[Any, Callable[..., None]]:
        return {
            "participant_connected": self._meet,
            "participant_disconnected": self._on_gone,
            "participant_name_changed": lambda who, *_: self._meet(who),
            "participant_attributes_changed": lambda _, who: self._meet(who),
            "track_published": lambda _, who: self._meet(who),
            "track_unpublished": self._on_unpublished,
            "track_subscribed": self._on_subscribed,
            "track_unsubscribed": self._on_unsubscribed,
            "track_muted": self._on_muted,
            "track_unmuted": self._on_muted,
            "local_track_subscribed": self._on_listener,
            "data_received": self._on_data,
            "reconnecting": self._on_reconnecting,
            "reconnected": self._on_reconnected,
            "disconnected": self._on_disconnected,
        }

    def _notice(self, event: TransportEvent | None) -> None:
        if event is not None and not self._has_ended:
            self._events.put_nowait(event)
        self.watch.changed()

    # People

    def _meet_everybody(self) -> None:
        self._has_begun = True
        for remote in in_order_of_coming(self.room.remote_participants.values()):
            self._meet(remote)

    def _meet(self, participant: rtc.Participant) -> None:
        """Somebody is there, or something about them changed.

        Whoever comes while we join waits for those who were there before.
        """
        if not self._has_begun or self._has_ended:
            return
        if not isinstance(participant, rtc.RemoteParticipant):
            return
        if not is_present(participant):
            return
        described = describe(participant)
        is_new = described.identity not in self.attendance.present
        self._notice(self.attendance.seen(described))
        self.settle(described.identity)
        if is_new:
            self.speaking.joined()

    def _on_gone(self, remote: rtc.RemoteParticipant) -> None:
        identity = Identity(remote.identity)
        self._asked.pop(identity, None)
        if identity in self._hearings:
            self._hearings[identity].close()
        is_explained = remote.disconnect_reason is not None
        self._notice(self.attendance.gone(identity, is_explained=is_explained))
        if identity not in self.attendance.present:
            self._forget(identity)
        elif self.is_connected:
            self._begin(self._wait_for_the_missing(UNEXPLAINED_TIME), "sfu waits for people")

    def _forget(self, identity: Identity) -> None:
        self._listening.discard(identity)
        self._chats.forget(identity)
        if self.is_connected:
            self.speaking.left(identity)

    # Tracks

    def _on_unpublished(
        self, publication: rtc.RemoteTrackPublication, remote: rtc.RemoteParticipant
    ) -> None:
        self.hearing(Identity(remote.identity)).remove(publication.sid)
        self._meet(remote)

    def _on_subscribed(
        self,
        track: rtc.Track,
        publication: rtc.RemoteTrackPublication,
        remote: rtc.RemoteParticipant,
    ) -> None:
        if self._has_ended:
            return
        self._meet(remote)
        identity = Identity(remote.identity)
        if isinstance(track, rtc.RemoteAudioTrack) and publication.sid in self._asked[identity]:
            self.hearing(identity).add(publication.sid, track, muted=publication.muted)
            self.watch.changed()

    def _on_unsubscribed(
        self,
        _: rtc.Track | None,
        publication: rtc.RemoteTrackPublication,
        remote: rtc.RemoteParticipant,
    ) -> None:
        self.hearing(Identity(remote.identity)).remove(publication.sid)
        self.watch.changed()

    def _on_muted(self, participant: rtc.Participant, publication: rtc.TrackPublication) -> None:
        if isinstance(participant, rtc.RemoteParticipant):
            identity = Identity(participant.identity)
            self.hearing(identity).set_muted(publication.sid, publication.muted)
            self._meet(participant)
        elif publication.muted and self.speaking.muted_by_host(publication.sid):
            self._begin(self._be_silent(), "sfu muted by a host")

    def _on_hearing(self, identity: Identity, is_heard: bool) -> None:
        self._notice(TrackSubscribed(identity) if is_heard else TrackUnsubscribed(identity))

    # Listeners

    def _on_listener(self, track: rtc.Track) -> None:
        """The server says that a track has a first listener, but not who that is."""
        self.speaking.subscribed(track.sid)
        people = [each for each in self.people() if self.routing.speaks_to(each)]
        if track.sid == self.speaking.voice_sid and len(people) == 1:
            self._on_listening(people[0])

    def _on_data(self, packet: rtc.DataPacket) -> None:
        """Clients that know how tell whom they hear."""
        if packet.topic != RECEPTION_TOPIC or packet.participant is None:
            return
        listener = Identity(packet.participant.identity)
        with suppress(SignalingError):
            heard = parse_reception(packet.data)
            self.receptions.report(listener, heard, asyncio.get_running_loop().time())
            if self.room.local_participant.identity in heard:
                self._on_listening(listener)

    def _on_listening(self, identity: Identity) -> None:
        if identity not in self._listening and identity in self.attendance.present:
            self._listening.add(identity)
            self._notice(ListenerConnected(identity))

    async def _routed(self, call: rtc.RpcInvocationData) -> str:
        """An agent asks whether we have ceased to receive one of its tracks."""
        try:
            sid = json.loads(call.payload)["track"]
        except (ValueError, KeyError, TypeError) as error:
            raise rtc.RpcError(BAD_PAYLOAD, 'the payload is {"track": sid}') from error
        ssrcs = await self.hearing(Identity(call.caller_identity)).ssrcs(sid)
        try:
            async with asyncio.timeout(UNSUBSCRIBE_TIME):
                await until_over(self.room, ssrcs)
        except TimeoutError as error:
            raise rtc.RpcError(STILL_SUBSCRIBED, "the track still comes") from error
        return "ok"

    async def _be_silent(self) -> None:
        """A host muted us: nobody hears us until somebody says so, even if we unmute."""
        self.routing = Routing(self.routing.unheard, frozenset())
        self.speaking.choose(frozenset())
        self.watch.changed()
        with suppress(MulisaError):
            await self.speaking.confirm()
            await self.own.show_routing(self.routing)

    # Reconnection

    def _on_reconnecting(self) -> None:
        logger.warning("the server is out of reach; we come back")
        self.is_connected = False
        self.attendance.away()
        self.speaking.reconnecting()
        self.watch.changed()

    def _on_reconnected(self) -> None:
        logger.warning("the server is in reach again")
        self.is_connected = True
        somebody_is_missing = self.attendance.back()
        self._asked = {
            Identity(remote.identity): {
                each.sid for each in voices_of(remote) if _is_subscribed(each)
            }
            for remote in self.room.remote_participants.values()
        }  # what was asked for while the connection was being restored is lost
        self._meet_everybody()
        self._begin(self._restore(), "sfu restores")
        if somebody_is_missing:
            self._begin(self._wait_for_the_missing(RETURN_TIME), "sfu waits for people")
        self.watch.changed()

    async def _restore(self) -> None:
        try:
            await self.speaking.reconnected()
            await self.own.show_again()
        except MulisaError as error:
            logger.warning("not everything is as before the reconnection: %s", error)

    async def _wait_for_the_missing(self, delay: float) -> None:
        await asyncio.sleep(delay)
        for change in self.attendance.settle():
            self._notice(change)
            self._forget(change.participant.identity)

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        self.was_closed = reason in CLOSED
        self._end(end_of(self._url, reason))

    def _end(self, error: ConnectionLost | None) -> None:
        if self._has_ended:
            return
        self.is_connected = False
        for hearing in self._hearings.values():
            hearing.close()
        for change in self.attendance.end():
            self._notice(change)
        self._events.put_nowait(_End(error))
        self._has_ended = True
        self.watch.changed()

    def _begin(self, job: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(job, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _is_subscribed(publication: rtc.TrackPublication) -> bool:
    return isinstance(publication, rtc.RemoteTrackPublication) and publication.subscribed


class _End:
    """The last event: how the stay ended."""

    def __init__(self, error: ConnectionLost | None) -> None:
        self.error = error
