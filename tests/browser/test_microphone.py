"""Microphones as browsers give them, or do not."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from mulisa.core.audio import SAMPLE_RATE_HZ, Samples, silence
from tests.browser.conftest import SFU_FIRST
from tests.browser.people import browser_at, person_in, until
from tests.browser.server import Server
from tests.browser.speech import BOB, Studio, word_error_rate

pytestmark = pytest.mark.browser

DEVICE = "--use-fake-device-for-media-stream"
DENY = "--use-fake-ui-for-media-stream=deny"
"""As if the person chose "Block" when asked: `NotAllowedError`."""
SILENCE = 10.0
"""Seconds before the question of the fake device, which says it again and again."""


async def test_who_gives_no_microphone_listens_and_writes(
    studio: Studio, server: Server, chromium: str
) -> None:
    async with browser_at(chromium, DEVICE, DENY) as browser:
        bob = await person_in(browser, "Bob", has_microphone=False)
        await bob.enter(server.url, "listener")
        advice = bob.page.get_by_test_id("mic-problem")
        text = await advice.inner_text()
        assert "may not use your microphone" in text and "switch Microphone on" in text, text
        await bob.mulisa_is("listening")
        await until(  # a LiveKit server is asked only now and then
            lambda: server.participants("listener"),
            lambda here: [p["muted"] for p in here if p["name"] == "Bob"] == [True],
            "Bob muted in the API",
        )

        await bob.record()
        await bob.write("Who is in the call?")
        answer = await bob.reads("Mulisa")
        (heard,) = await studio.understand(await bob.recorded())
        assert word_error_rate(answer, heard) <= 0.5, (answer, heard)
        await bob.page.get_by_role("tab", name="Chat").click()
        chat = bob.page.get_by_role("log", name="Typed messages").locator("li")
        lines = await until(
            chat.all_inner_texts, lambda lines: len(lines) == 2, "question and answer in the chat"
        )
    assert "Who is in the call?" in lines[0] and "Bob" in lines[0]
    assert "Mulisa" in lines[1] and answer in lines[1]


@SFU_FIRST
async def test_a_real_device_is_heard_and_answered(
    studio: Studio, server: Server, chromium: str, tmp_path: Path
) -> None:
    (question,) = await studio.speak(BOB, "Mulisa, who is in the call?")
    recording = tmp_path / "microphone.wav"
    _write(recording, np.concatenate([silence(round(SILENCE * SAMPLE_RATE_HZ)), question]))
    async with browser_at(
        chromium, DEVICE, f"--use-file-for-fake-audio-capture={recording}"
    ) as browser:
        bob = await person_in(browser, "Bob", has_microphone=False)
        await bob.enter(server.url, "device")
        await bob.mulisa_is("listening")
        await bob.record()
        await bob.reads("Bob", "call")
        answer = await bob.reads("Mulisa")
        (heard,) = await studio.understand(await bob.recorded())
        label = await bob.page.evaluate(
            "navigator.mediaDevices.getUserMedia({audio: true}).then((s) => {"
            " const [track] = s.getTracks(); track.stop(); return track.label; })"
        )
    assert "Fake" in label
    assert word_error_rate(answer, heard) <= 0.5, (answer, heard)


def _write(path: Path, samples: Samples) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())
