from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.sentences import MAX_CHARS, SentenceSplitter, speakable

pytestmark = pytest.mark.unit


def split(text: str, size: int = 3) -> list[str]:
    splitter = SentenceSplitter()
    deltas = [text[i : i + size] for i in range(0, len(text), size)]
    return [segment for delta in deltas for segment in splitter.push(delta)] + splitter.flush()


def test_the_first_segment_is_a_clause_and_the_others_are_sentences() -> None:
    assert split("Well of course, Alice, I can do that. It is late, so be quick. Bye!") == [
        "Well of course,",
        "Alice, I can do that.",
        "It is late, so be quick.",
        "Bye!",
    ]


def test_a_first_clause_of_two_words_waits_for_more() -> None:
    assert split("Sure, Alice, here is the list.") == ["Sure, Alice, here is the list."]
    assert split("No. He said so, I think.") == ["No. He said so,", "I think."]


def test_a_segment_is_given_as_soon_as_its_end_is_certain() -> None:
    splitter = SentenceSplitter()
    assert splitter.push("Alice and Bob are here.") == []  # it might be "here.com"
    assert splitter.push(" They") == ["Alice and Bob are here."]
    assert splitter.flush() == ["They"]


@pytest.mark.parametrize(
    "sentence",
    [
        "I met Dr. Smith and Mrs. J. Jones there.",
        "We need fruit, e.g. apples, i.e. something sweet.",
        "It costs 3.5 dollars at 10:42 in the U.S. today.",
        "They left at 5 p.m. because it rained.",
        "That is No. 7 of the list.",
        "Hm... maybe you are right.",
        "Look at example.com for version 1.2.3 of it.",
    ],
)
def test_a_dot_inside_a_sentence_does_not_end_it(sentence: str) -> None:
    assert split("This comes first! " + sentence + " And more.")[1:] == [sentence, "And more."]


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        (
            "We all had tea, cake etc. Then we left.",
            ["We all had tea,", "cake etc.", "Then we left."],
        ),
        ("He came at 5 p.m. She did not.", ["He came at 5 p.m.", "She did not."]),
        ("He asked for it. No. I said it.", ["He asked for it.", "No.", "I said it."]),
        ("So did we and I. Then we left.", ["So did we and I.", "Then we left."]),
        ('She said "go away." He went.', ['She said "go away."', "He went."]),
        ("He was gone... Then he came.", ["He was gone...", "Then he came."]),
        ("Nice to meet you!😀 And you?", ["Nice to meet you!", "And you?"]),
        ("It was not Bob—he said so. Yes.", ["It was not Bob", "he said so.", "Yes."]),
        (
            "今日は。元気ですか？はい。それから、また。",
            ["今日は。", "元気ですか？", "はい。", "それから、また。"],
        ),
    ],
)
def test_where_segments_end(text: str, segments: list[str]) -> None:
    assert split(text) == segments


def test_lines_are_segments_and_marked_ones_get_a_full_stop() -> None:
    text = "# To do\n\n- buy **milk**\n* call `Bob`\n1. eat\n> done!\nfine\n"
    assert split(text) == ["To do.", "buy milk.", "call Bob.", "1. eat", "done!", "fine"]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("**Bold**, *slanted*, __both__ and ~~gone~~", "Bold, slanted, both and gone"),
        ("see [the page](https://a.example/x?y=1) now", "see the page now"),
        ("see https://www.example.com/a/b?c=d.", "see example.com."),
        ("see (https://example.com/a).", "see (example.com)."),
        ("<http://example.com:8080/>", "example.com"),
        ("3 * 4 is 12", "3 times 4 is 12"),
        ("a snake_case name", "a snake_case name"),
        ("done ✅ 👩‍💻 ok", "done ok"),
        ("this — that – other", "this, that, other"),
        ("```python", ""),
        ("---", ""),
        ("***", ""),
        ("😀", ""),
        ("C# and -5 degrees", "C# and -5 degrees"),
    ],
)
def test_markup_becomes_words(text: str, spoken: str) -> None:
    assert speakable(text) == spoken


def test_a_link_is_not_cut() -> None:
    text = "Read it again, in [this, my page. Yes](http://a.example/b, c) today. Bye."
    assert split(text) == ["Read it again,", "in this, my page. Yes today.", "Bye."]


def test_text_without_any_boundary_is_cut_between_words() -> None:
    text = "word " * 500
    segments = split(text)
    assert " ".join(segments).split() == text.split()
    assert max(map(len, segments)) <= MAX_CHARS


PLAIN = st.text(alphabet="abIDr eg.,;:!?'\"-0123U \n", max_size=400)


@given(PLAIN, st.integers(1, 30))
def test_no_word_is_lost_or_doubled(text: str, size: int) -> None:
    said = " ".join(split(text, size))
    assert words(said) == words(text)


@given(PLAIN, st.integers(1, 7))
def test_how_the_text_is_streamed_does_not_matter_much(text: str, size: int) -> None:
    assert " ".join(split(text, size)).split() == " ".join(split(text, 400)).split()


@given(st.text(max_size=200))
def test_any_text_is_cut_and_nothing_without_words_is_given(text: str) -> None:
    assert all(re.search(r"\w", segment) for segment in split(text))


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)
