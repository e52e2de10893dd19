from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.minutes import (
    content_words,
    gist,
    smooth,
    split_sentences,
    take_minutes,
    take_note,
)

pytestmark = pytest.mark.unit

TALK = (
    ("Alice", "I think the marketing budget should be twelve thousand euros."),
    ("Bob", "Um, the the tests are green, so we can ship the release on Thursday."),
    ("Alice", "Okay, let's ship the release on Thursday then."),
    ("Carol", "The marketing budget is too small for posters."),
    ("Bob", "I'll send the report to the customers tomorrow."),
    ("Carol", "How many posters do we need?"),
    ("Alice", "Twenty posters are enough, I would say."),
    ("Bob", "Who will check the budget with finance?"),
)
NOTES = [take_note(name, text) for name, text in TALK]


def test_speakers_and_topics() -> None:
    minutes = take_minutes(NOTES)
    assert {name for name, _ in minutes.speakers} == {"Alice", "Bob", "Carol"}
    assert minutes.speakers == tuple(sorted(minutes.speakers, key=lambda pair: -pair[1]))
    assert any("budget" in topic for topic in minutes.topics[:3])
    assert any("release" in topic for topic in minutes.topics[:5])


def test_decisions_tasks_and_open_questions() -> None:
    minutes = take_minutes(NOTES)
    assert [s.text for s in minutes.decisions] == ["Okay, let's ship the release on Thursday then."]
    assert [(s.name, s.text) for s in minutes.tasks] == [
        ("Bob", "I'll send the report to the customers tomorrow.")
    ]
    assert [s.text for s in minutes.open_questions] == ["Who will check the budget with finance?"]


def test_highlights_are_in_the_order_in_which_they_were_said() -> None:
    said = [sentence for note in NOTES for sentence in note.sentences]
    highlights = take_minutes(NOTES, limit=3).highlights
    assert len(highlights) == 3
    assert [said.index(s) for s in highlights] == sorted(said.index(s) for s in highlights)


def test_nothing_said_gives_empty_minutes() -> None:
    minutes = take_minutes([])
    assert not minutes.speakers
    assert not minutes.topics
    assert not minutes.highlights


def test_limits_hold() -> None:
    minutes = take_minutes(NOTES * 5, limit=2)
    assert len(minutes.highlights) == 2
    assert len(minutes.topics) <= 3


def test_a_gist_keeps_within_its_budget_and_order() -> None:
    said = [sentence for note in NOTES for sentence in note.sentences]
    kept = gist(said, 150)
    assert kept
    assert sum(len(s.name) + len(s.text) + 3 for s in kept) <= 150
    assert kept == [s for s in said if s in kept]
    assert gist(said, 10) == []


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("Um, the the tests are green.", "The tests are green."),
        ("{vocalsound} Right , uh so we go .", "Right, so we go."),
        ("It is, you know, late.", "It is, late."),
        ("[MUSIC]", ""),
    ],
)
def test_speech_is_smoothed(spoken: str, written: str) -> None:
    assert smooth(spoken) == written


def test_sentences_and_inflection() -> None:
    assert split_sentences("One. Two? Three") == ["One.", "Two?", "Three"]
    assert content_words("planned budgets") == content_words("We are planning the budget")
    assert content_words("it is what it is") == frozenset()


@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=80)), max_size=12))
def test_any_talk_has_minutes(talk: list[tuple[str, str]]) -> None:
    notes = [take_note(name, text) for name, text in talk]
    minutes = take_minutes(notes)
    said = {sentence for note in notes for sentence in note.sentences}
    assert said.issuperset(minutes.highlights)
    gist([sentence for note in notes for sentence in note.sentences], 100)
