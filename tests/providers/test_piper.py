import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

import mulisa.providers.piper as piper
from mulisa.core.audio import Samples
from mulisa.core.errors import ConfigError, ProviderError, ProviderTimeout, ProviderUnavailable
from mulisa.providers.piper import PiperTTS
from tests.providers.speech import needs_local

pytestmark = [pytest.mark.provider("piper"), needs_local]

LONG = "This is quite a long sentence, so that its speaker may be interrupted in the middle of it."


async def loaded(voice: str | None = None) -> PiperTTS:
    tts = PiperTTS(voice) if voice else PiperTTS()
    await tts.load(lambda *_: None)
    return tts


async def say(tts: PiperTTS, text: str) -> Samples:
    pieces = [piece async for piece in tts.synthesize(text)]
    assert all(piece.dtype == np.int16 for piece in pieces)
    return np.concatenate([np.zeros(0, np.int16), *pieces])


def children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "piper" in child.cmdline()
    ]


async def test_it_speaks_in_order_and_leaves_nothing_behind() -> None:
    tts = await loaded()
    (child,) = children()
    folder = child.cmdline()[-1]
    assert tts.sample_rate_hz == 22_050
    yes, long, no = await asyncio.gather(say(tts, "Yes."), say(tts, LONG), say(tts, "No."))
    assert 0.3 < yes.size / 22_050 < 1.5
    assert 3.5 < long.size / 22_050 < 9
    assert 0.3 < no.size / 22_050 < 1.5
    assert os.listdir(folder) == []
    await tts.aclose()
    await tts.aclose()
    assert os.path.basename(folder) not in os.listdir(os.path.dirname(folder))
    assert not child.is_running()
    with pytest.raises(ProviderUnavailable):
        await say(tts, "Yes.")


async def test_sentences_come_one_by_one() -> None:
    tts = await loaded()
    pieces = tts.synthesize("The first sentence is this. The second one is that! Is this a third?")
    assert len([piece async for piece in pieces]) == 3
    await tts.aclose()


@pytest.mark.parametrize(
    "text", ["", " \n\r\n ", "\x00\x1b[0m"[:1], "... !?", "😀 🎉", "\u200b\ufeff", "---", "*_#`"]
)
async def test_what_cannot_be_pronounced_is_silent(text: str, tts: PiperTTS) -> None:
    assert (await say(tts, text)).size == 0


@pytest.fixture
async def tts() -> PiperTTS:
    """Not even started: nothing reaches the child."""
    return PiperTTS()


async def test_awkward_text_is_one_answer_each() -> None:
    tts = await loaded()
    for text in (
        "one\ntwo\r\nthree",
        "[[ h ə l ]] there",
        "a\x00b\x1bc",
        "😀 fine",
        "日本",
        "x" * 450,
    ):
        assert (await say(tts, text)).size > 0
    book = " ".join(["This is a book without any end,"] * 40)
    assert len([piece async for piece in tts.synthesize(book)]) >= 5
    assert 0.3 < (await say(tts, "Yes.")).size / 22_050 < 1.5
    (child,) = children()
    assert child.is_running()
    await tts.aclose()


async def test_a_line_without_phonemes_ends_the_child_and_not_the_voice() -> None:
    tts = await loaded()
    (child,) = children()
    assert (await tts._speak("...")).size == 0  # hygiene keeps it away; other voices, other gaps
    assert (await say(tts, "Yes.")).size > 0
    (other,) = children()
    assert other.pid != child.pid
    await tts.aclose()


async def test_a_cancelled_clause_is_not_heard_later() -> None:
    tts = await loaded()
    started = asyncio.create_task(say(tts, LONG))
    waiting = asyncio.create_task(say(tts, LONG))
    await asyncio.sleep(0.02)
    started.cancel()
    waiting.cancel()
    await asyncio.gather(started, waiting, return_exceptions=True)
    assert (await say(tts, "Yes.")).size / 22_050 < 1.5
    await tts.aclose()


async def test_a_child_that_dies_in_a_clause_is_replaced_and_the_clause_is_spoken() -> None:
    tts = await loaded()
    speaking = asyncio.create_task(say(tts, LONG))
    await asyncio.sleep(0.02)
    (child,) = children()
    child.kill()
    assert 3.5 < (await speaking).size / 22_050 < 9
    (other,) = children()
    assert other.pid != child.pid
    other.kill()
    assert (await say(tts, "Yes.")).size > 0
    await tts.aclose()
    assert children() == []


async def test_a_child_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    tts = await loaded()
    (child,) = children()
    child.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(piper, "LINE_TIMEOUT", 0.5)
    with pytest.raises(ProviderTimeout):
        await say(tts, "Yes.")
    monkeypatch.undo()
    assert (await say(tts, "Yes.")).size > 0
    assert not child.is_running()
    await tts.aclose()


async def test_the_child_ends_with_us() -> None:
    program = """
import asyncio, os, signal
from mulisa.providers.piper import PiperTTS
async def main():
    tts = PiperTTS()
    await tts.load(lambda *_: None)
    print(tts._child._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, env=dict(os.environ)
    )
    assert ended.returncode == -signal.SIGKILL
    pid = int(ended.stdout)
    if psutil.pid_exists(pid):
        await asyncio.to_thread(psutil.wait_procs, [psutil.Process(pid)], timeout=5)
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


async def test_voices_that_are_not_there(tmp_path: Path) -> None:
    model, settings = tmp_path / "voice.onnx", tmp_path / "voice.onnx.json"
    with pytest.raises(ProviderUnavailable, match="download_voices"):
        await loaded("en_XX-nobody-low")
    _write(model, "this is no network")
    with pytest.raises(ProviderUnavailable, match=r"voice\.onnx\.json"):
        await loaded(str(model))
    _write(settings, "{}")
    with pytest.raises(ConfigError, match="sample_rate"):
        await loaded(str(model))
    _write(settings, '{"audio": {"sample_rate": 22050}}')
    with pytest.raises(ProviderUnavailable, match="does not start"):
        await loaded(str(model))
    assert children() == []


def _write(path: Path, text: str) -> None:
    path.write_text(text)


async def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piper, "BUNDLED_SHA256", {"en_US-joe-medium.onnx": "0" * 64})
    with pytest.raises(ProviderUnavailable, match="sha256"):
        await loaded()


async def test_without_piper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ProviderUnavailable, match=r"pip install 'mulisa\[local\]'"):
        await loaded()
    with pytest.raises(ProviderError):
        await say(PiperTTS(), "Yes.")


async def test_a_child_that_cannot_be_started_is_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(piper, "_memory_folder", lambda: str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    with pytest.raises(ProviderUnavailable, match="cannot be started"):
        await loaded()
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(piper, "_memory_folder", lambda: str(tmp_path / "full"))
    with pytest.raises(ProviderUnavailable, match="no folder"):
        await loaded()


async def test_a_child_that_complains_without_end_still_speaks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    talkative = tmp_path / "python"
    _write(talkative, f'#!/bin/sh\nhead -c 300000 /dev/zero >&2\nexec {sys.executable} "$@"\n')
    talkative.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(talkative))
    async with asyncio.timeout(30):
        tts = await loaded()
        assert (await say(tts, "Yes.")).size > 0
        await tts.aclose()
