"""OpenAI's HTTP interface on this machine: models, chat, Responses, speech, transcriptions.

What is sent is built from the types of the `openai` package, so it has the shape that the vendor
publishes. What is answered, said and understood is given: scripted functions or real engines.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import wave
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import numpy as np
import soxr  # type: ignore[import-untyped]
from aiohttp import web
from openai.types import ErrorObject, Model
from openai.types.audio import Transcription
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from mulisa.core.audio import Samples
from mulisa.core.provider import ToolCall
from tests.services.faults import Fault, Faults

RATE_HZ: Final = 24_000
KEY: Final = "sk-service-of-the-tests"
SPEECH_PIECE: Final = 4_801
"""Bytes per chunk of speech: odd, as networks cut where they like."""
DONE: Final = b"data: [DONE]\n\n"

Body: TypeAlias = dict[str, Any]
Answer: TypeAlias = Iterable[str | ToolCall]
_RESPONSE_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def echo(body: Body) -> Answer:
    """Repeats what was said last, word by word."""
    messages = body.get("messages") or body.get("input") or []
    said = str(messages[-1].get("content") or messages[-1].get("output") or "")
    return [word + " " for word in said.split()]


async def beep(text: str) -> Samples:
    """50 ms of a tone for each character."""
    at = np.arange(len(text) * RATE_HZ // 20)
    return (8_000 * np.sin(2 * np.pi * 440 * at / RATE_HZ)).astype(np.int16)


async def count(samples: Samples) -> str:
    """How much was heard."""
    return f"{len(samples) / RATE_HZ:.1f} seconds"


class OpenAIService:
    """An account with one key. What it was asked is kept in `asked`, by endpoint."""

    def __init__(
        self,
        answer: Callable[[Body], Answer] = echo,
        speak: Callable[[str], Awaitable[Samples]] = beep,
        transcribe: Callable[[Samples], Awaitable[str]] = count,
        models: tuple[str, ...] = ("gpt-4.1-mini", "gpt-4o-mini-tts", "text-embedding-3-small"),
        knows_usage: bool = True,
        thinks: bool = False,
    ) -> None:
        """`speak` gives 24 kHz, `transcribe` is given 24 kHz.

        `knows_usage`: without it ``stream_options`` is refused, as some compatible servers do.
        `thinks`: tools are refused unless it shall not, as OpenAI's newer models do in chats.
        """
        self.faults = Faults()
        self.asked: list[tuple[str, Body]] = []
        self.cancelled = asyncio.Event()
        """A client left before its answer was complete."""
        self._answer = answer
        self._speak = speak
        self._transcribe = transcribe
        self._models = models
        self._knows_usage = knows_usage
        self._thinks = thinks
        self._numbers = itertools.count(1)

    def add_routes(self, app: web.Application) -> None:
        """Below ``/v1``."""
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/responses", self._respond)
        app.router.add_post("/v1/audio/speech", self._say)
        app.router.add_post("/v1/audio/transcriptions", self._hear)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """On a free port of this machine; gives the base URL."""
        app = web.Application()
        self.add_routes(app)
        async with serving(app) as url:
            yield f"{url}/v1"

    def bodies(self, endpoint: str) -> list[Body]:
        """What was asked of one endpoint, in order."""
        return [body for name, body in self.asked if name == endpoint]

    # Endpoints

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        fault = await self._admit(request, "models", {})
        data = [_model(name) for name in self._models]
        listed = json.dumps({"object": "list", "data": data}).encode()
        return await self._stream(request, [listed], fault, "application/json")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        fault = await self._admit(request, "chat", body)
        if not self._knows_usage and "stream_options" in body:
            raise refused(400, "unknown_parameter", "Unknown parameter: 'stream_options'.")
        if self._thinks and body.get("tools") and body.get("reasoning_effort") != "none":
            raise refused(
                400,
                "",
                "Function tools with reasoning_effort are not supported for m in"
                " /v1/chat/completions. To use function tools, use /v1/responses or set"
                " reasoning_effort to 'none'.",
            )
        answer = list(self._answer(body))
        chunks = [*map(_sse, self._chunks(body, answer)), DONE]
        return await self._stream(request, chunks, fault, "text/event-stream")

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        fault = await self._admit(request, "responses", body)
        events = self._events(body, list(self._answer(body)))
        chunks = [b"event: %s\n" % event["type"].encode() + _sse(event) for event in events]
        return await self._stream(request, chunks, fault, "text/event-stream")

    async def _say(self, request: web.Request) -> web.StreamResponse:
        body = await _json(request)
        fault = await self._admit(request, "speech", body)
        sound = (await self._speak(body["input"])).astype("<i2").tobytes()
        chunks = [sound[at : at + SPEECH_PIECE] for at in range(0, len(sound), SPEECH_PIECE)]
        return await self._stream(request, chunks, fault, "application/octet-stream")

    async def _hear(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        upload = form["file"]
        assert isinstance(upload, web.FileField)
        with upload.file as file:
            sound = file.read()
        fault = await self._admit(request, "transcriptions", fields)
        samples = _at_24_khz(sound)
        duration = {"type": "duration", "seconds": len(samples) / RATE_HZ}
        heard = {"text": await self._transcribe(samples), "usage": duration}
        Transcription.model_validate(heard, strict=True)
        return await self._stream(request, [json.dumps(heard).encode()], fault, "application/json")

    # What may go wrong

    async def _admit(self, request: web.Request, endpoint: str, body: Body) -> Fault | None:
        """Keep what was asked; raises the refusal that is due."""
        self.asked.append((endpoint, body))
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            raise refused(401, "invalid_api_key", "Incorrect API key provided: sk-****.")
        fault = self.faults.take(endpoint)
        if fault is not None and fault.kind == "status":
            raise refused(fault.status, fault.code, fault.message, fault.delay)
        return fault

    async def _stream(
        self, request: web.Request, pieces: list[bytes], fault: Fault | None, kind: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        try:
            for number, piece in enumerate([*pieces, b""]):
                if fault is not None and fault.kind == "latency":
                    await asyncio.sleep(fault.delay)
                elif fault is not None and number == min(fault.after, len(pieces)):
                    await self._break(request, response, fault, kind)
                    return response
                if piece:
                    await response.write(piece)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            self.cancelled.set()
            raise
        return response

    async def _break(
        self, request: web.Request, response: web.StreamResponse, fault: Fault, kind: str
    ) -> None:
        if fault.kind == "silence":
            await asyncio.Event().wait()
        if fault.kind == "garbage":
            await response.write(b"data: {nonsense\n\n" if "event" in kind else b"\xff{nonsense")
            await response.write_eof()
        elif request.transport is not None:
            request.transport.abort()

    # What is said

    def _chunks(self, body: Body, answer: Sequence[str | ToolCall]) -> Iterable[Body]:
        base = {"id": f"chatcmpl-{next(self._numbers)}", "created": 1, "model": body["model"]}
        base |= {"object": "chat.completion.chunk"}
        counts = bool((body.get("stream_options") or {}).get("include_usage"))
        if counts:
            base |= {"usage": None}

        def chunk(delta: Body, finish: str | None = None) -> Body:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            return _checked_chunk(base | {"choices": [choice]})

        yield chunk({"role": "assistant", "content": ""})
        calls = [part for part in answer if isinstance(part, ToolCall)]
        for part in answer:
            if isinstance(part, str):
                yield chunk({"content": part})
        for index, call in enumerate(calls):
            yield from (chunk(delta) for delta in _call_deltas(index, call))
        yield chunk({}, "tool_calls" if calls else "stop")
        if counts:
            yield _checked_chunk(base | {"choices": [], "usage": _usage(body, answer)})

    def _events(self, body: Body, answer: Sequence[str | ToolCall]) -> Iterable[Body]:
        numbers = itertools.count()
        items: list[Body] = []

        def event(kind: str, **fields: Any) -> Body:
            wire = {"type": kind, "sequence_number": next(numbers)} | fields
            _RESPONSE_EVENT.validate_python(wire)
            return wire

        def response(status: str) -> Body:
            return _response(body, status, items, answer)

        yield event("response.created", response=response("in_progress"))
        yield event("response.in_progress", response=response("in_progress"))
        text = [part for part in answer if isinstance(part, str)]
        if text:
            yield from _text_events(event, len(items), text, items)
        for call in answer:
            if isinstance(call, ToolCall):
                yield from _call_events(event, len(items), call, items)
        yield event("response.completed", response=response("completed"))


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """An application on a free port of this machine; gives ``http://127.0.0.1:PORT``."""
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def refused(status: int, code: str, message: str, retry_after: float = 0) -> web.HTTPException:
    """An error as OpenAI words it."""
    kinds = {429: "requests", 403: "request_forbidden"}
    type_ = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {"message": message, "type": type_, "param": None, "code": code or None}
    if code == "insufficient_quota":
        error["type"] = code
    ErrorObject.model_validate(error, strict=True)
    body = {"error": error}
    headers = {"Retry-After": f"{retry_after:g}"} if status == 429 else {}
    kind = type("Refusal", (web.HTTPException,), {"status_code": status})
    refusal: web.HTTPException = kind(
        text=json.dumps(body), content_type="application/json", headers=headers
    )
    return refusal


async def _json(request: web.Request) -> Body:
    body: Body = await request.json()
    return body


def _sse(event: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _model(name: str) -> Body:
    wire: Body = {"id": name, "object": "model", "created": 1, "owned_by": "us"}
    Model.model_validate(wire, strict=True)
    return wire


def _checked_chunk(wire: Body) -> Body:
    ChatCompletionChunk.model_validate(wire, strict=True)
    return wire


def _call_deltas(index: int, call: ToolCall) -> Iterable[Body]:
    """The name at once, the arguments in two pieces."""
    arguments = json.dumps(dict(call.arguments))
    half = len(arguments) // 2
    function: Body = {"name": call.name, "arguments": ""}
    first = {"index": index, "id": call.call_id, "type": "function", "function": function}
    yield {"tool_calls": [first]}
    for piece in (arguments[:half], arguments[half:]):
        yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def _usage(body: Body, answer: Sequence[str | ToolCall]) -> Body:
    asked, said = len(json.dumps(body)) // 4, len(answer)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _response(body: Body, status: str, items: list[Body], answer: Sequence[str | ToolCall]) -> Body:
    usage = _usage(body, answer)
    wire: Body = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": body["model"],
        "output": list(items),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "usage": None,
    }
    if status == "completed":
        wire["usage"] = {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage["total_tokens"],
        }
    Response.model_validate(wire)
    return wire


def _text_events(
    event: Callable[..., Body], index: int, text: list[str], items: list[Body]
) -> Iterable[Body]:
    place = {"item_id": "msg_1", "output_index": index, "content_index": 0}
    item: Body = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    yield event(
        "response.output_item.added", output_index=index, item=item | {"status": "in_progress"}
    )
    part: Body = {"type": "output_text", "text": "", "annotations": []}
    yield event("response.content_part.added", part=part, **place)
    for delta in text:
        yield event("response.output_text.delta", delta=delta, logprobs=[], **place)
    part = part | {"text": "".join(text)}
    yield event("response.output_text.done", text=part["text"], logprobs=[], **place)
    yield event("response.content_part.done", part=part, **place)
    done = item | {"status": "completed", "content": [part]}
    items.append(done)
    yield event("response.output_item.done", output_index=index, item=done)


def _call_events(
    event: Callable[..., Body], index: int, call: ToolCall, items: list[Body]
) -> Iterable[Body]:
    item_id, arguments = f"fc_{index}", json.dumps(dict(call.arguments))
    item: Body = {"id": item_id, "type": "function_call", "call_id": call.call_id}
    item |= {"name": call.name, "arguments": ""}
    yield event(
        "response.output_item.added", output_index=index, item=item | {"status": "in_progress"}
    )
    place = {"item_id": item_id, "output_index": index}
    half = len(arguments) // 2
    for delta in (arguments[:half], arguments[half:]):
        yield event("response.function_call_arguments.delta", delta=delta, **place)
    yield event("response.function_call_arguments.done", arguments=arguments, **place)
    done = item | {"status": "completed", "arguments": arguments}
    items.append(done)
    yield event("response.output_item.done", output_index=index, item=done)


def _at_24_khz(upload: bytes) -> Samples:
    try:
        with wave.open(io.BytesIO(upload)) as file:
            sound, rate_hz = file.readframes(file.getnframes()), file.getframerate()
            assert file.getnchannels() == 1 and file.getsampwidth() == 2
    except (wave.Error, EOFError) as error:
        raise refused(400, "invalid_value", "Invalid file format.") from error
    samples = np.frombuffer(sound, dtype="<i2").astype(np.int16)
    out: Samples = soxr.resample(samples, rate_hz, RATE_HZ)
    return out
