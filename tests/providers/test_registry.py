from importlib.metadata import EntryPoint

import pytest

import mulisa.providers.registry as registry
from mulisa.core.errors import ConfigError, ProviderUnavailable
from mulisa.providers.registry import available, create

pytestmark = pytest.mark.unit


def test_what_we_bring_is_there() -> None:
    assert "silero" in available("vad")
    assert "whisper" in available("stt")
    assert {"concierge", "openai"} <= set(available("llm"))
    assert "piper" in available("tts")


def test_name_and_argument() -> None:
    assert create("stt", "whisper").label == "whisper tiny.en (bundled)"
    assert create("stt", "whisper:base").label == "whisper base"
    assert create("tts", "piper:/voices/x:y.onnx").label == "piper /voices/x:y.onnx"


def test_options_go_to_those_who_name_them() -> None:
    options = {"base_url": "http://localhost:1/v1", "api_key": "", "language": "en"}
    assert create("llm", "openai:m", options).label == "m (http://localhost:1/v1)"
    assert create("vad", "silero", options).label.startswith("silero")


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"'parrot'.*concierge, livekit, openai"):
        create("llm", "parrot")
    with pytest.raises(ConfigError):
        create("stt", "")


def test_an_argument_that_nobody_takes() -> None:
    with pytest.raises(ConfigError, match="no argument"):
        create("vad", "silero:large")


@pytest.mark.parametrize(
    ("module", "mend"),
    [("mulisa.providers.not_there", r"pip install 'mulisa\[local\]'"), ("no_such_sdk", "install")],
)
def test_a_missing_package_is_named(
    module: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("cloud", f"{module}:Engine", "mulisa.stt")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(ProviderUnavailable, match=mend) as caught:
        create("stt", "cloud")
    assert module in str(caught.value)
