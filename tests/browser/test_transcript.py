"""What was said can be read: by command, over HTTP, and only by those whom it concerns."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import webvtt

from tests.browser.people import browser_at, person_in
from tests.browser.server import Server
from tests.browser.speech import ALICE, BOB, Studio, word_error_rate

pytestmark = pytest.mark.browser

BUDGET = "I think we should move the budget review to Friday."
QUESTION = "Mulisa, what did Bob say about the budget?"
ROOM = "minutes"


async def test_the_transcript_of_a_conversation(
    studio: Studio, server: Server, chromium: str
) -> None:
    (budget,) = await studio.speak(BOB, BUDGET)
    (question,) = await studio.speak(ALICE, QUESTION)
    async with browser_at(chromium) as browser:
        alice, bob = await person_in(browser, "Alice"), await person_in(browser, "Bob")
        for person in (alice, bob):
            await person.enter(server.url, ROOM)
        for person in (alice, bob):
            await person.mulisa_is("listening")
        await bob.say(budget)
        await alice.reads("Bob")
        await alice.ask(question)
        await alice.reads("Mulisa", "Friday")
        await alice.mulisa_is("listening")
    _check_command(server)
    await _check_http(server)


def _check_command(server: Server) -> None:
    command = [sys.executable, "-m", "mulisa", "transcript", ROOM, "--data", str(server.data)]
    vtt = subprocess.run([*command, "--format", "vtt"], capture_output=True, text=True, check=True)
    assert vtt.stdout.startswith("WEBVTT\n")
    cues = webvtt.from_string(vtt.stdout).captions
    assert [cue.voice for cue in cues] == ["Bob", "Alice", "Mulisa"], vtt.stdout
    assert "<v Alice>" in vtt.stdout
    spoken, asked, answered = (cue.text for cue in cues)
    assert word_error_rate(BUDGET, spoken) <= 0.5, spoken
    assert word_error_rate(QUESTION, asked) <= 0.5, asked
    assert "bob" in answered.lower() and "friday" in answered.lower(), answered
    starts = [cue.start_in_seconds for cue in cues]
    assert starts == sorted(starts) and all(c.end_in_seconds >= c.start_in_seconds for c in cues)
    unknown = subprocess.run([*command[:-3], "nowhere", *command[-2:]], capture_output=True)
    assert unknown.returncode == 1 and b"nothing was said" in unknown.stderr


async def _check_http(server: Server) -> None:
    path = f"rooms/{ROOM}/transcript?format=json"
    token = (await server.admit(ROOM, "Dora"))["token"]
    other = (await server.admit("elsewhere", "Dora"))["token"]
    status, body = await server.get(path, token)
    transcript = json.loads(body)
    assert status == 200 and transcript["room"] == ROOM
    assert [entry["kind"] for entry in transcript["entries"]] == ["standard", "standard", "agent"]
    assert await server.get(path) == (200, body), "the operator needs no token"
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    assert (await server.get(path, headers=forwarded))[0] == 401
    assert await server.get(path, token, headers=forwarded) == (200, body)
    for headers in ({}, forwarded):
        status, refusal = await server.get(path, other, headers=headers)
        assert status == 403 and "budget" not in refusal
    assert (await server.get(path, "not.a.token"))[0] == 401
