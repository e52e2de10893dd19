"""People without a browser: mesh participants that speak and hear in this process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import numpy as np

from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, AudioFrame, Samples, silence
from mulisa.core.events import (
    ChatReceived,
    ListenerConnected,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
    TrackUnsubscribed,
    TransportEvent,
)
from mulisa.core.room import AGENT_STATE_ATTRIBUTE, Identity
from mulisa.core.transport import ChatMessage
from mulisa.transport.mesh.transport import MeshTransport
from tests.browser.server import Server

PATIENCE = 60.0
"""Seconds that any one thing may take."""
AUDIBLE = 600
"""Amplitude (int16), about -35 dBFS."""
MULISA = Identity("mulisa")


class Talker:
    """Somebody in a mesh room, with an open microphone and ears for everybody."""

    def __init__(self, name: str, transport: MeshTransport) -> None:
        self.name = name
        self.transport = transport
        self.connected: set[Identity] = set()
        """Who hears us now."""
        self.audible_frames: dict[Identity, int] = {}
        """Per participant how many frames with sound came from them."""
        self.lost: set[Identity] = set()
        """Whom we once could not hear any more, present or not."""
        self.agent_state = ""
        self.chats: list[str] = []
        self.is_out = False
        """The gateway has ended this stay."""
        self._news = asyncio.Condition()
        self._frames: deque[Samples] = deque()
        self._is_silent = asyncio.Event()
        self._ears: set[asyncio.Task[None]] = set()

    @property
    def identity(self) -> Identity:
        """By which the others know us."""
        return self.transport.local.identity

    async def run(self) -> None:
        """Take part until cancelled or put out."""
        async with asyncio.TaskGroup() as tasks:
            microphone = tasks.create_task(self._send())
            async for event in self.transport.events():
                if isinstance(event, TrackSubscribed):
                    tasks.create_task(self._hear(event.identity))
                async with self._news:
                    self._note(event)
                    self._news.notify_all()
            microphone.cancel()
        async with self._news:
            self.is_out = True
            self._news.notify_all()

    async def meets(self, *identities: Identity) -> None:
        """Wait until all of these hear us."""
        await self._wait(lambda: self.connected >= set(identities), f"to meet {identities}")

    async def sees_mulisa(self, state: str) -> None:
        """Wait until this is what she does."""
        await self._wait(lambda: self.agent_state == state, f"Mulisa {state}")

    async def hears_more_of(self, identity: Identity, frames: int = 10) -> None:
        """Wait until so many more frames with sound came from somebody."""
        before = self.audible_frames.get(identity, 0)
        await self._wait(
            lambda: self.audible_frames.get(identity, 0) >= before + frames, f"to hear {identity}"
        )

    async def is_answered_in_chat(self, count: int) -> None:
        """Wait until so many messages came in all."""
        await self._wait(lambda: len(self.chats) >= count, f"{count} typed messages")

    async def say(self, speech: Samples) -> None:
        """Speak; returns when the last sample was sent."""
        whole = np.pad(speech, (0, -len(speech) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        self._is_silent.clear()
        self._frames.extend(whole)
        await self._is_silent.wait()

    async def write(self, text: str) -> None:
        """Type a message to everybody."""
        await self.transport.send_chat(ChatMessage(uuid4().hex, text))

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + FRAME_DURATION, loop.time() - 1.0)  # not all that a stall kept back
            await asyncio.sleep(due - loop.time())
            self.transport.send_frame(self._frames.popleft() if self._frames else silence())
            if not self._frames:
                self._is_silent.set()

    async def _hear(self, identity: Identity) -> None:
        async for frame in self.transport.frames(identity):
            if not _is_audible(frame):
                continue
            async with self._news:
                self.audible_frames[identity] = self.audible_frames.get(identity, 0) + 1
                self._news.notify_all()

    def _note(self, event: TransportEvent) -> None:
        match event:
            case ListenerConnected(identity):
                self.connected.add(identity)
            case TrackUnsubscribed(identity):
                self.lost.add(identity)
            case ParticipantLeft(participant):
                self.connected.discard(participant.identity)
                if participant.identity == MULISA:
                    self.agent_state = ""
            case ParticipantJoined(participant) | ParticipantUpdated(participant):
                if participant.identity == MULISA:
                    self.agent_state = participant.attributes.get(AGENT_STATE_ATTRIBUTE, "")
            case ChatReceived(text=text):
                self.chats.append(text)

    async def _wait(self, is_so: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE), self._news:
                await self._news.wait_for(is_so)
        except TimeoutError as error:
            raise AssertionError(
                f"{self.name} waited for {what}; hears {self.audible_frames}, is heard by"
                f" {self.connected}, Mulisa is {self.agent_state!r}, out: {self.is_out}"
            ) from error


@asynccontextmanager
async def talker_in(server: Server, room: str, name: str) -> AsyncIterator[Talker]:
    """Somebody in the room until the block ends."""
    admission = await server.admit(room, name)
    async with MeshTransport(admission["url"], admission["token"]) as transport:
        talker = Talker(name, transport)
        running = asyncio.create_task(talker.run(), name=name)
        try:
            yield talker
        finally:
            running.cancel()
            await asyncio.wait({running})
    if not running.cancelled() and (error := running.exception()):
        raise error


def _is_audible(frame: AudioFrame) -> bool:
    return bool(np.any(np.abs(frame.samples.astype(np.int32)) > AUDIBLE))
