"""What her ear adds to the packets' arrival, and what she understands when packets are lost.

    .venv/bin/python bench/ear.py            about 10 minutes
    .venv/bin/python bench/ear.py --small    a quick look

Two things are measured, for the buffer of her ear and for aiortc's own:

*Delay*, over a real mesh connection to another process: from the datagram's arrival until its sound
is a frame for the ear, and until the voice detector has judged the window which it completes. The
datagrams that are lost or late on the way are decided by a seed before her socket is read.

*Word error rate* of the local recogniser, in virtual time: Piper speaks sentences, each is encoded
once with and once without FEC, and for each network the same packets are lost and late for
everybody.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import soxr  # type: ignore[import-untyped]
from aioice.ice import StunProtocol
from aiortc.rtp import RtpPacket
from rapidfuzz.distance import Levenshtein
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench._lossy import Network, Ours, Stock, encode, play
from bench._mesh import HER, People, transport, until_connected
from bench._report import circumstances, in_milliseconds, write

from mulisa.agent.ear import Ear, EarConfig
from mulisa.agent.events import UtteranceId
from mulisa.core.audio import FRAME_SAMPLES, HEARING_RATE_HZ, SAMPLE_RATE_HZ, AudioFrame, Samples
from mulisa.core.provider import STT, VADStream
from mulisa.core.room import Identity
from mulisa.providers.piper import PiperTTS
from mulisa.providers.plausible import spoken_words
from mulisa.providers.scripted import ScriptedSTT
from mulisa.providers.silero import SileroVAD
from mulisa.providers.whisper import WhisperSTT
from mulisa.transport.mesh import receiving
from mulisa.transport.rtp.opus import OpusDecoder
from mulisa.transport.rtp.stream import VoiceStream

SENTENCES: Final = (
    "Who is in the call?",
    "What did Alice say about the budget?",
    "We should move the meeting to Thursday.",
    "The release is in two weeks and the tests are green.",
    "Please summarize the last five minutes.",
    "Could you repeat that?",
    "The new office is near the river, behind the old station.",
    "How many people are in this room?",
    "I think we need three more people on the project.",
    "Let us talk about the numbers from last month.",
    "The customer wants to see a first version before Christmas.",
    "Can somebody send me the link to the document?",
    "My train is late, so I will join from my phone.",
    "The server was down for twenty minutes this morning.",
    "Nobody told me that the price had changed.",
    "Please remind me to call the bank tomorrow at nine.",
    "We have to decide today whether we build it or buy it.",
    "The second half of the year was much better than the first.",
    "Is there anything else that we should discuss?",
    "I will write down what we have agreed on.",
    "The garden behind the house is full of yellow flowers.",
    "He drove to the airport and forgot his passport at home.",
    "Our team won the game by four points.",
    "The children were playing in the snow all afternoon.",
    "She bought bread, butter, and a bottle of milk.",
    "The doctor told him to drink more water.",
    "It was raining when we arrived in the city.",
    "The museum is closed on Monday and on Tuesday.",
    "They opened the window because the room was too hot.",
    "Turn left at the church and walk down the hill.",
    "The book that you gave me is very interesting.",
    "We met twelve years ago at a small conference.",
)
LOSSES: Final = (0.05, 0.10)
JITTERS: Final = (0.0, 0.030)
LEAD_IN: Final = 2.0
"""Seconds of silence before a sentence, in which a buffer gets to know the network."""
KEPT: Final = 0.4
"""Seconds of it that the recogniser hears."""
TAIL: Final = 0.5
LOUD: Final = 2_000
PERSON: Final = Identity("p0")
SEED: Final = 7


@dataclass(frozen=True)
class Way:
    """How packets become sound."""

    name: str
    buffer: type[Ours] | type[Stock]
    fec: bool


WAYS: Final = (
    Way("aiortc", Stock, fec=False),
    Way("ear, no FEC", Ours, fec=False),
    Way("ear", Ours, fec=True),
)


@dataclass(frozen=True)
class Errors:
    """What was understood over one network."""

    network: str
    loss: float
    bursty: bool
    jitter_ms: float
    way: str
    words: int
    word_error_rate: float
    buffer_ms: dict[str, float]
    """From a packet's arrival until its sound came out."""


def main() -> None:
    """Measure, print tables, and write the figures if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=150, help="of each delay")
    parser.add_argument("--sentences", type=int, default=len(SENTENCES), help="0: delays only")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--small", action="store_true", help="a quick look, no p95 to rely on")
    options = parser.parse_args()
    if options.small:
        options.trials, options.sentences = 20, 4
    result = asyncio.run(measure(options.trials, options.sentences, small=options.small))
    show(result)
    write(result, options.json)


async def measure(trials: int, n_sentences: int, *, small: bool) -> dict[str, Any]:
    """All figures."""
    networks = [Network(), Network(0.05, bursty=True, jitter=0.03)]
    delays = []
    for network in networks:
        for way in (WAYS[0], WAYS[-1]):
            delay = await measure_delay(network, way, trials)
            delays.append({"network": str(network), "buffer": way.name, **delay})
            tell(f"{network}: {delay} ({way.name})")
    errors = await measure_errors(SENTENCES[:n_sentences], small=small)
    return {
        "benchmark": "ear",
        **circumstances("aiortc", "av", "faster-whisper", "onnxruntime", "mulisa"),
        "delays": delays,
        "word_errors": [asdict(each) for each in errors],
    }


async def measure_errors(sentences: Sequence[str], *, small: bool) -> list[Errors]:
    """For each network and each way of hearing over it; nothing if nothing is said."""
    if not sentences:
        return []
    spoken = await speak(sentences)
    stt = WhisperSTT()
    await stt.load(quiet)
    try:
        errors = []
        for network in networks(small=small):
            for way in WAYS:
                errors.append(await word_errors(spoken, network, way, stt))
                tell(f"{network}: {errors[-1].word_error_rate:.1%} ({way.name})")
        return errors
    finally:
        await stt.aclose()


def networks(*, small: bool) -> list[Network]:
    """From a calm one to one that loses every tenth packet, most of them in bursts."""
    losses = [(0.0, False), *((loss, bursty) for loss in LOSSES for bursty in (False, True))]
    if small:
        losses = losses[-1:]
    return [Network(loss, bursty, jitter) for jitter in JITTERS for loss, bursty in losses]


async def speak(sentences: Sequence[str]) -> dict[str, Samples]:
    """Each sentence at 48 kHz in whole frames, between silences."""
    tts = PiperTTS()
    await tts.load(quiet)
    spoken = {}
    for sentence in sentences:
        pieces = [piece async for piece in tts.synthesize(sentence)]
        voice = soxr.resample(np.concatenate(pieces), tts.sample_rate_hz, SAMPLE_RATE_HZ)
        lead, tail = (np.zeros(int(s * SAMPLE_RATE_HZ), np.int16) for s in (LEAD_IN, TAIL))
        samples = np.concatenate((lead, voice.astype(np.int16), tail))
        spoken[sentence] = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES]
    await tts.aclose()
    return spoken


async def word_errors(
    spoken: dict[str, Samples], network: Network, way: Way, stt: WhisperSTT
) -> Errors:
    """What the recogniser makes of all sentences."""
    errors = words = 0
    delays: list[float] = []
    for seed, (sentence, samples) in enumerate(spoken.items()):
        buffer = way.buffer()
        heard = play(encode(samples, network.loss if way.fec else None), network, seed, buffer)
        delays += buffer.delays
        stream = stt.stream()
        heard = heard[round((LEAD_IN - KEPT) * SAMPLE_RATE_HZ) :]
        stream.push(soxr.resample(heard, SAMPLE_RATE_HZ, HEARING_RATE_HZ).astype(np.int16))
        said, understood = spoken_words(sentence), spoken_words((await stream.flush()).text)
        await stream.aclose()
        errors, words = errors + Levenshtein.distance(said, understood), words + len(said)
    return Errors(
        str(network),
        network.loss,
        network.bursty,
        network.jitter * 1000,
        way.name,
        words,
        round(errors / words, 4),
        in_milliseconds(delays),
    )


async def measure_delay(network: Network, way: Way, trials: int) -> dict[str, Any]:
    """From the arrival of a loud packet to its frame, and to the judgement of the detector."""
    stamps = Stamps(trials)
    silero = SileroVAD()
    await silero.load(quiet)
    async with AsyncExitStack() as stack:
        stack.enter_context(over(network))
        stack.enter_context(hearing_with(way.buffer, stamps))
        people = await stack.enter_async_context(People(1))
        her = await stack.enter_async_context(transport(people.url, HER, "agent"))
        await until_connected(her, 1)
        stt: STT = ScriptedSTT([])
        ids = map(UtteranceId, map(str, count()))
        vad = StampingVAD(silero, stamps)
        ear = Ear(PERSON, vad, stt, lambda _: None, EarConfig(), (), lambda: next(ids))
        hearing = asyncio.create_task(ear.run(stamps.frames(her.frames(PERSON))))
        await people.tell("tick")
        await stamps.enough.wait()
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing
        stats = her.stats(PERSON)
    await silero.aclose()
    return {
        "to_frame": in_milliseconds(stamps.framed),
        "to_vad": in_milliseconds(stamps.judged),
        "packets": {
            "received": stats.packets_received,
            "lost": stats.packets_lost,
            "late": stats.packets_late,
            "recovered": stats.packets_recovered,
        },
        "frames_concealed": stats.frames_concealed,
    }


class Stamps:
    """When the last loud sound arrived as a packet, and how long it then took."""

    def __init__(self, trials: int) -> None:
        self.enough = asyncio.Event()
        self._trials = trials
        self.framed: list[float] = []
        self.judged: list[float] = []
        self._arrived_at = self._framed_for = self._judged_for = 0.0
        self._onset = Onsets()
        self._frame_onset = Onsets()

    def arrive(self, samples: Samples, now: float) -> None:
        """A packet came; this is its sound, decoded beside the ear."""
        if self._onset.is_at(samples):
            self._arrived_at = now

    async def frames(self, source: Any) -> Any:
        """The frames, each looked at."""
        async for frame in source:
            if self._frame_onset.is_at(frame.samples) and self._framed_for != self._arrived_at:
                self._framed_for = self._arrived_at
                self.framed.append(asyncio.get_running_loop().time() - self._arrived_at)
            yield AudioFrame(frame.samples, frame.received_at)

    def judge(self, now: float) -> None:
        """The detector has judged the first window with a loud sound."""
        if self._judged_for != self._arrived_at:
            self._judged_for = self._arrived_at
            self.judged.append(now - self._arrived_at)
            if len(self.judged) == self._trials:
                self.enough.set()


class Onsets:
    """Loud after it was quiet."""

    def __init__(self) -> None:
        self._was_loud = False

    def is_at(self, samples: Samples) -> bool:
        """Does something loud begin here?"""
        is_loud = bool(np.max(np.abs(samples), initial=0) > LOUD)
        is_onset = is_loud and not self._was_loud
        self._was_loud = is_loud
        return is_onset


class StampingVAD:
    """Silero, and when it had judged."""

    def __init__(self, silero: SileroVAD, stamps: Stamps) -> None:
        self._silero, self._stamps = silero, stamps
        self.label, self.window_samples = silero.label, silero.window_samples

    async def load(self, progress: Callable[[str, float | None], None]) -> None:
        """It is."""

    async def aclose(self) -> None:
        """Others do."""

    def stream(self) -> VADStream:
        """One voice."""
        return _StampingStream(self._silero.stream(), self._stamps)


class _StampingStream:
    def __init__(self, stream: VADStream, stamps: Stamps) -> None:
        self._stream, self._stamps, self._onset = stream, stamps, Onsets()
        self.close = stream.close

    async def probability(self, window: Samples) -> float:
        probability = await self._stream.probability(window)
        if self._onset.is_at(window):
            self._stamps.judge(asyncio.get_running_loop().time())
        return probability


@contextmanager
def over(network: Network) -> Iterator[None]:
    """RTP that comes to this process comes over this network."""
    original, delays = StunProtocol.datagram_received, network.delays(SEED)

    def receive(protocol: StunProtocol, data: bytes, address: Any) -> None:
        if len(data) <= 12 or not 128 <= data[0] < 192 or 192 <= data[1] <= 223:
            original(protocol, data, address)
        elif (late := next(delays)) is not None:
            asyncio.get_running_loop().call_later(late, original, protocol, data, address)

    setattr(StunProtocol, "datagram_received", receive)  # noqa: B010
    try:
        yield
    finally:
        setattr(StunProtocol, "datagram_received", original)  # noqa: B010


@contextmanager
def hearing_with(buffer: type[Ours] | type[Stock], stamps: Stamps) -> Iterator[None]:
    """Receivers that are made now have this buffer, and tell what arrives."""
    beside = OpusDecoder()
    original = receiving.VoiceReceiver._handle_rtp_packet

    async def handle(receiver: Any, packet: RtpPacket, arrival_time_ms: int) -> None:
        stamps.arrive(beside.decode(packet.payload), asyncio.get_running_loop().time())
        await original(receiver, packet, arrival_time_ms)

    setattr(receiving, "VoiceStream", buffer)  # noqa: B010
    setattr(receiving.VoiceReceiver, "_handle_rtp_packet", handle)  # noqa: B010
    try:
        yield
    finally:
        setattr(receiving, "VoiceStream", VoiceStream)  # noqa: B010
        setattr(receiving.VoiceReceiver, "_handle_rtp_packet", original)  # noqa: B010


def tell(progress: str) -> None:
    """For whoever waits."""
    print(progress, file=sys.stderr, flush=True)


def quiet(_: str, __: float | None) -> None:
    """Progress that nobody reads."""


def show(result: dict[str, Any]) -> None:
    """As tables."""
    console = Console()
    table = Table(title="from a packet's arrival, ms (p50 / p95)")
    for name in ("network", "buffer", "to a frame", "to the VAD's judgement", "trials"):
        table.add_column(name)
    for row in result["delays"]:
        pairs = (f"{row[k]['p50_ms']} / {row[k]['p95_ms']}" for k in ("to_frame", "to_vad"))
        trials = str(row["to_vad"]["trials"])
        table.add_row(row["network"], row["buffer"], *pairs, trials)
    console.print(table)
    table = Table(title="word error rate")
    for name in ("network", *(way.name for way in WAYS), "her buffer, ms (p50 / p95)"):
        table.add_column(name)
    rows = result["word_errors"]
    for start in range(0, len(rows), len(WAYS)):
        ways = rows[start : start + len(WAYS)]
        buffer = ways[-1]["buffer_ms"]
        rates = (f"{each['word_error_rate']:.1%}" for each in ways)
        table.add_row(ways[0]["network"], *rates, f"{buffer['p50_ms']} / {buffer['p95_ms']}")
    console.print(table)


if __name__ == "__main__":
    main()
