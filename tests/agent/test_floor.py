"""Who has the floor, told as timelines."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.actions import Action, CommitTurn, CutReply, PauseReply, ResumeReply, StartReply
from mulisa.agent.endpointing import EndpointingConfig
from mulisa.agent.events import (
    Event,
    PersonEntered,
    PersonGone,
    ReplyFailed,
    ReplyFinished,
    ReplyStarted,
    SpeechEnded,
    SpeechStarted,
    Tick,
    Transcribed,
    TranscriptionFailed,
    Typed,
    UtteranceId,
    typed_id,
)
from mulisa.agent.floor import Floor, FloorConfig
from mulisa.agent.gate import Gate, GateConfig
from mulisa.agent.persona import Persona
from mulisa.core.provider import Transcription
from mulisa.core.room import Identity

pytestmark = pytest.mark.unit

ALICE, BOB = Identity("alice-1"), Identity("bob-1")
MESSAGE = typed_id(ALICE, "m1")
CONFIG = FloorConfig(endpointing=EndpointingConfig(min_silence=0.5), min_interruption=0.5)


def make_floor(*people: Identity) -> Floor:
    floor = Floor(Gate(GateConfig(), Persona()), CONFIG)
    for person in people:
        floor.receive(PersonEntered(person, person.split("-")[0].title()), now=0.0)
    return floor


def say(
    floor: Floor, who: Identity, text: str, start: float, end: float, known: float
) -> list[Action]:
    """`who` speaks from `start` to `end`; the words are known at `known`."""
    utterance = UtteranceId(f"{who}@{start}")
    actions = floor.receive(SpeechStarted(who, utterance, start), now=start)
    actions += floor.receive(SpeechEnded(who, utterance, end), now=end + 0.2)
    words = Transcription(text)
    return actions + floor.receive(Transcribed(who, utterance, words, start, end), now=known)


def settle(floor: Floor) -> list[Action]:
    """Let time pass until nothing is pending."""
    actions: list[Action] = []
    while (deadline := floor.deadline()) is not None:
        actions += floor.receive(Tick(), deadline)
    return actions


def speaking_floor(*people: Identity) -> Floor:
    """Mulisa has been answering the first of `people` since 3.0."""
    floor = make_floor(*people)
    say(floor, people[0], "Mulisa, who is in the call?", 1.0, 2.0, known=2.3)
    assert replies(floor.receive(Tick(), now=2.5)) == [1]
    assert floor.receive(ReplyStarted(1), now=3.0) == []
    return floor


def replies(actions: Iterable[Action]) -> list[int]:
    return [action.reply_id for action in actions if isinstance(action, StartReply)]


def turns(actions: Iterable[Action]) -> list[str]:
    return [action.turn.text for action in actions if isinstance(action, CommitTurn)]


def test_a_person_alone_is_answered_when_the_silence_has_lasted() -> None:
    floor = make_floor(ALICE)
    assert say(floor, ALICE, "What time is it?", 1.0, 2.0, known=2.3) == []
    assert floor.deadline() == 2.5
    commit, start = floor.receive(Tick(), now=2.5)
    assert isinstance(commit, CommitTurn) and commit.judgement.addressed
    assert commit.turn.started_at == 1.0 and commit.turn.ended_at == 2.0
    assert isinstance(start, StartReply) and start.turn.text == "What time is it?"


def test_words_that_come_late_end_the_turn_at_once() -> None:
    floor = make_floor(ALICE)
    actions = say(floor, ALICE, "What time is it?", 1.0, 2.0, known=2.9)
    assert turns(actions) == ["What time is it?"]
    assert replies(actions) == [1]


def test_a_pause_inside_a_sentence_does_not_end_the_turn() -> None:
    floor = make_floor(ALICE)
    first, second = UtteranceId("a"), UtteranceId("a")
    floor.receive(SpeechStarted(ALICE, first, 1.0), now=1.0)
    floor.receive(SpeechEnded(ALICE, first, 2.0), now=2.2)
    floor.receive(SpeechStarted(ALICE, second, 2.4), now=2.4)
    assert floor.deadline() is None
    floor.receive(SpeechEnded(ALICE, second, 3.0), now=3.2)
    words = Transcription("Mulisa, who is here?")
    floor.receive(Transcribed(ALICE, second, words, 1.0, 3.0), now=3.3)
    assert turns(floor.receive(Tick(), now=3.5)) == ["Mulisa, who is here?"]


def test_speech_that_goes_on_just_as_its_turn_ends_is_the_next_turn() -> None:
    floor = make_floor(ALICE)
    say(floor, ALICE, "What time is it?", 1.0, 2.0, known=2.2)
    actions = floor.receive(SpeechStarted(ALICE, UtteranceId(f"{ALICE}@1.0"), 2.45), now=2.55)
    assert turns(actions) == ["What time is it?"]
    next_one = UtteranceId("next")
    floor.receive(SpeechEnded(ALICE, UtteranceId(f"{ALICE}@1.0"), 2.45), now=2.55)
    floor.receive(SpeechStarted(ALICE, next_one, 2.45), now=2.55)
    floor.receive(SpeechEnded(ALICE, next_one, 3.0), now=3.2)
    words = Transcription("And who is here?")
    floor.receive(Transcribed(ALICE, next_one, words, 2.45, 3.0), now=3.3)
    assert turns(floor.receive(Tick(), now=3.5)) == ["And who is here?"]


def test_people_who_talk_to_each_other_are_written_down_and_not_answered() -> None:
    floor = make_floor(ALICE, BOB)
    say(floor, ALICE, "Bob, how was your weekend?", 1.0, 2.0, known=2.2)
    actions = settle(floor)
    assert turns(actions) == ["Bob, how was your weekend?"]
    assert replies(actions) == []


def test_two_who_speak_at_once_are_both_written_down() -> None:
    floor = make_floor(ALICE, BOB)
    for who, at in ((ALICE, 1.0), (BOB, 1.5)):
        floor.receive(SpeechStarted(who, UtteranceId(who), at), now=at)
    assert floor.speakers == {ALICE, BOB}
    actions: list[Action] = []
    for who, at in ((ALICE, 3.0), (BOB, 3.2)):
        floor.receive(SpeechEnded(who, UtteranceId(who), at), now=at + 0.2)
        words = Transcription(f"Words of {who}.")
        actions += floor.receive(Transcribed(who, UtteranceId(who), words, 1.0, at), now=at + 0.3)
    assert turns(actions + settle(floor)) == [f"Words of {ALICE}.", f"Words of {BOB}."]


def test_a_short_noise_pauses_and_resumes() -> None:
    floor = speaking_floor(ALICE)
    noise = UtteranceId("n")
    assert floor.receive(SpeechStarted(ALICE, noise, 5.0), now=5.0) == [PauseReply()]
    assert floor.deadline() == 5.5
    assert floor.receive(SpeechEnded(ALICE, noise, 5.1), now=5.25) == []
    actions = floor.receive(Transcribed(ALICE, noise, Transcription(""), 5.0, 5.1), now=5.3)
    assert actions[0] == ResumeReply()
    assert floor.deadline() is None


def test_a_noise_whose_words_do_not_come_does_not_hold_her_back_for_long() -> None:
    floor = speaking_floor(ALICE)
    noise = UtteranceId("n")
    floor.receive(SpeechStarted(ALICE, noise, 5.0), now=5.0)
    floor.receive(SpeechEnded(ALICE, noise, 5.1), now=5.25)
    assert floor.deadline() == 5.25 + CONFIG.max_decision
    assert floor.receive(Tick(), now=6.25) == [ResumeReply()]


def test_a_pause_after_the_first_word_does_not_let_her_go_on() -> None:
    floor = speaking_floor(ALICE)
    words = UtteranceId("w")
    floor.receive(SpeechStarted(ALICE, words, 5.0), now=5.0)
    floor.receive(SpeechEnded(ALICE, words, 5.2), now=5.4)
    heard = Transcribed(ALICE, words, Transcription("Mulisa,"), 5.0, 5.2)
    assert floor.receive(heard, now=5.5) == []
    assert floor.receive(SpeechStarted(ALICE, words, 5.6), now=5.6) == []
    assert floor.deadline() == pytest.approx(5.7)  # 0.4 s of speech before, 0.1 s now
    assert floor.receive(Tick(), now=5.75) == [CutReply(1)]


def test_a_word_between_others_holds_her_until_it_is_clear_that_she_was_not_meant() -> None:
    floor = speaking_floor(ALICE, BOB)
    words = UtteranceId("w")
    floor.receive(SpeechStarted(BOB, words, 5.0), now=5.0)
    floor.receive(SpeechEnded(BOB, words, 5.2), now=5.4)
    heard = Transcribed(BOB, words, Transcription("Alice, look."), 5.0, 5.2)
    assert floor.receive(heard, now=5.5) == []
    actions = settle(floor)
    assert [type(action) for action in actions] == [CommitTurn, ResumeReply]


def test_speech_that_lasts_cuts_whoever_speaks() -> None:
    floor = speaking_floor(ALICE, BOB)
    assert floor.receive(SpeechStarted(BOB, UtteranceId("b"), 5.0), now=5.0) == [PauseReply()]
    assert floor.receive(Tick(), now=5.5) == [CutReply(1)]
    assert floor.receive(ReplyFinished(1), now=5.6) == []


def test_a_short_stop_cuts() -> None:
    floor = speaking_floor(ALICE)
    assert say(floor, ALICE, "Stop.", 5.0, 5.2, known=5.5) == [PauseReply()]
    actions = floor.receive(Tick(), now=5.7)
    assert CutReply(1) in actions
    assert replies(actions) == []


def test_a_backchannel_does_not_end_her_reply() -> None:
    floor = speaking_floor(ALICE)
    assert say(floor, ALICE, "Mm-hm.", 5.0, 5.2, known=5.4) == [PauseReply(), ResumeReply()]
    actions = settle(floor)
    assert turns(actions) == ["Mm-hm."]
    assert len(actions) == 1


def test_who_interrupts_with_a_new_question_is_answered() -> None:
    floor = speaking_floor(ALICE)
    actions = say(floor, ALICE, "No, what time is it?", 5.0, 6.5, known=6.8) + settle(floor)
    assert CutReply(1) in actions
    assert replies(actions) == [2]


def test_who_goes_on_before_she_speaks_is_answered_once_for_the_whole() -> None:
    floor = make_floor(ALICE)
    say(floor, ALICE, "Who was here?", 1.0, 2.0, known=2.2)
    assert replies(floor.receive(Tick(), now=2.5)) == [1]
    actions = say(floor, ALICE, "And what did Bob say?", 2.6, 3.6, known=3.9) + settle(floor)
    assert actions[0] == PauseReply()
    assert CutReply(1) in actions
    assert [a.turn.text for a in actions if isinstance(a, StartReply)] == [
        "Who was here? And what did Bob say?"
    ]


def test_she_holds_back_while_somebody_else_speaks_and_answers_then() -> None:
    floor = make_floor(ALICE, BOB)
    bob = UtteranceId("b")
    say(floor, ALICE, "Mulisa, who is in the call?", 1.0, 2.0, known=2.2)
    floor.receive(SpeechStarted(BOB, bob, 2.3), now=2.3)
    actions = floor.receive(Tick(), now=2.5)
    assert [type(action) for action in actions] == [CommitTurn, StartReply, PauseReply]
    assert floor.receive(SpeechEnded(BOB, bob, 4.0), now=4.2) == []
    words = Transcription("So much for that.")
    assert floor.receive(Transcribed(BOB, bob, words, 2.3, 4.0), now=4.3) == []
    assert ResumeReply() in floor.receive(Tick(), now=4.5)


def test_an_answer_that_could_not_be_given_for_too_long_is_dropped() -> None:
    floor = make_floor(ALICE, BOB)
    say(floor, ALICE, "Mulisa, who is in the call?", 1.0, 2.0, known=2.2)
    floor.receive(SpeechStarted(BOB, UtteranceId("b"), 2.3), now=2.3)
    floor.receive(Tick(), now=2.5)
    assert floor.receive(Tick(), now=2.5 + CONFIG.max_hold) == [CutReply(1)]


def test_two_who_ask_are_answered_one_after_the_other() -> None:
    floor = make_floor(ALICE, BOB)
    say(floor, ALICE, "Mulisa, who is in the call?", 1.0, 2.0, known=2.2)
    assert replies(floor.receive(Tick(), now=2.5)) == [1]
    say(floor, BOB, "Mulisa, what time is it?", 2.6, 3.6, known=3.8)
    assert replies(floor.receive(Tick(), now=4.1)) == []
    assert replies(floor.receive(ReplyFinished(1), now=9.0)) == [2]


def test_a_chat_message_is_a_turn() -> None:
    floor = make_floor(ALICE)
    actions = floor.receive(Typed(ALICE, MESSAGE, "What time is it?"), now=1.0)
    assert turns(actions) == ["What time is it?"]
    assert replies(actions) == [1]


def test_the_last_words_of_somebody_who_leaves_are_kept() -> None:
    floor = make_floor(ALICE, BOB)
    words = UtteranceId("b")
    floor.receive(SpeechStarted(BOB, words, 1.0), now=1.0)
    floor.receive(PersonGone(BOB), now=2.0)
    assert floor.speakers == frozenset()
    floor.receive(Transcribed(BOB, words, Transcription("Bye all."), 1.0, 2.0), now=2.3)
    assert turns(settle(floor)) == ["Bye all."]


def test_she_does_not_talk_to_an_empty_room() -> None:
    floor = speaking_floor(ALICE, BOB)
    assert floor.receive(PersonGone(ALICE), now=5.0) == []
    assert floor.receive(PersonGone(BOB), now=6.0) == [CutReply(1)]


def test_who_asks_and_goes_is_written_down_and_not_answered() -> None:
    floor = make_floor(ALICE)
    say(floor, ALICE, "What time is it?", 0.0, 2.0, known=2.3)
    floor.receive(PersonGone(ALICE), now=2.4)
    actions = settle(floor)
    assert turns(actions) == ["What time is it?"]
    assert replies(actions) == []


def test_words_that_come_after_their_turn_are_a_turn_of_their_own() -> None:
    floor = make_floor(ALICE, BOB)
    slow = UtteranceId("slow")
    floor.receive(SpeechStarted(ALICE, slow, 0.0), now=0.1)
    floor.receive(SpeechEnded(ALICE, slow, 2.0), now=2.2)
    assert turns(settle(floor)) == [""]
    words = Transcribed(ALICE, slow, Transcription("Mulisa, who is here?"), 0.0, 2.0)
    late = floor.receive(words, now=9.0)
    assert turns(late) == ["Mulisa, who is here?"]
    assert replies(late) == [1]
    commit = late[0]
    assert isinstance(commit, CommitTurn)
    assert [(u.utterance_id, u.started_at, u.ended_at) for u in commit.utterances] == [
        (slow, 0.0, 2.0)
    ]
    assert floor.receive(words, now=9.1) == []


def test_words_that_fail_after_their_turn_are_settled_too() -> None:
    floor = make_floor(ALICE)
    slow = UtteranceId("slow")
    floor.receive(SpeechStarted(ALICE, slow, 0.0), now=0.1)
    floor.receive(SpeechEnded(ALICE, slow, 2.0), now=2.2)
    settle(floor)
    late = floor.receive(TranscriptionFailed(ALICE, slow, "no"), now=9.0)
    assert [u.text for each in late if isinstance(each, CommitTurn) for u in each.utterances] == [
        ""
    ]


def test_words_that_never_come_do_not_keep_the_turn_open() -> None:
    floor = make_floor(ALICE)
    floor.receive(SpeechStarted(ALICE, UtteranceId("a"), 1.0), now=1.0)
    floor.receive(SpeechEnded(ALICE, UtteranceId("a"), 2.0), now=2.2)
    assert floor.receive(Tick(), now=1e9) != []
    assert floor.deadline() is None


def test_a_failed_reply_frees_the_floor() -> None:
    floor = speaking_floor(ALICE)
    floor.receive(ReplyFailed(1), now=4.0)
    assert replies(floor.receive(Typed(ALICE, MESSAGE, "And now?"), now=5.0)) == [2]


IDENTITIES = st.sampled_from([ALICE, BOB])
UTTERANCES = st.sampled_from([UtteranceId("1"), UtteranceId("2"), UtteranceId("3")])
TEXTS = st.sampled_from(["", "Mulisa, who is here?", "Mm-hm.", "Stop.", "Bob, and you?", "So, um"])
TIMES = st.floats(0, 100)
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(SpeechStarted, IDENTITIES, UTTERANCES, TIMES),
    st.builds(SpeechEnded, IDENTITIES, UTTERANCES, TIMES),
    st.builds(Transcribed, IDENTITIES, UTTERANCES, st.builds(Transcription, TEXTS), TIMES, TIMES),
    st.builds(TranscriptionFailed, IDENTITIES, UTTERANCES, st.just("no engine")),
    st.builds(PersonEntered, IDENTITIES, st.sampled_from(["Alice", "Bob"])),
    st.builds(PersonGone, IDENTITIES),
    st.builds(Typed, IDENTITIES, TEXTS),
    st.builds(ReplyStarted, st.integers(1, 5)),
    st.builds(ReplyFinished, st.integers(1, 5)),
    st.builds(ReplyFailed, st.integers(1, 5)),
    st.just(Tick()),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 3)), max_size=60))
def test_whatever_happens_there_is_at_most_one_reply(events: list[tuple[Event, float]]) -> None:
    floor, now, active = make_floor(ALICE, BOB), 0.0, 0
    paused = False
    for event, wait in events:
        now += wait
        if isinstance(event, ReplyFinished | ReplyFailed) and event.reply_id == active:
            active, paused = 0, False
        for action in floor.receive(event, now):
            if isinstance(action, StartReply):
                assert active == 0
                active, paused = action.reply_id, False
            elif isinstance(action, CutReply):
                assert action.reply_id == active
                active = 0
            elif isinstance(action, PauseReply):
                assert active and not paused
                paused = True
            elif isinstance(action, ResumeReply):
                assert active and paused
                paused = False
        deadline = floor.deadline()
        assert deadline is None or deadline > now
