"""A room without its shell: clients that ask, in virtual time, and what they were told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar

from livekit.protocol import models, rtc

from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.sfu import events
from mulisa.sfu.events import Arrival, RoomAction, RoomConfig, RoomEvent, Send
from mulisa.sfu.media import Codec, Inbound, MediaKind, TrackSid
from mulisa.sfu.permissions import Permissions
from mulisa.sfu.room import Room
from tests.sfu.completeness import is_complete

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
START = 1_000.0
OPUS = Codec("opus", 111, 48_000, 2, "minptime=10;useinbandfec=1")
VP8 = Codec("vp8", 96, 90_000)
MAY_ALL = Permissions(can_update_own_metadata=True)

_A = TypeVar("_A")


class Rooms:
    """One room and the log of what it wanted done. Every message it sends must be complete."""

    def __init__(self, config: RoomConfig | None = None) -> None:
        self.room = Room(RoomName("standup"), "RM_1", config or RoomConfig(), AT, now=START)
        self.now = START
        self.log: list[RoomAction] = []
        self.stays: defaultdict[str, int] = defaultdict(int)
        self.take(self.room.start())

    def take(self, actions: Iterable[RoomAction]) -> list[RoomAction]:
        taken = list(actions)
        for action in taken:
            assert not isinstance(action, Send) or is_complete(action.message), action
        self.log += taken
        return taken

    def receive(self, event: RoomEvent) -> list[RoomAction]:
        return self.take(self.room.receive(event, self.now))

    def wait(self, seconds: float) -> list[RoomAction]:
        """Let time pass, waking the room whenever it asked for that."""
        until, actions = self.now + seconds, []
        while (deadline := self.room.deadline()) is not None and deadline <= until:
            self.now = max(self.now, deadline)
            actions += self.receive(events.Tick())
        self.now = until
        return actions

    def arrive(self, identity: str, permissions: Permissions = MAY_ALL, **changes: Any) -> Client:
        """Come with a new sid; not connected yet."""
        self.stays[identity] += 1
        sid = ParticipantSid(f"PA_{identity}{self.stays[identity]}")
        client = Client(self, sid, Identity(identity))
        arrival: dict[str, Any] = {
            "name": identity.title(),
            "kind": models.ParticipantInfo.STANDARD,
            "metadata": "",
            "attributes": {},
            "client": models.ClientInfo(protocol=17, client_protocol=2),
            "is_single_connection": True,
            "auto_subscribe": True,
            "at": AT,
            "refresh_token": "refreshed",
            **changes,
        }
        self.receive(Arrival(sid=sid, identity=client.identity, permissions=permissions, **arrival))
        return client

    def join(self, identity: str, permissions: Permissions = MAY_ALL, **changes: Any) -> Client:
        """Come, get connected, open both channels."""
        client = self.arrive(identity, permissions, **changes)
        self.receive(events.Connected(client.sid))
        for label in ("_reliable", "_lossy"):
            self.receive(events.ChannelOpened(client.sid, label))
        return client


class Client:
    """A client of the room: what it does gives what the room wants done because of that."""

    def __init__(self, rooms: Rooms, sid: ParticipantSid, identity: Identity) -> None:
        self.rooms, self.sid, self.identity = rooms, sid, identity
        self.bound: dict[TrackSid, Inbound] = {}

    def ask(self, **request: Any) -> list[RoomAction]:
        return self.rooms.receive(events.Request(self.sid, rtc.SignalRequest(**request)))

    def announce(self, cid: str = "mic", **wanted: Any) -> list[RoomAction]:
        """``add_track`` of a microphone, unless something else is said."""
        request = {"type": models.AUDIO, "source": models.MICROPHONE, "name": cid, **wanted}
        return self.ask(add_track=rtc.AddTrackRequest(cid=cid, **request))

    def bind(self, track: TrackSid, kind: MediaKind = "audio") -> list[RoomAction]:
        codec = OPUS if kind == "audio" else VP8
        self.bound[track] = Inbound(track, kind, str(len(self.bound)), (codec,), ssrcs=(1,))
        return self.rebind()

    def unpublish(self, track: TrackSid) -> list[RoomAction]:
        del self.bound[track]
        return self.rebind()

    def rebind(self) -> list[RoomAction]:
        return self.rooms.receive(events.Bound(self.sid, tuple(self.bound.values())))

    def publish(self, cid: str = "mic", **wanted: Any) -> TrackSid:
        """Announce and bind; gives the track's name."""
        (expected,) = only(events.ExpectTrack, self.announce(cid, **wanted))
        kind: MediaKind = "video" if wanted.get("type") == models.VIDEO else "audio"
        self.bind(expected.track, kind)
        return expected.track

    def send(self, label: events.DataLabel = "_reliable", **packet: Any) -> list[RoomAction]:
        data = models.DataPacket(**packet).SerializeToString()
        return self.rooms.receive(events.DataReceived(self.sid, label, data))

    def leave(self) -> list[RoomAction]:
        return self.ask(leave=rtc.LeaveRequest(reason=models.CLIENT_INITIATED))

    def told(self, kind: str, actions: Iterable[RoomAction] | None = None) -> list[Any]:
        """The messages of this kind that it was sent, of these actions or of all so far."""
        sent = told(self.rooms.log if actions is None else actions, self.sid)
        return [getattr(message, kind) for message in sent if message.WhichOneof("message") == kind]

    def kinds(self, actions: Iterable[RoomAction]) -> list[str]:
        """Of the messages that it was sent, in order."""
        return [str(message.WhichOneof("message")) for message in told(actions, self.sid)]

    def sees(self, identity: str) -> models.ParticipantInfo | None:
        """What it was told last of somebody."""
        seen = None
        for message in told(self.rooms.log, self.sid):
            for info in _participants(message):
                seen = info if info.identity == identity else seen
        return seen


def only(kind: type[_A], actions: Iterable[RoomAction]) -> list[_A]:
    """The actions of one type."""
    return [action for action in actions if isinstance(action, kind)]


def told(actions: Iterable[RoomAction], sid: ParticipantSid) -> list[rtc.SignalResponse]:
    return [action.message for action in only(Send, actions) if action.sid == sid]


def packets(
    actions: Iterable[RoomAction], client: Client, label: events.DataLabel = "_reliable"
) -> list[models.DataPacket]:
    """Data that went to a client, decoded."""
    return [
        models.DataPacket.FromString(action.data)
        for action in only(events.SendData, actions)
        if action.sid == client.sid and action.label == label
    ]


def _participants(message: rtc.SignalResponse) -> Iterator[models.ParticipantInfo]:
    yield from message.update.participants
    yield from message.join.other_participants
    if message.HasField("join"):
        yield message.join.participant
