"""Clients are told what LiveKit's own server told them (`tests/golden/livekit_room.json`).

Where we differ on purpose stands in `UNTOLD` and `MORE`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from livekit.protocol import models, rtc
from livekit.protocol import room as api

from mulisa.core.room import Identity, ParticipantSid
from mulisa.sfu import events
from mulisa.sfu.events import RoomAction
from mulisa.sfu.media import Inbound, TrackSid
from tests.sfu.rooms import MAY_ALL, OPUS, Client, Rooms, told

pytestmark = pytest.mark.unit

RECORDING = Path(__file__).parent.parent / "golden" / "livekit_room.json"
STEPS: list[dict[str, Any]] = json.loads(RECORDING.read_text())["steps"]
RED = replace(OPUS, name="red", payload_type=63)
ALICE = Identity("alice")
MIC = TrackSid("TR_mic")

UNTOLD: Mapping[str, Callable[[Any], bool]] = {
    "refresh_token": lambda _: True,  # the host's, which has the key
    "room_update": lambda update: not update["room"].get("metadata"),  # sooner or later
    "subscription_permission_update": lambda update: update.get("allowed", False),
}
"""Messages that do not count: their time is another, or clients take them for granted."""
MORE: Mapping[tuple[str, str], set[str]] = {
    ("bob again", "alice"): {"update of PA_bob1"},  # old clients would have two bobs
    ("bob leaves", "bob"): {"leave"},  # the SDK had closed the socket before it came
}
"""Messages that only we send."""
IGNORED = frozenset(
    {"joined_at", "joined_at_ms", "creation_time", "creation_time_ms", "version", "enabled_codecs"}
    | {"enabled_publish_codecs", "server_info", "server_version", "max_participants"}
    | {"num_participants", "num_publishers"}
)


class Replay:
    """The recorded story, told to a room of ours."""

    def __init__(self) -> None:
        self.rooms = Rooms()
        self.clients: dict[str, Client] = {}
        self.track = TrackSid("")
        self.steps: dict[str, Callable[[], object]] = {
            "alice joins": lambda: self.arrive("alice"),
            "alice publishes": self.publish,
            "bob joins": self.hear,
            "bob again": lambda: self.arrive("bob"),
            "api mutes": lambda: self.administer(
                self.rooms.room.mute(ALICE, self.track, True, self.rooms.now)
            ),
            "api room metadata": lambda: self.administer(
                self.rooms.room.update_metadata("rm", self.rooms.now)
            ),
            "api revokes publish": self.revoke,
            "api deletes": lambda: self.administer(self.rooms.room.close(now=self.rooms.now)),
        }

    def perform(self, step: dict[str, Any]) -> list[RoomAction]:
        before = len(self.rooms.log)
        self.rooms.wait(2)
        if step["step"] in self.steps:
            self.steps[step["step"]]()
        for asked in step["requests"]:
            if "add_track" not in asked["request"]:
                self.ask(asked["who"], asked["request"])
        return self.rooms.log[before:]

    def arrive(self, name: str) -> None:
        self.clients[name] = self.rooms.join(name, MAY_ALL)

    def ask(self, who: str, request: dict[str, Any]) -> None:
        message = ParseDict(
            json.loads(json.dumps(request).replace(MIC, self.track)), rtc.SignalRequest()
        )
        self.rooms.receive(events.Request(self.clients[who].sid, message))

    def publish(self) -> None:
        alice = self.clients["alice"]
        self.ask("alice", STEPS[1]["requests"][0]["request"])
        self.track = TrackSid(alice.told("track_published")[0].track.sid)
        inbound = Inbound(self.track, "audio", "7", (RED, OPUS))
        self.rooms.receive(events.Bound(alice.sid, (inbound,)))

    def hear(self) -> None:
        self.arrive("bob")
        self.rooms.receive(events.Subscribed(self.clients["bob"].sid, self.track))

    def revoke(self) -> None:
        permission = models.ParticipantPermission(can_subscribe=True, can_publish_data=True)
        request = api.UpdateParticipantRequest(identity="alice", permission=permission)
        self.administer(self.rooms.room.update_participant(request, self.rooms.now))

    def administer(self, actions: Iterable[RoomAction]) -> None:
        self.rooms.take(actions)

    def replies(self, actions: list[RoomAction], who: str) -> list[dict[str, Any]]:
        stays = [ParticipantSid(f"PA_{who}{n + 1}") for n in range(self.rooms.stays[who])]
        messages = [message for sid in stays for message in told(actions, sid)]
        texts = json.dumps([MessageToDict(m, preserving_proto_field_name=True) for m in messages])
        read: list[dict[str, Any]] = json.loads(texts.replace(self.track or "?", MIC))
        return read


def essence(replies: Iterable[dict[str, Any]], who: str) -> dict[str, Any]:
    """Of what somebody was told in one step: each kind once, with what was said last.

    Of updates, what was said of each other; and of oneself, once one is connected.
    """
    kept: dict[str, Any] = {}
    for reply in replies:
        ((kind, content),) = reply.items()
        if kind in UNTOLD and UNTOLD[kind](content):
            continue
        if kind not in ("connection_quality", "update"):
            kept[kind] = _cleaned(content)
        for info in content["participants"] if kind == "update" else ():
            if info["identity"] != who or info.get("state") == "ACTIVE":
                kept[f"update of {info['sid']}"] = _cleaned(info)
    return kept


def _cleaned(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _cleaned(value) for key, value in content.items() if key not in IGNORED}
    return [_cleaned(each) for each in content] if isinstance(content, list) else content


def test_clients_are_told_what_livekit_tells_them() -> None:
    replay = Replay()
    compared = 0
    for step in STEPS:
        actions = replay.perform(step)
        for who in replay.clients:
            expected = essence(step["replies"].get(who, []), who)
            said = essence(replay.replies(actions, who), who)
            more = MORE.get((step["step"], who), set()) | {"room_update"}
            assert {kind: said.get(kind) for kind in expected} == expected, (step["step"], who)
            assert said.keys() - expected.keys() <= more, (step["step"], who)
            compared += len(expected)
    assert compared >= 25
