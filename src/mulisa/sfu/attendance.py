"""Who comes, goes, comes back and stays away. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

from livekit.protocol import models, rtc

from mulisa.core.errors import InputError
from mulisa.core.room import Identity
from mulisa.sfu import messages
from mulisa.sfu.channels import Channels
from mulisa.sfu.events import Arrival, Disconnect, Report, Resumption, Send
from mulisa.sfu.participants import Participant, State
from mulisa.sfu.permissions import Permissions
from mulisa.sfu.profile import check_profile
from mulisa.sfu.publishing import Publishing
from mulisa.sfu.quality import Qualities
from mulisa.sfu.roster import Actions, Roster
from mulisa.sfu.signal import check_add_track
from mulisa.sfu.speaking import Speaking
from mulisa.sfu.subscribing import Subscribing

CONNECTING_TIME: Final = 60.0
"""Seconds for a participant to get its connection established."""
_REMEMBERED: Final = 200
"""Departures, for those who were away when they were told."""

_DISCONNECT: Final = rtc.LeaveRequest.DISCONNECT
_RECONNECT: Final = rtc.LeaveRequest.RECONNECT


class Attendance:
    """The comings and goings of one room."""

    def __init__(
        self,
        roster: Roster,
        publishing: Publishing,
        subscribing: Subscribing,
        qualities: Qualities,
        speaking: Speaking,
    ) -> None:
        self._roster = roster
        self._publishing = publishing
        self._subscribing = subscribing
        self._qualities = qualities
        self._speaking = speaking
        self._gone: deque[models.ParticipantInfo] = deque(maxlen=_REMEMBERED)
        self._departures = 0

    def is_full(self, identity: Identity, permissions: Permissions, kind: int) -> bool:
        """Whether there is no place for one more of this identity."""
        if permissions.agent or permissions.recorder or kind in _DEPENDENT_KINDS:
            return False
        places = self._roster.config.max_participants
        taken = sum(not p.is_dependent and p.identity != identity for p in self._roster)
        return 0 < places <= taken

    def arrive(self, arrival: Arrival, now: float) -> Actions:
        """Somebody joins, and takes the place of an earlier stay of the same identity."""
        if self._is_refused(arrival):
            yield Send(arrival.sid, messages.leave(models.JOIN_FAILURE, _DISCONNECT))
            yield Disconnect(arrival.sid)
            return
        former = self._roster.named(arrival.identity)
        if former is not None:
            yield from self.depart(former, models.DUPLICATE_IDENTITY)
        channels = Channels(self._roster.config, now)
        participant = Participant(arrival, channels, deadline=now + CONNECTING_TIME)
        participant.departures_before = self._departures
        self._roster.add(participant)
        yield from self._welcome(participant)
        for request in arrival.add_track_requests:
            announced = rtc.SignalRequest(add_track=request)
            yield from self._publishing.announce(participant, announced)
        yield from self._roster.announce(participant, to_itself=False)
        yield from self._subscribing.settle_all(participant)

    def connect(self, participant: Participant) -> Actions:
        """Media and data can flow."""
        if participant.has_socket:
            participant.deadline = None
        if participant.is_active:
            return
        participant.state = State.ACTIVE
        yield from self._roster.announce(participant)
        yield Report("participant_joined", self._roster.info(), participant.info())
        yield from self._qualities.begin(participant)

    def lose_socket(self, participant: Participant, now: float) -> Actions:
        """It may come back as long as its connection lives; without one there is no way back."""
        if not participant.is_active:
            yield from self.depart(participant, models.SIGNAL_CLOSE, None)
        elif participant.has_socket:
            participant.has_socket = False
            participant.deadline = now + self._roster.config.resume_time

    def fail(self, participant: Participant) -> Actions:
        """Its connection is lost: it has to join anew."""
        yield from self.depart(participant, models.CONNECTION_TIMEOUT, _RECONNECT)

    def overdue(self, participant: Participant) -> Actions:
        """Its deadline has passed."""
        if participant.is_active:
            yield from self.depart(participant, models.SIGNAL_CLOSE, None)
        else:
            yield from self.depart(participant, models.JOIN_FAILURE)

    def resume(self, resumption: Resumption) -> Actions:
        """It has a new socket: all that it may have missed is told again."""
        participant = self._roster.get(resumption.sid)
        if participant is None:
            yield Send(resumption.sid, messages.leave(models.STATE_MISMATCH, _RECONNECT))
            yield Disconnect(resumption.sid)
            return
        participant.has_socket = True
        if participant.is_active:
            participant.deadline = None
        self._speaking.begin_anew(participant.sid)
        yield Send(participant.sid, self._reconnect_response(participant, resumption))
        yield Send(participant.sid, messages.update(self._state_for(participant)))
        room = rtc.RoomUpdate(room=self._roster.info())
        yield Send(participant.sid, rtc.SignalResponse(room_update=room))
        if resumption.refresh_token:
            token = rtc.SignalResponse(refresh_token=resumption.refresh_token)
            yield Send(participant.sid, token)
        for publication in participant.tracks.values():
            if not publication.is_bound:
                yield Send(participant.sid, messages.track_published(publication))
        yield from self._subscribing.repeat(participant)

    def sync(self, participant: Participant, state: rtc.SyncState) -> Actions:
        """What a client that resumes believes; if we know less, it has to join anew."""
        known = participant.tracks
        for published in state.publish_tracks:
            if published.track.sid not in known:
                yield from self.depart(participant, models.STATE_MISMATCH, _RECONNECT)
                return
        yield from self._subscribing.restore(participant, state)

    def depart(
        self,
        participant: Participant,
        reason: models.DisconnectReason,
        action: messages.Action | None = _DISCONNECT,
    ) -> Actions:
        """Somebody goes, told so unless `action` is None; everybody else is told."""
        if action is not None:
            yield from self._roster.tell(participant, messages.leave(reason, action))
        yield Disconnect(participant.sid)
        was_active = participant.is_active
        self._roster.remove(participant)
        self._qualities.forget(participant.sid)
        self._speaking.forget(participant.sid)
        yield from self._publishing.close(participant)
        participant.state, participant.disconnect_reason = State.DISCONNECTED, reason
        participant.touch()
        info = participant.info()
        if not participant.is_hidden:
            self._gone.append(info)
            self._departures += 1
            yield from self._roster.tell_all(messages.update([info]))
        yield Report(
            "participant_left" if was_active else "participant_connection_aborted",
            self._roster.info(),
            info,
        )

    def _is_refused(self, arrival: Arrival) -> bool:
        config = self._roster.config
        try:
            check_profile(config, arrival.name, arrival.metadata, arrival.attributes)
            for request in arrival.add_track_requests:
                check_add_track(request)
        except InputError:
            return True
        return self.is_full(arrival.identity, arrival.permissions, arrival.kind)

    def _welcome(self, participant: Participant) -> Actions:
        config = self._roster.config
        join = rtc.JoinResponse(
            room=self._roster.info(),
            participant=participant.info(),
            other_participants=self._visible_to(participant),
            server_version=messages.SERVER.version,
            server_info=messages.SERVER,
            ice_servers=participant.ice_servers or config.ice_servers,
            subscriber_primary=False,
            fast_publish=True,
            ping_interval=config.ping_interval,
            ping_timeout=config.ping_timeout,
            enabled_publish_codecs=self._roster.codecs(),
        )
        yield Send(participant.sid, rtc.SignalResponse(join=join))
        participant.state = State.JOINED
        if participant.refresh_token:
            token = rtc.SignalResponse(refresh_token=participant.refresh_token)
            yield Send(participant.sid, token)

    def _reconnect_response(
        self, participant: Participant, resumption: Resumption
    ) -> rtc.SignalResponse:
        servers = resumption.ice_servers or participant.ice_servers
        response = rtc.ReconnectResponse(
            ice_servers=servers or self._roster.config.ice_servers,
            server_info=messages.SERVER,
            last_message_seq=participant.channels.last_sequence,
        )
        return rtc.SignalResponse(reconnect=response)

    def _state_for(self, participant: Participant) -> list[models.ParticipantInfo]:
        """Everybody, itself included, and those who went: clients keep whom they are not told of.

        Not those whose identity is here again: browsers would take it for gone.
        """
        missed = self._departures - participant.departures_before
        left = list(self._gone)[-missed:] if missed else []
        gone = [info for info in left if self._roster.named(Identity(info.identity)) is None]
        return [*gone, participant.info(), *self._visible_to(participant)]

    def _visible_to(self, participant: Participant) -> list[models.ParticipantInfo]:
        return [p.info() for p in self._roster if p is not participant and not p.is_hidden]


_DEPENDENT_KINDS: Final = (models.ParticipantInfo.AGENT, models.ParticipantInfo.EGRESS)
