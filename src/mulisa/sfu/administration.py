"""What the API may do to a room (LiveKit's RoomService). Pure."""

from __future__ import annotations

from livekit.protocol import models, rtc
from livekit.protocol import room as api

from mulisa.core.errors import InputError
from mulisa.core.room import Identity
from mulisa.sfu import messages
from mulisa.sfu.attendance import Attendance
from mulisa.sfu.data import MAX_PACKET_BYTES, NONCE_BYTES, DataRelay
from mulisa.sfu.errors import LimitExceeded, NotFound
from mulisa.sfu.media import TrackSid
from mulisa.sfu.participants import Participant, State
from mulisa.sfu.permissions import Permissions
from mulisa.sfu.profile import Profiles
from mulisa.sfu.publishing import Publishing
from mulisa.sfu.roster import Actions, Roster
from mulisa.sfu.subscribing import Subscribing


class Administration:
    """Raises NotFound, LimitExceeded or InputError before anything has changed."""

    def __init__(
        self,
        roster: Roster,
        attendance: Attendance,
        publishing: Publishing,
        subscribing: Subscribing,
        data: DataRelay,
    ) -> None:
        self._roster = roster
        self._attendance = attendance
        self._publishing = publishing
        self._subscribing = subscribing
        self._data = data

    def participant(self, identity: Identity) -> Participant:
        """Raises NotFound."""
        participant = self._roster.named(identity)
        if participant is None:
            raise NotFound("participant does not exist")
        return participant

    def remove(self, identity: Identity) -> Actions:
        """Put somebody out."""
        removed = models.PARTICIPANT_REMOVED
        yield from self._attendance.depart(self.participant(identity), removed)

    def mute(self, identity: Identity, track: TrackSid, is_muted: bool) -> Actions:
        """Mute a published track; unmuting somebody's microphone is theirs alone."""
        publisher = self.participant(identity)
        publication = publisher.tracks.get(track)
        if publication is None:
            raise NotFound("track is not found")
        if not is_muted and publication.info.muted:
            raise InputError("remote unmute not enabled")
        told = rtc.MuteTrackRequest(sid=track, muted=is_muted)
        yield from self._roster.tell(publisher, rtc.SignalResponse(mute=told))
        yield from self._publishing.set_muted(publisher, publication, is_muted)

    def update_participant(self, request: api.UpdateParticipantRequest) -> Actions:
        """Change name, metadata, attributes, permissions; what is empty or absent stays."""
        participant = self.participant(Identity(request.identity))
        yield from Profiles(self._roster).update(
            participant, request.name, request.metadata, dict(request.attributes)
        )
        if request.HasField("permission"):
            admin = participant.permissions.room_admin
            permissions = Permissions.from_message(request.permission, room_admin=admin)
            yield from self._permit(participant, permissions)

    def update_subscriptions(self, request: api.UpdateSubscriptionsRequest) -> Actions:
        """As if the participant had asked for it."""
        participant = self.participant(Identity(request.identity))
        wanted = rtc.UpdateSubscription(
            track_sids=request.track_sids,
            subscribe=request.subscribe,
            participant_tracks=request.participant_tracks,
        )
        for group in wanted.participant_tracks:
            wanted.track_sids.extend(group.track_sids)
        for track in wanted.track_sids:
            if self._roster.track(TrackSid(track)) is None:
                raise NotFound("track is not found")
        yield from self._subscribing.update(participant, wanted)

    def send_data(self, request: api.SendDataRequest) -> Actions:
        """To all, or to those named."""
        if request.nonce and len(request.nonce) != NONCE_BYTES:
            raise InputError(f"nonce should be {NONCE_BYTES} bytes or absent")
        if request.kind not in models.DataPacket.Kind.values():
            raise InputError("data is reliable or lossy")
        user = models.UserPacket(
            payload=request.data,
            destination_sids=request.destination_sids,
            destination_identities=request.destination_identities,
            nonce=request.nonce,
        )
        if request.HasField("topic"):
            user.topic = request.topic
        packet = models.DataPacket(
            kind=request.kind, destination_identities=request.destination_identities, user=user
        )
        if packet.ByteSize() > MAX_PACKET_BYTES:
            raise LimitExceeded(f"data has at most {MAX_PACKET_BYTES} bytes")
        yield from self._data.send(packet)

    def _permit(self, participant: Participant, permissions: Permissions) -> Actions:
        """Enforced before it is told."""
        if permissions == participant.permissions:
            return
        was_hidden, participant.permissions = participant.is_hidden, permissions
        yield from self._publishing.enforce(participant)
        if participant.is_hidden:
            yield from self._resettle(participant)
            if not was_hidden:
                yield from self._vanish(participant)
        yield from self._roster.announce(participant)
        yield from self._resettle(participant)

    def _resettle(self, participant: Participant) -> Actions:
        yield from self._subscribing.settle_all(participant)
        for publication in participant.tracks.values():
            if publication.is_bound:
                yield from self._subscribing.offer(participant, publication)

    def _vanish(self, participant: Participant) -> Actions:
        """For the others, who is hidden from now on has gone."""
        info = models.ParticipantInfo()
        info.CopyFrom(participant.info())
        info.state = State.DISCONNECTED
        del info.tracks[:]
        yield from self._roster.tell_all(messages.update([info]), but=participant)
