"""The people of a benchmark, in one process: on the livekit SDK, in rooms of a LiveKit server.

People who do the same share a source, so that many of them cost little; each still has a track, an
encoder and a connection. Standard input has a JSON line per person who comes, ``{"room", "person",
"does"}``; it is answered with a line once Mulisa is there and hears them. They stay until it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from livekit import rtc

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench._people import PATIENCE, SDK_FRAME_SAMPLES, Doing, publish_microphone, questions
from bench._servers import Keys

from mulisa.core.audio import SAMPLE_RATE_HZ, Samples
from mulisa.core.room import AGENT_STATE_ATTRIBUTE, AgentState, Identity, RoomName
from mulisa.providers.tones import tone

TALKERS = 4
"""So many groups of people talk in turn."""
PERIOD = 8.0
"""Seconds from one question of a person to the next; Mulisa answers in between."""
NOISE_SECONDS = 1
SDK_FRAME_DURATION = SDK_FRAME_SAMPLES / SAMPLE_RATE_HZ


class Crowd:
    """Everybody."""

    def __init__(
        self, url: str, keys: Keys, background: Samples, speeches: Sequence[Samples]
    ) -> None:
        self._url = url
        self._keys = keys
        self._background = Microphones(background)
        self._talkers = cycle([Microphones(talk) for talk in in_turn(speeches, background)])
        self._rooms: list[rtc.Room] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def come(self, room_name: RoomName, person: str, does: Doing) -> None:
        """Somebody joins; returns when Mulisa is there, and hears them if she should."""
        room = rtc.Room()
        is_there = asyncio.Event()

        def look(*_: object) -> None:
            if is_mulisa_in(room):
                is_there.set()

        room.on("participant_connected", look)
        room.on("participant_attributes_changed", look)
        token = self._keys.token(Identity(person), room_name)
        await room.connect(self._url, token, rtc.RoomOptions(auto_subscribe=False))
        self._rooms.append(room)
        look()
        if does != "idle":
            await self._open_microphone(room, does)
        async with asyncio.timeout(PATIENCE):
            await is_there.wait()

    async def _open_microphone(self, room: rtc.Room, does: Doing) -> None:
        microphones = next(self._talkers) if does == "talking" else self._background
        if not microphones.is_running:
            self._tasks.add(asyncio.create_task(microphones.run()))
        is_heard = asyncio.Event()
        room.on("local_track_subscribed", lambda track: is_heard.set())
        track = await publish_microphone(room, microphones.source)
        if does == "muted":
            track.mute()
            return
        async with asyncio.timeout(PATIENCE):
            await is_heard.wait()

    async def aclose(self) -> None:
        """All leave."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(room.disconnect() for room in self._rooms))


class Microphones:
    """One source for the tracks of many people, fed with the same sound again and again."""

    def __init__(self, sound: Samples) -> None:
        self.source = rtc.AudioSource(SAMPLE_RATE_HZ, 1, queue_size_ms=0)
        self.is_running = False
        whole = len(sound) // SDK_FRAME_SAMPLES * SDK_FRAME_SAMPLES
        self._frames = [
            rtc.AudioFrame(frame.tobytes(), SAMPLE_RATE_HZ, 1, SDK_FRAME_SAMPLES)
            for frame in sound[:whole].reshape(-1, SDK_FRAME_SAMPLES)
        ]

    async def run(self) -> None:
        """Send for ever."""
        self.is_running = True
        loop = asyncio.get_running_loop()
        due = loop.time()
        for frame in cycle(self._frames):
            due += SDK_FRAME_DURATION
            await asyncio.sleep(due - loop.time())
            await self.source.capture_frame(frame)


def is_mulisa_in(room: rtc.Room) -> bool:
    """She is there and takes part."""
    return any(
        other.attributes.get(AGENT_STATE_ATTRIBUTE, AgentState.INITIALIZING.value)
        != AgentState.INITIALIZING.value
        for other in room.remote_participants.values()
    )


def noise(level_dbfs: float) -> Samples:
    """White noise of that RMS level, as of a room in which nobody speaks."""
    rng = np.random.default_rng(1)
    sound = rng.normal(0, 32767 * 10 ** (level_dbfs / 20), NOISE_SECONDS * SAMPLE_RATE_HZ)
    return sound.astype(np.int16)


def in_turn(speeches: Sequence[Samples], background: Samples) -> list[Samples]:
    """For each group a period with one question in it, at a time of its own."""
    periods = []
    for group in range(TALKERS):
        period = np.resize(background, round(PERIOD * SAMPLE_RATE_HZ))
        speech = speeches[group % len(speeches)]
        begin = round(group * PERIOD / TALKERS * SAMPLE_RATE_HZ)
        period[begin : begin + len(speech)] = speech[: len(period) - begin]
        periods.append(period)
    return periods


async def main() -> None:
    """Do as told on standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=float, required=True, help="dBFS of what is not speech")
    parser.add_argument("--speak", choices=("tones", "questions"), required=True)
    options = parser.parse_args()
    speeches = await questions() if options.speak == "questions" else [tone(5, 1.0)]
    url, key, secret = (os.environ[f"LIVEKIT_{name}"] for name in ("URL", "API_KEY", "API_SECRET"))
    crowd = Crowd(url, Keys(key, secret), noise(options.noise), speeches)
    loop = asyncio.get_running_loop()
    try:
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            told: dict[str, Any] = json.loads(line)
            try:
                await crowd.come(RoomName(told["room"]), told["person"], told["does"])
            except TimeoutError:
                reason = f"Mulisa is not in the room {told['room']}, or hears nobody there"
                print(json.dumps({"event": "failed", "reason": reason}), flush=True)
            else:
                print("{}", flush=True)
    finally:
        await crowd.aclose()


if __name__ == "__main__":
    asyncio.run(main())
