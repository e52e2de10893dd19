"""How a plugin is named in a flag, and what is said where that does not fit."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from mulisa.core.errors import ConfigError, ProviderUnavailable
from mulisa.providers.livekit_agents import LiveKitLLM, LiveKitSTT, LiveKitTTS
from mulisa.providers.livekit_agents.spec import PluginSpec, arguments
from mulisa.providers.registry import available, create

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("deepgram", PluginSpec("deepgram")),
        ("deepgram/nova-3", PluginSpec("deepgram", (), "nova-3")),
        ("deepgram.STTv2/flux", PluginSpec("deepgram", ("STTv2",), "flux")),
        ("groq/meta-llama/llama-4", PluginSpec("groq", (), "meta-llama/llama-4")),
        ("openai/ft:gpt:1", PluginSpec("openai", (), "ft:gpt:1")),
        ("play-ai", PluginSpec("play_ai")),
        (
            "cartesia/sonic-3?voice=a%2Cb&speed=1.1&emotion=x&emotion=y",
            PluginSpec(
                "cartesia",
                (),
                "sonic-3",
                {"voice": ["a,b"], "speed": ["1.1"], "emotion": ["x", "y"]},
            ),
        ),
    ],
)
def test_names(text: str, spec: PluginSpec) -> None:
    assert PluginSpec.parse(text) == spec


@pytest.mark.parametrize("text", ["", "/nova-3", "Deep gram", "..os", "a..b", "os.path/", "?a=b"])
def test_what_is_no_plugin(text: str) -> None:
    with pytest.raises((ConfigError, ProviderUnavailable), match="livekit:"):
        LiveKitSTT(text)


@pytest.mark.parametrize("query", ["voice", "a&b=c"])
def test_what_is_no_option(query: str) -> None:
    with pytest.raises(ConfigError, match="NAME=VALUE"):
        PluginSpec.parse(f"cartesia?{query}")


@pytest.mark.parametrize("name", ["api_key", "token", "client_secret", "azure_ad_token"])
def test_secrets_are_not_taken_from_flags(name: str) -> None:
    with pytest.raises(ConfigError, match="environment") as caught:
        PluginSpec.parse(f"cartesia?{name}=sk-canary-0123456789")
    assert "canary" not in str(caught.value)


def test_options_are_not_shown() -> None:
    spec = PluginSpec.parse("openai/gpt?base_url=http://me:canary-0123456789@host/v1")
    assert "canary" not in repr(spec)
    assert "canary" not in str(ConfigError("x")) + str(ProviderUnavailable("me:canary-0123456789@"))


@pytest.mark.parametrize("kind", [LiveKitSTT, LiveKitLLM, LiveKitTTS])
def test_a_plugin_that_is_not_installed(kind: Any) -> None:
    with pytest.raises(
        ProviderUnavailable, match="pip install livekit-agents livekit-plugins-no-such-thing"
    ):
        kind("no_such_thing")


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
def test_the_registry_knows_them(kind: Any) -> None:
    assert "livekit" in available(kind)
    with pytest.raises(ProviderUnavailable, match="livekit-plugins-nothing"):
        create(kind, "livekit:nothing/model", {"language": "en", "api_key": "x"})


class Everything:
    def __init__(
        self,
        *,
        model_id: str = "m",
        voice: str = "v",
        language: str | None = None,
        speed: Literal["slow"] | float | None = None,
        count: int = 1,
        loud: bool = False,
        words: list[str] | None = None,
        extra: dict[str, int] | None = None,
        api_key: str | None = None,
        session: object = None,
        _private: int = 0,
    ) -> None: ...


def given(text: str, **defaults: str) -> dict[str, Any]:
    return arguments(Everything, PluginSpec.parse(text), defaults)


def test_model_and_language_go_where_the_constructor_has_them() -> None:
    assert given("x/sonic", language="de", region="eu") == {"model_id": "sonic", "language": "de"}
    assert given("x?language=fr", language="de") == {"language": "fr"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("speed=1.5", 1.5),
        ("speed=slow", "slow"),
        ("count=3", 3),
        ("loud=true", True),
        ("words=one", ["one"]),
        ("words=one&words=two", ["one", "two"]),
        ('extra={"a": 1}', {"a": 1}),
        ("voice=12", "12"),
    ],
)
def test_values_have_the_types_of_the_constructor(option: str, value: Any) -> None:
    assert given(f"x?{option}") == {option.partition("=")[0]: value}


@pytest.mark.parametrize("option", ["count=many", "speed=fast", "loud=perhaps", "count=1&count=2"])
def test_values_that_do_not_fit(option: str) -> None:
    with pytest.raises(ConfigError, match=f"option {option.partition('=')[0]} is wrong"):
        given(f"x?{option}")


@pytest.mark.parametrize("name", ["pitch", "session", "_private", "self"])
def test_an_unknown_option_names_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given(f"x?{name}=1")
    assert "count, extra, language, loud, model_id, speed, voice, words" in str(caught.value)


def test_a_model_for_what_has_none() -> None:
    class Nothing:
        def __init__(self, *, speed: float = 1.0) -> None: ...

    with pytest.raises(ConfigError, match="neither a model nor a voice"):
        arguments(Nothing, PluginSpec.parse("x/sonic"), {})


def test_hints_that_cannot_be_read_are_text() -> None:
    def make(*, voice: "Unheard" = None) -> None:  # type: ignore[name-defined] # noqa: F821, UP037
        ...

    assert arguments(make, PluginSpec.parse("x?voice=1"), {}) == {"voice": "1"}


def test_a_hint_that_cannot_be_read_does_no_harm_to_others() -> None:
    def construct(
        volume: "NobodyHasThis" = 1.0,  # type: ignore[name-defined]  # noqa: F821, UP037
        speed: "float | None" = None,  # noqa: UP037
        voice: "NobodyHasThis" = None,  # type: ignore[name-defined]  # noqa: F821, UP037
    ) -> None: ...

    given = arguments(construct, PluginSpec.parse("x?speed=1.5&volume=2&voice=7"), {})
    assert given == {"speed": 1.5, "volume": 2.0, "voice": "7"}
