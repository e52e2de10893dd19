from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.providers.intents import Aspect, Intent, Kind, understand

pytestmark = pytest.mark.unit

PEOPLE = ("Alice", "Bob", "Carol")

PARAPHRASES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (
        "who",
        (
            "Mulisa, who is in the call?",
            "who was in the call",
            "who's in the cold",
            "Nielsen, who is in the call?",
            "You'll listen, who lives in the coil?",
            "in the car.",
            "Who's here?",
            "Who else is here",
            "How many people are in this room?",
            "Who am I talking to?",
            "Is Bob still here?",
            "Who left?",
            "list the participants",
            "Am I alone here?",
        ),
    ),
    (
        "said",
        (
            "Hey, Mulesa, what did Alice say about the budget?",
            "What did our say about the budget?",
            "what did Bob mention about Thursday",
            "what was said about the release",
            "did anyone say anything about the deadline?",
            "who talked about the budget",
            "who mentioned the tests?",
            "what is Bob's opinion on the plan",
            "what has Carol said so far",
            "tell me what Bob said",
            "what did she think of the plan",
            "what do we know about the budget",
            "what did I say about the plan?",
            "Did Bob mention the deadline?",
        ),
    ),
    (
        "catch_up",
        (
            "You'll listen, so I'm gonna write the last five minutes.",
            "what did I miss",
            "What have I missed?",
            "catch me up please",
            "what happened in the last ten minutes",
            "fill me in",
            "What were we talking about?",
            "what was said in the last two minutes",
            "Bring me up to speed",
        ),
    ),
    (
        "minutes",
        (
            "Neilisa, summarize the last five minutes",
            "You're little, summer I'm the last 5 minutes.",
            "give me the minutes of the call",
            "give me a summary",
            "summarise the meeting so far",
            "sum it up",
            "recap please",
            "what are the main points",
            "what did we decide?",
            "any action items?",
            "are there open questions",
            "what topics did we discuss",
        ),
    ),
    (
        "duration",
        (
            "how long have we been talking",
            "since when are we talking?",
            "when did the call start",
            "how long is this meeting already",
        ),
    ),
    (
        "repeat",
        (
            "Could you repeat that, Melissa?",
            "say that again please",
            "What did you say?",
            "I didn't catch that",
            "Sorry?",
            "pardon me",
            "once more",
        ),
    ),
    (
        "time",
        (
            "Hello, I'm Yulisa. What time is it",
            "what's the time",
            "how late is it",
            "do you know what time it is",
        ),
    ),
    ("date", ("what day is it today", "what's the date", "which day is it")),
    (
        "connection",
        (
            "How am I connected?",
            "how is my connection",
            "what is my latency",
            "are we on a mesh or an SFU",
            "is this peer to peer",
        ),
    ),
    (
        "stop",
        (
            "stop",
            "Okay, Melissa, stop.",
            "okay thank you that's enough",
            "never mind",
            "Yulasa, please be quiet.",
        ),
    ),
    (
        "quiet",
        (
            "stay quiet until I call you",
            "please be quiet until called",
            "stay quite until cold",
            "don't speak until I call you",
        ),
    ),
    (
        "heard",
        (
            "Mulisa, who do you hear?",
            "who can you hear",
            "Do you hear everybody?",
            "who hears you?",
            "who are you talking to?",
        ),
    ),
    ("help", ("help", "what can you do", "what can I ask you?", "Mulisa help me")),
    ("identity", ("who are you", "what's your name?", "are you a robot")),
    (
        "hearing",
        ("Nila, can you hear me?", "You know, listen, can you fear me?", "are you there"),
    ),
    ("thanks", ("Thanks, Mieleza. That was helpful.", "thank you")),
    ("hello", ("Hello", "hi Mulisa", "good morning Mulisa")),
    ("wellbeing", ("how are you today", "How's it going?")),
    ("bye", ("goodbye Mulisa", "bye bye")),
    ("yes", ("yes", "okay, fine")),
    ("statement", ("I think the budget should be ten thousand euros.",)),
    ("question", ("what is the capital of France?", "Should we use Postgres for it?")),
)


@pytest.mark.parametrize(
    ("text", "kind"), [(text, kind) for kind, texts in PARAPHRASES for text in texts]
)
def test_paraphrases(text: str, kind: Kind) -> None:
    assert understand(text, agent="Mulisa", people=PEOPLE).kind == kind


@pytest.mark.parametrize(
    ("text", "person", "topic"),
    [
        ("What did Alice say about the budget?", "alice", "budget"),
        ("what did I say about the plan, please", "me", "plan"),
        ("What did you say about Thursday?", "you", "thursday"),
        ("what did they say about the plan", "", "plan"),
        ("What did Bob say?", "bob", ""),
        ("who talked about the new office", "", "new office"),
        ("what did Alice just say about it?", "alice", ""),
        ("I was late. What did Carol say about lunch? Thanks.", "carol", "lunch"),
    ],
)
def test_whom_and_what_a_question_is_about(text: str, person: str, topic: str) -> None:
    intent = understand(text, agent="Mulisa", people=PEOPLE)
    assert (intent.kind, intent.person, intent.topic) == ("said", person, topic)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("summarize the last five minutes", 5.0),
        ("what happened in the past 10 minutes?", 10.0),
        ("what was said in the last minute", 1.0),
        ("what did I miss in the last half hour", 30.0),
        ("summary of the last two hours please", 120.0),
        ("what did Alice say about lunch in the last couple of minutes", 2.0),
        ("what did I miss", None),
    ],
)
def test_spans_of_time(text: str, minutes: float | None) -> None:
    assert understand(text).minutes == minutes


@pytest.mark.parametrize(
    ("text", "aspect"),
    [
        ("what did we decide", "decisions"),
        ("give me the action items", "tasks"),
        ("any open questions?", "open_questions"),
        ("which topics were there", "topics"),
        ("give me a summary", ""),
    ],
)
def test_parts_of_the_minutes(text: str, aspect: Aspect) -> None:
    assert understand(text) == Intent("minutes", aspect=aspect)


BEFORE = Intent("said", person="alice", topic="budget")


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("and Bob?", Intent("said", "Bob", "budget")),
        ("What about Bop?", Intent("said", "Bob", "budget")),
        ("And you?", Intent("said", "you", "budget")),
        ("and me", Intent("said", "me", "budget")),
        ("and the release?", Intent("said", "alice", "release")),
        ("Melissa, and about Thursday?", Intent("said", "alice", "thursday")),
    ],
)
def test_follow_ups(text: str, intent: Intent) -> None:
    assert understand(text, agent="Mulisa", people=PEOPLE, before=BEFORE) == intent


def test_a_new_question_is_no_follow_up() -> None:
    intent = understand("and what time is it?", agent="Mulisa", people=PEOPLE, before=BEFORE)
    assert intent.kind == "time"


@given(st.text(max_size=300), st.text(max_size=20), st.lists(st.text(max_size=10), max_size=3))
def test_any_text_has_an_intent(text: str, agent: str, people: list[str]) -> None:
    assert understand(text, agent=agent, people=people, before=BEFORE).kind


@given(
    st.lists(
        st.sampled_from(
            "what did say about and the last minutes who is here stop quiet until in hi mm".split()
        ),
        max_size=200,
    )
)
def test_words_of_the_rules_in_any_order_are_understood_quickly(words: list[str]) -> None:
    assert understand(" ".join(words), agent="Mulisa", people=PEOPLE).kind


@pytest.mark.parametrize(
    ("text", "person", "on"),
    [
        ("Mulisa, stop listening to Bob.", "bob", False),
        ("Nielsen, please stop hearing Bob", "bob", False),
        ("don't listen to me", "me", False),
        ("Mulisa, don't listen to me anymore.", "me", False),
        ("Mulisa, stop listening.", "me", False),
        ("stop listening to everybody", "everybody", False),
        ("Mulisa, listen to Bob again.", "bob", True),
        ("you can listen to me again, please", "me", True),
        ("listen to all of us again", "everybody", True),
        ("can you please stop listening to Bob?", "bob", False),
        ("I want you to no longer listen to me", "me", False),
        ("you should never listen to Bob", "bob", False),
    ],
)
def test_whom_she_shall_hear(text: str, person: str, on: bool) -> None:
    assert understand(text, agent="Mulisa", people=PEOPLE) == Intent("hear", person=person, on=on)


@pytest.mark.parametrize(
    ("text", "people"),
    [
        ("Mulisa, speak only to Alice.", ("alice",)),
        ("only talk to Alice and Bob from now on", ("alice", "bob")),
        ("Mulisa, speak only to me and Bob, please.", ("me", "bob")),
        ("talk just to me", ("me",)),
        ("Mulisa, speak on me to Alice.", ("alice",)),
        ("speak to Carol only", ("carol",)),
        ("speak to everybody again", ("everybody",)),
        ("Mulisa, you can talk to all of us again.", ("everybody",)),
        ("could you speak only to Alice?", ("alice",)),
        ("you should only talk to me", ("me",)),
    ],
)
def test_to_whom_she_shall_speak(text: str, people: tuple[str, ...]) -> None:
    wanted = Intent("speak_to", people=people)
    assert understand(text, agent="Mulisa", people=PEOPLE) == wanted


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Mulisa, listen to this.", "statement"),
        ("stop listening to what Bob says", "said"),
        ("Mulisa, listen, who is here?", "who"),
        ("what did Bob say when you were speaking only to me", "said"),
        ("can you hear me?", "hearing"),
        ("don't speak until I call you", "quiet"),
        ("Mulisa, I don't hear Bob.", "statement"),
        ("we still do not hear Alice", "statement"),
        ("I no longer hear anybody", "statement"),
        ("Mulisa, you don't listen to me!", "statement"),
        ("you never listen", "statement"),
        ("did you stop listening to Bob?", "question"),
        ("Mulisa, I only talk to Bob.", "statement"),
        ("they should speak only to me", "statement"),
        ("are you speaking only to Alice?", "question"),
    ],
)
def test_what_is_no_order_to_hear_or_speak(text: str, kind: Kind) -> None:
    assert understand(text, agent="Mulisa", people=PEOPLE).kind == kind


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (
            "Mulisa, whisper: what did Bob say about the budget?",
            "What did Bob say about the budget",
        ),
        ("Mulisa, whisper to me who is in the call.", "who is in the call"),
        ("Just between us, Mulisa, what did I miss?", "what did I miss"),
        ("Mulisa, tell me privately what time it is", "tell me what time it is"),
        ("Mulisa, only to me: who is here?", "who is here"),
        ("Mulisa, who is here? Whisper it, please.", "who is here?"),
        ("Mulisa, what did you whisper to me?", "what did you say?"),
        ("Mulisa, whisper to me.", "okay"),
    ],
)
def test_how_she_shall_answer_does_not_change_what_is_wanted(text: str, plain: str) -> None:
    assert understand(text, agent="Mulisa") == understand(plain, agent="Mulisa")


@pytest.mark.parametrize(
    ("before", "text", "intent"),
    [
        (
            Intent("speak_to", people=("alice",)),
            "and me",
            Intent("speak_to", people=("alice", "me")),
        ),
        (
            Intent("speak_to", people=("me",)),
            "and Bob, please",
            Intent("speak_to", people=("me", "bob")),
        ),
        (
            Intent("hear", person="alice", on=False),
            "and Bob",
            Intent("hear", person="bob", on=False),
        ),
    ],
)
def test_an_order_may_be_extended(before: Intent, text: str, intent: Intent) -> None:
    assert understand(text, agent="Mulisa", people=PEOPLE, before=before) == intent
