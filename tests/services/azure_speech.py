"""A Speech resource of Azure as its SDK and its REST interface see it, on loopback.

Recognition is the Universal Speech Protocol over WebSocket, as the Speech SDK 1.53 speaks it: text
messages are ``Name:value`` headers, an empty line and JSON; binary ones are two bytes with the
length of the headers, the headers, and audio (the first with a RIFF header, the last without
audio). A turn is what has one X-RequestId; the service answers ``turn.start``,
``speech.startDetected``, ``speech.hypothesis``, ``speech.endDetected``, ``speech.phrase`` and
``turn.end``. Offsets and durations are in ticks of 100 ns from the beginning of the turn's audio.

Synthesis is ``POST …/cognitiveservices/v1`` with SSML; ``POST /sts/v1.0/issueToken``
checks a key.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from uuid import uuid4
from xml.etree import ElementTree

import numpy as np
from aiohttp import WSMsgType, web

from mulisa.core.audio import HEARING_RATE_HZ, Samples
from mulisa.providers.tones import recognise, tone
from tests.services.faults import Fault, Faults
from tests.services.openai_service import serving

KEY: Final = "canary-speech-key"
TICKS: Final = 10_000_000
"""Per second."""
SEGMENT_SILENCE: Final = 0.5
"""Seconds of silence after which the service ends a phrase by itself."""
SPEAKING_RATE_HZ: Final = 24_000
GARBAGE: Final = b"\xff\xff\xff\xff\xff\xff no frame at all"

Hear: TypeAlias = Callable[[Samples], Awaitable[str]]
"""The words in 16 kHz audio."""
Speak: TypeAlias = Callable[[str], Awaitable[Samples]]
"""Words as 24 kHz audio."""

_SSML: Final = "{http://www.w3.org/2001/10/synthesis}"
_XML: Final = "{http://www.w3.org/XML/1998/namespace}"


async def hear_tones(samples: Samples) -> str:
    """As `ScriptedSTT`: word by word what `mulisa.providers.tones` say."""
    return " ".join(f"word {word}" for word in recognise(samples))


async def speak_tones(text: str) -> Samples:
    """A tone of 0.1 s per word."""
    words = [tone(number, 0.1, SPEAKING_RATE_HZ) for number, _ in enumerate(text.split())]
    return np.concatenate(words) if words else np.zeros(0, np.int16)


@dataclass(slots=True)
class Spoken:
    """A synthesis that was asked for."""

    text: str
    voice: str
    language: str
    output_format: str


@dataclass(slots=True)
class Turn:
    """What was sent with one X-RequestId."""

    request_id: str
    context: dict[str, Any] = field(default_factory=dict)
    audio: bytearray = field(default_factory=bytearray)
    """int16 at 16 kHz, without the RIFF header."""
    segment: int = 0
    """Sample at which the phrase that is under way begins."""
    heard_until: int = 0
    """Sample up to which a hypothesis was made."""
    is_talking: bool = False
    is_over: bool = False

    @property
    def samples(self) -> Samples:
        return np.frombuffer(bytes(self.audio[: len(self.audio) & ~1]), np.int16)

    @property
    def phrases(self) -> list[str]:
        """The phrase list it came with."""
        groups = self.context.get("dgi", {}).get("Groups", [])
        return [item["Text"] for group in groups for item in group["Items"]]


@dataclass(slots=True)
class Connection:
    """One recogniser's WebSocket."""

    query: dict[str, str]
    turns: list[Turn] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    closed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def seconds(self) -> float:
        """Of audio that it brought."""
        return sum(len(turn.samples) for turn in self.turns) / HEARING_RATE_HZ


class Broken(Exception):
    """A fault ended the connection."""


class AzureSpeechService:
    """Speech to text and text to speech; `faults` of ``stt`` (per connection) and ``tts``.

    A fault's `after` counts the messages that the service sends, or chunks of speech. ``status``
    with `after` closes an open WebSocket with `status` as its code, as Azure does for a quota.
    """

    def __init__(
        self, hear: Hear = hear_tones, speak: Speak = speak_tones, interim: float = 0.2
    ) -> None:
        """`interim` is seconds of audio per hypothesis."""
        self.hear = hear
        self.speak = speak
        self.interim = interim
        self.key = KEY
        self.confidence = 0.9
        self.faults = Faults()
        self.connections: list[Connection] = []
        self.spoken: list[Spoken] = []
        self.token_requests = 0
        self.garbage: str | bytes = GARBAGE
        """What a ``garbage`` fault sends: text or raw bytes of the TCP connection."""
        self.connected = asyncio.Event()
        self.cancelled = asyncio.Event()
        """A client left before its speech was complete."""
        self.voices: Any = [
            {"ShortName": name, "Locale": name[:5], "VoiceType": "Neural"}
            for name in ("de-DE-KatjaNeural", "en-US-AvaMultilingualNeural", "en-US-GuyNeural")
        ]

    def add_routes(self, app: web.Application) -> None:
        """Recognition, synthesis, voices and tokens."""
        for prefix in ("", "/stt"):
            app.router.add_get(f"{prefix}/speech/universal/v2", self._recognise)
        for prefix in ("", "/tts"):
            app.router.add_post(f"{prefix}/cognitiveservices/v1", self._synthesise)
            app.router.add_get(f"{prefix}/cognitiveservices/voices/list", self._list_voices)
        app.router.add_post("/sts/v1.0/issueToken", self._issue_token)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The endpoint, ``http://127.0.0.1:PORT``."""
        app = web.Application()
        self.add_routes(app)
        async with serving(app) as url:
            yield url

    def refusal(self, request: web.Request, fault: Fault | None = None) -> web.Response | None:
        """What a wrong key or a fault is answered."""
        if request.headers.get("Ocp-Apim-Subscription-Key") != self.key:
            return web.Response(status=401, text="Access denied due to invalid subscription key")
        if fault is not None and fault.kind == "status" and not fault.after:
            return web.Response(status=fault.status, text=fault.message)
        return None

    async def _issue_token(self, request: web.Request) -> web.Response:
        self.token_requests += 1
        return self.refusal(request, self.faults.take("token")) or web.Response(text="a.b.c")

    async def _list_voices(self, request: web.Request) -> web.Response:
        refused = self.refusal(request, self.faults.take("voices"))
        return refused or web.json_response(self.voices)

    async def _recognise(self, request: web.Request) -> web.StreamResponse:
        fault = self.faults.take("stt")
        if (refused := self.refusal(request, fault)) is not None:
            return refused
        socket = web.WebSocketResponse(protocols=("USP",), max_msg_size=0)
        await socket.prepare(request)
        connection = Connection(dict(request.query))
        self.connections.append(connection)
        self.connected.set()
        try:
            await _Recognition(self, request, socket, connection, fault).run()
        except Broken:
            pass
        finally:
            connection.closed.set()
        return socket

    async def _synthesise(self, request: web.Request) -> web.StreamResponse:
        fault = self.faults.take("tts")
        if (refused := self.refusal(request, fault)) is not None:
            return refused
        try:
            spoken = _read_ssml(await request.text(), request.headers)
        except (ElementTree.ParseError, LookupError, ValueError) as error:
            return web.Response(status=400, text=f"SSML: {error}")
        self.spoken.append(spoken)
        try:
            return await self._send_speech(request, spoken, fault)
        except (ConnectionError, asyncio.CancelledError):
            self.cancelled.set()
            raise

    async def _send_speech(
        self, request: web.Request, spoken: Spoken, fault: Fault | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "audio/x-wav"})
        response.enable_chunked_encoding()
        audio = (await self.speak(spoken.text)).astype("<i2").tobytes()
        # Of an odd length, so that a sample is split over two of them.
        chunks = [audio[start : start + 1501] for start in range(0, len(audio), 1501)]
        await response.prepare(request)
        for number, chunk in enumerate([*chunks, b""]):
            if fault is not None and number >= fault.after:
                await self._misbehave(request, response, fault)
            if chunk:
                await response.write(chunk)
        return response

    async def _misbehave(
        self, request: web.Request, response: web.StreamResponse, fault: Fault
    ) -> None:
        transport = request.transport
        assert transport is not None
        match fault.kind:
            case "latency":
                await asyncio.sleep(fault.delay)
            case "silence":
                await asyncio.Event().wait()
            case "garbage":
                transport.write(GARBAGE)
                await asyncio.sleep(0.05)
                transport.abort()
            case _:
                transport.abort()


class _Recognition:
    """One connection."""

    def __init__(
        self,
        service: AzureSpeechService,
        request: web.Request,
        socket: web.WebSocketResponse,
        connection: Connection,
        fault: Fault | None,
    ) -> None:
        self._service = service
        self._request = request
        self._socket = socket
        self._connection = connection
        self._fault = fault
        self._sent = 0

    async def run(self) -> None:
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                self._take_text(message.data)
            elif message.type is WSMsgType.BINARY:
                await self._take_audio(message.data)

    def _take_text(self, message: str) -> None:
        head, _, body = message.partition("\r\n\r\n")
        headers = _parse_headers(head)
        match headers["Path"]:
            case "speech.config":
                self._connection.config = json.loads(body)
            case "speech.context":
                context = json.loads(body)
                self._connection.turns.append(Turn(headers["X-RequestId"], context))
            case "telemetry":
                json.loads(body)
            case path:
                raise AssertionError(f"the SDK sent {path}")

    async def _take_audio(self, message: bytes) -> None:
        (length,) = struct.unpack_from(">H", message)
        headers = _parse_headers(message[2 : 2 + length].decode("ascii"))
        assert headers["Path"] == "audio"
        turn = self._connection.turns[-1]
        assert headers["X-RequestId"] == turn.request_id
        if turn.is_over:
            return
        if not turn.audio and not turn.is_talking:
            await self._send("turn.start", {"context": {"serviceTag": uuid4().hex}})
            turn.is_talking = True
        audio = message[2 + length :]
        turn.audio += audio[44:] if audio[:4] == b"RIFF" else audio
        await (self._go_on(turn) if audio else self._end(turn))

    async def _go_on(self, turn: Turn) -> None:
        end = len(turn.audio) // 2
        if end - turn.heard_until < self._service.interim * HEARING_RATE_HZ:
            return
        turn.heard_until = end
        current = turn.samples[turn.segment :]
        text = await self._service.hear(current)
        if text:
            if turn.segment == 0:
                await self._send("speech.startDetected", {"Offset": 0})
            body = {"Text": text.lower(), "Offset": _ticks(turn.segment), "Duration": _ticks(end)}
            await self._send("speech.hypothesis", {"Id": uuid4().hex, **body})
        if _ends_silent(current):
            await self._finish_phrase(turn, text)

    async def _finish_phrase(self, turn: Turn, text: str) -> None:
        end = len(turn.audio) // 2
        if text:
            await self._send("speech.phrase", self._phrase(text, turn.segment, end))
        turn.segment = end

    async def _end(self, turn: Turn) -> None:
        turn.is_over = True
        end = len(turn.audio) // 2
        await self._send("speech.endDetected", {"Offset": _ticks(end)})
        await self._finish_phrase(turn, await self._service.hear(turn.samples[turn.segment :]))
        over = {"RecognitionStatus": "EndOfDictation", "Offset": _ticks(end), "Duration": 0}
        await self._send("speech.phrase", {"Id": uuid4().hex, **over})
        await self._send("turn.end", {})

    def _phrase(self, text: str, start: int, end: int) -> dict[str, Any]:
        best = {
            "Confidence": self._service.confidence,
            "Lexical": text.lower(),
            "ITN": text,
            "MaskedITN": text,
            "Display": text,
        }
        return {
            "Id": uuid4().hex,
            "RecognitionStatus": "Success",
            "DisplayText": text,
            "Offset": _ticks(start),
            "Duration": _ticks(end - start),
            "Channel": 0,
            "NBest": [best],
        }

    async def _send(self, path: str, body: dict[str, Any]) -> None:
        if self._fault is not None and self._sent >= self._fault.after:
            await self._misbehave(self._fault)
        self._sent += 1
        request_id = self._connection.turns[-1].request_id
        headers = f"X-RequestId:{request_id}\r\nContent-Type:application/json; charset=utf-8"
        try:
            await self._socket.send_str(f"{headers}\r\nPath:{path}\r\n\r\n{json.dumps(body)}")
        except ConnectionError as error:
            raise Broken from error

    async def _misbehave(self, fault: Fault) -> None:
        match fault.kind:
            case "latency":
                await asyncio.sleep(fault.delay)
            case "silence":
                await asyncio.Event().wait()
            case "garbage":
                await self._send_garbage()
            case "status":
                await self._socket.close(code=fault.status, message=fault.message.encode())
                raise Broken
            case _:
                self._transport.abort()
                raise Broken

    async def _send_garbage(self) -> None:
        if isinstance(garbage := self._service.garbage, str):
            request_id = self._connection.turns[-1].request_id
            await self._socket.send_str(garbage.replace("REQUEST", request_id))
        else:
            self._transport.write(garbage)

    @property
    def _transport(self) -> asyncio.Transport:
        assert isinstance(self._request.transport, asyncio.Transport)
        return self._request.transport


def _parse_headers(head: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.split("\r\n") if line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _ticks(n_samples: int) -> int:
    return n_samples * TICKS // HEARING_RATE_HZ


def _ends_silent(samples: Samples) -> bool:
    tail = samples[-round(SEGMENT_SILENCE * HEARING_RATE_HZ) :]
    return len(samples) > len(tail) and int(np.abs(tail.astype(np.int32)).max()) < 300


def _read_ssml(body: str, headers: Any) -> Spoken:
    root = ElementTree.fromstring(body)
    voice = root.find(f"{_SSML}voice")
    if root.tag != f"{_SSML}speak" or root.get("version") != "1.0" or voice is None:
        raise ValueError("speak or voice is missing")
    assert headers["Content-Type"].startswith("application/ssml+xml")
    assert headers["User-Agent"]
    return Spoken(
        "".join(voice.itertext()),
        voice.attrib["name"],
        root.attrib[f"{_XML}lang"],
        headers["X-Microsoft-OutputFormat"],
    )
