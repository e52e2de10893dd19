"""One room and its clients: feeds the room with what happens, and has its actions done."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from livekit.protocol import models, rtc

from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.sfu.client import Client
from mulisa.sfu.events import (
    Arrival,
    Bound,
    ConnectionFailed,
    Disconnect,
    ExpectTrack,
    LevelsMeasured,
    Pause,
    QualityMeasured,
    Report,
    Resumption,
    RoomAction,
    RoomEvent,
    Send,
    SendData,
    SetMuted,
    Subscribe,
    Tick,
    Unpublish,
    Unsubscribe,
)
from mulisa.sfu.forward import Forwarder
from mulisa.sfu.media import Inbound
from mulisa.sfu.room import Room

logger = logging.getLogger(__name__)

ClientAction: TypeAlias = (
    Send | ExpectTrack | Unpublish | Subscribe | Unsubscribe | Pause | SendData | Disconnect
)


class HostedRoom:
    """A `Room` with its clients. A client that fails is put out; the room goes on.

    `on_report` is told at once, in order; `on_media` when somebody has published; `on_over` once,
    when the room is over.
    """

    def __init__(
        self,
        name: RoomName,
        room: Room,
        forwarder: Forwarder,
        on_report: Callable[[Report], None],
        on_media: Callable[[], None],
        on_over: Callable[[HostedRoom], None],
    ) -> None:
        self.name = name
        self.room = room
        self.clients: dict[ParticipantSid, Client] = {}
        self.failures = 0
        """Clients whose connection, or whose protocol, failed."""
        self._forwarder = forwarder
        self._on_report = on_report
        self._on_media = on_media
        self._on_over = on_over
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[RoomEvent | tuple[RoomAction, ...]] = deque()
        self._is_busy = False
        self._is_over = False
        self._wake_at: float | None = None
        self._waking: asyncio.TimerHandle | None = None
        self._encoded: tuple[rtc.SignalResponse, bytes] | None = None
        self._performs: Mapping[type[RoomAction], Callable[..., None]] = {
            Send: self._send,
            ExpectTrack: lambda client, action: client.expect(action.track, action.request),
            Unpublish: lambda client, action: client.unpublish(action.track),
            Subscribe: self._subscribe,
            Unsubscribe: lambda client, action: client.subscriber.unsubscribe(
                action.track, has_ended=action.has_ended
            ),
            Pause: lambda client, action: client.subscriber.pause(action.track, action.is_paused),
            SendData: lambda client, action: client.send_data(action.label, action.data),
            Disconnect: self._disconnect,
        }

    # ---- clients

    def client(self, sid: ParticipantSid, identity: Identity) -> Client | None:
        """A stay that a client claims to be its own, if it still is."""
        client = self.clients.get(sid)
        return client if client and client.identity == identity else None

    def enter(self, client: Client, arrival: Arrival) -> None:
        """A client whose socket is attached joins."""
        self.clients[client.sid] = client
        self.receive(arrival)

    def resume(self, client: Client, resumption: Resumption) -> None:
        """A client has attached a new socket."""
        self.receive(resumption)
        self.attempt(client.sid, client.resume)

    def take(self, client: Client, message: rtc.SignalRequest) -> None:
        """A client sent this on its socket."""
        self.attempt(client.sid, lambda: client.receive(message))

    def attempt(self, sid: ParticipantSid | None, work: Callable[[], None]) -> None:
        """Do something for one client: if that fails, the client is put out, and nobody else."""
        try:
            work()
        except Exception:
            logger.exception("something went wrong with one client", extra={"room": self.name})
            self._put_out(sid)

    # ---- the room

    def receive(self, event: RoomEvent) -> None:
        """Tell the room, and do what it wants done. May be called from within."""
        self._waiting.append(event)
        self._settle()

    def perform(self, actions: Iterable[RoomAction]) -> None:
        """Do what a method of the room wants done. May be called from within."""
        self._waiting.append(tuple(actions))
        self._settle()

    def levels(self) -> None:
        """Tell the room how loud its tracks were since the last time."""
        tracks = [track.track for track in self.published() if track.kind == "audio"]
        if tracks and not self._is_over:
            self.receive(LevelsMeasured(self._forwarder.levels(tracks)))

    def quality(self, measured: Mapping[ParticipantSid, tuple[float, float]]) -> None:
        """Tell the room of its clients' connections."""
        own = {sid: measured[sid] for sid in self.clients.keys() & measured.keys()}
        if own and not self._is_over:
            self.receive(QualityMeasured(own))

    def published(self) -> Iterable[Inbound]:
        """Its tracks that have m-lines."""
        return (track for client in self.clients.values() for track in client.published)

    def close(self) -> None:
        """Drop every client at once, and the room. Idempotent."""
        self._is_over = True
        if self._waking:
            self._waking.cancel()
        for client in self.clients.values():
            client.close()
        self.clients.clear()

    def _settle(self) -> None:
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._waiting and not self._is_over:
                self._take_up(self._waiting.popleft())
        finally:
            self._is_busy = False
            self._encoded = None
        self._after()

    def _take_up(self, what: RoomEvent | tuple[RoomAction, ...]) -> None:
        if isinstance(what, tuple):
            self._perform(what)
            return
        if isinstance(what, Bound) and what.tracks:
            self._on_media()
        if isinstance(what, ConnectionFailed):
            self.failures += 1
        self.attempt(getattr(what, "sid", None), lambda: self._do(what))

    def _do(self, event: RoomEvent) -> None:
        self._perform(self.room.receive(event, self._loop.time()))

    def _after(self) -> None:
        if self._is_over:
            return
        if self.room.is_over:
            self.close()
            self._on_over(self)
            return
        self._sleep_until(self.room.deadline())

    def _sleep_until(self, deadline: float | None) -> None:
        """Wake at the deadline; a timer that is due earlier is left to find out by itself."""
        if deadline is None or (self._wake_at is not None and self._wake_at <= deadline):
            return
        if self._waking:
            self._waking.cancel()
        self._wake_at = deadline
        self._waking = self._loop.call_at(deadline, self._wake)

    def _wake(self) -> None:
        self._waking = self._wake_at = None
        self.receive(Tick())

    def _put_out(self, sid: ParticipantSid | None) -> None:
        if sid is not None and (client := self.clients.get(sid)):
            client.drop()
            self.receive(ConnectionFailed(sid))

    # ---- actions

    def _perform(self, actions: Iterable[RoomAction]) -> None:
        for action in actions:
            match action:
                case Report():
                    self._report(action)
                case SetMuted(track, is_muted):
                    self._forwarder.set_muted(track, is_muted)
                case _:
                    self._perform_for_client(action)

    def _report(self, report: Report) -> None:
        self._on_report(report)
        if report.event == "participant_updated" and report.participant is not None:
            self._keep_standing(report.participant)

    def _keep_standing(self, info: models.ParticipantInfo) -> None:
        client = self.clients.get(ParticipantSid(info.sid))
        if client is None or self.room.sid_of(client.identity) != client.sid:
            return
        if client.standing.settle(info, self.room.permissions_of(client.identity)):
            client.send_token()

    def _perform_for_client(self, action: ClientAction) -> None:
        if client := self.clients.get(action.sid):
            perform = self._performs[type(action)]
            self.attempt(action.sid, lambda: perform(client, action))

    def _send(self, client: Client, action: Send) -> None:
        if self._encoded is None or self._encoded[0] is not action.message:
            self._encoded = (action.message, action.message.SerializeToString())
        client.send_bytes(self._encoded[1])

    def _subscribe(self, client: Client, action: Subscribe) -> None:
        publisher = self.clients.get(action.publisher)
        for inbound in publisher.published if publisher else ():
            if inbound.track == action.track:
                client.subscribe(action.publisher, inbound)

    def _disconnect(self, client: Client, action: Disconnect) -> None:
        del self.clients[action.sid]
        client.close()
