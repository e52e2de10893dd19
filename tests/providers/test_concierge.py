from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.provider import LLM, ChatRequest, Message, TextDelta, ToolCall, ToolSpec
from mulisa.providers.concierge import Concierge

pytestmark = pytest.mark.unit

SYSTEM = Message("system", "You are Mulisa, a participant of the voice call in the room 'demo'.")
TOOLS = tuple(
    ToolSpec(name, "", {"type": "object", "properties": {}})
    for name in (
        "who_is_here what_was_said minutes call_duration last_reply date_time connection "
        "stay_quiet hear speak_to help"
    ).split()
)
ERROR = {"error": "the room is gone"}


def asks(text: str, name: str = "Alice") -> Message:
    return Message("user", text, name=name)


async def step(messages: Sequence[Message], tools: tuple[ToolSpec, ...] = TOOLS) -> list[Any]:
    return [delta async for delta in Concierge().chat(ChatRequest(tuple(messages), tools))]


async def answer(
    *messages: Message, results: Sequence[Mapping[str, Any]]
) -> tuple[list[ToolCall], str]:
    """Plays the caller: gives `results` to the tool calls in order; the calls and the words."""
    history, calls = [SYSTEM, *messages], list[ToolCall]()
    for result in [*results, None]:
        deltas = await step(history)
        wanted = [delta for delta in deltas if isinstance(delta, ToolCall)]
        if not wanted:
            return calls, "".join(delta.text for delta in deltas).strip()
        assert result is not None, f"one call too many: {wanted}"
        calls += wanted
        history.append(Message("assistant", "", tool_calls=tuple(wanted)))
        history.append(Message("tool", json.dumps(result), call_id=wanted[0].call_id))
    raise AssertionError("no answer")


def turn(name: str, text: str, ago: str = "2 minutes ago", **more: bool) -> dict[str, Any]:
    flags = {"to_agent": False, "by_agent": False} | more
    return {"name": name, "text": text, "at": "10:42", "ago": ago} | flags


def person(name: str, is_you: bool = False) -> dict[str, Any]:
    return {"name": name, "is_you": is_you, "since": "10:42", "for": "3 minutes", "muted": False}


def listed(name: str, hears: bool, speaks: bool, is_you: bool = False) -> dict[str, Any]:
    return person(name, is_you) | {"you_hear_them": hears, "they_hear_you": speaks}


def test_it_is_an_llm() -> None:
    llm: LLM = Concierge()
    assert "concierge" in llm.label


async def test_loading_needs_nothing() -> None:
    concierge = Concierge()
    seen: list[float | None] = []
    await concierge.load(lambda _, done: seen.append(done))
    await concierge.aclose()
    await concierge.aclose()
    assert seen == [1.0]


async def test_who_is_here() -> None:
    people = [person("Alice", True), person("Bob"), person("Carol")]
    left = [{"name": "Dave", "at": "10:50", "ago": "a minute ago"}]
    calls, spoken = await answer(
        asks("Nilsa, who is in the call?"), results=[{"people": people, "left": left}]
    )
    assert [(call.name, call.arguments) for call in calls] == [("who_is_here", {})]
    assert spoken == "There are four of us: Bob, Carol, you and me. Dave left a minute ago."


async def test_alone_with_her() -> None:
    _, spoken = await answer(
        asks("who's here"), results=[{"people": [person("Alice", True)], "left": []}]
    )
    assert spoken == "It is just you and me, Alice."


@pytest.mark.parametrize(
    ("question", "spoken"),
    [
        ("Is Bob here?", "Yes, Bob is here, since 10:42."),
        ("Is Dave here?", "No, Dave left a minute ago."),
        ("Is Zoe here?", "No, I do not see Zoe here. In the call: Alice and Bob."),
    ],
)
async def test_whether_somebody_is_here(question: str, spoken: str) -> None:
    people = [person("Alice", True), person("Bob")]
    left = [{"name": "Dave", "at": "10:50", "ago": "a minute ago"}]
    assert (await answer(asks(question), results=[{"people": people, "left": left}]))[1] == spoken


async def test_what_somebody_said_about_something() -> None:
    turns = [
        turn("Bob", "The budget is twelve thousand euros."),
        turn("Bob", "Mulisa, who is here?", to_agent=True),
        turn("Bob", "No, thirteen."),
    ]
    calls, spoken = await answer(
        asks("Mulisa, what did Bob say about the budget?"), results=[{"turns": turns, "found": 3}]
    )
    assert calls[0].name == "what_was_said"
    assert calls[0].arguments == {"by": "bob", "about": "budget", "limit": 12}
    assert spoken == (
        "Bob said 2 minutes ago: The budget is twelve thousand euros. Then: No, thirteen."
    )


async def test_a_follow_up_asks_the_same_of_another() -> None:
    calls, spoken = await answer(
        asks("what did Alice say about the budget?"),
        Message("assistant", "Alice said: it is small."),
        asks("It is small indeed.", "Bob"),
        asks("And Bob?"),
        results=[{"turns": [turn("Bob", "It is fine.", "just now")], "found": 1}],
    )
    assert calls[0].arguments == {"by": "Bob", "about": "budget", "limit": 12}
    assert spoken == "Bob said: It is fine."


async def test_nothing_on_the_topic_leads_to_what_was_said_else() -> None:
    empty = {"turns": [], "found": 0}
    calls, spoken = await answer(
        asks("What did Bob say about lunch?"),
        results=[empty, {"turns": [turn("Bob", "The tests are green.")], "found": 1}],
    )
    assert [call.arguments for call in calls] == [
        {"by": "bob", "about": "lunch", "limit": 12},
        {"by": "bob", "limit": 12},
    ]
    assert spoken == (
        "I have not heard Bob say anything about lunch. "
        "Bob said 2 minutes ago: The tests are green."
    )
    assert (await answer(asks("What did Bob say?"), results=[empty]))[1] == (
        "I have not heard Bob say anything, Alice."
    )
    assert (await answer(asks("What did you say about lunch?"), results=[empty]))[1] == (
        "I have not said anything about lunch, Alice."
    )


async def test_a_misheard_name_still_finds_the_topic() -> None:
    unknown = {"error": "nobody called our has been in this call; there were: Alice, Bob"}
    found = {"turns": [turn("Bob", "The budget is small.")], "found": 1}
    calls, spoken = await answer(
        asks("What did our say about the budget?"), results=[unknown, found]
    )
    assert calls[1].arguments == {"about": "budget", "limit": 12}
    assert spoken.endswith("Bob said 2 minutes ago: The budget is small.")
    _, spoken = await answer(
        asks("What did our say about the budget?"), results=[unknown, {"turns": [], "found": 0}]
    )
    assert spoken == "Nobody called our has been in this call; there were: Alice, Bob."


MINUTES = {
    "since": "10:40",
    "duration": "5 minutes",
    "speakers": [{"name": "Bob", "words": 50}, {"name": "Alice", "words": 20}],
    "topics": ["budget", "release", "posters", "lunch"],
    "decisions": [{"name": "Bob", "text": "Let's ship on Thursday."}],
    "tasks": [{"name": "Carol", "text": "I'll send the report."}],
    "open_questions": [{"name": "Alice", "text": "Who checks the budget?"}],
    "highlights": [{"name": "Bob", "text": "Let's ship on Thursday."}],
}


async def test_catching_up() -> None:
    calls, spoken = await answer(
        asks("what did I miss in the last five minutes"), results=[MINUTES]
    )
    assert calls[0].name == "minutes"
    assert calls[0].arguments == {"minutes": 5.0}
    assert spoken == (
        "In the last 5 minutes, Bob and you spoke, mostly about budget, release and posters. "
        "Decided: Bob said: Let's ship on Thursday. To do: Carol said: I'll send the report. "
        "Still open: Alice said: Who checks the budget?"
    )


@pytest.mark.parametrize(
    ("question", "spoken"),
    [
        ("what did we decide?", "I heard one decision. Bob said: Let's ship on Thursday."),
        ("any action items?", "I heard one task. Carol said: I'll send the report."),
        ("open questions?", "I heard one open question. Alice said: Who checks the budget?"),
        ("which topics?", "So far it was about budget, release, posters and lunch."),
    ],
)
async def test_parts_of_the_minutes(question: str, spoken: str) -> None:
    assert (await answer(asks(question), results=[MINUTES]))[1] == spoken


async def test_minutes_of_silence() -> None:
    nothing: dict[str, Any] = {key: [] for key in MINUTES}
    silent = nothing | {"duration": "a minute", "since": "10:40"}
    _, spoken = await answer(asks("summarize the last minute"), results=[silent])
    assert spoken == "Nothing was said in the last minute, Alice."
    _, spoken = await answer(
        asks("what did we decide"), results=[silent | {"speakers": MINUTES["speakers"]}]
    )
    assert spoken == "I have not heard a clear decision so far."


@pytest.mark.parametrize(
    ("question", "tool", "result", "spoken"),
    [
        (
            "since when are we talking?",
            "call_duration",
            {"since": "10:40", "duration": "12 minutes", "you_joined": "10:45", "you_for": "x"},
            "The call has been going since 10:40, that is 12 minutes. You joined at 10:45.",
        ),
        (
            "what time is it",
            "date_time",
            {"time": "10:42", "date": "Sunday, 1 March 2026", "time_zone": "UTC"},
            "It is 10:42.",
        ),
        (
            "what's the date",
            "date_time",
            {"time": "10:42", "date": "Sunday, 1 March 2026", "time_zone": "UTC"},
            "Today is Sunday, 1 March 2026.",
        ),
        (
            "could you repeat that",
            "last_reply",
            {"text": "There are three", "unspoken": "of you.", "ago": "just now"},
            "I said: There are three of you.",
        ),
        (
            "could you repeat that",
            "last_reply",
            {"text": "", "unspoken": ""},
            "I have not said anything yet.",
        ),
        (
            "how am I connected",
            "connection",
            {"topology": "mesh", "description": "You are 3 milliseconds away"},
            "You are 3 milliseconds away. "
            "This room is a mesh: everybody is connected directly to everybody else.",
        ),
        (
            "stay quiet until I call you",
            "stay_quiet",
            {"quiet": True},
            "Okay, I will be quiet until somebody says Mulisa.",
        ),
        (
            "help",
            "help",
            {"abilities": ["a", "b", "c"]},
            "Ask me about a and b. I also help with c.",
        ),
    ],
)
async def test_tools_and_what_is_said_of_their_results(
    question: str, tool: str, result: dict[str, Any], spoken: str
) -> None:
    calls, text = await answer(asks(question), results=[result])
    assert [call.name for call in calls] == [tool]
    assert text == spoken


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("thanks", "You are welcome, Alice."),
        ("hello Mulisa", "Hello, Alice. What can I do for you?"),
        ("Mulisa, can you hear me?", "Yes, Alice, I hear you."),
        ("stop", "Okay."),
        ("I think we need a bigger office.", "Noted, Alice."),
        ("Nelissa.", "Yes, Alice?"),
        ("Ok, mjilasa, stop.", "Okay."),
    ],
)
async def test_what_needs_no_tool(text: str, spoken: str) -> None:
    assert await answer(asks(text), results=[]) == ([], spoken)


async def test_a_question_beyond_it_is_answered_with_what_was_said() -> None:
    found = {"turns": [turn("Bob", "Postgres is fine for that.")], "found": 1}
    calls, spoken = await answer(asks("Should we use Postgres?"), results=[found])
    assert calls[0].arguments["about"] == "should we use postgres"
    assert "Bob said 2 minutes ago: Postgres is fine for that." in spoken
    _, spoken = await answer(
        asks("What is the capital of France?"), results=[{"turns": [], "found": 0}]
    )
    assert spoken.startswith("I do not know that, Alice.")
    assert "who is here" in spoken


async def test_her_name_alone_is_acknowledged() -> None:
    _, spoken = await answer(asks("Mulisa?"), results=[{"turns": [], "found": 0}])
    assert spoken == "Yes, Alice?"


async def test_wording_varies_with_the_turn_and_is_deterministic() -> None:
    before = (asks("hello"), Message("assistant", "Hello, Alice."))
    first = await answer(asks("thanks"), results=[])
    second = await answer(*before, asks("thanks"), results=[])
    assert first != second
    assert second == await answer(*before, asks("thanks"), results=[])


async def test_sentences_are_streamed_one_by_one() -> None:
    deltas = await step([SYSTEM, asks("who are you?")])
    assert [type(delta) for delta in deltas] == [TextDelta, TextDelta]
    assert deltas[0].text == "I am Mulisa, an AI in this call, Alice. "


async def test_without_the_tool_it_says_so() -> None:
    deltas = await step([SYSTEM, asks("who is here?")], tools=())
    assert deltas == [TextDelta("I cannot look that up here, sorry.")]


@pytest.mark.parametrize("content", ["", "[]", "no json", '"text"', "null"])
async def test_a_broken_tool_result_is_survived(content: str) -> None:
    call = ToolCall("1", "who_is_here", {})
    deltas = await step(
        [
            SYSTEM,
            asks("who is here?"),
            Message("assistant", "", tool_calls=(call,)),
            Message("tool", content, call_id="1"),
        ]
    )
    assert deltas == [TextDelta("I could not look that up. ")]


async def test_an_empty_request_is_greeted() -> None:
    assert (await step([]))[0].text.startswith("Hello")


_FIRST = st.text(max_size=120) | st.sampled_from(
    [
        "who is here", "what did Bob say about it", "and Bob?", "minutes please", "time?", "date?",
        "repeat", "help", "connection?", "stay quiet until called", "how long?", "why is it so?",
    ]
)  # fmt: skip


@given(texts=st.lists(_FIRST, min_size=1, max_size=4), name=st.text(max_size=10))
async def test_any_text_gets_an_answer(texts: list[str], name: str) -> None:
    """Whatever is said, with tools that fail: words in the end, never an exception."""
    history = [SYSTEM]
    for text in texts:
        history.append(asks(text, name))
        for _ in range(4):
            deltas = await step(history)
            calls = tuple(delta for delta in deltas if isinstance(delta, ToolCall))
            if not calls:
                break
            history.append(Message("assistant", "", tool_calls=calls))
            history.append(Message("tool", json.dumps(ERROR), call_id=calls[0].call_id))
        spoken = "".join(delta.text for delta in deltas)
        assert spoken.strip()
        history.append(Message("assistant", spoken))


ALICE, BOB = {"name": "Alice", "is_you": True}, {"name": "Bob", "is_you": False}


def hears(on: bool, *people: Mapping[str, Any], everybody: bool = False) -> dict[str, Any]:
    return {"hears": on, "everybody": everybody, "people": list(people), "to_undo": ""}


@pytest.mark.parametrize(
    ("order", "arguments", "result", "spoken"),
    [
        (
            "Mulisa, stop listening to Bob.",
            {"who": "bob", "on": False},
            hears(False, BOB),
            "Okay, I no longer listen to Bob. Bob can undo that on the page, or by writing to me.",
        ),
        (
            "Mulisa, don't listen to me.",
            {"who": "me", "on": False},
            hears(False, ALICE),
            "Okay, I no longer listen to you. "
            "To undo that, switch me on again on the page, or write to me.",
        ),
        (
            "Mulisa, listen to Bob again.",
            {"who": "bob", "on": True},
            hears(True, BOB),
            "Okay, I listen to Bob.",
        ),
        (
            "Mulisa, listen to everybody again.",
            {"who": "everybody", "on": True},
            hears(True, ALICE, BOB, everybody=True),
            "Okay, I listen to everybody again.",
        ),
        (
            "Mulisa, stop listening to all of us.",
            {"who": "everybody", "on": False},
            hears(False, ALICE, BOB, everybody=True),
            "Okay, from now on I hear nobody. To undo that, use the page, or write to me.",
        ),
    ],
)
async def test_whom_she_hears_is_changed_and_told(
    order: str, arguments: Mapping[str, Any], result: Mapping[str, Any], spoken: str
) -> None:
    calls, words = await answer(asks(order), results=[result])
    assert [(call.name, call.arguments) for call in calls] == [("hear", arguments)]
    assert words == spoken


@pytest.mark.parametrize(
    ("order", "who", "result", "spoken"),
    [
        (
            "Mulisa, speak only to me and Bob.",
            ["me", "bob"],
            {"everybody": False, "people": [ALICE, BOB]},
            "Okay, from now on I speak only to you and Bob.",
        ),
        (
            "Mulisa, speak to everybody again.",
            ["everybody"],
            {"everybody": True, "people": []},
            "Okay, everybody hears me again.",
        ),
    ],
)
async def test_to_whom_she_speaks_is_changed_and_told(
    order: str, who: list[str], result: Mapping[str, Any], spoken: str
) -> None:
    calls, words = await answer(asks(order), results=[result])
    assert [(call.name, call.arguments) for call in calls] == [("speak_to", {"who": who})]
    assert words == spoken


@pytest.mark.parametrize("order", ["Mulisa, stop listening to Bob", "Mulisa, speak only to Bob"])
async def test_what_could_not_be_changed_is_told_as_it_is(order: str) -> None:
    _, words = await answer(asks(order), results=[{"error": "the server does not answer"}])
    assert words == "The server does not answer."


@pytest.mark.parametrize(
    ("people", "spoken"),
    [
        (
            [listed("Bob", True, True), listed("Alice", True, True, is_you=True)],
            "I hear you and Bob. I speak to everybody.",
        ),
        (
            [listed("Bob", False, True), listed("Alice", True, False, is_you=True)],
            "I hear you. I do not hear Bob. I speak only to Bob.",
        ),
        (
            [listed("Alice", False, False, is_you=True)],
            "I hear nobody. I speak to nobody here.",
        ),
    ],
)
async def test_whom_she_hears_and_to_whom_she_speaks(
    people: list[dict[str, Any]], spoken: str
) -> None:
    calls, words = await answer(
        asks("Mulisa, who do you hear?"), results=[{"people": people, "left": []}]
    )
    assert [call.name for call in calls] == ["who_is_here"]
    assert words == spoken
