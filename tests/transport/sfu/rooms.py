"""Rooms on a real LiveKit server: our transports, plain SDK clients, and what each receives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from types import TracebackType
from typing import Any, Self

import numpy as np
from livekit import api, rtc

from mulisa.core.audio import SAMPLE_RATE_HZ, Samples
from mulisa.core.events import TrackSubscribed
from mulisa.core.room import Identity
from mulisa.core.routing import Routing
from mulisa.transport.sfu.transport import SFUTransport
from mulisa.transport.watch import Watch
from tests.livekit_server import LiveKitServer
from tests.transport.mesh.rooms import PATIENCE, Witness

ALICE, BOB, CAROL, MULISA = map(Identity, ("alice", "bob", "carol", "mulisa"))

_numbers = count(1)


class Call:
    """One room of a server, and those whom `join` brought into it."""

    def __init__(self, server: LiveKitServer, stack: AsyncExitStack) -> None:
        self.server = server
        self.room = f"room {next(_numbers)}"
        self.transports: dict[Identity, SFUTransport] = {}
        self.witnesses: dict[Identity, Witness] = {}
        self._stack = stack

    def transport(
        self,
        identity: Identity,
        *,
        url: str = "",
        routing: Routing | None = None,
        relay_only: bool = False,
        **token: Any,
    ) -> SFUTransport:
        """Not in the room yet; Mulisa is an agent."""
        kind = "agent" if identity == MULISA else "standard"
        return SFUTransport(
            url or self.server.url,
            self.server.token(identity, self.room, kind=kind, **token),
            routing=routing,
            relay_only=relay_only,
        )

    async def join(self, identity: Identity, **options: Any) -> SFUTransport:
        """In the room until the call is over."""
        transport = await self._stack.enter_async_context(self.transport(identity, **options))
        self.transports[identity] = transport
        self.witnesses[identity] = Witness(transport)
        return transport

    async def join_plainly(self, identity: Identity, **grants: Any) -> PlainClient:
        """A client of the SDK alone, subscribed to whatever it may be."""
        return await self._stack.enter_async_context(PlainClient(self, identity, **grants))

    async def mute(self, identity: Identity, track_sid: str) -> None:
        """As a host does with the server's API."""
        async with self.server.api() as livekit:
            await livekit.room.mute_published_track(
                api.MuteRoomTrackRequest(
                    room=self.room, identity=identity, track_sid=track_sid, muted=True
                )
            )

    async def identities(self) -> set[str]:
        """Who is in the room, as the server says."""
        async with self.server.api() as livekit:
            request = api.ListParticipantsRequest(room=self.room)
            listed = await livekit.room.list_participants(request)
        return {each.identity for each in listed.participants}

    async def remove(self, identity: Identity) -> None:
        """As a host does with the server's API."""
        async with self.server.api() as livekit:
            await livekit.room.remove_participant(
                api.RoomParticipantIdentity(room=self.room, identity=identity)
            )


@asynccontextmanager
async def call(server: LiveKitServer, *identities: Identity) -> AsyncIterator[Call]:
    """These are in the room and hear each other as far as they do."""
    async with AsyncExitStack() as stack:
        made = Call(server, stack)
        for identity in identities:
            await made.join(identity)
        for identity, witness in made.witnesses.items():
            if others := [other for other in identities if other != identity]:
                await witness.until(*[TrackSubscribed(other) for other in others])
        yield made


class PlainClient:
    """What an unmodified client of the SDK sees. Enter it to join."""

    def __init__(self, call: Call, identity: Identity, **grants: Any) -> None:
        self.sdk = rtc.Room()
        self.watch = Watch()
        self.subscribed: dict[str, rtc.Track] = {}
        """Tracks by their publication's sid."""
        self.texts: list[tuple[str, rtc.TextStreamInfo, str]] = []
        """Sender, info and text of text streams that are complete."""
        self.transcriptions: list[tuple[str, rtc.TranscriptionSegment]] = []
        self.data: list[rtc.DataPacket] = []
        self._call = call
        self._identity = identity
        self._grants = grants
        self._reading: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        room = self.sdk
        room.on("track_subscribed", self._on_subscribed)
        room.on("track_unsubscribed", self._on_unsubscribed)
        room.on("data_received", self._on_data)
        room.on("transcription_received", self._on_transcription)
        for name in ("participant_attributes_changed", "track_muted", "track_unmuted"):
            room.on(name, lambda *_: self.watch.changed())
        for topic in ("lk.chat", "lk.transcription"):
            room.register_text_stream_handler(topic, self._on_text)
        server = self._call.server
        token = server.token(self._identity, self._call.room, **self._grants)
        await room.connect(server.url, token)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reading:
            await asyncio.wait(self._reading)
        await self.sdk.disconnect()

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Wait for something that is shown here."""
        async with asyncio.timeout(PATIENCE):
            await self.watch.until(is_true)

    async def packets(self, sid: str) -> int:
        """So many came of a track; 0 if it is not subscribed, -1 if that was negotiated away."""
        track = self.subscribed.get(sid)
        if not isinstance(track, rtc.RemoteAudioTrack):
            return 0
        inbound = [each for each in await track.get_stats() if each.HasField("inbound_rtp")]
        return sum(each.inbound_rtp.received.packets_received for each in inbound)

    async def all_packets(self) -> int:
        """So many came of all tracks that are negotiated now."""
        stats = await self.sdk.get_rtc_stats()
        return sum(
            each.inbound_rtp.received.packets_received
            for each in (*stats.publisher_stats, *stats.subscriber_stats)
            if each.HasField("inbound_rtp")
        )

    async def send_text(self, text: str, topic: str = "lk.chat") -> str:
        """As a chat window does; the stream's id."""
        info = await self.sdk.local_participant.send_text(text, topic=topic)
        return info.stream_id

    def _on_subscribed(
        self, track: rtc.Track, publication: rtc.RemoteTrackPublication, _: object
    ) -> None:
        self.subscribed[publication.sid] = track
        self.watch.changed()

    def _on_unsubscribed(
        self, _: object, publication: rtc.RemoteTrackPublication, __: object
    ) -> None:
        self.subscribed.pop(publication.sid, None)
        self.watch.changed()

    def _on_data(self, packet: rtc.DataPacket) -> None:
        self.data.append(packet)
        self.watch.changed()

    def _on_transcription(
        self, segments: list[rtc.TranscriptionSegment], who: rtc.Participant | None, _: object
    ) -> None:
        self.transcriptions += [(who.identity if who else "", each) for each in segments]
        self.watch.changed()

    def _on_text(self, stream: rtc.TextStreamReader, sender: str) -> None:
        reading = asyncio.get_running_loop().create_task(self._read(stream, sender))
        self._reading.add(reading)
        reading.add_done_callback(self._reading.discard)

    async def _read(self, stream: rtc.TextStreamReader, sender: str) -> None:
        text = await stream.read_all()
        self.texts.append((sender, stream.info, text))
        self.watch.changed()


async def eventually(is_true: Callable[[], bool]) -> None:
    """Wait for something that nobody reports."""
    async with asyncio.timeout(PATIENCE):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def record(client: PlainClient, sid: str, seconds: float) -> Samples:
    """What a plain client hears of a track from now on, 48 kHz mono."""
    track = client.subscribed[sid]
    stream = rtc.AudioStream.from_track(track=track, sample_rate=SAMPLE_RATE_HZ, num_channels=1)
    heard: list[Samples] = []
    n_samples = 0
    async with asyncio.timeout(seconds + PATIENCE):
        async for event in stream:
            heard.append(np.frombuffer(event.frame.data, dtype=np.int16))
            n_samples += len(heard[-1])
            if n_samples >= seconds * SAMPLE_RATE_HZ:
                break
    await stream.aclose()
    return np.concatenate(heard)
