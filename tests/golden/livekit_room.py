"""Rewrites `livekit_room.json`: what a LiveKit server tells two clients of the Python SDK.

A proxy between the SDK and the server keeps every message. Random ids get names; descriptions,
candidates, pings, speakers and qualities are left out, and so are times and versions.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

import aiohttp
import jwt
from aiohttp import web
from google.protobuf.json_format import MessageToDict
from livekit import api
from livekit import rtc as sdk
from livekit.protocol import models, rtc
from tests.livekit_server import LiveKitServer

ROOM: Final = "standup"
SETTLING: Final = 4.0
"""Seconds; the server tells some of it every three."""
LEFT_OUT: Final = frozenset(
    "offer answer trickle ping_req pong_resp media_sections_requirement connection_quality "
    "speakers_changed".split()
)
RANDOM: Final = frozenset(
    "joined_at joined_at_ms creation_time creation_time_ms turn_password version ice_servers "
    "sif_trailer enabled_codecs enabled_publish_codecs server_info server_version".split()
)


class Recorder:
    """The story in steps, and the names that stand for random ids."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}
        self._stays: dict[str, int] = {}

    def step(self, name: str) -> None:
        self.steps.append({"step": name, "requests": [], "replies": {}})

    def asked(self, who: str, data: bytes) -> None:
        request = rtc.SignalRequest.FromString(data)
        if request.WhichOneof("message") == "add_track":
            self._names[request.add_track.cid] = "cid-mic"
        if request.WhichOneof("message") not in LEFT_OUT:
            self.steps[-1]["requests"].append({"who": who, "request": _read(request)})

    def told(self, who: str, data: bytes) -> None:
        reply = rtc.SignalResponse.FromString(data)
        kind = reply.WhichOneof("message")
        if kind == "join":
            self._stays[who] = self._stays.get(who, 0) + 1
            self._names[reply.join.room.sid] = "RM_1"
            self._names[reply.join.participant.sid] = f"PA_{who}{self._stays[who]}"
        elif kind == "track_published":
            self._names[reply.track_published.track.sid] = "TR_mic"
        elif kind == "refresh_token":
            reply.refresh_token = "..."
        if kind not in LEFT_OUT:
            self.steps[-1]["replies"].setdefault(who, []).append(_read(reply))

    def story(self) -> Any:
        """All steps with their names, some of which are known only afterwards."""
        return self._named(self.steps)

    def _named(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._named(each) for key, each in value.items() if key not in RANDOM}
        if isinstance(value, list):
            return [self._named(each) for each in value]
        return self._names.get(value, value) if isinstance(value, str) else value


def _read(message: rtc.SignalRequest | rtc.SignalResponse) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


@asynccontextmanager
async def proxy(server: LiveKitServer, recorder: Recorder) -> Any:
    """Gives the URL under which the server is heard by the recorder."""

    async def pump(source: Any, target: Any, note: Callable[[str, bytes], None], who: str) -> None:
        async for message in source:
            note(who, message.data)
            await target.send_bytes(message.data)
        await target.close()

    async def forward(request: web.Request) -> web.WebSocketResponse:
        bearer = request.headers["Authorization"]
        claims = jwt.decode(bearer.removeprefix("Bearer "), options={"verify_signature": False})
        url, headers = f"{server.url}{request.raw_path}", {"Authorization": bearer}
        async with session.ws_connect(url, headers=headers, max_msg_size=0) as above:
            below = web.WebSocketResponse(max_msg_size=0)
            await below.prepare(request)
            up = pump(below, above, recorder.asked, claims["sub"])
            await asyncio.gather(up, pump(above, below, recorder.told, claims["sub"]))
        return below

    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        app = web.Application()
        app.router.add_get("/{path:.*}", forward)
        runner = web.AppRunner(app)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}"


async def record(server: LiveKitServer) -> Any:
    recorder = Recorder()
    async with proxy(server, recorder) as url, server.api() as client:
        alice, bob, bob_again = sdk.Room(), sdk.Room(), sdk.Room()
        voice = sdk.LocalAudioTrack.create_audio_track("mic", sdk.AudioSource(48_000, 1))
        options = sdk.TrackPublishOptions(source=sdk.TrackSource.SOURCE_MICROPHONE)

        async def tell(name: str, work: Awaitable[object] | None = None) -> None:
            recorder.step(name)
            if work is not None:
                await work
            await asyncio.sleep(SETTLING)

        await tell("alice joins", alice.connect(url, server.token("alice", ROOM)))
        await tell("alice publishes", alice.local_participant.publish_track(voice, options))
        await tell("bob joins", bob.connect(url, server.token("bob", ROOM)))
        await tell("alice sets attributes", alice.local_participant.set_attributes({"k": "v"}))
        await tell("alice sets metadata", alice.local_participant.set_metadata("m"))
        recorder.step("alice mutes")
        voice.mute()
        await asyncio.sleep(SETTLING)
        recorder.step("alice unmutes")
        voice.unmute()
        await asyncio.sleep(SETTLING)
        for name, is_open in (("alice restricts", False), ("alice allows", True)):
            recorder.step(name)
            alice.local_participant.set_track_subscription_permissions(
                allow_all_participants=is_open, participant_permissions=[]
            )
            await asyncio.sleep(SETTLING)
        (publication,) = bob.remote_participants["alice"].track_publications.values()
        for name, is_wanted in (("bob unsubscribes", False), ("bob subscribes", True)):
            recorder.step(name)
            publication.set_subscribed(is_wanted)
            await asyncio.sleep(SETTLING)
        await _administer(tell, client, publication.sid)
        await tell("bob again", bob_again.connect(url, server.token("bob", ROOM)))
        await tell("bob leaves", bob_again.disconnect())
        deletion = api.DeleteRoomRequest(room=ROOM)
        await tell("api deletes", client.room.delete_room(deletion))
        for room in (alice, bob):
            await room.disconnect()
    return recorder.story()


async def _administer(
    tell: Callable[[str, Awaitable[object]], Awaitable[None]], client: api.LiveKitAPI, track: str
) -> None:
    mute = api.MuteRoomTrackRequest(room=ROOM, identity="alice", track_sid=track, muted=True)
    await tell("api mutes", client.room.mute_published_track(mute))
    metadata = api.UpdateRoomMetadataRequest(room=ROOM, metadata="rm")
    await tell("api room metadata", client.room.update_room_metadata(metadata))
    permission = models.ParticipantPermission(can_subscribe=True, can_publish_data=True)
    revocation = api.UpdateParticipantRequest(room=ROOM, identity="alice", permission=permission)
    await tell("api revokes publish", client.room.update_participant(revocation))


def main() -> None:
    note = Path(sys.prefix, ".livekit")
    program = note.read_text().strip() if note.exists() else shutil.which("livekit-server")
    if not program:
        print("no LiveKit server: livekit_room.json stays as it is (make livekit)")
        return
    with LiveKitServer(program) as server:
        steps = asyncio.run(record(server))
    about = " ".join((__doc__ or "").split())
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({"about": about, "steps": steps}, indent=1) + "\n")


if __name__ == "__main__":
    main()
