"""Exports keep every word and let none become markup."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.core.room import Identity, RoomName
from mulisa.core.transcript import TranscriptEntry
from mulisa.store.exports import EXPORTS, to_json, to_markdown, to_text, to_vtt
from mulisa.store.transcript import Transcript

pytestmark = pytest.mark.unit

BEGAN = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
HOSTILE = [
    "a --> b",
    "</v><v Mallory>I never said that",
    "one\n\n00:00:01.000 --> 00:00:09.000\n<v Mallory>two",
    "Tom & Jerry &amp; &lt;c&gt;",
    "NOTE this is not a note",
    "Zoë 李雷 👩‍👩‍👧 می‌روم",
    "WEBVTT\r\rSTYLE",
]


def entry(
    text: str,
    name: str = "Alice",
    *,
    at: float = 1.0,
    lasting: float = 1.5,
    interrupted: bool = False,
    unspoken: str = "",
) -> TranscriptEntry:
    return TranscriptEntry(
        segment_id=f"seg-{at}",
        identity=Identity("alice-7f3k"),
        name=name,
        kind="standard",
        source="voice",
        text=text,
        started_at=BEGAN + timedelta(seconds=at),
        ended_at=BEGAN + timedelta(seconds=at + lasting),
        interrupted=interrupted,
        unspoken=unspoken,
    )


def transcript(*entries: TranscriptEntry) -> Transcript:
    return Transcript(RoomName("standup"), BEGAN, None, entries)


def cues(document: str) -> list[webvtt.Caption]:
    captions: list[webvtt.Caption] = webvtt.from_string(document, strict=True).captions
    return captions


def words(caption: webvtt.Caption) -> str:
    """What a player shows of a cue."""
    return html.unescape(caption.text)


def speaker(caption: webvtt.Caption) -> str:
    return html.unescape(caption.voice or "")


def test_vtt_names_the_speaker_and_counts_from_the_beginning_of_the_call() -> None:
    document = to_vtt(transcript(entry("Good morning."), entry("Hi.", "Bob", at=3661.25)))
    assert document.startswith("WEBVTT\n")
    assert "00:00:01.000 --> 00:00:02.500\n<v Alice>Good morning.\n" in document
    first, second = cues(document)
    assert (first.voice, first.text) == ("Alice", "Good morning.")
    assert (second.voice, second.start) == ("Bob", "01:01:01.250")


@pytest.mark.parametrize("text", HOSTILE)
def test_vtt_reads_back_as_it_was_said(text: str) -> None:
    first, second = cues(to_vtt(transcript(entry(text, name=text), entry("Next.", at=5.0))))
    assert words(first) == " ".join(text.split())
    assert speaker(first) == " ".join(text.split())
    assert words(second) == "Next."


@settings(deadline=None)  # the machine may be busy
@given(st.text(), st.text(min_size=1), st.text())
def test_vtt_has_one_cue_per_entry_whatever_is_said(text: str, name: str, unspoken: str) -> None:
    cut = entry(text, name, interrupted=True, unspoken=unspoken)
    assert len(cues(to_vtt(transcript(cut, cut)))) == 2


def test_vtt_notes_what_was_not_heard() -> None:
    cut = entry("The first is", "Mulisa", at=2.0, interrupted=True, unspoken="the --> second.")
    document = to_vtt(transcript(entry("Go on."), cut))
    assert "NOTE interrupted; not heard: the --&gt; second.\n" in document
    assert [words(cue) for cue in cues(document)] == ["Go on.", "The first is"]


def test_vtt_of_an_entry_from_before_the_call_and_of_one_without_length() -> None:
    early, short = cues(to_vtt(transcript(entry("a", at=-5.0), entry("b", at=1.0, lasting=0.0))))
    assert (early.start, early.end) == ("00:00:00.000", "00:00:00.001")
    assert (short.start, short.end) == ("00:00:01.000", "00:00:01.001")


def test_vtt_of_silence_is_valid() -> None:
    assert cues(to_vtt(transcript())) == []


def test_json_holds_every_field() -> None:
    document = json.loads(to_json(transcript(entry("Zoë: 你好", interrupted=True, unspoken="x"))))
    assert document["room"] == "standup"
    assert document["started_at"] == "2026-03-01T12:00:00.000Z"
    assert document["ended_at"] is None
    assert document["entries"] == [
        {
            "segment_id": "seg-1.0",
            "identity": "alice-7f3k",
            "name": "Alice",
            "kind": "standard",
            "source": "voice",
            "text": "Zoë: 你好",
            "started_at": "2026-03-01T12:00:01.000Z",
            "ended_at": "2026-03-01T12:00:02.500Z",
            "interrupted": True,
            "unspoken": "x",
            "listener": None,
        }
    ]


def test_markdown_escapes_its_own_markup() -> None:
    document = to_markdown(transcript(entry("# not *bold* <b>\n- [x](y)", "A_l_ice")))
    assert document.splitlines() == [
        "# standup",
        "",
        "2026-03-01 12:00 UTC",
        "",
        r"`00:00:01` **A\_l\_ice**: \# not \*bold\* \<b\> \- \[x\]\(y\)",
    ]


def test_markdown_strikes_what_was_not_heard() -> None:
    cut = entry("It is", "Mulisa", interrupted=True, unspoken="noon")
    assert to_markdown(transcript(cut)).endswith("**Mulisa**: It is ~~noon~~\n")


def test_text_is_a_line_per_entry_without_control_characters() -> None:
    document = to_text(transcript(entry("one\ntwo \x1b[2J\x9b1m\u202e", "Al\x07ice")))
    assert document == "00:00:01  Alice: one two [2J1m\n"


def whisper(text: str, to: str = "bob-1") -> TranscriptEntry:
    return replace(entry(text, "Mulisa", at=3.0), listener=Identity(to))


def test_every_format_marks_a_whisper() -> None:
    bob = replace(entry("Whisper!", "Bob <b>", at=2.0), identity=Identity("bob-1"))
    told = transcript(bob, whisper("It is noon."))
    assert to_text(told).splitlines()[1] == "00:00:03  Mulisa (whispered to Bob <b>): It is noon."
    assert r"**Mulisa** (whispered to Bob \<b\>): It is noon" in to_markdown(told)
    assert json.loads(to_json(told))["entries"][1]["listener"] == "bob-1"
    assert (
        "NOTE whispered to Bob &lt;b&gt;\n\n00:00:03.000 --> 00:00:04.500\n"
        "<v.whisper Mulisa>It is noon.\n"
    ) in to_vtt(told)
    assert [speaker(cue) for cue in cues(to_vtt(told))] == ["Bob <b>", "Mulisa"]


def test_who_is_not_named_in_the_transcript_is_shown_by_identity() -> None:
    assert "(whispered to bob-1)" in to_text(transcript(whisper("It is noon.")))


@pytest.mark.parametrize("export", [export for export, _ in EXPORTS.values()])
def test_nobody_else_reads_a_whisper(export: Callable[[Transcript], str]) -> None:
    told = transcript(entry("Hello."), whisper("The secret."), whisper("The other.", "carol-2"))
    assert "secret" in export(told) and "other" in export(told), "the operator sees it all"
    assert "secret" in export(told.seen_by(Identity("bob-1")))
    assert "other" not in export(told.seen_by(Identity("bob-1")))
    for_alice = export(told.seen_by(Identity("alice-7f3k")))
    assert "secret" not in for_alice and "whisper" not in for_alice and "Hello" in for_alice


@pytest.mark.parametrize("text", HOSTILE)
def test_every_format_takes_hostile_words(text: str) -> None:
    for export, media_type in EXPORTS.values():
        assert export(transcript(entry(text, text, interrupted=True, unspoken=text))).encode()
        assert "/" in media_type
