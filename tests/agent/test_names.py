from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.names import NameMatcher, Position, Respelling, find_person, sounds_like

pytestmark = pytest.mark.unit

MULISA = NameMatcher("Mulisa")


@pytest.mark.parametrize(
    ("text", "words", "position"),
    [
        ("Mulisa, what time is it?", "Mulisa", "opening"),
        ("Mulisa what time is it", "Mulisa", "opening"),
        ("Hey Mulisa, what time is it?", "Mulisa", "opening"),
        ("Okay, thanks Mulisa, that helps.", "Mulisa", "opening"),
        ("I think so. Mulisa, can you repeat that?", "Mulisa", "opening"),
        ("Mulisa can you repeat that?", "Mulisa", "opening"),
        ("Can you, Mulisa, tell us more?", "Mulisa", "opening"),
        ("Can you tell us Mulisa who is here", "Mulisa", "opening"),
        ("What do you think, Mulisa?", "Mulisa", "closing"),
        ("What do you think Mulisa?", "Mulisa", "closing"),
        ("What time is it Mulisa", "Mulisa", "closing"),
        ("Mulisa?", "Mulisa", "alone"),
        ("Hey Mulisa.", "Mulisa", "alone"),
        ("Mule is a, what did Bob say?", "Mule is a", "opening"),
        ("You're Lisa, who is here?", "You're Lisa", "opening"),
        ("Milis of, who is here?", "Milis of", "opening"),
        ("I asked Mulisa yesterday.", "Mulisa", "within"),
        ("I asked Mulisa.", "Mulisa", "within"),
        ("Mulisa said that it was late.", "Mulisa", "within"),
        ("Mulisa was wrong about it.", "Mulisa", "within"),
        ("Mulisa can answer that.", "Mulisa", "within"),
        ("Is that Mulisa?", "Mulisa", "within"),
        ("Where is Mulisa?", "Mulisa", "within"),
        ("Let's ask Mulisa about it.", "Mulisa", "within"),
        ("My name is Mulisa.", "Mulisa", "within"),
    ],
)
def test_where_the_name_stands(text: str, words: str, position: Position) -> None:
    match = MULISA.find(text)
    assert match is not None
    assert (match.words, match.position) == (words, position)
    assert text[match.start : match.end] == words


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("Nilesa, what did Alice say?", "Mulisa, what did Alice say?"),
        ("Mule is a who is here", "Mulisa who is here"),
        ("Hello, I'm Yulisa. What time is it", "Hello, Mulisa. What time is it"),
        ("What do you think, Neil said?", "What do you think, Mulisa?"),
        ("okay, melissa... STOP!", "okay, Mulisa... STOP!"),
        ("Mulisa, who is here?", "Mulisa, who is here?"),
    ],
)
def test_the_name_is_written_as_it_should_be_and_all_else_stays(heard: str, written: str) -> None:
    match = MULISA.find(heard)
    assert match is not None
    assert MULISA.respelling(match).apply(heard) == written


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("Computer, who is here?", "Computer, who is here?"),
        ("Ada, who is here?", "Ada, who is here?"),
        ("Komputer, who is here?", "Computer, who is here?"),
        ("Aida Lovelass, who is here?", "Ada Lovelace, who is here?"),
    ],
)
def test_of_several_names_the_one_that_was_said_is_written(heard: str, written: str) -> None:
    matcher = NameMatcher("Ada Lovelace", ["Computer"])
    match = matcher.find(heard)
    assert match is not None
    assert matcher.respelling(match).apply(heard) == written


def test_a_part_of_a_text_is_corrected_if_it_holds_the_whole_name() -> None:
    respelling = Respelling(10, 16, "Mulisa")
    assert respelling.apply("Okay then.", offset=0) == "Okay then."
    assert respelling.apply("Nilesa?", offset=10) == "Mulisa?"
    assert respelling.apply("and Nilesa?", offset=6) == "and Mulisa?"
    assert respelling.apply("and Nil", offset=6) == "and Nil"


@pytest.mark.parametrize(
    "text",
    ["", "?!", "We should move the meeting.", "Multiple people, please.", "Listen, it is late."],
)
def test_texts_without_the_name(text: str) -> None:
    assert MULISA.find(text) is None


@pytest.mark.parametrize(
    "heard", ["Mulisa", "Nilsa", "Nilesa", "Melissa", "Meilosa", "Neilisa", "Mjolissa", "Yulasa"]
)
def test_mishearings_score_by_likeness(heard: str) -> None:
    match = MULISA.find(f"{heard}, who is here?")
    assert match is not None
    assert match.score >= 0.8
    assert (match.score == 1.0) == (heard == "Mulisa")


def test_a_likely_name_wins_over_an_unlikely_one() -> None:
    match = MULISA.find("Lisa, did you ask Marissa? Mulisa, did you?")
    assert match is not None
    assert match.words == "Mulisa"


@pytest.mark.parametrize("present", ["Melissa", "Melissa Jones", "melissa"])
def test_a_person_called_melissa_keeps_her_name(present: str) -> None:
    assert MULISA.find("Melissa, can you hear me?", [present]) is None
    match = MULISA.find("Mulisa, can you hear me?", [present])
    assert match is not None
    assert match.score == 1.0
    nilsa = MULISA.find("Nilsa, can you hear me?", [present])
    assert nilsa is not None


def test_any_name_is_found_by_sound() -> None:
    jarvis = NameMatcher("Jarvis", aliases=["J"])
    for text in ("Jervis, what time is it?", "Hey Jarvus, stop.", "J, what time is it?"):
        assert jarvis.find(text) is not None, text
    assert jarvis.find("The weather is nice today.") is None


def test_short_names_are_found_only_as_they_are() -> None:
    ada = NameMatcher("Ada")
    assert ada.find("Ada, who is here?") is not None
    assert ada.find("Other, who is here?") is None


def test_a_name_of_several_words() -> None:
    doctor = NameMatcher("Doctor Who")
    for text in ("Doctor Who, what time is it?", "Doctor, what time is it?"):
        match = doctor.find(text)
        assert match is not None
        assert match.position == "opening"


@pytest.mark.parametrize(
    ("one", "other", "least", "most"),
    [
        ("mulisa", "mulisa", 1.0, 1.0),
        ("neilasa", "mulisa", 0.8, 0.99),
        ("catherine", "kathryn", 0.75, 1.0),
        ("bob", "mulisa", 0.0, 0.3),
        ("", "mulisa", 0.0, 0.0),
    ],
)
def test_likeness_in_sound(one: str, other: str, least: float, most: float) -> None:
    assert least <= sounds_like(one, other) <= most


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("Bob, what do you think?", "Bob"),
        ("What do you think, Bob?", "Bob"),
        ("Thanks Alice.", "Alice"),
        ("Bob said that it is late.", None),
        ("I asked Bob about it.", None),
        ("What do you think?", None),
        ("And Bob?", None),
        ("What about Bob?", None),
    ],
)
def test_who_is_spoken_to(text: str, to: str | None) -> None:
    assert find_person(text, ["Alice", "Bob"]) == to


@given(st.text(max_size=200), st.lists(st.text(max_size=20), max_size=3))
def test_any_text_is_searched(text: str, others: list[str]) -> None:
    match = MULISA.find(text, others)
    if match is not None:
        assert 0.0 < match.score <= 1.0
        assert text[match.start : match.end] == match.words


@given(st.text(max_size=20))
def test_any_name_can_be_looked_for(name: str) -> None:
    NameMatcher(name, [name]).find("Hey there, what time is it?")


class CountingMatcher(NameMatcher):
    """Knows how often it compared something."""

    compared = 0

    def score(self, words: str) -> float:
        self.compared += 1
        return super().score(words)


@pytest.mark.parametrize("text", ["milis of " * 444, "Milis of. " * 400, "nelisa, " * 500])
def test_a_page_full_of_names_is_as_much_work_as_a_long_turn(text: str) -> None:
    matcher = CountingMatcher("Mulisa")
    assert matcher.find(text) is not None
    assert matcher.compared <= 4 * 128


@pytest.mark.parametrize(("before", "after"), [(0, 800), (800, 0), (60, 800), (60, 60)])
def test_who_is_called_near_either_end_of_a_long_text_is_found(before: int, after: int) -> None:
    match = MULISA.find(f"{'we talk ' * (before // 2)}. Mulisa, {'we talk ' * (after // 2)}")
    assert match is not None
    assert match.words == "Mulisa"
