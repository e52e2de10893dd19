"""What is sent so that a session knows what was said, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.provider import Message, ToolCall
from mulisa.providers.openai.conversation import SPEECH, Conversation, Event

pytestmark = pytest.mark.unit

BOB = Message("user", "How was your weekend?", name="Bob")
ALICE = Message("user", "Mulisa, who is here?", name="Alice")
CAROL = Message("user", "I have to go.", name="Carol")


class Service:
    """Does to its items what it is told, as the real one would."""

    def __init__(self) -> None:
        self.items: list[tuple[str, str]] = []
        """Id and text, in the order of the conversation."""
        self.truncated: dict[str, int] = {}
        self._spoken = 0

    def take(self, conversation: Conversation, events: list[Event]) -> None:
        for event in events:
            match event["type"]:
                case "conversation.item.create":
                    self._create(event)
                case "conversation.item.delete":
                    known = [item for item, _ in self.items]
                    del self.items[known.index(event["item_id"])]
                case "conversation.item.truncate":
                    self.truncated[event["item_id"]] = event["audio_end_ms"]
                case "speech":
                    self._spoken += 1
                    self.items.append((f"speech_{self._spoken}", "<speech>"))
                    self.take(conversation, conversation.committed(f"speech_{self._spoken}"))

    def _create(self, event: Event) -> None:
        item: dict[str, Any] = event["item"]
        text = item.get("output") or item.get("name") or item["content"][0]["text"]
        known = [name for name, _ in self.items]
        previous = event.get("previous_item_id")
        at = len(known) if previous is None else 0
        if previous not in (None, "root"):
            at = known.index(previous) + 1
        self.items.insert(at, (item["id"], text))

    def reply(self, conversation: Conversation, item_id: str, seconds: float) -> None:
        self.items.append((item_id, f"<{item_id}>"))
        conversation.reply_began(item_id)
        conversation.reply_went_on(item_id, seconds)
        conversation.reply_completed(item_id)

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.items]


def synced(*messages: Message, speech: bool = False) -> tuple[Conversation, Service]:
    conversation, service = Conversation("output_text"), Service()
    service.take(conversation, conversation.sync(messages, speech))
    return conversation, service


def test_what_others_said_goes_in_as_named_text_and_the_turn_as_speech() -> None:
    _, service = synced(BOB, ALICE, speech=True)
    assert service.texts == ["Bob: How was your weekend?", "Alice says:", "<speech>"]


def test_a_written_turn_goes_in_as_text() -> None:
    _, service = synced(BOB, ALICE)
    assert service.texts == ["Bob: How was your weekend?", "Alice: Mulisa, who is here?"]


def test_only_what_is_new_is_sent() -> None:
    conversation, _ = synced(BOB, ALICE, speech=True)
    assert conversation.sync((BOB, ALICE), speech=True) == []
    (created,) = conversation.sync((BOB, ALICE, CAROL), speech=False)
    assert created["item"]["content"][0]["text"] == "Carol: I have to go."


def test_a_reply_that_was_heard_needs_no_text() -> None:
    conversation, service = synced(ALICE, speech=True)
    service.reply(conversation, "reply", 2.0)
    answer = Message("assistant", "Bob is here.")
    assert conversation.settle(answer, 2.0) == []
    assert conversation.sync((ALICE, answer), speech=False) == []


def test_a_reply_that_was_cut_ends_where_it_was_heard() -> None:
    conversation, service = synced(ALICE)
    service.reply(conversation, "first", 1.0)
    service.reply(conversation, "second", 2.0)
    service.reply(conversation, "third", 2.0)
    cut = Message("assistant", "Let me see. Bob [cut]")
    service.take(conversation, conversation.settle(cut, 1.5))
    assert service.truncated == {"second": 500}
    assert "<third>" not in service.texts
    assert conversation.sync((ALICE, cut), speech=False) == []
    service.take(conversation, conversation.sync((ALICE,), speech=False))
    assert service.texts == ["Alice: Mulisa, who is here?"]


def test_a_reply_that_was_cancelled_is_truncated_though_all_that_came_was_heard() -> None:
    conversation, _ = synced(ALICE)
    conversation.reply_began("reply")
    conversation.reply_went_on("reply", 1.0)
    (event,) = conversation.settle(Message("assistant", "Bob"), 1.0)
    assert event == {
        "type": "conversation.item.truncate",
        "item_id": "reply",
        "content_index": 0,
        "audio_end_ms": 1000,
    }


@pytest.mark.parametrize(("words", "seconds"), [(None, 1.0), (Message("assistant", "x"), 0.0)])
def test_a_reply_that_was_not_heard_is_forgotten(words: Message | None, seconds: float) -> None:
    conversation, service = synced(ALICE)
    service.reply(conversation, "reply", 2.0)
    service.take(conversation, conversation.settle(words, seconds))
    assert service.texts == ["Alice: Mulisa, who is here?"]


def test_a_whisper_is_forgotten_before_the_next_answer_and_known_again_to_its_listener() -> None:
    secret = Message("assistant", "The code is pineapple.")
    conversation, service = synced(ALICE, speech=True)
    service.reply(conversation, "whisper", 2.0)
    service.take(conversation, conversation.settle(secret, 2.0))
    service.take(conversation, conversation.sync((ALICE, BOB), speech=False))
    assert service.texts == ["Alice says:", "<speech>", "Bob: How was your weekend?"]
    service.take(conversation, conversation.sync((ALICE, secret, BOB, CAROL), speech=False))
    assert service.texts[2:] == [
        "The code is pineapple.",
        "Bob: How was your weekend?",
        "Carol: I have to go.",
    ]


def test_what_is_new_goes_to_its_place() -> None:
    conversation, service = synced(BOB, ALICE)
    summary = Message("system", "Earlier in this call, in short: nothing.")
    service.take(conversation, conversation.sync((summary, ALICE, CAROL), speech=False))
    assert service.texts == [summary.content, "Alice: Mulisa, who is here?", "Carol: I have to go."]


def test_tools_are_answered_and_forgotten_with_their_reply() -> None:
    conversation, service = synced(ALICE, speech=True)
    service.reply(conversation, "preamble", 0.5)
    service.items.append(("call_item", "who_is_here"))
    conversation.reply_called("call_item", "c1")
    called = Message("assistant", "", tool_calls=(ToolCall("c1", "who_is_here", {}),))
    result = Message("tool", "[]", name="who_is_here", call_id="c1")
    events = conversation.sync((ALICE, called, result), speech=True)
    assert [event["item"]["type"] for event in events] == ["function_call_output"]
    service.take(conversation, events)
    service.reply(conversation, "answer", 1.0)
    answer = Message("assistant", "Let me see. Nobody.")
    service.take(conversation, conversation.settle(answer, 1.5))
    service.take(conversation, conversation.sync((ALICE, answer, BOB), speech=False))
    assert service.texts[2:] == ["<preamble>", "<answer>", "Bob: How was your weekend?"]


def test_a_new_session_is_told_of_calls_that_the_former_one_made() -> None:
    called = Message("assistant", "", tool_calls=(ToolCall("c1", "recall", {"about": "tea"}),))
    conversation = Conversation("text")
    events = conversation.sync((ALICE, called, Message("tool", "[]", call_id="c1")), speech=True)
    kinds = [event.get("item", {}).get("type", event["type"]) for event in events]
    assert kinds == ["message", SPEECH, "function_call", "function_call_output"]
    assert json.loads(events[2]["item"]["arguments"]) == {"about": "tea"}


def test_speech_that_is_forgotten_before_its_id_is_known_is_deleted_then() -> None:
    conversation = Conversation("text")
    conversation.sync((ALICE,), speech=True)
    conversation.sync((BOB,), speech=False)
    assert conversation.committed("late") == [
        {"type": "conversation.item.delete", "item_id": "late"}
    ]
    assert conversation.committed("never asked for") == []


def test_the_same_words_twice_are_two_messages() -> None:
    conversation, service = synced(BOB, ALICE)
    service.take(conversation, conversation.sync((BOB, ALICE, BOB), speech=False))
    assert service.texts.count("Bob: How was your weekend?") == 2


WORDS = st.sampled_from([Message("user", word, name="Bob") for word in "abcd"])


@given(st.lists(st.lists(WORDS, max_size=8), max_size=6))
def test_whatever_was_known_afterwards_exactly_that_is_known(calls: list[list[Message]]) -> None:
    conversation, service = Conversation("text"), Service()
    for messages in calls:
        service.take(conversation, conversation.sync(messages, speech=False))
        assert sorted(service.texts) == sorted(f"Bob: {message.content}" for message in messages)
