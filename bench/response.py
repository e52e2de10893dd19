"""Response and interruption latency at a listener's ear, next to a bare echo in the same room.

    .venv/bin/python bench/response.py                        scripted engines, 100 trials
    .venv/bin/python bench/response.py --engines local        Whisper, concierge, Piper

A person (one process) speaks to Mulisa (`mulisa serve`, two processes) and to an echo participant
(one process) in a mesh room. A trial is: speak; measure the echo of the first sample; measure the
time from the last audible sample spoken to the first one heard of Mulisa; speak again while she
answers; measure the time from the first audible sample spoken to the last one heard of her.
All clocks are the machine's monotonic one, read by the person's process alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mulisa.agent.endpointing import EndpointingConfig
from mulisa.core.audio import (
    FRAME_DURATION,
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
    AudioFrame,
    Samples,
    silence,
)
from mulisa.core.events import TrackSubscribed
from mulisa.core.room import Identity, ParticipantKind, RoomName
from mulisa.providers.tones import tone
from mulisa.server.tokens import Grant, TokenIssuer, utc_now
from mulisa.transport.mesh.transport import MeshTransport

KEY, SECRET = "bench", "only-for-this-benchmark-on-loopback-0123456789"
ROOM = RoomName("bench")
MULISA, ECHO, PERSON = Identity("mulisa"), Identity("echo"), Identity("person")
AUDIBLE = 600
"""Amplitude (int16), about -35 dBFS."""
PATIENCE = 20.0
QUESTIONS = (
    "Mulisa, who is in the call?",
    "Mulisa, what can you do for us here?",
    "Since when are we talking, Mulisa?",
    "Mulisa, what time is it now?",
    "Mulisa, can you help me, please?",
    "Mulisa, how am I connected?",
)


@dataclass
class Figures:
    """Seconds, one per trial."""

    echo: list[float] = field(default_factory=list)
    response: list[float] = field(default_factory=list)
    interruption: list[float] = field(default_factory=list)
    missed: int = 0
    """Trials without an answer, or whose answer ended before it was interrupted."""


class Ear:
    """When what was heard of one participant was audible."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.last = 0.0
        self._heard = asyncio.Event()

    def reset(self) -> None:
        """Forget the past."""
        self.first = None
        self._heard.clear()

    async def listen(self, frames: AsyncIterator[AudioFrame]) -> None:
        """Note the first and the last audible sample."""
        async for frame in frames:
            (loud,) = np.nonzero(np.abs(frame.samples.astype(np.int32)) > AUDIBLE)
            if not loud.size:
                continue
            begin = frame.received_at - FRAME_DURATION
            if self.first is None:
                self.first = begin + float(loud[0]) / SAMPLE_RATE_HZ
                self._heard.set()
            self.last = begin + float(loud[-1]) / SAMPLE_RATE_HZ

    async def heard(self) -> float:
        """When the first sample since `reset` was audible."""
        await self._heard.wait()
        assert self.first is not None
        return self.first


class Microphone:
    """Sends 20 ms when they are over, silence included, as a browser's does."""

    def __init__(self, transport: MeshTransport) -> None:
        self._transport = transport
        self._frames: deque[Samples] = deque()
        self._spoken = asyncio.Event()
        self._begun_at = 0.0

    async def run(self) -> None:
        """Send for ever."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += FRAME_DURATION
            await asyncio.sleep(due - loop.time())
            self._transport.send_frame(self._frames.popleft() if self._frames else silence())
            self._begun_at = due
            if not self._frames:
                self._spoken.set()

    async def speak(self, speech: Samples) -> tuple[float, float]:
        """Speak; the instants of the first and the last audible sample, once all is sent."""
        (loud,) = np.nonzero(np.abs(speech.astype(np.int32)) > AUDIBLE)
        whole = np.pad(speech, (0, -len(speech) % FRAME_SAMPLES)).reshape(-1, FRAME_SAMPLES)
        start = self._begun_at
        self._frames.extend(whole)
        self._spoken.clear()
        await self._spoken.wait()
        return start + loud[0] / SAMPLE_RATE_HZ, start + loud[-1] / SAMPLE_RATE_HZ


async def measure(
    microphone: Microphone, ears: dict[Identity, Ear], speeches: Sequence[Samples], trials: int
) -> Figures:
    """All trials; the answer to one is interrupted by the next."""
    figures = Figures()
    mulisa, echo = ears[MULISA], ears[ECHO]
    rng = np.random.default_rng(1)
    for trial in range(trials + 1):
        echo.reset()
        onset, end = await microphone.speak(speeches[trial % len(speeches)])
        heard_after_onset = mulisa.last - onset  # she answers only after the end of speech
        mulisa.reset()
        async with asyncio.timeout(PATIENCE):
            figures.echo.append(await echo.heard() - onset)
        if trial and heard_after_onset > 0:
            figures.interruption.append(heard_after_onset)
        elif trial:
            figures.missed += 1
        if trial == trials:
            return figures
        try:
            async with asyncio.timeout(PATIENCE):
                figures.response.append(await mulisa.heard() - end)
        except TimeoutError:
            figures.missed += 1
        await asyncio.sleep(0.3 + float(rng.uniform(0, 0.2)))
        print(f"\r{trial + 1} of {trials}", end="", file=sys.stderr, flush=True)
    return figures


async def questions() -> list[Samples]:
    """Real speech for the local engines, without silence at its ends."""
    import soxr  # type: ignore[import-untyped]

    from mulisa.providers.piper import PiperTTS

    tts = PiperTTS()
    await tts.load(lambda doing, fraction: None)
    try:
        speeches = []
        for text in QUESTIONS:
            pieces = [piece async for piece in tts.synthesize(text)]
            speech = soxr.resample(np.concatenate(pieces), tts.sample_rate_hz, SAMPLE_RATE_HZ)
            (loud,) = np.nonzero(np.abs(speech.astype(np.int32)) > AUDIBLE)
            speeches.append(speech[loud[0] : loud[-1] + 1])
        return speeches
    finally:
        await tts.aclose()


def grant_of(identity: Identity, kind: ParticipantKind) -> str:
    """A room token for one of us."""
    grant = Grant(identity, identity.title(), ROOM, kind, room_join=True, can_update_metadata=True)
    return TokenIssuer(KEY, SECRET).issue(grant, utc_now())


@contextmanager
def server(engines: str, data: str) -> Iterator[str]:
    """`mulisa serve` with its agent process; its WebSocket URL once the agent is ready."""
    command = [sys.executable, "-m", "mulisa", "serve", "--port", "0", "--json", "--data", data]
    if engines == "scripted":
        command += ["--stt", "scripted", "--llm", "scripted", "--tts", "scripted"]
    else:
        command += ["--stt", "whisper", "--llm", "concierge", "--tts", "piper"]
    env = os.environ | {"LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}
    if engines == "scripted":
        env["MULISA_VAD"] = "scripted"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert process.stdout is not None
        url = ""
        for line in process.stdout:
            said = json.loads(line)
            url = said.get("url", url)
            if said.get("event") == "agent_ready":
                break
        else:
            sys.exit("the server ended before its agent was ready; try it with `mulisa serve`")
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield url.replace("http", "ws", 1)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@contextmanager
def echo_participant(url: str) -> Iterator[None]:
    """An agent that sends back what it hears; Mulisa does not listen to agents."""
    program = Path(__file__).parent.parent / "examples" / "echo" / "echo.py"
    process = subprocess.Popen([sys.executable, str(program), url, grant_of(ECHO, "agent")])
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


async def run(engines: str, trials: int, url: str) -> Figures:
    """Join as the person, wait until both can be heard, and measure."""
    speeches = [tone(5, 1.0)] if engines == "scripted" else await questions()
    ears = {MULISA: Ear(), ECHO: Ear()}
    async with (
        MeshTransport(url, grant_of(PERSON, "standard")) as person,
        asyncio.TaskGroup() as tasks,
    ):
        microphone = Microphone(person)
        sending = tasks.create_task(microphone.run())
        listening = {}
        async with asyncio.timeout(PATIENCE):
            async for event in person.events():
                if isinstance(event, TrackSubscribed) and event.identity in ears:
                    frames = person.frames(event.identity)
                    listening[event.identity] = tasks.create_task(
                        ears[event.identity].listen(frames)
                    )
                if len(listening) == len(ears):
                    break
        await asyncio.sleep(1.0)  # DTLS of the other direction; figures do not depend on it
        figures = await measure(microphone, ears, speeches, trials)
        for task in (sending, *listening.values()):
            task.cancel()
    return figures


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds."""
    if not seconds:
        return {"trials": 0}
    p50, p95 = np.percentile(seconds, (50, 95))
    return {
        "trials": len(seconds),
        "p50_ms": round(float(p50) * 1000, 1),
        "p95_ms": round(float(p95) * 1000, 1),
        "max_ms": round(max(seconds) * 1000, 1),
    }


def commit() -> str:
    """What was measured; empty outside a clone."""
    command = ("git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD")
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Measure, print a table, and keep it as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", choices=("scripted", "local"), default="scripted")
    parser.add_argument("--trials", type=int, default=100, help="at least 100 for a p95")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--small", action="store_true", help="a quick look, no p95 to rely on")
    options = parser.parse_args()
    if options.small:
        options.trials = 10
    with (
        tempfile.TemporaryDirectory() as data,
        server(options.engines, data) as url,
        echo_participant(url),
    ):
        figures = asyncio.run(run(options.engines, options.trials, url))
    endpointing = EndpointingConfig()
    # Scripted words bear no full stop; the questions of the local run end as questions.
    silence = endpointing.required_silence(
        "word 5" if options.engines == "scripted" else QUESTIONS[0]
    )
    result = {
        "engines": options.engines,
        "endpointing_ms": silence * 1000,
        "echo": summary(figures.echo),
        "response": summary(figures.response),
        "interruption": summary(figures.interruption),
        "missed": figures.missed,
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "commit": commit(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    base = float(np.median(figures.echo)) + silence
    result["above_echo_and_endpointing"] = summary([r - base for r in figures.response])
    for row in ("echo", "response", "above_echo_and_endpointing", "interruption"):
        cells = "  ".join(f"{key} {value:>7}" for key, value in result[row].items())
        print(f"{row:<28}{cells}")
    print(f"{'endpointing silence':<28}{silence * 1000:.0f} ms; missed trials {figures.missed}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
