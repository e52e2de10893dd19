"""Which engines are meant, and that all of them or none are loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from mulisa import app
from mulisa.agent.persona import Persona
from mulisa.app import EngineChoice, build_engines, check_names, choose_engines, close_engines
from mulisa.config import Config, EngineSpec, load_config
from mulisa.core.errors import ConfigError, ProviderUnavailable
from mulisa.core.provider import Progress
from mulisa.providers import registry

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def ollama(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models of this machine's Ollama; none until a test adds some."""
    models: list[str] = []

    async def find(url: str) -> list[str]:
        return models

    monkeypatch.setattr(app, "find_ollama_models", find)
    return models


def config(**flags: object) -> Config:
    return load_config(flags)


async def choose_engine(kind: registry.Kind, config: Config) -> EngineChoice:
    """The only one."""
    (choice,) = await choose_engines(kind, config)
    return choice


@dataclass
class Engine:
    """Any engine: remembers what it was given and whether it is loaded."""

    model: str = "default"
    language: str = ""
    failure: Exception | None = None
    loading_time: float = 1.0
    is_loaded: bool = False
    closed: int = 0

    @property
    def label(self) -> str:
        return f"{self.model} in {self.language or 'any language'}"

    async def load(self, progress: Progress) -> None:
        progress("reading weights", 0.5)
        await asyncio.sleep(self.loading_time)
        if self.failure:
            raise self.failure
        self.is_loaded = True

    async def aclose(self) -> None:
        self.closed += 1
        self.is_loaded = False


@dataclass
class Shop:
    """Every engine of these tests, by kind."""

    made: dict[str, Engine] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)

    def factory(self, kind: str) -> Callable[..., Engine]:
        def make(model: str = "default", language: str = "") -> Engine:
            engine = Engine(model, language, self.failures.get(kind))
            self.made[kind] = engine
            return engine

        return make


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Installs an engine called `test` of each kind."""
    shop = Shop()

    class Point:
        def __init__(self, kind: str) -> None:
            self.name = "test"
            self.value = "elsewhere:Engine"
            self.dist = None
            self.kind = kind

        def load(self) -> Callable[..., Engine]:
            return shop.factory(self.kind)

    def entry_points(group: str) -> list[Any]:
        return [Point(group.removeprefix("mulisa."))]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return shop


TEST = {"vad": "test", "stt": "test:big", "llm": "test", "tts": "test"}


def ignore(kind: str, doing: str, fraction: float | None) -> None:
    pass


async def test_local_means_whisper_and_piper() -> None:
    assert (await choose_engine("stt", config())).spec == EngineSpec("whisper")
    assert (await choose_engine("stt", config(stt="local:base.en"))).spec.model == "base.en"
    assert (await choose_engine("tts", config())).spec == EngineSpec("piper")
    assert (await choose_engine("vad", config())).spec == EngineSpec("silero")


async def test_the_language_model_that_is_there(ollama: list[str]) -> None:
    assert (await choose_engine("llm", config())).spec == EngineSpec("concierge")
    ollama.extend(["llama3.2:3b", "qwen3:4b"])
    choice = await choose_engine("llm", config())
    assert choice.spec == EngineSpec("openai", "llama3.2:3b")
    assert choice.options["base_url"] == "http://localhost:11434/v1"
    assert (await choose_engine("llm", config(llm="local"))).spec.model == "llama3.2:3b"
    assert (await choose_engine("llm", config(llm="ollama:qwen3:4b"))).spec.model == "qwen3:4b"
    assert (await choose_engine("llm", config(llm="concierge"))).spec.name == "concierge"


@pytest.mark.parametrize("name", ["openai_api_key", "openai_base_url"])
async def test_a_configured_openai_comes_before_ollama(name: str, ollama: list[str]) -> None:
    ollama.append("llama3.2")
    choice = await choose_engine("llm", config(**{name: "http://x"}))
    assert choice.spec == EngineSpec("openai")
    assert "http://x" in choice.options.values()
    assert "http://x" not in repr(choice)
    local = await choose_engine("llm", config(llm="local", **{name: "http://x"}))
    assert local.spec == EngineSpec("openai", "llama3.2")
    assert "http://x" not in local.options.values()


async def test_an_ollama_that_is_not_there() -> None:
    choice = await choose_engine("llm", config(llm="ollama"))
    with pytest.raises(ProviderUnavailable, match="ollama serve"):
        choice.create()
    engines = await choose_engines("llm", config(llm="ollama,concierge"))
    assert [bool(choice.missing) for choice in engines] == [True, False]


SPEECH = {"azure_speech_key": "speech", "azure_speech_region": "westeurope"}
AZURE = {
    "azure_openai_api_key": "azure",
    "azure_openai_endpoint": "https://mine",
    "azure_openai_deployment": "my-gpt",
    "openai_api_version": "2025-04-01-preview",
}
LIVE = {"azure_voice_live_api_key": "live", "azure_voice_live_endpoint": "https://live"}


async def test_keys_pick_the_language_model_and_nothing_else() -> None:
    everything = {"openai_api_key": "sk", **SPEECH, **AZURE, **LIVE}
    for keys in ({"openai_api_key": "sk"}, everything):
        assert (await choose_engine("llm", config(**keys))).spec.name == "openai"
        assert (await choose_engine("stt", config(**keys))).spec.name == "whisper"
        assert (await choose_engine("tts", config(**keys))).spec.name == "piper"
        assert await choose_engines("realtime", config(**keys)) == ()


async def test_azures_keys_pick_its_language_model_when_openai_has_none() -> None:
    choice = await choose_engine("llm", config(**AZURE))
    assert choice.spec == EngineSpec("azure", "my-gpt")
    assert choice.options == {
        "api_key": "azure",
        "endpoint": "https://mine",
        "api_version": "2025-04-01-preview",
    }
    named = await choose_engine("llm", config(llm="azure:other", **AZURE))
    assert named.spec.model == "other"


async def test_each_vendors_key_goes_to_that_vendor_alone() -> None:
    keys = {"openai_api_key": "sk", "openai_base_url": "http://x", **SPEECH, **AZURE, **LIVE}
    chosen = config(stt="openai,azure,local", tts="azure,livekit:cartesia", **keys)
    openai, azure, whisper = await choose_engines("stt", chosen, "de")
    assert openai.options == {"language": "de", "api_key": "sk", "base_url": "http://x"}
    assert azure.options == {
        "language": "de",
        "api_key": "speech",
        "region": "westeurope",
        "endpoint": "",
    }
    assert whisper.options == {"language": "de"}
    _, plugin = await choose_engines("tts", chosen, "de")
    assert (plugin.spec, plugin.options) == (EngineSpec("livekit", "cartesia"), {"language": "de"})
    live = await choose_engine("realtime", config(realtime="azure:gpt-realtime", **keys))
    assert live.options == {"language": "", "api_key": "live", "endpoint": "https://live"}


async def test_why_an_engine_was_picked(
    ollama: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def why(kind: registry.Kind = "llm", **flags: object) -> list[str]:
        return [choice.why for choice in await choose_engines(kind, config(**flags))]

    assert await why() == ["no key is set and no Ollama is here"]
    assert await why("stt") == ["it is the default"]
    assert await why("stt", stt="openai,local") == ["--stt names it"] * 2
    ollama.append("llama3.2")
    assert await why() == ["an Ollama answers at http://localhost:11434"]
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure")
    assert await why() == ["AZURE_OPENAI_API_KEY is set"]
    (tmp_path / "mulisa.toml").write_text('openai_base_url = "http://x"\n')
    assert await why() == ["openai_base_url in mulisa.toml is set"]
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    assert await why() == ["OPENAI_API_KEY is set"]
    monkeypatch.setenv("MULISA_LLM", "concierge")
    assert await why() == ["MULISA_LLM names it"]


async def test_an_engine_stands_once_in_a_chain() -> None:
    chosen = await choose_engines("llm", config(llm="auto,local,concierge"))
    assert [choice.spec.name for choice in chosen] == ["concierge"]


@pytest.mark.parametrize("kind", ["vad", "stt", "llm", "tts"])
def test_a_wrong_name_lists_what_exists(kind: registry.Kind) -> None:
    with pytest.raises(ConfigError, match=f"there is no {kind} engine 'nope'; there are") as caught:
        check_names(config(**{kind: "nope"}))
    for name in registry.available(kind):
        assert name in str(caught.value)


async def test_engines_load_at_the_same_time(shop: Shop) -> None:
    told: list[tuple[str, str, float | None]] = []
    loop = asyncio.get_running_loop()
    begun = loop.time()
    engines = await build_engines(
        config(**TEST), Persona(language="de"), lambda *what: told.append(what)
    )
    assert loop.time() - begun == pytest.approx(1.0)
    assert engines.stt.label == "big in de"
    assert [what for what in told if what[0] == "stt"] == [
        ("stt", "loading test:big", None),
        ("stt", "reading weights", 0.5),
        ("stt", "big in de", 1.0),
    ]
    await close_engines(engines)
    assert [engine.closed for engine in shop.made.values()] == [1, 1, 1, 1]


@pytest.mark.parametrize(("flags", "first"), [({}, 1.2), ({"patience": 2.5}, 2.5)])
async def test_all_chains_have_the_operators_patience(
    shop: Shop, flags: dict[str, object], first: float
) -> None:
    engines = await build_engines(config(**TEST, **flags), Persona(), ignore)
    chains: list[Any] = [engines.stt, engines.llm, engines.tts]
    assert [chain.rota.config.first for chain in chains] == [first] * 3
    await close_engines(engines)


async def test_what_cannot_be_loaded_is_named_and_nothing_stays(shop: Shop) -> None:
    shop.failures["stt"] = ProviderUnavailable("no ears")
    shop.failures["tts"] = ProviderUnavailable("no mouth")
    with pytest.raises(ProviderUnavailable, match="^no ears; no mouth$"):
        await build_engines(config(**TEST), Persona(), ignore)
    assert len(shop.made) == 4
    assert all(engine.closed and not engine.is_loaded for engine in shop.made.values())


async def test_loading_can_be_cancelled(shop: Shop) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await build_engines(config(**TEST), Persona(), ignore)
    assert [engine.closed for engine in shop.made.values()] == [1, 1, 1, 1]


async def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("whisper", "mulisa.no_such_module:X", "mulisa.stt")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    choice = await choose_engine("stt", config())
    with pytest.raises(ProviderUnavailable, match=r"pip install 'mulisa\[local\]'"):
        choice.create()
