"""One room of the SFU: who is there, who may, who gets what. Pure.

Events and `now` (seconds on a monotonic clock) go in, actions come out, in the order in which they
must be performed. Each concern has a machine of its own; this is what joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

from livekit.protocol import models, rtc
from livekit.protocol import room as api

from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.sfu import events, messages
from mulisa.sfu.administration import Administration
from mulisa.sfu.attendance import Attendance
from mulisa.sfu.data import DataRelay
from mulisa.sfu.errors import LimitExceeded
from mulisa.sfu.events import Report, RoomAction, RoomConfig, RoomEvent
from mulisa.sfu.lifetime import Bulletin, Lifetime
from mulisa.sfu.media import TrackSid
from mulisa.sfu.participants import Participant
from mulisa.sfu.permissions import Permissions
from mulisa.sfu.publishing import Publishing
from mulisa.sfu.quality import Qualities
from mulisa.sfu.requests import Requests
from mulisa.sfu.roster import Actions, Roster
from mulisa.sfu.speaking import Speaking
from mulisa.sfu.subscribing import Subscribing

_FREQUENT: Final = (events.DataReceived, events.LevelsMeasured, events.QualityMeasured)
"""Events that bring nobody in or out by themselves, and no deadline."""


class Room:
    """Call `receive` with every event, and with `Tick` when `deadline` has passed.

    The methods for the API change a room as events do: perform what they return, in order. The
    messages in it are shared by those they go to, and must not be changed.
    """

    def __init__(
        self,
        name: RoomName,
        sid: str,
        config: RoomConfig,
        at: datetime,
        *,
        now: float,
        metadata: str = "",
    ) -> None:
        """`at` is the wall clock when the monotonic one shows `now`."""
        self.is_over = False
        """Nothing will ever happen here again."""
        self._at, self._opened = at, now
        self._roster = Roster(name, sid, config, at)
        self._roster.metadata = metadata
        subscribing = Subscribing(self._roster)
        publishing = Publishing(self._roster, subscribing)
        self._qualities = Qualities(self._roster)
        self._speaking = Speaking(self._roster)
        self._data = DataRelay(self._roster)
        self._attendance = Attendance(
            self._roster, publishing, subscribing, self._qualities, self._speaking
        )
        self._requests = Requests(
            self._roster, self._attendance, publishing, subscribing, self._wall_clock
        )
        self._administration = Administration(
            self._roster, self._attendance, publishing, subscribing, self._data
        )
        self._lifetime = Lifetime(self._roster, now)
        self._bulletin = Bulletin(self._roster)
        self._deadline = self._lifetime.deadline()
        attendance = self._attendance
        self._handlers: Mapping[type[RoomEvent], Callable[[Any, Any, float], Actions]] = {
            events.Request: lambda who, e, now: self._requests.receive(who, e.message, now),
            events.Bound: lambda who, e, _: publishing.bind(who, e.tracks),
            events.Subscribed: lambda who, e, _: chain(
                subscribing.begun(who, e.track), self._qualities.introduce(who)
            ),
            events.Connected: lambda who, e, _: attendance.connect(who),
            events.ChannelOpened: lambda who, e, _: self._data.opened(who, e.label),
            events.DataReceived: self._take_data,
            events.SocketLost: lambda who, e, now: attendance.lose_socket(who, now),
            events.ConnectionFailed: lambda who, e, _: attendance.fail(who),
        }
        """Of one participant, who is here."""

    # ---- events

    def start(self) -> list[RoomAction]:
        """Call it once, before anything else."""
        return [Report("room_started", self.info())]

    def receive(self, event: RoomEvent, now: float) -> list[RoomAction]:
        """Something happened. What fell due before is settled first."""
        actions = list(self._settle(now))
        if self.is_over:
            return [*actions, *self._refuse(event)]
        actions += self._handle(event, now)
        if not isinstance(event, _FREQUENT):
            actions += self._conclude(now)
        return actions

    def deadline(self) -> float | None:
        """When to call `receive(Tick(), now)`; None once the room is over."""
        return None if self.is_over else self._deadline

    def _handle(self, event: RoomEvent, now: float) -> Actions:
        match event:
            case events.Arrival():
                yield from self._attendance.arrive(event, now)
            case events.Resumption():
                yield from self._attendance.resume(event)
            case events.LevelsMeasured():
                yield from self._speaking.measure(event.levels)
            case events.QualityMeasured():
                yield from self._qualities.measure(event.connections)
            case events.Tick():
                pass
            case _:
                participant = self._roster.get(event.sid)
                if participant is not None:
                    yield from self._handlers[type(event)](participant, event, now)

    def _take_data(self, who: Participant, event: events.DataReceived, now: float) -> Actions:
        """What is lossy may be dropped; without a reliable packet the rest would make no sense."""
        if not self._data.is_flood(who, event.label, event.data, now):
            yield from self._data.receive(who, event.label, event.data)
        elif event.label == "_reliable":
            yield from self._attendance.depart(who, models.STATE_MISMATCH)
            yield from self._conclude(now)

    def _settle(self, now: float) -> Actions:
        """Whatever was to happen until now."""
        if self.is_over or self._deadline is None or now < self._deadline:
            return
        for participant in self._roster:
            if participant.deadline is not None and participant.deadline <= now:
                yield from self._attendance.overdue(participant)
        over_at = self._lifetime.deadline()
        if over_at is not None and over_at <= now:
            yield from self._close(models.ROOM_CLOSED, rtc.LeaveRequest.DISCONNECT)
        else:
            yield from self._conclude(now)

    def _conclude(self, now: float) -> Actions:
        """After anything that may have changed who is here."""
        if self.is_over:
            return
        self._lifetime.settle(now)
        yield from self._speaking.settle()
        yield from self._bulletin.settle(now)
        due = [participant.deadline for participant in self._roster]
        due += [self._lifetime.deadline(), self._bulletin.deadline()]
        self._deadline = min((at for at in due if at is not None), default=None)

    def _refuse(self, event: RoomEvent) -> Actions:
        """Whoever comes too late is sent to the room that is opened next."""
        if isinstance(event, (events.Arrival, events.Resumption)):
            reconnect = rtc.LeaveRequest.RECONNECT
            yield events.Send(event.sid, messages.leave(models.ROOM_CLOSED, reconnect))
            yield events.Disconnect(event.sid)

    def _close(self, reason: models.DisconnectReason, action: messages.Action) -> Actions:
        """Everybody is put out at once; nobody needs to hear of the others."""
        everybody = tuple(self._roster)
        for participant in everybody:
            yield from self._roster.tell(participant, messages.leave(reason, action))
            participant.has_socket = False
        for participant in everybody:
            yield from self._attendance.depart(participant, reason, None)
        self.is_over = True
        yield Report("room_finished", self.info())

    def _wall_clock(self, now: float) -> datetime:
        return self._at + timedelta(seconds=now - self._opened)

    # ---- the API

    @property
    def sid(self) -> str:
        """``RM_...``."""
        return self._roster.sid

    @property
    def data_dropped(self) -> Mapping[str, int]:
        """Data packets that nobody got, by reason."""
        return self._data.dropped

    def info(self) -> models.Room:
        """What is told of the room."""
        return self._roster.info()

    def participants(self) -> list[models.ParticipantInfo]:
        """Everybody, hidden ones too, in the order of their coming."""
        return [participant.info() for participant in self._roster]

    def participant(self, identity: Identity) -> models.ParticipantInfo:
        """Raises NotFound."""
        return self._administration.participant(identity).info()

    def track(self, identity: Identity, track: TrackSid) -> models.TrackInfo | None:
        """A track of somebody, as it is announced."""
        infos = self.participant(identity).tracks
        return next((info for info in infos if info.sid == track), None)

    def sid_of(self, identity: Identity) -> ParticipantSid | None:
        """Who is here under this identity now."""
        participant = self._roster.named(identity)
        return participant.sid if participant else None

    def permissions_of(self, identity: Identity) -> Permissions:
        """What somebody may do now. Raises NotFound."""
        return self._administration.participant(identity).permissions

    def is_full(self, identity: Identity, permissions: Permissions, kind: int) -> bool:
        """Whether an arrival of this identity would be turned away."""
        return self._attendance.is_full(identity, permissions, kind)

    def remove(self, identity: Identity, now: float) -> list[RoomAction]:
        """Put somebody out. Raises NotFound."""
        return self._administer(self._administration.remove(identity), now)

    def mute(
        self, identity: Identity, track: TrackSid, is_muted: bool, now: float
    ) -> list[RoomAction]:
        """Mute a track. Raises NotFound, and InputError for unmuting."""
        return self._administer(self._administration.mute(identity, track, is_muted), now)

    def update_participant(
        self, request: api.UpdateParticipantRequest, now: float
    ) -> list[RoomAction]:
        """Change what is said of somebody and allowed. Raises NotFound, LimitExceeded."""
        return self._administer(self._administration.update_participant(request), now)

    def update_subscriptions(
        self, request: api.UpdateSubscriptionsRequest, now: float
    ) -> list[RoomAction]:
        """Subscribe somebody to tracks, or no longer. Raises NotFound."""
        return self._administer(self._administration.update_subscriptions(request), now)

    def send_data(self, request: api.SendDataRequest, now: float) -> list[RoomAction]:
        """Send data from nobody. Raises LimitExceeded, InputError."""
        return self._administer(self._administration.send_data(request), now)

    def update_metadata(self, metadata: str, now: float) -> list[RoomAction]:
        """Change the room's metadata, which everybody is told. Raises LimitExceeded."""
        if len(metadata.encode()) > self._roster.config.max_metadata_bytes:
            raise LimitExceeded("exceeds metadata size limit")
        self._roster.metadata = metadata
        return self._administer(self._bulletin.tell(), now)

    def close(
        self,
        reason: models.DisconnectReason = models.ROOM_DELETED,
        action: messages.Action = rtc.LeaveRequest.DISCONNECT,
        *,
        now: float,
    ) -> list[RoomAction]:
        """End the room for everybody, for good or (RECONNECT) to come again."""
        return self._administer(self._close(reason, action), now)

    def _administer(self, actions: Actions, now: float) -> list[RoomAction]:
        settled = list(self._settle(now))
        return settled if self.is_over else [*settled, *actions, *self._conclude(now)]
