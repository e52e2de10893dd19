from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.discretion import is_private

pytestmark = pytest.mark.unit

HEARD = Path(__file__).with_name("mulisa_heard.json")


@pytest.mark.parametrize(
    "text",
    [
        "Mulisa, whisper: what did Bob say about me?",
        "mulisa whisper what time is it",
        "Melissa whisper to me what I missed",
        "You'll listen, whisper to me who is in the call.",
        "Whisper.",
        "Mulisa, please whisper.",
        "Mulisa, can you whisper that to me?",
        "Could you please whisper the minutes?",
        "Mulisa, what time is it? Whisper it, please.",
        "Mulisa, tell me privately who is here.",
        "Mulisa, tell me in private what Bob said.",
        "Mulisa, privately please, who is here?",
        "Privately, what did Bob say?",
        "Just between us, Mulisa, what did Bob say?",
        "Mulisa, between you and me, is Bob right?",
        "Keep it between us: what did Carol say?",
        "Mulisa, only to me: who is here?",
        "Mulisa, say it only to me.",
        "Answer just to me, please. Who is here?",
        "Mulisa, tell only me.",
        "Mulisa, tell me and nobody else what Carol said.",
        "For my ears only: what did I miss?",
        "tell me so that nobody else hears it who is here",
        "Mulisa, tell me without telling the others what I missed.",
        "Mulisa, whisper a summary.",
        "whisper all decisions",
        "Mulisa, whisper something to me",
        "whisper Bob's answer",
        "Mulisa, I'd like you to whisper the answer.",
        "Mulisa, summarise the call in a whisper.",
        "repeat that in a whisper",
        "Mulisa, tell only me the code.",
        "Mulisa, without the others hearing: what is the code?",
        "Mulisa, don't tell the others, but what did I miss?",
    ],
)
def test_an_answer_for_one_person(text: str) -> None:
    assert is_private(text)
    assert is_private(text.upper())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mulisa, who is here?",
        "Mulisa, what did Bob whisper?",
        "Mulisa, why did she whisper to me?",
        "Mulisa, they whisper too much.",
        "Mulisa, what is Whisper?",
        "Mulisa, does the Whisper model understand German?",
        "We use Whisper to transcribe.",
        "Mulisa, don't whisper, tell us what you know.",
        "Mulisa, stop whispering.",
        "Mulisa, whisper it. No, say it aloud.",
        "Mulisa, tell everybody what I said privately.",
        "Mulisa, what did the others say in private?",
        "Mulisa, how do I talk privately to Bob?",
        "Mulisa, is this room private?",
        "Mulisa, tell me what a private key is.",
        "Mulisa, tell us about the private beta.",
        "Mulisa, what is the difference between us and them?",
        "Mulisa, speak only to Alice.",
        "Mulisa, listen only to me.",
        "Mulisa, it matters only to me.",
        "Mulisa, tell only me and Bob who is here.",
        "Mulisa, what did Bob say in a whisper?",
        "Mulisa, Bob uses Whisper to transcribe.",
        "Mulisa, can they talk without us?",
        "Mulisa, why don't you tell the others?",
    ],
)
def test_an_answer_for_everybody(text: str) -> None:
    assert not is_private(text)


@pytest.mark.parametrize(
    "text",
    [
        "What did you say?",
        "Mulisa, what did you whisper?",
        "Mulisa, say that again.",
        "Once more, please.",
        "Sorry?",
        "And Bob?",
        "What about the budget?",
    ],
)
def test_what_refers_back_to_a_whisper_is_answered_in_the_same_way(text: str) -> None:
    assert is_private(text, after_whisper=True)
    assert not is_private(text)


@pytest.mark.parametrize(
    "text",
    [
        "Mulisa, who is here?",
        "Mulisa, what time is it?",
        "Mulisa, say that again out loud.",
        "Repeat it to everybody.",
    ],
)
def test_a_whisper_does_not_last_for_ever(text: str) -> None:
    assert not is_private(text, after_whisper=True)


def test_the_order_may_stand_anywhere_in_a_long_turn() -> None:
    story = "And then we went on and talked about it for a while. " * 60
    assert is_private(f"Mulisa, whisper it to me. {story}")
    assert is_private(f"{story} Tell me privately, Mulisa.")
    assert not is_private(story)


def test_calls_that_ask_for_no_whisper_are_answered_aloud() -> None:
    """What a recogniser made of sentences with her name in them."""
    heard = json.loads(HEARD.read_text())
    assert len(heard) > 100
    assert [line["heard"] for line in heard if is_private(line["heard"])] == []


@given(st.text(max_size=2000), st.booleans())
def test_any_text_has_an_answer(text: str, after_whisper: bool) -> None:
    assert is_private(text, after_whisper=after_whisper) in (True, False)
