"""``livekit.RoomService`` on the embedded SFU: rooms and who is in them, for `livekit-api`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit.protocol import room as wire
from livekit.protocol.models import ParticipantInfo, Room

from mulisa.core.errors import InputError
from mulisa.core.room import Identity, RoomName
from mulisa.server.twirp import Method, TwirpError, may_administer, may_create, may_list
from mulisa.sfu.host import Host
from mulisa.sfu.media import TrackSid

NAME = "livekit.RoomService"


class RoomService:
    """Its methods; who may call which is LiveKit's rule."""

    def __init__(self, host: Host, is_elsewhere: Callable[[RoomName], bool]) -> None:
        """`is_elsewhere` tells of a room that is open in another topology now."""
        self._host = host
        self._is_elsewhere = is_elsewhere

    def methods(self) -> dict[str, Method[Any]]:
        """By their names in the ``.proto`` file."""
        host = self._host
        return {
            "CreateRoom": Method(wire.CreateRoomRequest, may_create, self._create),
            "ListRooms": Method(wire.ListRoomsRequest, may_list, self._list),
            "DeleteRoom": Method(wire.DeleteRoomRequest, may_create, self._delete),
            "ListParticipants": Method(
                wire.ListParticipantsRequest, may_administer, self._participants
            ),
            "GetParticipant": Method(
                wire.RoomParticipantIdentity, may_administer, self._participant
            ),
            "RemoveParticipant": Method(wire.RoomParticipantIdentity, may_administer, self._remove),
            "MutePublishedTrack": Method(wire.MuteRoomTrackRequest, may_administer, self._mute),
            "UpdateParticipant": Method(
                wire.UpdateParticipantRequest, may_administer, host.update_participant
            ),
            "UpdateSubscriptions": Method(
                wire.UpdateSubscriptionsRequest, may_administer, self._update_subscriptions
            ),
            "SendData": Method(wire.SendDataRequest, may_administer, self._send_data),
            "UpdateRoomMetadata": Method(
                wire.UpdateRoomMetadataRequest, may_administer, self._update_metadata
            ),
        }

    def _create(self, request: wire.CreateRoomRequest) -> Room:
        if not request.name:
            raise InputError("a room needs a name")
        if self._is_elsewhere(RoomName(request.name)):
            raise TwirpError("failed_precondition", "that room is a mesh now")
        return self._host.create_room(request)

    def _list(self, request: wire.ListRoomsRequest) -> wire.ListRoomsResponse:
        names = set(request.names)
        rooms = [room for room in self._host.rooms() if not names or room.name in names]
        return wire.ListRoomsResponse(rooms=rooms)

    def _delete(self, request: wire.DeleteRoomRequest) -> wire.DeleteRoomResponse:
        self._host.delete_room(RoomName(request.room))
        return wire.DeleteRoomResponse()

    def _participants(self, request: wire.ListParticipantsRequest) -> wire.ListParticipantsResponse:
        people = self._host.participants(RoomName(request.room))
        return wire.ListParticipantsResponse(participants=people)

    def _participant(self, request: wire.RoomParticipantIdentity) -> ParticipantInfo:
        return self._host.participant(RoomName(request.room), Identity(request.identity))

    def _remove(self, request: wire.RoomParticipantIdentity) -> wire.RemoveParticipantResponse:
        self._host.remove(RoomName(request.room), Identity(request.identity))
        return wire.RemoveParticipantResponse()

    def _mute(self, request: wire.MuteRoomTrackRequest) -> wire.MuteRoomTrackResponse:
        if not request.muted:  # LiveKit's server has it off by default, too
            raise TwirpError("failed_precondition", "remote unmute not enabled")
        room, identity = RoomName(request.room), Identity(request.identity)
        track = self._host.mute(room, identity, TrackSid(request.track_sid), request.muted)
        return wire.MuteRoomTrackResponse(track=track)

    def _update_subscriptions(
        self, request: wire.UpdateSubscriptionsRequest
    ) -> wire.UpdateSubscriptionsResponse:
        self._host.update_subscriptions(request)
        return wire.UpdateSubscriptionsResponse()

    def _send_data(self, request: wire.SendDataRequest) -> wire.SendDataResponse:
        if len(request.nonce) not in (0, 16):
            raise InputError(f"a nonce has 16 bytes, not {len(request.nonce)}")
        self._host.send_data(request)
        return wire.SendDataResponse()

    def _update_metadata(self, request: wire.UpdateRoomMetadataRequest) -> Room:
        return self._host.update_metadata(RoomName(request.room), request.metadata)
