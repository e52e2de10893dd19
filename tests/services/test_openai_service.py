"""The service of the tests is what the vendor publishes, by the vendor's own SDK and types."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import openai
import pytest
from openai import AsyncOpenAI, BaseModel
from openai.types import ErrorObject
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from mulisa.core.provider import ToolCall
from tests.services.faults import Fault, FaultKind
from tests.services.openai_service import KEY, OpenAIService, beep

pytestmark = pytest.mark.network

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CALL = ToolCall("call_1", "who_is_here", {"room": "é"})
QUESTION: Final[Any] = [{"role": "user", "content": "one two three"}]


@asynccontextmanager
async def asking(service: OpenAIService, key: str = KEY) -> AsyncIterator[AsyncOpenAI]:
    async with (
        service.serving() as url,
        AsyncOpenAI(api_key=key, base_url=url, max_retries=0) as client,
    ):
        yield client


async def chat(client: AsyncOpenAI) -> list[Any]:
    usage: Any = {"include_usage": True}
    asked = client.chat.completions.create(
        model="m", messages=QUESTION, stream=True, stream_options=usage
    )
    async with await asked as stream:
        return [chunk async for chunk in stream]


async def respond(client: AsyncOpenAI) -> list[Any]:
    async with await client.responses.create(model="m", input=QUESTION, stream=True) as stream:
        return [event async for event in stream]


async def list_models(client: AsyncOpenAI) -> list[Any]:
    return list((await client.models.list()).data)


async def speak(client: AsyncOpenAI) -> list[Any]:
    asked = client.audio.speech.with_streaming_response.create(
        model="m", voice="coral", input="hello", response_format="pcm"
    )
    async with asked as response:
        return [piece async for piece in response.iter_bytes()]


async def transcribe(client: AsyncOpenAI) -> list[Any]:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(32_000))
    upload = ("speech.wav", out.getvalue(), "audio/wav")
    return [await client.audio.transcriptions.create(file=upload, model="m")]


ENDPOINTS: dict[str, Callable[[AsyncOpenAI], Awaitable[list[Any]]]] = {
    "models": list_models,
    "chat": chat,
    "responses": respond,
    "speech": speak,
    "transcriptions": transcribe,
}


def is_published(value: Any) -> bool:
    """No field that the vendor's types do not have."""
    if isinstance(value, list):
        return all(map(is_published, value))
    if not isinstance(value, BaseModel):
        return True
    return not value.model_extra and all(is_published(field) for _, field in value)


async def test_chat() -> None:
    async with asking(OpenAIService(lambda body: ["one ", "two", CALL])) as client:
        chunks = [
            ChatCompletionChunk.model_validate(chunk.to_dict(), strict=True)
            for chunk in await chat(client)
        ]
    assert is_published(chunks)
    *said, counted = chunks
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "one two"
    assert said[-1].choices[0].finish_reason == "tool_calls"
    assert counted.choices == [] and counted.usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


async def test_responses() -> None:
    async with asking(OpenAIService(lambda body: ["one ", "two", CALL])) as client:
        events = [EVENT.validate_python(event.to_dict()) for event in await respond(client)]
    assert is_published(events)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    whole = events[-1].response
    assert whole.output_text == "one two"
    assert json.loads(whole.output[1].arguments) == CALL.arguments


async def test_a_list_of_models() -> None:
    async with asking(OpenAIService(models=("a", "b"))) as client:
        models = await list_models(client)
    assert is_published(models)
    assert [model.id for model in models] == ["a", "b"]


async def test_speech() -> None:
    async with asking(OpenAIService()) as client:
        sound = b"".join(await speak(client))
    assert sound == (await beep("hello")).astype("<i2").tobytes()


async def test_transcriptions() -> None:
    async with asking(OpenAIService()) as client:
        (heard,) = await transcribe(client)
        assert is_published(heard)
        assert (heard.text, heard.usage.seconds) == ("1.0 seconds", 1.0)
        with pytest.raises(openai.BadRequestError):
            await client.audio.transcriptions.create(file=("a.wav", b"noise"), model="m")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_another_key_is_refused(endpoint: str) -> None:
    async with asking(OpenAIService(), key="sk-another") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            await ENDPOINTS[endpoint](client)
    assert caught.value.code == "invalid_api_key"


REFUSALS = [
    (400, "invalid_value", openai.BadRequestError, "invalid_request_error"),
    (403, "unsupported_country_region_territory", openai.PermissionDeniedError, "forbidden"),
    (404, "model_not_found", openai.NotFoundError, "invalid_request_error"),
    (429, "rate_limit_exceeded", openai.RateLimitError, "requests"),
    (429, "insufficient_quota", openai.RateLimitError, "insufficient_quota"),
    (500, "", openai.InternalServerError, "server_error"),
    (503, "", openai.InternalServerError, "server_error"),
]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("status", "code", "kind", "type_"), REFUSALS)
async def test_refusals(
    endpoint: str, status: int, code: str, kind: type[openai.APIStatusError], type_: str
) -> None:
    service = OpenAIService()
    service.faults.next(endpoint, Fault("status", status=status, code=code, delay=7))
    async with asking(service) as client:
        with pytest.raises(kind) as caught:
            await ENDPOINTS[endpoint](client)
        assert await ENDPOINTS[endpoint](client), "the next one is not refused"
    assert caught.value.status_code == status
    assert is_published(ErrorObject.model_validate(caught.value.body))
    assert caught.value.code == (code or None)
    assert type_ in str(caught.value.type)
    assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)


async def says_nothing(service: OpenAIService, asked: asyncio.Future[Any]) -> None:
    """It does not answer, and notices that nobody waits any more."""
    while not service.faults.happened:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.wait({asked}, timeout=0.2)
    assert not asked.done()
    asked.cancel()
    await service.cancelled.wait()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("kind", ["latency", "cut", "garbage", "silence"])
async def test_faults(endpoint: str, kind: FaultKind) -> None:
    service = OpenAIService()
    service.faults.next(endpoint, Fault(kind, delay=0.02))
    async with asking(service) as client:
        ask = ENDPOINTS[endpoint]
        if kind == "latency":
            assert len(await ask(client)) > 0
        elif kind == "silence":
            async with asyncio.timeout(10):
                await says_nothing(service, asyncio.ensure_future(ask(client)))
        elif kind == "garbage" and endpoint == "speech":
            assert await ask(client) != [(await beep("hello")).tobytes()]
        else:
            with pytest.raises(Exception, match=r".") as caught:
                await ask(client)
            assert not isinstance(caught.value, AssertionError)
        assert await ask(client), "the next one is well"
    assert [fault.kind for _, fault in service.faults.happened] == [kind]
