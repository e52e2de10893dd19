"""What programs may rely on: a name that is added here comes with an example."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import mulisa

pytestmark = pytest.mark.unit

NAMES = (
    "AudioFrame ChatRequest Delta Engines LLM MediasoupTransport MeshTransport Message "
    "MulisaError Participant Persona Progress ProviderError SFUTransport STT STTStream Samples "
    "Session SessionConfig SessionObserver TTS TextDelta ToolCall ToolSpec TranscriptEntry "
    "TranscriptLog Transcription Transport TransportError VAD VADStream __version__ load_persona"
).split()


def test_these_names_and_no_others_are_public() -> None:
    assert sorted(mulisa.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(mulisa))


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(mulisa, name) is not None


def test_type_checkers_see_what_python_finds() -> None:
    tree = ast.parse(Path(mulisa.__file__).read_text())
    homes = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mulisa.")
        for alias in node.names
    }
    assert homes == mulisa._HOME


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        mulisa.Nonsense  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_the_packages() -> None:
    assert mulisa.__version__ == version("mulisa")


def test_importing_mulisa_imports_nothing_of_it() -> None:
    program = "import sys, mulisa; print([name for name in sys.modules if 'mulisa.' in name])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"
