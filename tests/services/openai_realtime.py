"""OpenAI's realtime transcription on this machine: the WebSocket with ``intent=transcription``.

Every event that comes in or goes out is checked against the types of the `openai` package.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import numpy as np
from aiohttp import WSMsgType, web
from openai.types.realtime import RealtimeClientEvent, RealtimeServerEvent
from pydantic import TypeAdapter, ValidationError

from mulisa.core.audio import Samples
from tests.services.faults import Fault
from tests.services.openai_service import KEY, RATE_HZ, OpenAIService, count, refused, serving

ENDPOINT: Final = "realtime"
MIN_SAMPLES: Final = RATE_HZ // 10
"""Of a commit, as the vendor demands."""

Event = dict[str, Any]
_FROM_CLIENT: TypeAdapter[Any] = TypeAdapter(RealtimeClientEvent)
_FROM_SERVER: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


class OpenAIRealtimeService:
    """Transcription sessions, beside the plain interface of `plain`."""

    def __init__(
        self,
        transcribe: Callable[[Samples], Awaitable[str]] = count,
        plain: OpenAIService | None = None,
    ) -> None:
        self.plain = plain or OpenAIService(transcribe=transcribe)
        self.faults = self.plain.faults
        self.sessions: list[Session] = []
        self._transcribe = transcribe

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """On a free port of this machine; gives the base URL."""
        app = web.Application()
        self.plain.add_routes(app)
        app.router.add_get("/v1/realtime", self.connect)
        async with serving(app) as url:
            yield f"{url}/v1"

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """One session."""
        fault = self.faults.take(ENDPOINT)
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            raise refused(401, "invalid_api_key", "Incorrect API key provided: sk-****.")
        if fault is not None and fault.kind == "status":
            raise refused(fault.status, fault.code, fault.message, fault.delay)
        assert request.query["intent"] == "transcription"
        socket = web.WebSocketResponse(timeout=1.0)
        await socket.prepare(request)
        session = Session(socket, request, fault, self._transcribe)
        self.sessions.append(session)
        await session.run()
        return socket


class Session:
    """What one connection was told, and tells."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        request: web.Request,
        fault: Fault | None,
        transcribe: Callable[[Samples], Awaitable[str]],
    ) -> None:
        self.settings: Event = {}
        self.committed: list[Samples] = []
        self.invalid: list[str] = []
        self.ended = asyncio.Event()
        self._socket = socket
        self._request = request
        self._fault = fault
        self._transcribe = transcribe
        self._ids = itertools.count(1)
        self._sent = 0
        self._buffer: list[Samples] = []

    async def run(self) -> None:
        """Until one side ends it."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await self._send("session.created", session=self._described())
                async for message in self._socket:
                    if message.type is WSMsgType.TEXT:
                        await self._take(json.loads(message.data))
        except* (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.ended.set()

    async def _take(self, event: Event) -> None:
        try:
            _FROM_CLIENT.validate_python(event)
        except ValidationError as error:
            self.invalid.append(str(error))
            await self._refuse("invalid_value", "no such event")
            return
        match event["type"]:
            case "session.update":
                self.settings = event["session"]
                await self._send("session.updated", session=self._described())
            case "input_audio_buffer.append":
                sound = base64.b64decode(event["audio"])
                self._buffer.append(np.frombuffer(sound, dtype="<i2").astype(np.int16))
            case "input_audio_buffer.commit":
                await self._commit()

    async def _commit(self) -> None:
        samples = np.concatenate([np.empty(0, np.int16), *self._buffer])
        self._buffer.clear()
        if len(samples) < MIN_SAMPLES:
            await self._refuse("input_audio_buffer_commit_empty", "buffer too small")
            return
        self.committed.append(samples)
        item_id = f"item_{next(self._ids)}"
        await self._send("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        self._tasks.create_task(self._answer(item_id, samples))

    async def _answer(self, item_id: str, samples: Samples) -> None:
        text = await self._transcribe(samples)
        kind = "conversation.item.input_audio_transcription."
        place = {"item_id": item_id, "content_index": 0}
        for word in text.split():
            await self._send(f"{kind}delta", delta=f"{word} ", **place)
        usage = {"type": "duration", "seconds": len(samples) / RATE_HZ}
        await self._send(f"{kind}completed", transcript=text, usage=usage, **place)

    async def _refuse(self, code: str, message: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": message}
        await self._send("error", error=error)

    def _described(self) -> Event:
        return {"type": "transcription", "id": "sess_1", "object": "realtime.transcription_session"}

    async def _send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{next(self._ids)}"} | fields
        _FROM_SERVER.validate_python(event)
        fault = self._fault
        if fault is not None and fault.kind == "latency":
            await asyncio.sleep(fault.delay)
        elif fault is not None and self._sent >= fault.after:
            await self._break(fault)
            return
        self._sent += 1
        await self._socket.send_json(event)

    async def _break(self, fault: Fault) -> None:
        if fault.kind == "garbage":
            await self._socket.send_str("{nonsense")
        elif fault.kind == "cut" and self._request.transport is not None:
            self._request.transport.abort()
