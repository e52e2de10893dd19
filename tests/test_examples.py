"""Examples run, so they cannot rot."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from mulisa import LLM, Engines, Persona, Session
from mulisa.providers.scripted import ScriptedSTT, ScriptedTTS, ScriptedVAD
from mulisa.transport.loopback import LoopbackRoom
from tests.speech import say, speak

pytestmark = pytest.mark.unit

EXAMPLES = Path(__file__).parents[1] / "examples"
PARROT = EXAMPLES / "own_provider"


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example's module, found by the entry point that it declares."""
    monkeypatch.syspath_prepend(PARROT)
    project = tomllib.loads((PARROT / "pyproject.toml").read_text())["project"]
    value = project["entry-points"]["mulisa.llm"]["parrot"]
    entry = EntryPoint("parrot", value, "mulisa.llm")
    assert entry.load().__name__ == "Parrot"
    yield sys.modules[entry.module]
    del sys.modules[entry.module]


async def test_an_llm_of_ones_own_talks_in_a_room(parrot: Any) -> None:
    llm: LLM = parrot.Parrot()
    engines = Engines(
        ScriptedVAD(), ScriptedSTT(["Hello there.", "And who is here?"]), llm, ScriptedTTS()
    )
    room, log = LoopbackRoom("jungle"), parrot.Printed()
    transport = room.join("parrot", "Parrot", kind="agent")
    running = asyncio.create_task(Session(transport, engines, Persona("Parrot"), log).run())
    async with room.join("alice", "Alice") as alice, asyncio.timeout(30):
        for word, told in ((0, 2), (1, 4)):
            await speak(alice, say(word))
            while len(log.entries) < told:  # noqa: ASYNC110 - virtual time costs nothing
                await asyncio.sleep(0.01)
    room.remove("parrot")
    await running
    assert [(entry.name, entry.text) for entry in log.entries] == [
        ("Alice", "Hello there."),
        ("Parrot", "Alice said: Hello there. Squawk!"),
        ("Alice", "And who is here?"),
        ("Parrot", "I see Alice. Squawk!"),
    ]


@pytest.mark.parametrize("program", ["own_provider/parrot.py"])
def test_a_program_says_how_it_is_used(program: str) -> None:
    command = [sys.executable, str(EXAMPLES / program), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ws://localhost:8000" in done.stdout
