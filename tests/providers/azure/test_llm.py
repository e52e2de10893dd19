import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from mulisa.core.account import Account, working_for
from mulisa.core.errors import ProviderUnavailable
from mulisa.core.provider import ChatRequest, Delta, Message, TextDelta
from mulisa.providers.azure.llm import AzureLLM
from tests.services.faults import Fault
from tests.services.openai_service import KEY, OpenAIService, serving

pytestmark = pytest.mark.network

HELLO = ChatRequest((Message("user", "hello there", name="Zoë"),))


async def reply(llm: AzureLLM) -> list[Delta]:
    return [delta async for delta in llm.chat(HELLO)]


@asynccontextmanager
async def asking(service: OpenAIService, model: str = "our-gpt") -> AsyncIterator[AzureLLM]:
    """By the version 1 API, which is OpenAI's below ``/openai/v1/``."""
    app, openai = web.Application(), web.Application()
    service.add_routes(openai)
    app.add_subapp("/openai", openai)
    async with serving(app) as url:
        llm = AzureLLM(model, endpoint=url, api_key=KEY)
        try:
            await llm.load(lambda *_: None)
            yield llm
        finally:
            await llm.aclose()


@pytest.mark.parametrize(
    ("model", "endpoint"), [("our-gpt", "chat"), ("responses/our-gpt", "responses")]
)
async def test_the_version_1_api(model: str, endpoint: str) -> None:
    service, account = OpenAIService(), Account()
    async with asking(service, model) as llm:
        with working_for(account):
            text = "".join(delta.text for delta in await reply(llm) if isinstance(delta, TextDelta))
        assert text.endswith("hello there ")
        assert llm.label.startswith("our-gpt (Azure OpenAI (http://127.0.0.1:")
    assert [body["model"] for body in service.bodies(endpoint)] == ["our-gpt"]
    assert account.spent["tokens"] > 0


Handler = Callable[[web.Request], Any]


@asynccontextmanager
async def dated(handle: Handler) -> AsyncIterator[str]:
    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    app = web.Application()
    app.router.add_get("/openai/models", models)
    app.router.add_post("/openai/deployments/{deployment}/chat/completions", handle)
    async with serving(app) as url:
        yield url


async def test_deployments_with_a_dated_version() -> None:
    asked: list[web.Request] = []

    async def chat(request: web.Request) -> web.Response:
        asked.append(request)
        # Azure's first chunk has no choices, but what its content filter found.
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "gpt"}
        filtered = chunk | {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
        word = {"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}
        stop = {"index": 0, "delta": {}, "finish_reason": "stop"}
        chunks = [filtered, chunk | {"choices": [word]}, chunk | {"choices": [stop]}]
        body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
        return web.Response(text=f"{body}data: [DONE]\n\n", content_type="text/event-stream")

    async with dated(chat) as url:
        llm = AzureLLM("our-gpt", endpoint=url, api_key=KEY, api_version="2024-10-21")
        await llm.load(lambda *_: None)
        assert await reply(llm) == [TextDelta("Hi")]
        await llm.aclose()
    (request,) = asked
    assert request.match_info["deployment"] == "our-gpt"
    assert request.query["api-version"] == "2024-10-21"
    assert request.headers["api-key"] == KEY


@pytest.mark.parametrize(
    ("status", "code", "mend", "retryable"),
    [
        (401, "401", "AZURE_OPENAI_API_KEY", False),
        (404, "DeploymentNotFound", "azure:DEPLOYMENT, or check AZURE_OPENAI_ENDPOINT", False),
        (429, "429", "later", True),
    ],
)
async def test_refusals_name_azures_settings(
    status: int, code: str, mend: str, retryable: bool
) -> None:
    service = OpenAIService()
    service.faults.next("chat", Fault("status", status=status, code=code))
    async with asking(service) as llm:
        with pytest.raises(ProviderUnavailable, match=mend) as caught:
            await reply(llm)
        assert caught.value.retryable is retryable
        assert KEY not in str(caught.value)


async def test_a_wrong_key_is_found_while_loading() -> None:
    service = OpenAIService()
    service.faults.next("models", Fault("status", status=401))
    with pytest.raises(ProviderUnavailable, match="AZURE_OPENAI_API_KEY"):
        async with asking(service):
            pass


@pytest.mark.parametrize(
    ("llm", "mend"),
    [
        (AzureLLM("m"), "AZURE_OPENAI_ENDPOINT"),
        (AzureLLM("m", endpoint="https://x.example"), "AZURE_OPENAI_API_KEY"),
        (AzureLLM("m", endpoint="x.openai.azure.com", api_key=KEY), "https://NAME"),
        (AzureLLM(endpoint="https://x.example", api_key=KEY), "AZURE_OPENAI_DEPLOYMENT"),
    ],
)
async def test_what_is_missing_is_said(llm: AzureLLM, mend: str) -> None:
    with pytest.raises(ProviderUnavailable, match=mend):
        await llm.load(lambda *_: None)
