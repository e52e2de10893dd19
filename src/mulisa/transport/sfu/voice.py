"""One published track and the pump that feeds it; of the main voice and of each whisper."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Final

from livekit import rtc
from livekit.rtc.participant import PublishTrackError

from mulisa.core.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, Samples, silence
from mulisa.core.errors import TransportError
from mulisa.transport.sfu.pacing import Pacing

logger = logging.getLogger(__name__)

BIT_RATE: Final = 32_000
WARM_TIME: Final = 10.0
"""Seconds without speech, ours or expected, after which the voice goes cold."""
PUBLISH_TIME: Final = 10.0
CLOSING_TIME: Final = 1.0
MAX_WAITING_FRAMES: Final = 10
_PIECE: Final = FRAME_SAMPLES // 2
"""A source without a queue takes 10 ms at a time."""
_SILENCE: Final = silence()


class Voice:
    """Cold: muted, nothing is captured, costs nothing. Warm: unmuted, with paced silence.

    It warms up with `expect` or the first frame, and goes cold by itself. Belongs to one event
    loop.
    """

    def __init__(self, name: str, source: rtc.TrackSource.ValueType) -> None:
        self.frames_dropped = 0
        self._name = name
        self._kind = source
        self._source = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=0)
        self._track = rtc.LocalAudioTrack.create_audio_track(name, self._source)
        self._track.mute()
        self._publication: rtc.LocalTrackPublication | None = None
        self._own_mutes = 0
        self._waiting: deque[Samples] = deque()
        self._news = asyncio.Event()
        self._warm_until = float("-inf")
        self._is_held = False
        self._pumping: asyncio.Task[None] | None = None
        self._pumps: set[asyncio.Task[None]] = set()

    @property
    def sid(self) -> str:
        """Of the publication; another one after a full reconnect. Empty before `publish`."""
        return self._publication.sid if self._publication else ""

    @property
    def is_warm(self) -> bool:
        """Frames are captured now."""
        return self._pumping is not None

    async def publish(self, participant: rtc.LocalParticipant) -> None:
        """Announce the track, muted. Raises TransportError."""
        options = rtc.TrackPublishOptions(source=self._kind, dtx=False, red=False)
        options.audio_encoding.max_bitrate = BIT_RATE
        try:
            async with asyncio.timeout(PUBLISH_TIME):
                self._publication = await participant.publish_track(self._track, options)
        except TimeoutError as error:
            raise TransportError(
                f"the track {self._name!r} was not published in {PUBLISH_TIME:.0f} s"
            ) from error
        except PublishTrackError as error:
            raise TransportError(
                f"the track {self._name!r} cannot be published: {error.message}; "
                "does the token allow it (canPublish)?"
            ) from error

    def expect(self) -> None:
        """Be warm for a while. Never blocks."""
        if self._publication is None or self._is_held:
            return
        self._warm_until = asyncio.get_running_loop().time() + WARM_TIME
        if self._pumping is None:
            self._track.unmute()
            self._pumping = asyncio.create_task(self._pump(), name=f"sfu {self._name}")
            self._pumps.add(self._pumping)
            self._pumping.add_done_callback(self._pumps.discard)

    def speak(self, samples: Samples) -> None:
        """Send 20 ms (int16, shape (960,), 48 kHz) now. Never blocks.

        What comes faster than it can be captured displaces the oldest frames.
        """
        if self._is_held:
            return
        self.expect()
        if len(self._waiting) >= MAX_WAITING_FRAMES:
            self._waiting.popleft()
            self.frames_dropped += 1
        self._waiting.append(samples)
        self._news.set()

    def hold(self) -> None:
        """Be cold, and stay so until `release`: what is spoken meanwhile goes nowhere."""
        self._is_held = True
        self._cool()

    def release(self) -> None:
        """Speech goes out again. Idempotent."""
        self._is_held = False

    def muted_by_others(self) -> bool:
        """The room says that the track was muted. True if it was not by ourselves."""
        if self._own_mutes:
            self._own_mutes -= 1
            return False
        return True

    def renewed(self) -> None:
        """The connection is a new one: nothing of what we said about the track is under way."""
        self._own_mutes = 0
        (self._track.unmute if self.is_warm else self._track.mute)()

    async def aclose(self) -> None:
        """End the pump and free the source. Idempotent."""
        self.hold()
        if self._pumps:
            await asyncio.wait(self._pumps, timeout=CLOSING_TIME)
        for pump in self._pumps:
            pump.cancel()
        await self._source.aclose()

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        pacing = Pacing(loop.time())
        me = asyncio.current_task()
        try:
            while self._pumping is me:
                is_speech = await self._speech_before(pacing.silence_at())
                if self._pumping is not me:
                    return
                if not is_speech and loop.time() >= self._warm_until:
                    self._cool()
                    return
                samples = self._waiting.popleft() if is_speech else _SILENCE
                pacing.sent(loop.time(), is_speech=is_speech)
                await self._capture(samples)
        except Exception as error:  # the SDK raises nothing narrower
            logger.warning("speech could not be sent: %s", error)
            if self._pumping is me:
                self._cool()

    async def _speech_before(self, deadline: float) -> bool:
        if not self._waiting:
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
        return bool(self._waiting)

    async def _capture(self, samples: Samples) -> None:
        for start in (0, _PIECE):
            piece = samples[start : start + _PIECE].tobytes()
            await self._source.capture_frame(rtc.AudioFrame(piece, SAMPLE_RATE_HZ, 1, _PIECE))

    def _cool(self) -> None:
        """The pump ends by itself: cancelled, it would free samples that native code reads."""
        self._waiting.clear()
        self._news.set()
        if self._pumping is not None:
            self._pumping = None
            self._own_mutes += 1
            self._track.mute()
