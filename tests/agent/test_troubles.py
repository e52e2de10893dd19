from __future__ import annotations

import json

import pytest

from mulisa.agent.troubles import SETTLED, Troubles, shown_to_room
from mulisa.core.account import Account, Trouble
from mulisa.core.errors import ProviderUnavailable
from mulisa.core.secrets import keep_secret

pytestmark = pytest.mark.unit

SLOW = Trouble("stt", "OpenAI", "OpenAI did not answer in time", "whisper")
FINE = Trouble("stt", "OpenAI", "")


def test_it_is_told_when_it_begins_and_when_it_is_over() -> None:
    troubles = Troubles()
    assert troubles.receive(SLOW, now=1.0) == [SLOW]
    assert troubles.receive(SLOW, now=2.0) == []
    assert troubles.current == SLOW
    assert troubles.receive(FINE, now=3.0) == []
    assert troubles.deadline() == 3.0 + SETTLED
    assert troubles.settle(now=3.0 + SETTLED) == [FINE]
    assert troubles.current is None
    assert troubles.deadline() is None


def test_one_that_comes_and_goes_is_told_once() -> None:
    troubles = Troubles()
    told = []
    for number in range(20):
        told += troubles.receive((SLOW, FINE)[number % 2], now=float(number))
    assert told == [SLOW]
    assert troubles.settle(now=19.0 + SETTLED) == [FINE]


def test_another_successor_is_news_and_another_reason_alone_is_not() -> None:
    troubles = Troubles()
    troubles.receive(SLOW, now=1.0)
    quota = Trouble("stt", "OpenAI", "the quota is used up", "whisper")
    assert troubles.receive(quota, now=2.0) == []
    assert troubles.current == quota
    alone = Trouble("stt", "OpenAI", "the quota is used up")
    assert troubles.receive(alone, now=3.0) == [alone]


def test_that_an_engine_works_is_no_news_if_it_always_did() -> None:
    troubles = Troubles()
    assert troubles.receive(FINE, now=1.0) == []
    assert troubles.deadline() is None


def test_the_latest_that_holds_is_shown() -> None:
    troubles = Troubles()
    mute = Trouble("tts", "Azure", "Azure cannot be reached")
    troubles.receive(SLOW, now=1.0)
    assert troubles.receive(mute, now=2.0) == [mute]
    assert troubles.current == mute
    troubles.receive(Trouble("tts", "Azure", ""), now=3.0)
    assert troubles.settle(now=10.0) == [Trouble("tts", "Azure", "")]
    assert troubles.current == SLOW


def spent() -> str:
    with pytest.raises(ProviderUnavailable) as caught:
        Account({"tokens": 0}).check()
    return str(caught.value)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (spent(), "the budget of this room is used up"),
        (
            "OpenAI refuses the key: Incorrect API key provided: sk-ab**yz; check OPENAI_API_KEY",
            "it refuses our key",
        ),
        (
            "OpenAI has had enough of us: You exceeded your current quota, org-77; check plan and "
            "billing of the account",
            "its quota is used up",
        ),
        (
            "OpenAI has had enough of us: Rate limit reached in organization org-77; try again "
            "later",
            "it is too busy",
        ),
        ("http://10.0.0.7:8000/v1 did not answer in time", "it does not answer in time"),
        ("cannot reach http://10.0.0.7/v1: All connection attempts failed", "it cannot be reached"),
        ("Azure does not know the region westmars; check AZURE_SPEECH_REGION", "its region"),
        ("OpenAI has no such model or address: gpt-9 of acme", "it does not have what it was"),
        ("OpenAI sent what is no answer: <html>alice@acme.example", "something went wrong there"),
    ],
)
def test_the_room_is_told_in_words_of_our_own(reason: str, words: str) -> None:
    shown = json.loads(shown_to_room(Trouble("llm", "OpenAI", reason)))
    assert shown["reason"].startswith(words)
    for private in ("sk-", "org-77", "10.0.0.7", "acme", "westmars"):
        assert private not in shown["reason"]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("OpenAI", "OpenAI"),
        ("whisper tiny.en (bundled)", "whisper tiny.en"),
        ("gpt-4.1-mini (OpenAI)", "OpenAI"),
        ("en-US-AvaNeural (Azure Speech, westeurope)", "Azure Speech"),
        ("llama3.2:3b (http://10.0.0.7:11434/v1)", "llama3.2:3b"),
        ("http://10.0.0.7:11434/v1", "an engine"),
        ("<b>bold</b>", "an engine"),
        ("x" * 100, "x" * 40),
        ("canary-0123456789", "an engine"),
        ("", "an engine"),
    ],
)
def test_the_room_knows_engines_by_plain_names(label: str, name: str) -> None:
    keep_secret("canary-0123456789")
    shown = json.loads(shown_to_room(Trouble("tts", label, "broken", label)))
    assert shown["engine"] == name
    assert shown["successor"] == (name if label else "")


def test_nothing_is_shown_when_all_is_well() -> None:
    assert shown_to_room(None) == ""
