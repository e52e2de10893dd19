"""A client of LiveKit's Python SDK, as it comes."""

from __future__ import annotations

import asyncio
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
from livekit import rtc
from livekit.rtc._proto.participant_pb2 import DisconnectReason
from livekit.rtc._proto.room_pb2 import DataPacketKind

from tests.conformance.clients import (
    PATIENCE,
    ClientError,
    Data,
    Publication,
    Seen,
    View,
)

RATE_HZ = 48_000
CHUNK_SAMPLES = RATE_HZ // 20
AMPLITUDE = 8_000
AUDIBLE = 300
WINDOW_SAMPLES = RATE_HZ // 4
"""In which a pitch is looked for."""
CONNECTION_STATES = {0: "disconnected", 1: "connected", 2: "reconnecting"}
SOURCES = {
    rtc.TrackSource.SOURCE_MICROPHONE: "microphone",
    rtc.TrackSource.SOURCE_CAMERA: "camera",
    rtc.TrackSource.SOURCE_SCREENSHARE: "screen_share",
    rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO: "screen_share_audio",
}
SOURCE_NUMBERS = {name: number for number, name in SOURCES.items()}


class Voice:
    """A tone that is sent until it is closed."""

    def __init__(self, frequency: float, name: str) -> None:
        self.frequency = frequency
        self.captures = asyncio.Event()
        """While this is cleared nothing is captured: the track's RTP time stands still."""
        self.captures.set()
        self.source = rtc.AudioSource(RATE_HZ, 1, queue_size_ms=200)
        self.track = rtc.LocalAudioTrack.create_audio_track(name, self.source)
        self.sid = ""
        self._sample = 0
        self._task = asyncio.get_running_loop().create_task(self._speak())

    def check(self) -> None:
        """Raises what ended it before its time."""
        if self._task.done():
            self._task.result()

    async def aclose(self) -> None:
        """Stop."""
        self._task.cancel()
        await asyncio.wait({self._task})
        await self.source.aclose()

    async def _speak(self) -> None:
        while True:
            await self.captures.wait()
            at = np.arange(self._sample, self._sample + CHUNK_SAMPLES) / RATE_HZ
            loudness = AMPLITUDE if self.frequency else 0
            wave = (np.sin(2 * np.pi * self.frequency * at) * loudness).astype(np.int16)
            self._sample = (self._sample + CHUNK_SAMPLES) % (RATE_HZ * 3600)
            await self.source.capture_frame(
                rtc.AudioFrame(wave.tobytes(), RATE_HZ, 1, CHUNK_SAMPLES)
            )


class Ear:
    """Keeps the last moments of a track."""

    def __init__(self, track: rtc.Track) -> None:
        self.heard = np.zeros(WINDOW_SAMPLES, np.int16)
        self.total = 0
        self._stream = rtc.AudioStream.from_track(track=track, sample_rate=RATE_HZ, num_channels=1)
        self._task = asyncio.get_running_loop().create_task(self._listen())

    def pitch(self) -> float:
        """Hz; 0 for silence, for a mixture and before enough came."""
        if self.total < WINDOW_SAMPLES or np.abs(self.heard).max() < AUDIBLE:
            return 0.0
        return pitch(self.heard)

    async def aclose(self) -> None:
        """Stop."""
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._stream.aclose()

    async def _listen(self) -> None:
        async for event in self._stream:
            samples = np.frombuffer(event.frame.data, np.int16)
            self.heard = np.concatenate((self.heard, samples))[-WINDOW_SAMPLES:]
            self.total += len(samples)


class PythonClient:
    """See `Client`. Enter it to join."""

    def __init__(
        self,
        url: str,
        token: str,
        identity: str,
        *,
        is_deaf: bool = False,
        **options: Any,
    ) -> None:
        """`is_deaf`: decode nothing; `options` are those of `rtc.RoomOptions`."""
        self.identity = identity
        self.room = rtc.Room()
        self.voices: dict[str, Voice] = {}
        self.events: list[str] = []
        self.data: list[Data] = []
        self.texts: list[tuple[str, str, str]] = []
        self.speakers: list[str] = []
        self.reason = ""
        self._url, self._token, self._options = url, token, options
        self._is_deaf = is_deaf
        self._ears: dict[str, Ear] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.join()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave()

    async def join(self) -> None:
        """Raises ClientError when refused."""
        self._watch()
        try:
            await self.room.connect(self._url, self._token, rtc.RoomOptions(**self._options))
        except rtc.ConnectError as error:
            raise ClientError(error.message) from error

    async def leave(self) -> None:
        """See `Client`."""
        voices, self.voices = self.voices, {}
        for voice in voices.values():
            await voice.aclose()
        await self._close_ears()
        await self.room.disconnect()
        await self._close_ears()  # of tracks that came meanwhile
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _close_ears(self) -> None:
        ears, self._ears = self._ears, {}
        for ear in ears.values():
            await ear.aclose()

    async def publish(self, frequency: float, name: str = "voice", **options: Any) -> str:
        """See `Client`."""
        source = options.pop("source", "microphone")
        voice = self.voices[name] = Voice(frequency, name)
        try:
            async with asyncio.timeout(PATIENCE):
                publication = await self.room.local_participant.publish_track(
                    voice.track,
                    rtc.TrackPublishOptions(source=SOURCE_NUMBERS[source], **options),
                )
        except rtc.participant.PublishTrackError as error:
            del self.voices[name]
            await voice.aclose()
            raise ClientError(error.message) from error
        voice.sid = publication.sid
        return publication.sid

    async def unpublish(self, name: str = "voice") -> None:
        """See `Client`."""
        voice = self.voices.pop(name)
        await self.room.local_participant.unpublish_track(voice.track.sid)
        await voice.aclose()

    async def set_muted(self, is_muted: bool, name: str = "voice") -> None:
        """See `Client`."""
        track = self.voices[name].track
        track.mute() if is_muted else track.unmute()

    async def set_tone(self, frequency: float, name: str = "voice") -> None:
        """See `Client`."""
        self.voices[name].frequency = frequency

    async def pitch(self, identity: str, name: str = "voice") -> float:
        """See `Client`."""
        publication = self._publication(identity, name)
        ear = self._ears.get(publication.sid) if publication is not None else None
        return ear.pitch() if ear is not None else 0.0

    async def packets(self) -> int:
        """See `Client`."""
        stats = await self.room.get_rtc_stats()
        return sum(
            each.transport.transport.packets_received
            for each in (*stats.publisher_stats, *stats.subscriber_stats)
            if each.HasField("transport")
        )

    async def inbound(self) -> list[Any]:
        """The SDK's statistics of everything that is received now."""
        stats = await self.room.get_rtc_stats()
        every = (*stats.publisher_stats, *stats.subscriber_stats)
        return [each.inbound_rtp for each in every if each.HasField("inbound_rtp")]

    async def subscribe(self, identity: str, is_wanted: bool, name: str = "voice") -> None:
        """See `Client`."""
        publication = self._publication(identity, name)
        assert publication is not None, f"{identity} publishes no {name}"
        publication.set_subscribed(is_wanted)

    async def allow(self, *identities: str, everybody: bool = False) -> None:
        """See `Client`."""
        self.room.local_participant.set_track_subscription_permissions(
            allow_all_participants=everybody,
            participant_permissions=[
                rtc.ParticipantTrackPermission(participant_identity=each, allow_all=True)
                for each in identities
            ],
        )

    async def send(self, text: str, *to: str, topic: str = "", is_reliable: bool = True) -> None:
        """See `Client`."""
        try:
            await self.room.local_participant.publish_data(
                text, reliable=is_reliable, destination_identities=list(to), topic=topic
            )
        except rtc.participant.PublishDataError as error:
            raise ClientError(error.message) from error

    async def send_text(self, text: str, *to: str, topic: str = "topic") -> None:
        """See `Client`."""
        await self.room.local_participant.send_text(
            text, topic=topic, destination_identities=list(to)
        )

    async def answer(self, method: str) -> None:
        """See `Client`."""

        async def reply(invocation: rtc.RpcInvocationData) -> str:
            return f"{self.identity}: {invocation.payload}"

        self.room.local_participant.register_rpc_method(method, reply)

    async def call(self, identity: str, method: str, payload: str) -> str:
        """See `Client`."""
        try:
            return await self.room.local_participant.perform_rpc(
                destination_identity=identity, method=method, payload=payload
            )
        except rtc.RpcError as error:
            raise ClientError(error.message) from error

    async def describe(
        self,
        *,
        name: str | None = None,
        metadata: str | None = None,
        attributes: dict[str, str] | None = None,
    ) -> None:
        """See `Client`."""
        me = self.room.local_participant
        if name is not None:
            await me.set_name(name)
        if metadata is not None:
            await me.set_metadata(metadata)
        if attributes is not None:
            await me.set_attributes(attributes)

    async def view(self) -> View:
        """See `Client`."""
        for voice in self.voices.values():
            voice.check()
        room = self.room
        permissions = room.local_participant.permissions
        return View(
            connection=CONNECTION_STATES[room.connection_state],
            reason=self.reason,
            events=list(self.events),
            room_sid=room._info.sid,
            room_name=room.name,
            room_metadata=room.metadata,
            me=_seen(room.local_participant),
            others={each.identity: _seen(each) for each in room.remote_participants.values()},
            speakers=list(self.speakers),
            data=list(self.data),
            texts=list(self.texts),
            can_publish=permissions.can_publish,
            can_subscribe=permissions.can_subscribe,
        )

    def _publication(self, identity: str, name: str) -> rtc.RemoteTrackPublication | None:
        participant = self.room.remote_participants.get(identity)
        if participant is None:
            return None
        found = [each for each in participant.track_publications.values() if each.name == name]
        return found[-1] if found else None

    def _watch(self) -> None:
        room = self.room
        for name in ("reconnecting", "reconnected"):
            room.on(name, partial(self._on_connection, name))
        room.on("disconnected", self._on_disconnected)
        room.on("participant_connected", lambda who: self.events.append(f"joined {who.identity}"))
        room.on("participant_disconnected", lambda who: self.events.append(f"left {who.identity}"))
        room.on("track_subscribed", self._on_subscribed)
        room.on("track_unsubscribed", self._on_unsubscribed)
        room.on("active_speakers_changed", self._on_speakers)
        room.on("data_received", self._on_data)
        room.register_text_stream_handler("topic", self._on_text)

    def _on_connection(self, name: str) -> None:
        self.events.append(name)

    def _on_disconnected(self, reason: int) -> None:
        self.reason = DisconnectReason.Name(reason)  # type: ignore[arg-type]
        self.events.append("disconnected")

    def _on_subscribed(
        self, track: rtc.Track, publication: rtc.RemoteTrackPublication, _: object
    ) -> None:
        self.events.append(f"subscribed {publication.name}")
        if isinstance(track, rtc.RemoteAudioTrack) and not self._is_deaf:
            self._ears[publication.sid] = Ear(track)

    def _on_unsubscribed(
        self, _: object, publication: rtc.RemoteTrackPublication, __: object
    ) -> None:
        self.events.append(f"unsubscribed {publication.name}")
        if ear := self._ears.pop(publication.sid, None):
            self._run(ear.aclose())

    def _on_speakers(self, speakers: list[rtc.Participant]) -> None:
        self.speakers = [each.identity for each in speakers]

    def _on_data(self, packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant is not None else ""
        is_reliable = packet.kind == DataPacketKind.KIND_RELIABLE
        self.data.append(Data(sender, packet.topic or "", packet.data.decode(), is_reliable))

    def _on_text(self, stream: rtc.TextStreamReader, sender: str) -> None:
        self._run(self._read(stream, sender))

    async def _read(self, stream: rtc.TextStreamReader, sender: str) -> None:
        self.texts.append((sender, stream.info.topic, await stream.read_all()))

    def _run(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def pitch(samples: np.ndarray[Any, np.dtype[np.int16]]) -> float:
    """The strongest frequency, in Hz; 0 if it does not stand out."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    peak = int(np.argmax(spectrum))
    near = spectrum[max(0, peak - 4) : peak + 5]
    if np.sum(near**2) < 0.5 * np.sum(spectrum**2):
        return 0.0
    return float(peak * RATE_HZ / len(samples))


def _seen(who: rtc.Participant) -> Seen:
    return Seen(
        sid=who.sid,
        identity=who.identity,
        name=who.name,
        metadata=who.metadata,
        attributes=dict(who.attributes),
        quality=who.connection_quality.name.lower().removeprefix("quality_"),
        is_agent=who.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT,
        tracks={each.name: _track(each) for each in who.track_publications.values()},
    )


def _track(publication: rtc.TrackPublication) -> Publication:
    return Publication(
        sid=publication.sid,
        name=publication.name,
        kind="audio" if publication.kind == rtc.TrackKind.KIND_AUDIO else "video",
        source=SOURCES.get(publication.source, "unknown"),
        is_muted=publication.muted,
        is_subscribed=publication.track is not None,
    )
