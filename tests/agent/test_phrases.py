from __future__ import annotations

import pytest

from mulisa.agent.phrases import (
    asks_or_continues,
    has_words,
    is_backchannel,
    is_quiet_order,
    is_request,
    is_stop,
    is_to_everybody,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "text",
    [
        "stop",
        "Stop!",
        "Stop it, please.",
        "Mulisa, stop.",
        "Melissa stop",
        "Okay, Mulisa, stop.",
        "Stop, Mulisa.",
        "be quiet",
        "Be quite.",
        "okay thank you that's enough",
        "Thanks, that's all.",
        "wait",
        "Wait a minute.",
        "hold on a second",
        "shut up",
        "never mind",
        "no no stop stop stop",
    ],
)
def test_orders_to_stop(text: str) -> None:
    assert is_stop(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "okay",
        "thank you",
        "Where is the bus stop?",
        "We should stop the test on Friday.",
        "Don't stop.",
        "When does it stop?",
        "Wait a minute, that is wrong.",
        "I can't wait.",
    ],
)
def test_what_is_no_order_to_stop(text: str) -> None:
    assert not is_stop(text)


def test_another_agent_is_told_to_stop_by_her_own_name() -> None:
    assert is_stop("Jarvis, stop.", name="Jarvis")
    assert not is_stop("Jarvis, stop.")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "...",
        "(coughs)",
        "[BLANK_AUDIO]",
        "mm-hm",
        "Mm-hmm.",
        "Uh-huh.",
        "okay",
        "Yeah, yeah.",
        "Right.",
        "I see.",
        "Oh, okay, great.",
        "all right",
    ],
)
def test_backchannels(text: str) -> None:
    assert is_backchannel(text)


@pytest.mark.parametrize("text", ["no", "Okay, who is here?", "thanks", "yeah but why", "hello"])
def test_what_is_no_backchannel(text: str) -> None:
    assert not is_backchannel(text)


def test_endless_backchannels_are_read_quickly() -> None:
    assert not is_backchannel("mm hm " * 500 + "budget")
    assert not is_stop("okay please " * 500 + "budget")


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("what time is it", True),
        ("You were there?", True),
        ("Tell me more.", True),
        ("Okay. Can you repeat that", True),
        ("The budget is too small.", False),
        ("I think so.", False),
        ("", False),
    ],
)
def test_requests(text: str, request_: bool) -> None:
    assert is_request(text) is request_


@pytest.mark.parametrize(
    ("text", "goes_on"),
    [
        ("and Bob", True),
        ("what about Thursday?", True),
        ("no, the other one", True),
        ("And then we all went home and had a very late dinner", False),
        ("okay", False),
        ("Let's move on.", False),
    ],
)
def test_what_goes_on_after_an_answer(text: str, goes_on: bool) -> None:
    assert asks_or_continues(text) is goes_on


@pytest.mark.parametrize(
    "text",
    [
        "stay quiet until I call you",
        "please be quiet until called",
        "Stay silent.",
        "don't talk until I say so",
        "mute yourself",
    ],
)
def test_orders_to_stay_quiet(text: str) -> None:
    assert is_quiet_order(text)
    assert not is_stop(text)


def test_everybody_and_words() -> None:
    assert is_to_everybody("What do you think, everybody?")
    assert is_to_everybody("Hey guys, shall we start?")
    assert not is_to_everybody("Does everybody know the plan already?")
    assert has_words("no")
    assert not has_words("{vocalsound} [MUSIC] ...")
