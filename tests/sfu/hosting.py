"""A `Host` on free ports of loopback, and unmodified clients of LiveKit's SDK in its rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import jwt
import numpy as np
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from livekit import api, rtc
from livekit.protocol.room import CreateRoomRequest
from yarl import URL

from mulisa.core.audio import SAMPLE_RATE_HZ
from mulisa.core.errors import ConfigError, TokenError
from mulisa.core.room import RoomName
from mulisa.sfu.client import Client
from mulisa.sfu.config import Claims, HostConfig
from mulisa.sfu.events import Report
from mulisa.sfu.host import Host
from mulisa.transport.watch import Watch

KEY, SECRET = "APIsfutests", "only-for-tests-and-long-enough-for-sha256"
ROOM = "standup"
PATIENCE = 20.0


def verify(token: str) -> Claims:
    try:
        claims: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"], issuer=KEY)
    except jwt.PyJWTError as error:
        raise TokenError("invalid token") from error
    return claims


def reissue(claims: Claims) -> str:
    return jwt.encode(dict(claims), SECRET, algorithm="HS256")


def token(
    identity: str, room: str = ROOM, *, kind: str = "", secret: str = SECRET, **grants: Any
) -> str:
    made = api.AccessToken(KEY, secret).with_identity(identity).with_name(identity.title())
    if kind:
        made = made.with_kind(kind)  # type: ignore[arg-type]
    allowed: dict[str, Any] = {"room_join": True, "room": room, "can_update_own_metadata": True}
    return (
        made.with_grants(api.VideoGrants(**(allowed | grants)))
        .with_ttl(timedelta(hours=1))
        .to_jwt()
    )


@dataclass
class Hosting:
    """A running host."""

    host: Host
    server: BaseTestServer
    reports: list[Report] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}"

    @property
    def room(self) -> RoomName:
        """Where everybody is who names no other."""
        return RoomName(ROOM)

    def http_url(self, path: str) -> URL:
        """The path as it is, whatever it is."""
        return URL(f"http://127.0.0.1:{self.server.port}{path}", encoded=True)

    def create(self, room: str, **options: Any) -> None:
        """As the API does."""
        self.host.create_room(CreateRoomRequest(name=room, **options))

    def clients(self) -> list[Client]:
        """All who are in a room."""
        return self.host._rooms.clients

    def client(self, identity: str) -> Client:
        """The one of that identity."""
        (client,) = (each for each in self.clients() if each.identity == identity)
        return client

    def connections(self) -> int:
        """How many the RTC port knows of."""
        assert self.host._port is not None
        return len(self.host._port._ufrags)

    def crash(self) -> None:
        """Everybody is lost without a word."""
        for client in self.clients():
            assert client._outbox is not None
            client._outbox.abort()
        self.host._rooms.close()

    def cut(self, identity: str) -> None:
        """Reset somebody's WebSocket."""
        outbox = self.client(identity)._outbox
        assert outbox is not None
        outbox.abort()


@asynccontextmanager
async def hosting(*, http_port: int | None = None, **changes: Any) -> AsyncIterator[Hosting]:
    """A host that takes free ports unless told otherwise."""
    reports: list[Report] = []
    standard: dict[str, Any] = {
        "verify": verify,
        "issue_refresh": reissue,
        "rtc_host": "127.0.0.1",
        "rtc_port": 0,
        "on_report": reports.append,
    }
    async with _entered(HostConfig(**(standard | changes))) as host:
        app = web.Application()
        app.add_routes(host.routes())
        app.on_shutdown.append(lambda _: host.shut_down())
        async with TestServer(app, port=http_port, host="127.0.0.1") as server:
            yield Hosting(host, server, reports)


@asynccontextmanager
async def _entered(config: HostConfig) -> AsyncIterator[Host]:
    """A host; its port may be taken for a moment by what it was before.

    The SDK's clients live in this process and look up the system's name with a program. Until that
    runs, the forked child holds every socket that we have, those included that we close meanwhile.
    """
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    host = await stack.enter_async_context(Host(config))
                    break
                except ConfigError:
                    await asyncio.sleep(0.1)
        yield host


class Person:
    """An SDK client. Enter it to join; it talks with `speak`, and hears who is subscribed."""

    def __init__(
        self, url: str, identity: str, *, room: str = ROOM, dual: bool = False, **grants: Any
    ) -> None:
        self.identity = identity
        self.sdk = rtc.Room()
        self.watch = Watch()
        self.tracks: dict[str, rtc.RemoteAudioTrack] = {}
        """By the publisher's identity."""
        self.data: list[tuple[str, bytes]] = []
        """Sender and payload."""
        self._url, self._token = url, token(identity, room, **grants)
        self._options = rtc.RoomOptions(single_peer_connection=not dual)
        self._source: rtc.AudioSource | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.sdk.on("track_subscribed", self._on_subscribed)
        self.sdk.on("track_unsubscribed", self._on_unsubscribed)
        self.sdk.on("data_received", self._on_data)
        for event in (
            "participant_connected",
            "participant_disconnected",
            "track_muted",
            "track_unmuted",
            "participant_attributes_changed",
            "reconnected",
            "reconnecting",
            "disconnected",
            "active_speakers_changed",
        ):
            self.sdk.on(event, lambda *_: self.watch.changed())
        await self.sdk.connect(self._url, self._token, self._options)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()
        await self.sdk.disconnect()

    async def until(self, is_true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.watch.until(is_true)

    async def speak(self, frequency: float = 440.0) -> rtc.LocalTrackPublication:
        """Publish a microphone with a tone in it, until the person leaves."""
        source = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=100)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self.sdk.local_participant.publish_track(track, options)
        toning = asyncio.create_task(_tone(source, frequency))
        self._stack.push_async_callback(source.aclose)
        self._stack.callback(toning.cancel)
        return publication

    async def hear(
        self, identity: str, seconds: float = 0.5
    ) -> np.ndarray[Any, np.dtype[np.int16]]:
        """What comes of somebody, from the first sound on."""
        await self.until(lambda: identity in self.tracks)
        stream = rtc.AudioStream(self.tracks[identity], sample_rate=SAMPLE_RATE_HZ, num_channels=1)
        heard: list[Any] = []
        try:
            async with asyncio.timeout(PATIENCE):
                async for event in stream:
                    samples = np.frombuffer(event.frame.data, dtype=np.int16)
                    if heard or np.max(np.abs(samples)) > 500:
                        heard.append(samples)
                    if sum(map(len, heard)) >= seconds * SAMPLE_RATE_HZ:
                        break
        finally:
            await stream.aclose()
        return np.concatenate(heard)

    def _on_subscribed(
        self,
        track: rtc.Track,
        _: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        assert isinstance(track, rtc.RemoteAudioTrack)
        self.tracks[participant.identity] = track
        self.watch.changed()

    def _on_unsubscribed(
        self,
        _: rtc.Track,
        __: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        self.tracks.pop(participant.identity, None)
        self.watch.changed()

    def _on_data(self, packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant else ""
        self.data.append((sender, packet.data))
        self.watch.changed()


async def _tone(source: rtc.AudioSource, frequency: float) -> None:
    length = SAMPLE_RATE_HZ // 100
    position = 0
    while True:
        time = (position + np.arange(length)) / SAMPLE_RATE_HZ
        samples = (np.sin(2 * np.pi * frequency * time) * 8_000).astype(np.int16)
        await source.capture_frame(rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE_HZ, 1, length))
        position += length


def pitch(samples: np.ndarray[Any, np.dtype[np.int16]]) -> float:
    """The loudest frequency, Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * SAMPLE_RATE_HZ / len(samples))


async def until(is_true: Callable[[], bool]) -> None:
    """Wait for something that nobody tells of."""
    async with asyncio.timeout(PATIENCE):
        while not is_true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
