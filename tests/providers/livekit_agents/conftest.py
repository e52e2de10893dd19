"""LiveKit Agents pins a `livekit` of its own, so that it has an environment of its own, too."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mulisa.providers.livekit_agents import LiveKitLLM, LiveKitSTT, LiveKitTTS

PLUGINS = Path(__file__).parent / "plugins"
KEY = "fk-0123456789-key-of-the-fake"

Engine: TypeAlias = LiveKitSTT | LiveKitLLM | LiveKitTTS
Loaded: TypeAlias = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture(scope="session")
def plugins() -> None:
    """LiveKit Agents is here."""
    if importlib.util.find_spec("livekit.agents") is None:
        pytest.skip("needs LiveKit's plugins: make plugins")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("livekit.agents")


@pytest.fixture
def fake(plugins: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin ``livekit:fake``, with its key, and nothing made by it yet."""
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.setenv("FAKE_API_KEY", KEY)
    module = importlib.import_module("livekit.plugins.fake")
    module.made.clear()
    module.streams.clear()
    for name in ("hear", "speak", "think"):
        monkeypatch.setattr(module, name, getattr(module, name))
    yield module
    for stream in module.streams:
        assert stream.main.done(), "a plugin's stream is left"


@pytest.fixture
def loaded() -> Loaded:
    """An engine of a plugin, loaded and closed."""

    @asynccontextmanager
    async def load(kind: type[Engine], *args: str, **kwargs: str) -> AsyncIterator[Engine]:
        engine = kind(*args, **kwargs)
        try:
            await engine.load(lambda *_: None)
            yield engine
        finally:
            await engine.aclose()
            await asyncio.sleep(0)

    return load
