from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.memory import Memory, MemoryConfig
from mulisa.core.provider import Message
from mulisa.core.room import Identity, Participant, ParticipantKind
from mulisa.core.transcript import TranscriptEntry

pytestmark = pytest.mark.unit

ALICE = Participant(Identity("alice-1"), "Alice")
BOB = Participant(Identity("bob-2"), "Bob")
ALICE_TOO = Participant(Identity("alice-3"), "Alice")
AGENT = Participant(Identity("mulisa"), "Mulisa", kind="agent")
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def memory(config: MemoryConfig | None = None) -> Memory:
    return Memory(config or MemoryConfig(), agent="Mulisa", now=100.0, wall=NOON)


def say(
    of: Memory, who: Participant, text: str, at: float = 110.0, addressed: bool = False
) -> None:
    of.said(who.identity, who.name, text, at, at + 2, addressed)


def test_loop_times_are_told_on_the_wall_clock() -> None:
    assert memory().wall(100.0) == NOON
    assert f"{memory().wall(400.0):%H:%M}" == "12:05"


def written(
    who: Participant, text: str, minutes_ago: float, kind: ParticipantKind = "standard"
) -> TranscriptEntry:
    began = NOON - timedelta(minutes=minutes_ago)
    return TranscriptEntry(
        f"s{minutes_ago}", who.identity, who.name, kind, "voice", text, began, began
    )


def test_what_was_written_down_before_is_known_again() -> None:
    call = memory()
    call.recall(
        [
            written(BOB, "The budget is nine thousand.", 10),
            written(ALICE, "Mulisa, what is the budget?", 9),
            written(AGENT, "Bob said nine thousand.", 8, kind="agent"),
            written(BOB, "Good.", 7),
        ]
    )
    assert [(e.name, e.started_at) for e in call.entries()] == [
        ("Bob", -500.0),
        ("Alice", -440.0),
        ("Mulisa", -380.0),
        ("Bob", -320.0),
    ]
    assert [e.text for e in call.entries() if e.addressed] == ["Mulisa, what is the budget?"]
    assert (reply := call.last_reply(ALICE.identity)) is not None and reply.kind == "agent"
    assert call.started_at == -500.0
    assert f"{call.wall(call.started_at):%H:%M}" == "11:50"
    assert [(s.name, s.joined_at, s.left_at) for s in call.stays()] == [
        ("Bob", -500.0, -320.0),
        ("Alice", -440.0, -440.0),
    ]
    call.joined(ALICE, 101.0)
    assert [s.name for s in call.stays() if s.left_at is None] == ["Alice"]


def test_a_wall_clock_that_was_set_back_puts_nothing_into_the_future() -> None:
    call = memory()
    call.recall([written(BOB, "Hello.", -3)])
    assert [entry.ended_at for entry in call.entries()] == [100.0]


def test_who_came_and_went() -> None:
    call = memory()
    for person, now in ((ALICE, 100.0), (BOB, 130.0), (AGENT, 131.0)):
        call.joined(person, now)
    call.left(BOB, 160.0)
    call.left(BOB, 170.0)
    call.left(AGENT, 171.0)
    assert [(s.name, s.joined_at, s.left_at) for s in call.stays()] == [
        ("Alice", 100.0, None),
        ("Bob", 130.0, 160.0),
    ]
    call.joined(BOB, 200.0)
    assert call.stays()[-1].left_at is None
    assert call.stays()[-1].joined_at == 200.0


def test_two_people_with_one_name_stay_distinguishable() -> None:
    call = memory()
    call.joined(ALICE, 100.0)
    call.joined(ALICE_TOO, 101.0)
    say(call, ALICE_TOO, "I am the other one.")
    say(call, ALICE, "And I was first.")
    assert [m.name for m in call.messages("s")[1:]] == ["Alice 2", "Alice"]
    assert {s.identity for s in call.find_people("Alice")} == {"alice-1", "alice-3"}


def test_a_new_name_is_taken_over() -> None:
    call = memory()
    call.joined(ALICE, 100.0)
    call.joined(Participant(ALICE.identity, "Alicia"), 120.0)
    assert [(s.name, s.joined_at) for s in call.stays()] == [("Alicia", 100.0)]


def test_messages_keep_names_and_roles() -> None:
    call = memory()
    say(call, ALICE, "Mulisa, who  is here?", addressed=True)
    call.replied("You and Bob.", "", ALICE.identity, 113.0, 114.0)
    say(call, BOB, "(coughs)...", 115.0)
    say(call, BOB, "...", 115.0)
    assert call.messages("be kind") == (
        Message("system", "be kind"),
        Message("user", "Mulisa, who is here?", name="Alice"),
        Message("assistant", "You and Bob."),
        Message("user", "(coughs)...", name="Bob"),
    )


def test_an_interrupted_reply_ends_where_it_was_heard() -> None:
    call = memory()
    call.replied("There are three", "people: Alice, Bob and you.", ALICE.identity, 113.0, 114.0)
    content = call.messages("s")[-1].content
    assert content.startswith("There are three [you were interrupted")
    assert "Alice, Bob" not in content
    entry = call.last_reply(ALICE.identity)
    assert entry is not None
    assert (entry.text, entry.unspoken) == ("There are three", "people: Alice, Bob and you.")


def test_the_question_of_the_asker_comes_last() -> None:
    call = memory()
    say(call, ALICE, "Mulisa, what time is it?", 110.0, addressed=True)
    say(call, BOB, "It is late.", 111.0)
    say(call, ALICE, "Yes, it is.", 112.0)
    names = [(m.name, m.content) for m in call.messages("s", ALICE.identity)[1:]]
    assert names[-1] == ("Alice", "Mulisa, what time is it?")
    assert len(names) == 3
    assert call.messages("s", BOB.identity)[-1].content == "Yes, it is."


def test_long_talk_stays_within_the_budget_and_keeps_the_gist() -> None:
    call = memory(MemoryConfig(history_chars=1200, verbatim_chars=600))
    say(call, ALICE, "We decided that the budget is twelve thousand euros.", 101.0)
    for i in range(400):
        say(call, BOB, f"Well, this and that, number {i}.", 110.0 + i)
        assert sum(len(m.content) for m in call.messages("")) <= 1200 + 60
    messages = call.messages("system")
    assert messages[1].role == "system"
    assert "Alice: We decided that the budget is twelve thousand euros." in messages[1].content
    assert messages[-1].content == "Well, this and that, number 399."


def test_the_summary_changes_seldom() -> None:
    call = memory(MemoryConfig(history_chars=1200, verbatim_chars=600))
    prefixes = set()
    for i in range(200):
        say(call, BOB, f"The report number {i} is ready.", 110.0 + i)
        prefixes.add(call.messages("s")[1].content)
    assert len(prefixes) < 40


def test_memory_is_bounded() -> None:
    call = memory(MemoryConfig(max_entries=50))
    for i in range(200):
        say(call, BOB, f"word {i}", 110.0 + i)
        person = Participant(Identity(f"p{i}"), "Guest")
        call.joined(person, 110.0 + i)
        call.left(person, 110.5 + i)
    assert len(call.entries()) == 50
    say(call, BOB, "long " * 5000)
    assert len(call.entries()[-1].text) < 5000


def test_many_stays_are_forgotten_before_those_present() -> None:
    call = memory()
    call.joined(ALICE, 100.0)
    for i in range(1100):
        person = Participant(Identity(f"p{i}"), f"Guest {i}")
        call.joined(person, 110.0 + i)
        call.left(person, 110.5 + i)
    stays = call.stays()
    assert len(stays) == 1000
    assert stays[0].identity == ALICE.identity


def test_entries_by_person_time_and_topic() -> None:
    call = memory()
    say(call, ALICE, "The budget is small.", 110.0)
    say(call, BOB, "Budgets always are.", 200.0)
    say(call, BOB, "The tests are green.", 300.0)
    call.replied("The budget is fine.", "", None, 310.0, 311.0)
    assert [e.text for e in call.entries(about="the budget", by=BOB.identity)] == [
        "Budgets always are."
    ]
    assert len(call.entries(about="budget")) == 3
    assert [e.text for e in call.entries(since=250.0)][0] == "The tests are green."
    assert call.entries(about="lunch") == []


def test_minutes_are_of_what_people_said_to_each_other() -> None:
    call = memory()
    say(call, ALICE, "Mulisa, what time is it in Paris?", 110.0, addressed=True)
    say(call, BOB, "The release ships on Thursday morning.", 200.0)
    minutes = call.minutes()
    assert [name for name, _ in minutes.speakers] == ["Bob"]
    assert call.minutes(since=300.0).speakers == ()


def test_minutes_of_a_talk_with_her_alone_leave_questions_out() -> None:
    call = memory()
    say(call, ALICE, "What time is it in Paris?", 110.0, addressed=True)
    say(call, ALICE, "The release ships on Thursday morning.", 200.0, addressed=True)
    texts = [s.text for s in call.minutes().highlights]
    assert texts == ["The release ships on Thursday morning."]


@pytest.mark.parametrize(
    ("name", "found"),
    [("bob", "Bob"), ("Bop", "Bob"), ("Alise", "Alice"), ("alice-1", "Alice"), ("Zoe", None)],
)
def test_people_are_found_by_sound(name: str, found: str | None) -> None:
    call = memory()
    call.joined(ALICE, 100.0)
    call.joined(BOB, 101.0)
    stays = call.find_people(name)
    assert (stays[0].name if stays else None) == found


@given(st.lists(st.tuples(st.sampled_from("abm"), st.text(max_size=200), st.booleans())))
def test_any_call_fits_the_budget(turns: list[tuple[str, str, bool]]) -> None:
    call = memory(MemoryConfig(history_chars=500, verbatim_chars=300, max_entries=10))
    for i, (who, text, addressed) in enumerate(turns):
        if who == "m":
            call.replied(text, text[:5], None, 100.0 + i, 101.0 + i)
        else:
            call.said(Identity(who), who, text, 100.0 + i, 101.0 + i, addressed)
    verbatim = [m for m in call.messages("") if m.role != "system"]
    assert sum(len(m.content) for m in verbatim[:-1]) <= 300 + 60 * len(verbatim)
    assert len(call.entries()) <= 10


def test_a_whisper_is_known_to_its_listener_and_to_nobody_else() -> None:
    call = memory()
    call.joined(ALICE, 100.0)
    say(call, ALICE, "Mulisa, whisper: what is the code?", addressed=True)
    call.replied(
        "The code is pineapple.", "", ALICE.identity, 113.0, 114.0, listener=ALICE.identity
    )
    say(call, BOB, "Mulisa, what did you say?", 116.0, addressed=True)
    for nobody in (None, BOB.identity):
        assert "pineapple" not in str(call.messages("s", BOB.identity, listener=nobody))
        assert "pineapple" not in str(call.entries(about="pineapple", listener=nobody))
        assert call.last_reply(listener=nobody) is None
        assert call.last_reply(ALICE.identity, listener=nobody) is None
    assert "pineapple" not in str(call.minutes())
    assert "pineapple" in str(call.messages("s", ALICE.identity, listener=ALICE.identity))
    assert len(call.entries(about="pineapple", listener=ALICE.identity)) == 1
    assert (reply := call.last_reply(ALICE.identity, listener=ALICE.identity)) is not None
    assert reply.listener == ALICE.identity


def test_the_summary_of_old_turns_holds_no_whisper() -> None:
    call = memory(MemoryConfig(history_chars=1200, verbatim_chars=600))
    secret = "We decided that the secret budget is pineapple thousand euros."
    call.replied(secret, "", ALICE.identity, 100.0, 101.0, listener=ALICE.identity)
    say(call, ALICE, "We decided that the public budget is twelve thousand euros.", 102.0)
    for i in range(100):
        say(call, BOB, f"Well, this and that, number {i}.", 110.0 + i)
    gist = call.messages("system", ALICE.identity, listener=ALICE.identity)[1].content
    assert "public budget" in gist and "pineapple" not in gist
    assert call.entries(about="pineapple", listener=ALICE.identity), "but she can look it up"


def test_a_whisper_stays_one_when_it_is_recalled() -> None:
    call = memory()
    whisper = replace(written(AGENT, "It is pineapple.", 8, kind="agent"), listener=ALICE.identity)
    call.recall([written(ALICE, "Whisper it.", 9), written(BOB, "Hm.", 8.5), whisper])
    assert "pineapple" not in str(call.messages("s")) + str(call.minutes()) + str(call.entries())
    assert (reply := call.last_reply(ALICE.identity, listener=ALICE.identity)) is not None
    assert (reply.text, reply.listener) == ("It is pineapple.", ALICE.identity)


@given(
    st.lists(st.tuples(st.sampled_from("abx"), st.booleans()), max_size=60),
    st.sampled_from(["a", "b", None]),
)
def test_whoever_listens_nobody_hears_the_whispers_of_another(
    turns: list[tuple[str, bool]], listener: str | None
) -> None:
    call = memory(MemoryConfig(history_chars=300, verbatim_chars=150, max_entries=40))
    for i, (who, whispered) in enumerate(turns):
        to = Identity(who)
        text = f"whispered to {who} about budget {i}" if whispered else f"aloud about budget {i}"
        call.said(to, who, f"We decided about budget {i}.", 100.0 + i, 101.0 + i, True)
        call.replied(text, text, to, 100.0 + i, 101.0 + i, listener=to if whispered else None)
    viewer = None if listener is None else Identity(listener)
    seen = str(
        (
            call.messages("s", Identity("a"), listener=viewer),
            call.entries(listener=viewer),
            call.minutes(),
            [call.last_reply(Identity(who), listener=viewer) for who in "abx"],
        )
    )
    assert not any(f"whispered to {who}" in seen for who in "abx" if who != listener)
