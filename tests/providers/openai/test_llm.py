"""Against a real server on loopback that speaks the protocol, well or badly."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

import mulisa.providers.openai.connection as openai_provider
from mulisa.core.errors import ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta, ToolCall, ToolSpec
from mulisa.providers.openai.llm import OpenAILLM
from tests.network import free_port

pytestmark = pytest.mark.network

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HELLO = ChatRequest((Message("user", "hello", name="Zoë van Dijk"),))


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    body = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps(body | {'choices': [choice]})}\n\n".encode()


def call(index: int | None, call_id: str | None, name: str | None, arguments: str) -> bytes:
    function = {"name": name, "arguments": arguments}
    return chunk({"tool_calls": [{"index": index, "id": call_id, "function": function}]})


STOP = chunk({}, "stop")
CALLED = chunk({}, "tool_calls")
DONE = b"data: [DONE]\n\n"


class Server:
    """Answers every chat with the same pieces and keeps what it was asked."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.asked: list[dict[str, Any]] = []
        self.hang_after: int | None = None
        self.gone = asyncio.Event()

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(await request.json())
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for number, piece in enumerate(self.pieces):
                if number == self.hang_after:
                    await asyncio.Event().wait()
                await response.write(piece)
        finally:
            self.gone.set()
        return response


async def models(_: web.Request) -> web.Response:
    data = [{"id": name, "object": "model"} for name in ("nomic-embed-text", "llama3.2")]
    return web.json_response({"object": "list", "data": data})


@asynccontextmanager
async def serving(
    chat: Handler, list_models: Handler = models, load: bool = True
) -> AsyncIterator[OpenAILLM]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/v1/models", list_models)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    llm = OpenAILLM(base_url=f"http://127.0.0.1:{port}/v1", api_key="secret")
    try:
        if load:
            await llm.load(lambda *_: None)
        yield llm
    finally:
        await llm.aclose()
        await runner.cleanup()


async def reply(llm: OpenAILLM, request: ChatRequest = HELLO) -> list[Delta]:
    return [delta async for delta in llm.chat(request)]


async def test_text_streams_piece_by_piece() -> None:
    server = Server(
        chunk({"role": "assistant"}), chunk({"content": "Hel"}), chunk({"content": "lo"})
    )
    server.pieces += (STOP, DONE)
    async with serving(server.chat) as llm:
        assert await reply(llm) == [TextDelta("Hel"), TextDelta("lo")]
        assert llm.label.startswith("llama3.2 (http://127.0.0.1:")


async def test_text_arrives_before_the_answer_is_complete() -> None:
    server = Server(chunk({"content": "Now"}), STOP)
    server.hang_after = 1
    async with serving(server.chat) as llm:
        stream = aiter(llm.chat(HELLO))
        async with asyncio.timeout(5):
            assert await anext(stream) == TextDelta("Now")
        await stream.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(5):
            await server.gone.wait()


async def test_what_is_sent() -> None:
    called = ToolCall("c1", "who_is_here", {"room": "é"})
    tool = ToolSpec("who_is_here", "People", {"type": "object", "properties": {}})
    messages = (
        Message("system", "be brief"),
        Message("user", "who?", name="Zoë van Dijk"),
        Message("user", "who?", name="李"),
        Message("assistant", "", tool_calls=(called,)),
        Message("tool", '{"people": 2}', call_id="c1"),
        Message("assistant", "Two."),
    )
    server = Server(chunk({"content": "x"}), STOP, DONE)
    async with serving(server.chat) as llm:
        await reply(llm, ChatRequest(messages, (tool,)))
    (asked,) = server.asked
    assert asked["stream"] is True
    assert asked["model"] == "llama3.2"
    assert asked["tools"][0]["function"]["name"] == "who_is_here"
    system, zoe, li, wants, gets, says = asked["messages"]
    assert system == {"role": "system", "content": "be brief"}
    assert zoe == {"role": "user", "name": "Zoe_van_Dijk", "content": "Zoë van Dijk: who?"}
    assert li == {"role": "user", "content": "李: who?"}
    assert wants["content"] is None
    assert json.loads(wants["tool_calls"][0]["function"]["arguments"]) == {"room": "é"}
    assert gets == {"role": "tool", "tool_call_id": "c1", "content": '{"people": 2}'}
    assert says == {"role": "assistant", "content": "Two."}


async def test_tool_calls_split_over_deltas() -> None:
    server = Server(
        chunk({"content": "Let me see."}),
        call(0, "a", "search", '{"who": '),
        call(1, "b", "now", ""),
        call(0, None, None, '"Alice"}'),
        CALLED,
        DONE,
    )
    async with serving(server.chat) as llm:
        assert await reply(llm) == [
            TextDelta("Let me see."),
            ToolCall("a", "search", {"who": "Alice"}),
            ToolCall("b", "now", {}),
        ]


@pytest.mark.parametrize("index", [0, None])
async def test_whole_tool_calls_with_one_index(index: int | None) -> None:
    server = Server(call(index, "a", "x", "{}"), call(index, "b", "y", '{"n": 1}'), CALLED, DONE)
    async with serving(server.chat) as llm:
        assert await reply(llm) == [ToolCall("a", "x", {}), ToolCall("b", "y", {"n": 1})]


@pytest.mark.parametrize("arguments", ["{broken", "[1]", '"text"'])
async def test_arguments_that_are_no_object(arguments: str) -> None:
    server = Server(call(0, "a", "x", arguments), CALLED, DONE)
    async with serving(server.chat) as llm:
        with pytest.raises(ProviderError, match="'x'"):
            await reply(llm)


def refusing(status: int, code: str = "", message: str = "because") -> Handler:
    async def handler(_: web.Request) -> web.Response:
        error = {"message": message, "type": "x", "code": code}
        return web.json_response({"error": error}, status=status)

    return handler


@pytest.mark.parametrize(
    ("status", "code", "words", "retryable"),
    [
        (401, "invalid_api_key", "OPENAI_API_KEY", False),
        (403, "", "OPENAI_API_KEY", False),
        (404, "model_not_found", "openai:MODEL", False),
        (429, "rate_limit_exceeded", "later", True),
        (429, "insufficient_quota", "billing", False),
    ],
)
async def test_refusals(status: int, code: str, words: str, retryable: bool) -> None:
    async with serving(refusing(status, code)) as llm:
        with pytest.raises(ProviderUnavailable, match=words) as caught:
            await reply(llm)
    assert caught.value.retryable is retryable
    assert "because" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("status", "retryable"), [(400, False), (422, False), (500, True)])
async def test_failures(status: int, retryable: bool) -> None:
    async with serving(refusing(status)) as llm:
        with pytest.raises(ProviderError, match=f"answered {status}: because") as caught:
            await reply(llm)
    assert caught.value.retryable is retryable


async def test_a_refused_key_is_found_while_loading() -> None:
    async with serving(refusing(401), refusing(401), load=False) as llm:
        with pytest.raises(ProviderUnavailable, match="refuses the key"):
            await llm.load(lambda *_: None)


async def test_a_server_without_a_list_of_models_needs_a_name() -> None:
    async with serving(refusing(404), refusing(404), load=False) as llm:
        with pytest.raises(ProviderUnavailable, match="name one"):
            await llm.load(lambda *_: None)


async def test_a_connection_lost_in_the_middle() -> None:
    async def chat(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(chunk({"content": "Half an"}))
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving(chat) as llm:
        heard: list[Delta] = []
        with pytest.raises(ProviderError) as caught:
            async for delta in llm.chat(HELLO):
                heard.append(delta)
    assert caught.value.retryable
    assert heard == [TextDelta("Half an")]


async def test_an_answer_that_just_ends() -> None:
    async with serving(Server(chunk({"content": "Half an"})).chat) as llm:
        with pytest.raises(ProviderError, match="in the middle"):
            await reply(llm)


async def test_garbage() -> None:
    server = Server(chunk({"content": "x"}), b"data: {nonsense\n\n", STOP)
    async with serving(server.chat) as llm:
        with pytest.raises(ProviderError, match="no answer"):
            await reply(llm)


@pytest.mark.parametrize(
    ("error", "words", "retryable"),
    [
        ({"message": "out of memory"}, "could not answer: out of memory", True),
        ({"message": "no credit", "code": "insufficient_quota"}, "no credit; .*billing", False),
    ],
)
async def test_an_error_in_the_middle(error: Any, words: str, retryable: bool) -> None:
    told = f"data: {json.dumps({'error': error})}\n\n".encode()
    async with serving(Server(chunk({"content": "x"}), told, STOP).chat) as llm:
        with pytest.raises(ProviderError, match=words) as caught:
            await reply(llm)
    assert caught.value.retryable is retryable


async def test_a_model_that_refuses_says_so() -> None:
    server = Server(chunk({"content": None, "refusal": "I must not."}), STOP, DONE)
    async with serving(server.chat) as llm:
        assert await reply(llm) == [TextDelta("I must not.")]


@pytest.mark.parametrize("hang_after", [0, 1])
async def test_a_server_that_falls_silent(hang_after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_provider, "ANSWER_TIMEOUT", 0.3)
    server = Server(chunk({"content": "x"}), STOP)
    server.hang_after = hang_after
    async with serving(server.chat) as llm, asyncio.timeout(5):
        with pytest.raises(ProviderTimeout):
            await reply(llm)
        await server.gone.wait()


async def test_cancelling_closes_the_request_and_the_next_one_works() -> None:
    server = Server(chunk({"content": "x"}), STOP, DONE)
    server.hang_after = 1
    async with serving(server.chat) as llm:
        started = asyncio.Event()

        async def read() -> None:
            async for _ in llm.chat(HELLO):
                started.set()

        task = asyncio.create_task(read())
        async with asyncio.timeout(5):
            await started.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.gone.wait()
        server.hang_after = None
        assert await reply(llm) == [TextDelta("x")]


async def test_a_server_out_of_reach_is_asked_again_when_it_is_needed() -> None:
    llm = OpenAILLM(base_url=f"http://127.0.0.1:{free_port()}/v1")
    await llm.load(lambda *_: None)
    with pytest.raises(ProviderUnavailable, match="cannot reach") as caught:
        await reply(llm)
    assert caught.value.retryable
    await llm.aclose()


async def test_without_key_and_server_the_message_says_what_to_do() -> None:
    with pytest.raises(ProviderUnavailable, match="OPENAI_API_KEY"):
        await OpenAILLM().load(lambda *_: None)


async def test_before_loading_and_after_closing() -> None:
    async with serving(Server(STOP).chat, load=False) as llm:
        with pytest.raises(ProviderUnavailable):
            await reply(llm)
        await llm.load(lambda *_: None)
        await llm.aclose()
        await llm.aclose()
        with pytest.raises(ProviderUnavailable):
            await reply(llm)
