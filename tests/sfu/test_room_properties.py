"""Whatever several clients do, in whatever order, the room keeps its promises (`ledger`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit.protocol import models, rtc
from livekit.protocol import room as api

from mulisa.core.errors import InputError, SignalingError
from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.sfu import events
from mulisa.sfu.events import Arrival, RoomAction, RoomConfig, RoomEvent
from mulisa.sfu.media import Inbound, TrackSid
from mulisa.sfu.permissions import Permissions
from mulisa.sfu.room import Room
from mulisa.sfu.signal import decode_request
from tests.sfu.ledger import Ledger
from tests.sfu.rooms import AT, MAY_ALL, OPUS, START, VP8, only

pytestmark = pytest.mark.unit

NAMES = ("alice", "bob", "carol", "mulisa")
PERMISSIONS = (
    MAY_ALL,
    MAY_ALL,
    Permissions(),
    Permissions(can_subscribe=False),
    Permissions(can_publish=False, can_publish_data=False),
    replace(MAY_ALL, hidden=True),
    replace(MAY_ALL, recorder=True),
    Permissions(sources=frozenset({models.MICROPHONE})),
)
KINDS = (models.ParticipantInfo.STANDARD, models.ParticipantInfo.AGENT)
CONFIG = RoomConfig(
    max_participants=3, max_tracks=3, max_queued_bytes=400, max_attributes_bytes=100
)
LABELS: tuple[events.DataLabel, ...] = ("_reliable", "_lossy")


class Play:
    """A room that is told what a list of small numbers means."""

    def __init__(self) -> None:
        self.room = Room(RoomName("standup"), "RM_1", CONFIG, AT, now=START)
        self.now = START
        self.ledger = Ledger()
        self.sids: list[ParticipantSid] = [ParticipantSid("PA_nobody")]
        self.tracks: list[TrackSid] = [TrackSid("TR_none")]
        self.owners: dict[TrackSid, ParticipantSid] = {}
        self.kinds: dict[TrackSid, int] = {}
        self.payload = 0

    def step(self, name: str, a: int, b: int, c: int, noise: bytes) -> None:
        STEPS[name](self, a, b, c, noise)

    def tell(self, event: RoomEvent) -> None:
        self.ledger.event(event)
        self.take(self.room.receive(event, self.now))

    def take(self, actions: list[RoomAction]) -> None:
        for expected in only(events.ExpectTrack, actions):
            self.tracks.append(expected.track)
            self.owners[expected.track] = expected.sid
            self.kinds[expected.track] = expected.request.type
        self.ledger.actions(actions)
        deadline = self.room.deadline()
        assert deadline is None or deadline > self.now, "it would be woken without end"

    def ask(self, a: int, **request: Any) -> None:
        message = rtc.SignalRequest(**request)
        self.tell(events.Request(self.sid(a), message))

    def sid(self, a: int) -> ParticipantSid:
        return self.sids[-1 - a % min(len(self.sids), 6)]

    def track(self, b: int) -> TrackSid:
        return self.tracks[-1 - b % min(len(self.tracks), 8)]

    def name(self, a: int) -> str:
        return NAMES[a % len(NAMES)]

    # ---- steps: `a` says who, `b` and `c` what

    def arrive(self, a: int, b: int, c: int, noise: bytes) -> None:
        sid = ParticipantSid(f"PA_{len(self.sids)}")
        self.sids.append(sid)
        self.tell(
            Arrival(
                sid=sid,
                identity=Identity(self.name(a)),
                name="",
                kind=KINDS[c % 2],
                metadata="",
                attributes={},
                permissions=PERMISSIONS[b % len(PERMISSIONS)],
                client=models.ClientInfo(protocol=17, capabilities=[c % 9]),  # type: ignore[list-item]
                is_single_connection=bool(c & 2),
                auto_subscribe=not c & 4,
                at=AT,
            )
        )

    def connect(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.tell(events.Connected(self.sid(a)))
        if b % 2:
            self.open(a, 0, c, noise)

    def open(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.tell(events.ChannelOpened(self.sid(a), LABELS[b % 2]))

    def lose(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.tell(events.SocketLost(self.sid(a)))

    def resume(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.tell(events.Resumption(self.sid(a), refresh_token="t" * (b % 2)))

    def fail(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.tell(events.ConnectionFailed(self.sid(a)))

    def announce(self, a: int, b: int, c: int, noise: bytes) -> None:
        wanted = rtc.AddTrackRequest(cid="xyz"[b % 3], muted=bool(c & 8), stereo=bool(c & 16))
        wanted.type, wanted.source = b // 3 % 3, c % 6  # type: ignore[assignment]
        self.ask(a, add_track=wanted)

    def bind(self, a: int, b: int, c: int, noise: bytes) -> None:
        """Some of the client's tracks; now and then with media of the wrong kind."""
        sid = self.sid(a)
        own = [track for track, owner in self.owners.items() if owner == sid][-4:]
        bound = []
        for n, track in enumerate(own):
            if b >> n & 1:
                is_audio = (self.kinds[track] == models.AUDIO) != (c % 16 == 0)
                kind, codec = ("audio", OPUS) if is_audio else ("video", VP8)
                bound.append(Inbound(track, kind, str(n), (codec,)))  # type: ignore[arg-type]
        self.tell(events.Bound(sid, tuple(bound)))

    def publish(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.announce(a, b % 2 * 3 + b, c, noise)
        self.bind(a, 255, 1, noise)

    def permit(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.administer(a, 4, c, noise)

    def begin(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.tell(events.Subscribed(self.sid(a), self.track(b)))

    def mute(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.ask(a, mute=rtc.MuteTrackRequest(sid=self.track(b), muted=bool(c % 2)))

    def subscribe(self, a: int, b: int, c: int, noise: bytes) -> None:
        tracks = [self.track(b), self.track(b + c)]
        wanted = rtc.UpdateSubscription(track_sids=tracks, subscribe=bool(c % 2))
        self.ask(a, subscription=wanted)

    def admit(self, a: int, b: int, c: int, noise: bytes) -> None:
        entries = [
            rtc.TrackPermission(participant_identity=self.name(b), track_sids=[self.track(c)]),
            rtc.TrackPermission(participant_sid=self.sid(c), all_tracks=bool(b & 4)),
            rtc.TrackPermission(all_tracks=True),
        ][: b % 4]
        rule = rtc.SubscriptionPermission(all_participants=c % 3 == 0, track_permissions=entries)
        self.ask(a, subscription_permission=rule)

    def hold(self, a: int, b: int, c: int, noise: bytes) -> None:
        settings_ = rtc.UpdateTrackSettings(track_sids=[self.track(b)], disabled=bool(c % 2))
        self.ask(a, track_setting=settings_)

    def describe(self, a: int, b: int, c: int, noise: bytes) -> None:
        wanted = rtc.UpdateParticipantMetadata(
            name="n" * (c % 300), attributes={"abc"[b % 3]: "v" * (c % 60)}, request_id=b
        )
        self.ask(a, update_metadata=wanted)

    def sync(self, a: int, b: int, c: int, noise: bytes) -> None:
        track = rtc.TrackPublishedResponse(track=models.TrackInfo(sid=self.track(b)))
        state = rtc.SyncState(
            publish_tracks=[track] * (c % 2),
            subscription=rtc.UpdateSubscription(track_sids=[self.track(c)], subscribe=bool(c & 2)),
            track_sids_disabled=[self.track(b)],
        )
        self.ask(a, sync_state=state)

    def small(self, a: int, b: int, c: int, noise: bytes) -> None:
        """One of the messages that have little in them."""
        requests: list[dict[str, Any]] = [
            {"ping": b},
            {"ping_req": rtc.Ping(timestamp=b)},
            {"leave": rtc.LeaveRequest(reason=c % 20)},  # type: ignore[arg-type]
            {"simulate": rtc.SimulateScenario(migration=True)},
            {"simulate": rtc.SimulateScenario(speaker_update=b)},
            {"update_audio_track": rtc.UpdateLocalAudioTrack(track_sid=self.track(b))},
            {"update_video_track": rtc.UpdateLocalVideoTrack(track_sid=self.track(b), width=c)},
            {"publish_data_track_request": rtc.PublishDataTrackRequest(name="x")},
            {"store_data_blob_request": rtc.StoreDataBlobRequest(request_id=1 + b)},
            {},
        ]
        self.ask(a, **requests[c % len(requests)])

    def garble(self, a: int, b: int, c: int, noise: bytes) -> None:
        """A message with bytes put in somewhere."""
        wanted = rtc.AddTrackRequest(cid="x", layers=[models.VideoLayer(rid="q")], name="mic")
        frame = rtc.SignalRequest(add_track=wanted).SerializeToString()
        if c % 2:
            state = rtc.SyncState(track_sids_disabled=[self.track(b)])
            frame = rtc.SignalRequest(sync_state=state).SerializeToString()
        at = b % len(frame)
        try:
            message = decode_request(frame[:at] + noise + frame[at + c % 3 :])
        except SignalingError:
            return
        self.tell(events.Request(self.sid(a), message))

    def send(self, a: int, b: int, c: int, noise: bytes) -> None:
        self.payload += 1
        packet = models.DataPacket(
            sequence=b % 7,
            participant_identity=self.name(c),
            destination_identities=[self.name(b)] * (c % 2),
            user=models.UserPacket(payload=str(self.payload).encode(), topic="t"),
        )
        data = packet.SerializeToString()
        if c % 8 == 7:
            data = data[: b % len(data)] + noise
        sid, label = self.sid(a), LABELS[c // 8 % 2]
        self.tell(events.DataReceived(sid, label, data))
        if c % 8 != 7 and packet.sequence and label == "_reliable":
            self.tell(events.DataReceived(sid, label, data))

    def measure(self, a: int, b: int, c: int, noise: bytes) -> None:
        levels = {self.track(b): (c / 255, -b / 2.0), self.track(c): (b / 255, -c / 2.0)}
        self.tell(events.LevelsMeasured(levels))
        self.tell(events.QualityMeasured({self.sid(a): (b / 255, c / 100)}))

    def wait(self, a: int, b: int, c: int, noise: bytes) -> None:
        until = self.now + (b / 10 if c % 4 else b)
        while (deadline := self.room.deadline()) is not None and deadline <= until:
            self.now = deadline
            self.tell(events.Tick())
        self.now = until

    def administer(self, a: int, b: int, c: int, noise: bytes) -> None:
        identity = Identity(self.name(a))
        try:
            if b % 8 == 0:
                actions = self.room.remove(identity, self.now)
            elif b % 8 == 1:
                actions = self.room.mute(identity, self.track(c), bool(c % 4), self.now)
            elif b % 8 == 2:
                data = api.SendDataRequest(data=noise, destination_identities=[identity] * (c % 2))
                data.nonce = self.payload.to_bytes(16, "big")
                self.payload += 1
                actions = self.room.send_data(data, self.now)
            elif b % 8 == 3:
                actions = self.room.update_metadata(str(c), self.now)
            else:
                actions = self._permit(identity, c)
        except InputError:
            return
        self.take(actions)

    def _permit(self, identity: Identity, c: int) -> list[RoomAction]:
        sid = self.room.sid_of(identity)
        permissions = PERMISSIONS[c % len(PERMISSIONS)]
        request = api.UpdateParticipantRequest(
            identity=identity, permission=permissions.to_message()
        )
        actions = self.room.update_participant(request, self.now)
        if sid in self.ledger.permissions:
            self.ledger.permissions[sid] = permissions
            if permissions.recorder:
                self.ledger.recorders.add(sid)
            else:
                self.ledger.recorders.discard(sid)
        return actions


STEPS: Mapping[str, Callable[[Play, int, int, int, bytes], None]] = {
    name: getattr(Play, name)
    for name in (
        "arrive connect open lose resume fail announce bind begin mute subscribe admit hold "
        "describe sync small garble send measure wait administer publish permit"
    ).split()
}
OFTEN = [*STEPS, *["arrive", "connect", "announce", "bind", "admit", "subscribe", "send"] * 2]
NUMBER = st.integers(0, 255)
SCRIPTS = st.lists(
    st.tuples(st.sampled_from(OFTEN), NUMBER, NUMBER, NUMBER, st.binary(max_size=6)), max_size=50
)


CASTS = st.lists(NUMBER, min_size=3, max_size=3)
Script = list[tuple[str, int, int, int, bytes]]


def play(cast: list[int], script: Script) -> None:
    """Three are there at first, with these permissions, and each tries to publish."""
    stage = Play()
    for n, permissions in enumerate(cast):
        stage.arrive(n, permissions, 0, b"")
        stage.connect(0, 1, 0, b"")
        stage.publish(0, 0, 2, b"")
    for step in script:
        stage.step(*step)


@given(CASTS, SCRIPTS)
@settings(max_examples=500)
def test_a_room_keeps_its_promises(cast: list[int], script: Script) -> None:
    play(cast, script)


@pytest.mark.slow
@given(CASTS, SCRIPTS)
@settings(max_examples=12_000)
def test_a_room_keeps_its_promises_for_long(cast: list[int], script: Script) -> None:
    play(cast, script)
