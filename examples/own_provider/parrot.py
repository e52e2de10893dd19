"""An LLM of one's own: a parrot that repeats what it hears and can ask for a tool.

    parrot.py ws://localhost:8000 TOKEN

joins a mesh room and takes part in it. TOKEN is a room token, see README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import mulisa
from mulisa import ChatRequest, Delta, Engines, TextDelta, ToolCall, TranscriptEntry


class Parrot:
    """These four members are what `mulisa.LLM` asks for; nothing is inherited."""

    label = "parrot"

    async def load(self, progress: mulisa.Progress) -> None:
        """Models are loaded here, once per process."""
        progress("awake", 1.0)

    async def aclose(self) -> None:
        """Nothing to free."""

    async def chat(self, request: ChatRequest) -> AsyncIterator[Delta]:
        """One step of an answer. What is yielded first is spoken first."""
        last = request.messages[-1]
        if last.role == "tool":
            people = json.loads(last.content)["people"]
            yield TextDelta(f"I see {' and '.join(person['name'] for person in people)}. Squawk!")
        elif "who" in last.content.lower() and request.tools:
            yield ToolCall("call-1", "who_is_here", {})
        else:
            yield TextDelta(f"{last.name} said: {last.content} ")
            yield TextDelta("Squawk!")


class Printed:
    """A `mulisa.TranscriptLog` that is a list and the terminal."""

    def __init__(self) -> None:
        self.entries: list[TranscriptEntry] = []

    async def append(self, room: str, entry: TranscriptEntry) -> None:
        """Called before the words are shown in the room."""
        self.entries.append(entry)
        print(f"{entry.name}: {entry.text}", flush=True)

    async def recent(self, room: str, limit: int) -> Sequence[TranscriptEntry]:
        """What she remembers of the call when she comes into it."""
        return self.entries[-limit:]


async def take_part(url: str, token: str) -> None:
    """Hear, think and speak until the room is gone or Ctrl-C."""
    from mulisa.providers.piper import PiperTTS
    from mulisa.providers.silero import SileroVAD
    from mulisa.providers.whisper import WhisperSTT

    engines = Engines(vad=SileroVAD(), stt=WhisperSTT(), llm=Parrot(), tts=PiperTTS())
    parts = (engines.vad, engines.stt, engines.llm, engines.tts)
    try:
        for engine in parts:
            await engine.load(lambda doing, fraction: print(doing, flush=True))
        persona = mulisa.Persona(name="Parrot")
        await mulisa.Session(mulisa.MeshTransport(url, token), engines, persona, Printed()).run()
    finally:
        for engine in parts:
            await engine.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A parrot takes part in a room.")
    parser.add_argument("url", help="of the gateway: ws://localhost:8000")
    parser.add_argument("token", help="of the room: POST /api/rooms/ROOM/token")
    arguments = parser.parse_args()
    try:
        asyncio.run(take_part(arguments.url, arguments.token))
    except KeyboardInterrupt:
        pass
