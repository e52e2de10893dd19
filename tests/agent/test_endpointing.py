"""When a pause ends a turn."""

from __future__ import annotations

import pytest

from mulisa.agent.endpointing import EndpointingConfig, OpenTurn, respelled
from mulisa.agent.events import UtteranceId
from mulisa.agent.names import NameMatcher

pytestmark = pytest.mark.unit

CONFIG = EndpointingConfig(min_silence=0.5, plain_silence=0.7, hanging_silence=1.2)
FIRST, SECOND = UtteranceId("u1"), UtteranceId("u2")


@pytest.mark.parametrize(
    ("text", "silence"),
    [
        ("Who is here?", 0.5),
        ("Stop.", 0.5),
        ('He said "no."', 0.5),
        ("tell me more", 0.7),
        ("I was thinking that,", 1.2),
        ("We could go there and", 1.2),
        ("We could go there and.", 1.2),
        ("So, um...", 1.2),
        ("So much for that.", 0.5),
        ("What is it about?", 0.5),
        ("What is it about", 1.2),
        ("I will buy a band", 0.7),
    ],
)
def test_silence_follows_from_what_was_said(text: str, silence: float) -> None:
    assert CONFIG.required_silence(text) == silence


def test_a_turn_stays_open_while_somebody_speaks() -> None:
    turn = OpenTurn(started_at=1.0)
    turn.speech_started(FIRST, at=1.0)
    assert turn.deadline(CONFIG) is None


def test_a_turn_waits_for_its_words() -> None:
    turn = OpenTurn(started_at=1.0)
    turn.speech_started(FIRST, at=1.0)
    turn.speech_ended(FIRST, at=2.0)
    assert turn.deadline(CONFIG) == 2.0 + CONFIG.max_transcription
    turn.transcribed(FIRST, "Who is here?")
    assert turn.deadline(CONFIG) == 2.5


def test_a_cough_is_over_as_soon_as_it_is_known_to_be_none() -> None:
    turn = OpenTurn(started_at=1.0)
    turn.speech_started(FIRST, at=1.0)
    turn.speech_ended(FIRST, at=1.2)
    turn.transcribed(FIRST, "  ")
    assert turn.deadline(CONFIG) == 1.2


def test_speech_that_goes_on_makes_the_words_unknown_again() -> None:
    turn = OpenTurn(started_at=1.0)
    turn.speech_started(FIRST, at=1.0)
    turn.speech_ended(FIRST, at=2.0)
    turn.transcribed(FIRST, "I think.")
    turn.speech_started(FIRST, at=1.0)
    assert turn.deadline(CONFIG) is None
    turn.speech_ended(FIRST, at=3.0)
    assert not turn.is_transcribed
    turn.transcribed(FIRST, "I think we should go.")
    assert turn.text == "I think we should go."


def test_utterances_of_one_turn_are_joined_in_order() -> None:
    turn = OpenTurn(started_at=1.0)
    turn.speech_started(FIRST, at=1.0)
    turn.speech_ended(FIRST, at=26.0)
    turn.speech_started(SECOND, at=1.0)
    turn.speech_ended(SECOND, at=28.0)
    turn.transcribed(SECOND, "and so on.", 0.4)
    assert not turn.is_transcribed
    turn.transcribed(FIRST, "A long story", 0.9)
    assert turn.text == "A long story and so on."
    assert turn.confidence == 0.4


def test_words_of_another_turn_are_ignored() -> None:
    turn = OpenTurn(started_at=1.0)
    turn.speech_started(SECOND, at=1.0)
    turn.transcribed(FIRST, "late words")
    assert turn.text == ""


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        (("Nilesa, what", "did Alice say?"), ["Mulisa, what", "did Alice say?"]),
        (("Well.", "", "Nilesa, who is here?"), ["Well.", "", "Mulisa, who is here?"]),
        (("Mule", "is a who is here"), ["Mule", "is a who is here"]),
    ],
)
def test_a_name_is_corrected_in_the_utterance_that_holds_it(
    heard: tuple[str, ...], written: list[str]
) -> None:
    turn = OpenTurn(started_at=1.0)
    for number, text in enumerate(heard):
        turn.speech_started(UtteranceId(str(number)), at=1.0 + number)
        turn.transcribed(UtteranceId(str(number)), text)
    matcher = NameMatcher("Mulisa")
    match = matcher.find(turn.text)
    assert match is not None
    utterances = respelled(turn.utterances.values(), matcher.respelling(match))
    assert [utterance.text for utterance in utterances] == written
    assert [utterance.text for utterance in turn.utterances.values()] == list(heard)
