"""The speech-to-speech half of OpenAI's Realtime API, and Azure Voice Live, on this machine.

True to the protocol as far as an agent sees it: every event that comes in or goes out is checked
against the types of the `openai` package (those of the final version for OpenAI, those of the one
before for Voice Live), items are kept in order, and what the vendor refuses is refused. What is
answered is a `Brain`'s business: a scripted one, or real engines.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from aiohttp import WSMsgType, web
from openai.types import realtime as final_types
from openai.types.beta import realtime as former_types
from pydantic import BaseModel, ValidationError

from mulisa.core.audio import Samples
from mulisa.core.provider import ToolCall
from tests.services.faults import Fault, Faults

RATE_HZ: Final = 24_000
PIECE: Final = RATE_HZ // 5
"""Samples per delta."""
CONNECTION: Final = "realtime"
RESPONSE: Final = "voice"
"""Endpoints of `Faults`: of a connection (``status`` at its handshake, then pieces are events),
and of a response (``status`` fails it, pieces are deltas)."""

Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A clause of an answer."""

    text: str
    samples: Samples
    """24 kHz."""


@dataclass(slots=True)
class Item:
    """One item of a conversation."""

    wire: Event
    """As it is sent, without audio."""
    audio: Samples | None = None
    """24 kHz; what was said to it or what it said."""

    @property
    def item_id(self) -> str:
        return str(self.wire["id"])

    @property
    def text(self) -> str:
        """What is written in it; of speech, nothing."""
        parts = self.wire.get("content") or []
        return " ".join(part.get("text") or "" for part in parts).strip()


@dataclass(slots=True)
class Session:
    """What the service knows in one connection."""

    instructions: str = ""
    tools: list[Event] = field(default_factory=list)
    voice: object = ""
    turn_detection: object = "server_vad"
    items: list[Item] = field(default_factory=list)


class Brain(Protocol):
    """What answers."""

    def answer(self, session: Session, *, may_call: bool) -> AsyncIterator[Spoken | ToolCall]:
        """To the conversation as it stands."""
        ...


class OpenAIVoice:
    """The service. `faults` say what goes wrong, the rest is its memory of what happened."""

    def __init__(
        self,
        brain: Brain,
        *,
        key: str = "canary",
        models: tuple[str, ...] = ("gpt-realtime-1.5", "gpt-realtime"),
        speed: float = 5.0,
        max_session: float = 3600.0,
    ) -> None:
        """Speaks `speed` times faster than it can be heard."""
        self.brain = brain
        self.key = key
        self.models = models
        self.speed = speed
        self.max_session = max_session
        self.faults = Faults()
        self.handshakes: list[tuple[str, Mapping[str, str]]] = []
        """Path with query, and headers."""
        self.connections: list[Connection] = []
        self.invalid: list[str] = []
        """What came in and is no event; a test ends with none."""

    def add_routes(self, app: web.Application) -> None:
        """Both vendors' addresses."""
        app.router.add_get("/v1/realtime", self.converse)
        app.router.add_get("/voice-live/realtime", self.converse)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """On a port of its own; gives ``http://HOST:PORT``, without a path."""
        app = web.Application()
        self.add_routes(app)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def converse(self, request: web.Request) -> web.StreamResponse:
        """One connection, from its handshake to its end."""
        self.handshakes.append((request.path_qs, dict(request.headers)))
        is_azure = request.path.startswith("/voice-live")
        fault = self.faults.take(CONNECTION)
        if fault is not None and fault.kind == "status":
            return _refusal(fault.status, fault.code, fault.message)
        given = request.headers.get("api-key") if is_azure else _bearer(request)
        if given != self.key:
            return _refusal(401, "invalid_api_key", "Incorrect API key provided")
        if is_azure and not request.query.get("api-version"):
            return _refusal(400, "bad_request", "api-version is missing")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connection = Connection(self, socket, request, fault, is_azure=is_azure)
        self.connections.append(connection)
        try:
            async with asyncio.timeout(self.max_session):
                await connection.run(request.query.get("model", ""))
        except TimeoutError:
            await connection.expire()
        except ConnectionError:
            pass
        return socket


class Connection:
    """One WebSocket, one session."""

    def __init__(
        self,
        service: OpenAIVoice,
        socket: web.WebSocketResponse,
        request: web.Request,
        fault: Fault | None,
        *,
        is_azure: bool,
    ) -> None:
        self.session = Session()
        self.received: list[Event] = []
        self.errors: list[Event] = []
        """What was refused."""
        self._service = service
        self._socket = socket
        self._request = request
        self._fault = fault
        self._is_azure = is_azure
        self._types = _FORMER if is_azure else _FINAL
        self._ids = itertools.count(1)
        self._sent = 0
        self._silent = False
        self._buffer: list[Samples] = []
        self._active: _Active | None = None

    def of(self, kind: str) -> list[Event]:
        """Received events of a type."""
        return [event for event in self.received if event["type"] == kind]

    async def run(self, model: str) -> None:
        """Until it ends."""
        try:
            if model not in self._service.models:
                await self._error("model_not_found", f"The model '{model}' does not exist", None)
                return
            await self._send("session.created", session=self._described())
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(json.loads(message.data))
        finally:
            await self._stop_thinking()
            await self._socket.close()

    async def expire(self) -> None:
        """The session has lived too long."""
        if not self._socket.closed:
            await self._error("session_expired", "Your session hit the maximum duration", None)
            await self._socket.close()

    # In

    async def _take(self, event: Event) -> None:
        self.received.append(event)
        kind, event_id = str(event.get("type")), event.get("event_id")
        try:
            self._check(kind, event)
        except (ValidationError, KeyError) as error:
            self._service.invalid.append(f"{kind}: {error}")
            await self._error("invalid_value", f"no valid {kind}", event_id)
            return
        try:
            await getattr(self, "_on_" + kind.replace(".", "_"))(event)
        except _Refused as refused:
            await self._error(refused.code, str(refused), event_id)

    def _check(self, kind: str, event: Event) -> None:
        if self._is_azure and kind == "session.update":
            return  # its own properties are not in the types
        parsed = self._types[kind].model_validate(event)
        if parsed.model_extra:
            raise KeyError(f"unknown fields: {sorted(parsed.model_extra)}")

    async def _on_session_update(self, event: Event) -> None:
        told, session = event["session"], self.session
        session.instructions = told.get("instructions", session.instructions)
        session.tools = told.get("tools", session.tools)
        audio_in = told.get("audio", {}).get("input", {})
        audio_out = told.get("audio", {}).get("output", {})
        voice = told.get("voice", audio_out.get("voice", session.voice))
        if session.voice not in ("", voice) and any(item.audio is not None for item in self._said):
            raise _Refused("cannot_update_voice", "Cannot update a voice after audio was sent")
        session.voice = voice
        for place in (told, audio_in):
            session.turn_detection = place.get("turn_detection", session.turn_detection)
        await self._send("session.updated", session=self._described())

    async def _on_conversation_item_create(self, event: Event) -> None:
        item = {"object": "realtime.item", "status": "completed", **event["item"]}
        item.setdefault("id", f"item_{next(self._ids)}")
        if any(known.item_id == item["id"] for known in self.session.items):
            raise _Refused("item_create_duplicate_item_id", f"{item['id']} exists already")
        kinds = {part["type"] for part in item.get("content", [])}
        if item.get("role") == "assistant" and kinds != {
            "text" if self._is_azure else "output_text"
        }:
            raise _Refused("invalid_value", f"an assistant says no {kinds}")
        await self._add(Item(item), event.get("previous_item_id"))

    async def _on_conversation_item_delete(self, event: Event) -> None:
        item = self._item(event["item_id"], "item_delete_invalid_item_id")
        self.session.items.remove(item)
        await self._send("conversation.item.deleted", item_id=item.item_id)

    async def _on_conversation_item_truncate(self, event: Event) -> None:
        item = self._item(event["item_id"], "item_truncate_invalid_item_id")
        end = event["audio_end_ms"] * RATE_HZ // 1000
        if item.audio is None or item.wire.get("role") != "assistant":
            raise _Refused("invalid_value", "Only assistant audio can be truncated")
        if end > len(item.audio):
            length = len(item.audio) * 1000 // RATE_HZ
            raise _Refused("invalid_value", f"Audio content of {length} ms is already shorter")
        item.audio = item.audio[:end]
        item.wire["content"] = [{"type": "audio" if self._is_azure else "output_audio"}]
        fields = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        await self._send("conversation.item.truncated", **fields)

    async def _on_input_audio_buffer_append(self, event: Event) -> None:
        pcm = base64.b64decode(event["audio"], validate=True)
        self._buffer.append(np.frombuffer(pcm, dtype="<i2").astype(np.int16))

    async def _on_input_audio_buffer_commit(self, event: Event) -> None:
        audio = np.concatenate(self._buffer) if self._buffer else np.empty(0, np.int16)
        if len(audio) < RATE_HZ // 10:
            raise _Refused("input_audio_buffer_commit_empty", "Expected at least 100ms of audio")
        self._buffer = []
        item_id = f"item_{next(self._ids)}"
        content = [{"type": "input_audio", "transcript": None}]
        previous = self.session.items[-1].item_id if self.session.items else None
        await self._send("input_audio_buffer.committed", item_id=item_id, previous_item_id=previous)
        wire = {"id": item_id, "object": "realtime.item", "type": "message", "role": "user"}
        await self._add(Item({**wire, "status": "completed", "content": content}, audio), None)

    async def _on_response_create(self, event: Event) -> None:
        if self._active is not None and not self._active.task.done():
            raise _Refused("conversation_already_has_active_response", "one is in progress")
        response_id = f"resp_{next(self._ids)}"
        wishes = event.get("response") or {}
        task = asyncio.create_task(self._respond(response_id, wishes))
        self._active = _Active(response_id, task)

    async def _on_response_cancel(self, event: Event) -> None:
        active = self._active
        if active is None or active.task.done():
            raise _Refused("response_cancel_not_active", "Cancellation failed: no active response")
        await self._stop_thinking()
        if active.item is not None:
            active.item.wire["status"] = "incomplete"
            await self._send(
                "response.output_item.done",
                response_id=active.response_id,
                output_index=0,
                item=active.item.wire,
            )
        await self._done(active.response_id, "cancelled", {"reason": "client_cancelled"})

    @property
    def _said(self) -> list[Item]:
        return [item for item in self.session.items if item.wire.get("role") == "assistant"]

    def _item(self, item_id: str, code: str) -> Item:
        for item in self.session.items:
            if item.item_id == item_id:
                return item
        raise _Refused(code, f"there is no item {item_id}")

    async def _add(self, item: Item, previous: str | None) -> None:
        items = self.session.items
        at = len(items)
        if previous == "root":
            at = 0
        elif previous is not None:
            at = items.index(self._item(previous, "item_create_invalid_previous_item_id")) + 1
        before = items[at - 1].item_id if at else None
        items.insert(at, item)
        names = ("created",) if self._is_azure else ("added", "done")
        for name in names:
            kind = f"conversation.item.{name}"
            await self._send(kind, item=item.wire, previous_item_id=before)

    # Responses

    async def _stop_thinking(self) -> None:
        if self._active is not None:
            self._active.task.cancel()
            await asyncio.gather(self._active.task, return_exceptions=True)

    async def _respond(self, response_id: str, wishes: Event) -> None:
        fault = self._service.faults.take(RESPONSE)
        await self._send("response.created", response=self._response(response_id, "in_progress"))
        if fault is not None and fault.kind == "status":
            error = {"type": "server_error", "code": fault.code, "message": fault.message}
            await self._done(response_id, "failed", {"error": error})
            return
        may_call = wishes.get("tool_choice") != "none"
        pieces = itertools.count()
        async for part in self._service.brain.answer(self.session, may_call=may_call):
            if isinstance(part, ToolCall):
                await self._meet(fault, next(pieces))
                await self._call(response_id, part)
            else:
                await self._speak(response_id, part, fault, pieces)
        active = self._active
        assert active is not None
        if active.item is not None:
            await self._end_item(active, active.item)
        await self._done(response_id, "completed", {})

    async def _speak(
        self, response_id: str, part: Spoken, fault: Fault | None, pieces: Any
    ) -> None:
        active = self._active
        assert active is not None
        if active.item is None:
            await self._meet(fault, next(pieces))
            active.item = await self._begin_item(response_id)
        item = active.item
        where = {"response_id": response_id, "item_id": item.item_id}
        place = {**where, "output_index": 0, "content_index": 0}
        prefix = "response.audio" if self._is_azure else "response.output_audio"
        active.text += f"{part.text} "
        await self._send(f"{prefix}_transcript.delta", **place, delta=f"{part.text} ")
        for start in range(0, len(part.samples), PIECE):
            piece = part.samples[start : start + PIECE]
            await asyncio.sleep(len(piece) / RATE_HZ / self._service.speed)
            await self._meet(fault, next(pieces))
            item.audio = piece if item.audio is None else np.concatenate((item.audio, piece))
            delta = base64.b64encode(piece.astype("<i2").tobytes()).decode()
            await self._send(f"{prefix}.delta", **place, delta=delta)

    async def _begin_item(self, response_id: str) -> Item:
        wire = {
            "id": f"item_{next(self._ids)}",
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        item = Item(wire)
        await self._send(
            "response.output_item.added", response_id=response_id, output_index=0, item=wire
        )
        await self._add(item, None)
        await self._send(
            "response.content_part.added",
            response_id=response_id,
            item_id=item.item_id,
            output_index=0,
            content_index=0,
            part={"type": "audio", "transcript": ""},
        )
        return item

    async def _end_item(self, active: _Active, item: Item) -> None:
        said = active.text.strip()
        where = {"response_id": active.response_id, "item_id": item.item_id}
        place = {**where, "output_index": 0, "content_index": 0}
        prefix = "response.audio" if self._is_azure else "response.output_audio"
        await self._send(f"{prefix}.done", **place)
        await self._send(f"{prefix}_transcript.done", **place, transcript=said)
        part = {"type": "audio", "transcript": said}
        await self._send("response.content_part.done", **place, part=part)
        kind = "audio" if self._is_azure else "output_audio"
        item.wire["status"] = "completed"
        item.wire["content"] = [{"type": kind, "transcript": said}]
        await self._send(
            "response.output_item.done",
            response_id=active.response_id,
            output_index=0,
            item=item.wire,
        )

    async def _call(self, response_id: str, call: ToolCall) -> None:
        wire = {
            "id": f"item_{next(self._ids)}",
            "object": "realtime.item",
            "type": "function_call",
            "status": "in_progress",
            "call_id": call.call_id,
            "name": call.name,
            "arguments": "",
        }
        where = {"response_id": response_id, "output_index": 1}
        await self._send("response.output_item.added", **where, item=wire)
        item = Item({**wire, "status": "completed", "arguments": json.dumps(dict(call.arguments))})
        await self._add(item, None)
        arguments = {"call_id": call.call_id, "item_id": item.item_id, **where}
        if not self._is_azure:
            arguments["name"] = call.name
        kind = "response.function_call_arguments.done"
        await self._send(kind, **arguments, arguments=item.wire["arguments"])
        await self._send("response.output_item.done", **where, item=item.wire)

    async def _done(self, response_id: str, status: str, details: Event) -> None:
        usage = {"total_tokens": 120, "input_tokens": 100, "output_tokens": 20}
        response = {**self._response(response_id, status), "usage": usage}
        if details:
            response["status_details"] = {"type": status, **details}
        await self._send("response.done", response=response)

    def _response(self, response_id: str, status: str) -> Event:
        return {"id": response_id, "object": "realtime.response", "status": status, "output": []}

    # Out

    def _described(self) -> Event:
        session = self.session
        told: Event = {"instructions": session.instructions, "tools": session.tools}
        return told if self._is_azure else {"type": "realtime", **told}

    async def _error(self, code: str, message: str, event_id: str | None) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message}
        self.errors.append({**error, "event_id": event_id})
        await self._send("error", error={**error, "event_id": event_id, "param": None})

    async def _send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{next(self._ids)}", **fields}
        self._types[kind].model_validate(event)
        await self._meet(self._fault, self._sent)
        self._sent += 1
        if not self._silent and not self._socket.closed:
            await self._socket.send_json(event)

    async def _meet(self, fault: Fault | None, pieces: int) -> None:
        """Suffer a fault if it is its time."""
        if fault is None or pieces < fault.after:
            return
        match fault.kind:
            case "latency":
                await asyncio.sleep(fault.delay)
            case "cut":
                assert self._request.transport is not None
                self._request.transport.abort()
                raise ConnectionResetError("cut, as the test says")
            case "garbage" if pieces == fault.after and not self._silent:
                await self._socket.send_str("\x00 {this is no event")
            case "silence":
                self._silent = True


@dataclass(slots=True)
class _Active:
    """The response that is made."""

    response_id: str
    task: asyncio.Task[None]
    item: Item | None = None
    text: str = ""


class _Refused(Exception):
    """As the vendor refuses it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _refusal(status: int, code: str, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "code": code}
    return web.json_response({"error": error}, status=status)


def _bearer(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def _by_type(module: Any, names: Mapping[str, str]) -> dict[str, type[BaseModel]]:
    return {kind: getattr(module, name) for kind, name in names.items()}


_COMMON: Final = {
    "session.update": "SessionUpdateEvent",
    "session.created": "SessionCreatedEvent",
    "session.updated": "SessionUpdatedEvent",
    "conversation.item.create": "ConversationItemCreateEvent",
    "conversation.item.delete": "ConversationItemDeleteEvent",
    "conversation.item.deleted": "ConversationItemDeletedEvent",
    "conversation.item.truncate": "ConversationItemTruncateEvent",
    "conversation.item.truncated": "ConversationItemTruncatedEvent",
    "input_audio_buffer.append": "InputAudioBufferAppendEvent",
    "input_audio_buffer.commit": "InputAudioBufferCommitEvent",
    "input_audio_buffer.committed": "InputAudioBufferCommittedEvent",
    "response.create": "ResponseCreateEvent",
    "response.created": "ResponseCreatedEvent",
    "response.cancel": "ResponseCancelEvent",
    "response.done": "ResponseDoneEvent",
    "response.output_item.added": "ResponseOutputItemAddedEvent",
    "response.output_item.done": "ResponseOutputItemDoneEvent",
    "response.content_part.added": "ResponseContentPartAddedEvent",
    "response.content_part.done": "ResponseContentPartDoneEvent",
    "response.function_call_arguments.done": "ResponseFunctionCallArgumentsDoneEvent",
}
_FINAL: Final = _by_type(
    final_types,
    {
        **_COMMON,
        "error": "RealtimeErrorEvent",
        "conversation.item.added": "ConversationItemAdded",
        "conversation.item.done": "ConversationItemDone",
        "response.output_audio.delta": "ResponseAudioDeltaEvent",
        "response.output_audio.done": "ResponseAudioDoneEvent",
        "response.output_audio_transcript.delta": "ResponseAudioTranscriptDeltaEvent",
        "response.output_audio_transcript.done": "ResponseAudioTranscriptDoneEvent",
    },
)
_FORMER: Final = _by_type(
    former_types,
    {
        **_COMMON,
        "error": "ErrorEvent",
        "conversation.item.created": "ConversationItemCreatedEvent",
        "response.audio.delta": "ResponseAudioDeltaEvent",
        "response.audio.done": "ResponseAudioDoneEvent",
        "response.audio_transcript.delta": "ResponseAudioTranscriptDeltaEvent",
        "response.audio_transcript.done": "ResponseAudioTranscriptDoneEvent",
    },
)
