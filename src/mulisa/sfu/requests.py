"""What each message of a client leads to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final, TypeAlias

from livekit.protocol import models, rtc

from mulisa.core.errors import SignalingError
from mulisa.sfu import messages
from mulisa.sfu.attendance import Attendance
from mulisa.sfu.participants import Participant
from mulisa.sfu.profile import Profiles
from mulisa.sfu.publishing import Publishing
from mulisa.sfu.roster import Actions, Roster
from mulisa.sfu.signal import check_request
from mulisa.sfu.subscribing import Subscribing

_OWN_REASONS: Final = (models.USER_UNAVAILABLE, models.USER_REJECTED, models.AGENT_ERROR)
"""Why a client may say that it leaves; all the others are the server's to say."""

_Handler: TypeAlias = Callable[[Participant, rtc.SignalRequest, float], Actions]


class Requests:
    """Offers, answers and candidates are not the room's; they are passed over, as the unknown."""

    def __init__(
        self,
        roster: Roster,
        attendance: Attendance,
        publishing: Publishing,
        subscribing: Subscribing,
        wall_clock: Callable[[float], datetime],
    ) -> None:
        self._roster = roster
        self._attendance = attendance
        self._wall_clock = wall_clock
        profiles = Profiles(roster)
        self._handlers: Mapping[str, _Handler] = {
            "add_track": lambda who, request, _: publishing.announce(who, request),
            "mute": lambda who, request, _: publishing.mute(who, request),
            "update_audio_track": lambda who, request, _: publishing.update_audio(who, request),
            "update_video_track": lambda who, request, _: publishing.update_video(who, request),
            "subscription": lambda who, request, _: subscribing.update(who, request.subscription),
            "subscription_permission": lambda who, request, _: subscribing.set_audience(
                who, request.subscription_permission
            ),
            "track_setting": lambda who, request, _: subscribing.set_track(
                who, request.track_setting
            ),
            "update_metadata": lambda who, request, _: profiles.request(who, request),
            "sync_state": lambda who, request, _: attendance.sync(who, request.sync_state),
            "leave": self._leave,
            "ping": self._pong,
            "ping_req": self._pong_response,
            "simulate": self._simulate,
            "publish_data_track_request": self._refuse,
            "unpublish_data_track_request": self._refuse,
            "store_data_blob_request": self._refuse,
            "get_data_blob_request": self._refuse,
        }

    def receive(self, who: Participant, request: rtc.SignalRequest, now: float) -> Actions:
        """A message that was decoded; one that breaks the protocol ends its sender's stay."""
        try:
            check_request(request)
        except SignalingError:
            yield from self._attendance.depart(who, models.STATE_MISMATCH)
            return
        handler = self._handlers.get(request.WhichOneof("message") or "")
        if handler is not None:
            yield from handler(who, request, now)

    def _leave(self, who: Participant, request: rtc.SignalRequest, _: float) -> Actions:
        reason = request.leave.reason
        is_own = reason in _OWN_REASONS
        yield from self._attendance.depart(who, reason if is_own else models.CLIENT_INITIATED)

    def _pong(self, who: Participant, _: rtc.SignalRequest, now: float) -> Actions:
        yield from self._roster.tell(who, rtc.SignalResponse(pong=self._milliseconds(now)))

    def _pong_response(self, who: Participant, request: rtc.SignalRequest, now: float) -> Actions:
        pong = rtc.Pong(
            last_ping_timestamp=request.ping_req.timestamp, timestamp=self._milliseconds(now)
        )
        yield from self._roster.tell(who, rtc.SignalResponse(pong_resp=pong))

    def _milliseconds(self, now: float) -> int:
        return int(self._wall_clock(now).timestamp() * 1000)

    def _simulate(self, who: Participant, request: rtc.SignalRequest, _: float) -> Actions:
        """Whoever asks for trouble gets it alone."""
        scenario = request.simulate.WhichOneof("scenario")
        if scenario == "speaker_update":
            yield from self._roster.tell(who, messages.speakers({who.sid: 0.9}, ()))
        elif scenario == "server_leave":
            yield from self._attendance.depart(who, models.SERVER_SHUTDOWN)
        elif scenario == "leave_request_full_reconnect":
            reconnect = rtc.LeaveRequest.RECONNECT
            yield from self._attendance.depart(who, models.UNKNOWN_REASON, reconnect)
        elif scenario in ("node_failure", "migration"):
            yield from self._attendance.depart(who, models.UNKNOWN_REASON, None)

    def _refuse(self, who: Participant, request: rtc.SignalRequest, _: float) -> Actions:
        """Features that this server has not; the client would wait for an answer."""
        reason = rtc.RequestResponse.NOT_ALLOWED
        answer = messages.request_response(request, reason, "not supported by this server")
        yield from self._roster.tell(who, answer)
