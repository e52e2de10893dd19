"""Our voice: encoded once with Opus, fanned out as packets to one track per listener.

aiortc's sender passes an `av.Packet` through without encoding (`RTCRtpSender._next_encoded_frame`
hands it to ``Encoder.pack``), so a room of twelve costs one encoder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from mulisa.core.audio import Samples
from mulisa.core.room import Identity
from mulisa.core.transport import SendFrame
from mulisa.transport.rtp.spurts import TAIL_FRAMES, SpeechClock, TalkSpurts, VoicePacket

MAX_WAITING_PACKETS: Final = TAIL_FRAMES + 1
"""The end of one talk spurt and the beginning of another, when they come at once."""


class Voice:
    """What we say aloud to all listeners, and what we whisper to one of them.

    A whisper goes to its listener's connection and to no other, in the same RTP stream: only one
    reply is spoken at a time, so nobody has to mix. It has an encoder of its own (`TalkSpurts`).
    """

    def __init__(self, listeners: frozenset[Identity] | None = None) -> None:
        """`listeners` as in `speak_to`."""
        self._listeners = listeners
        self._tracks: set[VoiceTrack] = set()
        self._clock = SpeechClock()
        self._aloud = TalkSpurts(self._clock, self._send_aloud)
        self._speaking = self._aloud
        """Who spoke last; another one begins only after that talk spurt has ended."""

    @property
    def frames_encoded(self) -> int:
        """How often the encoder of what is said aloud ran, whatever the number of listeners."""
        return self._aloud.frames_encoded

    def track(self, listener: Identity, on_listening: Callable[[], None]) -> VoiceTrack:
        """A track for one listener. `on_listening` is called once: from then on it is heard."""
        track = VoiceTrack(listener, on_listening, self._tracks.discard)
        self._tracks.add(track)
        return track

    def speak(self, samples: Samples) -> None:
        """Encode 20 ms (int16, shape (960,), 48 kHz) and hand it to every listener now."""
        self._speak(self._aloud, samples)

    def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        """Hand packets, from this moment on, to the tracks of these alone; None is everybody.

        What already waits in the tracks of others is taken back. Nothing lies between a track and
        the socket: aiortc's sender takes a packet and sends it without giving up the loop.
        """
        self._listeners = listeners
        for track in self._tracks:
            if not self._speaks_to(track):
                track.clear()

    def whisper(self, listener: Identity) -> SendFrame:
        """Speak to this listener's track alone, whoever else may listen."""

        def send(packet: VoicePacket) -> None:
            for track in self._tracks:
                if track.listener == listener:
                    track.push(packet)

        spurts = TalkSpurts(self._clock, send)
        return lambda samples: self._speak(spurts, samples)

    def close(self) -> None:
        """Send no more. Idempotent."""
        self._speaking.close()
        for track in list(self._tracks):
            track.stop()

    def _speak(self, spurts: TalkSpurts, samples: Samples) -> None:
        if spurts is not self._speaking:
            self._speaking.end()
            self._speaking = spurts
        spurts.speak(samples)

    def _send_aloud(self, packet: VoicePacket) -> None:
        for track in self._tracks:
            if self._speaks_to(track):
                track.push(packet)

    def _speaks_to(self, track: VoiceTrack) -> bool:
        return self._listeners is None or track.listener in self._listeners


class VoiceTrack(MediaStreamTrack):
    """What one connection sends. Holds no more than `MAX_WAITING_PACKETS`, the oldest go first.

    Before the connection asks for its first packet nobody could hear it, so nothing is kept.
    """

    kind = "audio"

    def __init__(
        self,
        listener: Identity,
        on_listening: Callable[[], None],
        on_stop: Callable[[VoiceTrack], None],
    ) -> None:
        super().__init__()
        self.listener = listener
        self.packets_sent = 0
        """Handed to the connection, which sends them at once."""
        self._on_listening = on_listening
        self._on_stop = on_stop
        self._is_listening = False
        self._packets: asyncio.Queue[VoicePacket] = asyncio.Queue(MAX_WAITING_PACKETS)

    @property
    def is_listening(self) -> bool:
        """What is pushed now is sent."""
        return self._is_listening and self.readyState == "live"

    def push(self, packet: VoicePacket) -> None:
        """Send this packet next. Never blocks."""
        if not self._is_listening:
            return
        if self._packets.full():
            self._packets.get_nowait()
        self._packets.put_nowait(packet)

    def clear(self) -> None:
        """Take back what was pushed and not sent yet; a reader that was woken for it waits on."""
        while not self._packets.empty():
            self._packets.get_nowait()

    async def recv(self) -> VoicePacket:
        """The next packet, the moment it is spoken; aiortc calls this once it is connected."""
        if self.readyState != "live":
            raise MediaStreamError
        if not self._is_listening:
            self._is_listening = True
            self._on_listening()
        packet = await self._packets.get()
        self.packets_sent += 1
        return packet

    def stop(self) -> None:
        """Take no more packets. Idempotent."""
        self._on_stop(self)
        super().stop()
