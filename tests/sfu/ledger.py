"""Keeps the books of a room from outside: what must hold after whatever anybody did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from livekit.protocol import models, rtc

from mulisa.core.room import ParticipantSid
from mulisa.sfu import events
from mulisa.sfu.events import RoomAction, Send, SendData, Subscribe, Unsubscribe
from mulisa.sfu.media import TrackSid
from mulisa.sfu.permissions import Permissions
from tests.sfu.completeness import is_complete

Info = models.ParticipantInfo


class Ledger:
    """Give it every event before the room, and every action after it, in order."""

    def __init__(self) -> None:
        self.permissions: dict[ParticipantSid, Permissions] = {}
        """Of everybody who is here."""
        self.identities: dict[ParticipantSid, str] = {}
        self.recorders: set[ParticipantSid] = set()
        self.without_socket: set[ParticipantSid] = set()
        self.rules: dict[ParticipantSid, rtc.SubscriptionPermission] = {}
        """The last valid one of each publisher."""
        self.publishers: dict[TrackSid, ParticipantSid] = {}
        self.subscribed: set[tuple[ParticipantSid, TrackSid]] = set()
        self.known: defaultdict[ParticipantSid, dict[str, Info]] = defaultdict(dict)
        """What each client was told last, by sid."""
        self.greeted: set[ParticipantSid] = set()
        self.received: set[tuple[ParticipantSid, bytes]] = set()

    def event(self, event: events.RoomEvent) -> None:
        if isinstance(event, events.Arrival):
            self.permissions[event.sid] = event.permissions
            self.identities[event.sid] = event.identity
            if event.permissions.recorder or event.kind == Info.EGRESS:
                self.recorders.add(event.sid)
        elif isinstance(event, events.SocketLost):
            self.without_socket.add(event.sid)
        elif isinstance(event, events.Resumption):
            self.without_socket.discard(event.sid)
        elif isinstance(event, events.Request) and event.sid in self.permissions:
            rule = event.message.subscription_permission
            is_rule = event.message.WhichOneof("message") == "subscription_permission"
            if is_rule and (rule.all_participants or _names_somebody(rule)):
                self.rules[event.sid] = self._resolved(rule)

    def actions(self, actions: list[RoomAction]) -> None:
        for action in actions:
            self._book(action)
        for subscriber, track in self.subscribed:
            self._check_allowed(subscriber, track)

    def _book(self, action: RoomAction) -> None:
        match action:
            case Send():
                self._told(action)
            case events.ExpectTrack(sid, track):
                self.publishers[track] = sid
            case Subscribe(sid, track, publisher):
                assert (sid, track) not in self.subscribed and sid in self.permissions
                assert self.publishers[track] == publisher != sid
                self.subscribed.add((sid, track))
                if sid not in self.without_socket:
                    tracks = self.known[sid][publisher].tracks
                    assert track in {info.sid for info in tracks}, "subscribed before it was told"
            case Unsubscribe(sid, track):
                assert (sid, track) in self.subscribed
                self.subscribed.discard((sid, track))
            case SendData(sid, _, data):
                self._sent(sid, data)
            case events.Pause(sid, track):
                assert (sid, track) in self.subscribed
            case events.Disconnect(sid):
                self._gone(sid)
            case _:
                pass

    def _told(self, action: Send) -> None:
        sid, message = action.sid, action.message
        assert is_complete(message), message
        kind = message.WhichOneof("message")
        if sid not in self.permissions:
            assert kind == "leave", "only a refusal goes to those who are not here"
            return
        if sid not in self.greeted:
            assert kind in ("join", "leave"), "nothing comes before the join"
            self.greeted.add(sid)
        for info in _participants(message):
            self._check_info(sid, info)

    def _check_info(self, to: ParticipantSid, info: Info) -> None:
        before = self.known[to].get(info.sid)
        assert before is None or before.version <= info.version, "a version went down"
        known = self.permissions.get(ParticipantSid(info.sid))
        is_secret = known is not None and known.hidden and info.sid != to
        assert not is_secret or info.state == Info.DISCONNECTED, "somebody hidden was betrayed"
        self.known[to][info.sid] = info

    def _check_allowed(self, subscriber: ParticipantSid, track: TrackSid) -> None:
        publisher = self.publishers[track]
        assert publisher in self.permissions, "a track of somebody who has gone"
        assert self.permissions[subscriber].can_subscribe
        assert not self.permissions[publisher].hidden
        rule = self.rules.get(publisher)
        if rule is None or rule.all_participants or subscriber in self.recorders:
            return
        identity = self.identities[subscriber]
        last = [each for each in rule.track_permissions if each.participant_identity == identity][
            -1:
        ]
        assert last and (last[0].all_tracks or track in last[0].track_sids), "not admitted"

    def _resolved(self, rule: rtc.SubscriptionPermission) -> rtc.SubscriptionPermission:
        """As it was meant when it was sent: a sid is the identity that has it then."""
        resolved = rtc.SubscriptionPermission(all_participants=rule.all_participants)
        for entry in rule.track_permissions:
            sid = ParticipantSid(entry.participant_sid)
            identity = entry.participant_identity
            if not identity and sid in self.permissions:
                identity = self.identities[sid]
            if identity:
                resolved.track_permissions.add(
                    participant_identity=identity,
                    all_tracks=entry.all_tracks,
                    track_sids=entry.track_sids,
                )
        return resolved

    def _sent(self, sid: ParticipantSid, data: bytes) -> None:
        packet = models.DataPacket.FromString(data)
        assert sid in self.permissions and packet.participant_sid != sid, "an echo"
        assert (sid, data) not in self.received, "the same data twice"
        self.received.add((sid, data))

    def _gone(self, sid: ParticipantSid) -> None:
        self.permissions.pop(sid, None)
        self.subscribed = {pair for pair in self.subscribed if pair[0] != sid}
        self.rules.pop(sid, None)


def _names_somebody(rule: rtc.SubscriptionPermission) -> bool:
    return all(
        entry.participant_identity or entry.participant_sid for entry in rule.track_permissions
    )


def _participants(message: rtc.SignalResponse) -> Iterator[Info]:
    yield from message.join.other_participants
    yield from message.update.participants
