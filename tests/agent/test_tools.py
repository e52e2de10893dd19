from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.agent.memory import Memory, MemoryConfig
from mulisa.agent.tools import Presence, Toolbox, spoken_ago, spoken_duration
from mulisa.core.errors import ConnectionLost
from mulisa.core.room import Identity, Participant, RoomName, Topology
from mulisa.core.routing import Routing

pytestmark = pytest.mark.unit

ALICE, BOB, CAROL = Identity("alice-1"), Identity("bob-2"), Identity("carol-3")


class Room:
    """A room at rest."""

    room = RoomName("demo")
    topology: Topology = "mesh"
    routing = Routing(unheard=frozenset({CAROL}), listeners=frozenset({ALICE}))

    def __init__(self, *more: Presence) -> None:
        self.people = (
            Presence(ALICE, "Alice", 100.0),
            Presence(BOB, "Bob", 160.0, muted=True),
            *more,
        )


class Controls:
    """Remembers what it was told."""

    def __init__(self, lost: bool = False) -> None:
        self.quiet: bool | None = None
        self.heard: list[tuple[str, bool]] = []
        self.listeners: list[set[str] | None] = []
        self._lost = lost

    def stay_quiet(self, until_called: bool = True) -> None:
        self.quiet = until_called

    async def connection(self, identity: Identity) -> str:
        self._reach()
        return f"{identity} is connected directly"

    async def hear(self, identity: Identity, on: bool) -> None:
        self._reach()
        self.heard.append((identity, on))

    async def speak_to(self, listeners: frozenset[Identity] | None) -> None:
        self._reach()
        self.listeners.append(None if listeners is None else set(listeners))

    def _reach(self) -> None:
        if self._lost:
            raise ConnectionLost("the connection to them is gone")


def toolbox(controls: Controls | None = None, room: Room | None = None) -> Toolbox:
    wall = datetime(2026, 3, 1, 10, 40, tzinfo=UTC)
    call = Memory(MemoryConfig(), agent="Mulisa", now=100.0, wall=wall)
    for identity, name, now in (
        (ALICE, "Alice", 100.0),
        (BOB, "Bob", 160.0),
        (CAROL, "Carol", 165),
    ):
        call.joined(Participant(identity, name), now)
    call.left(Participant(CAROL, "Carol"), 280.0)
    for identity, name, text, at, addressed in (
        (ALICE, "Alice", "The budget should be twelve thousand euros.", 220.0, False),
        (BOB, "Bob", "Um, the tests are green, let's ship on Thursday.", 260.0, False),
        (CAROL, "Carol", "The budget is too small.", 270.0, False),
        (ALICE, "Alice", "Mulisa, what about the budget?", 300.0, True),
    ):
        call.said(identity, name, text, at, at + 2, addressed)
    call.replied("There are three", "of you.", ALICE, 304.0, 305.0)
    call.said(ALICE, "Alice", "Mulisa, what did Bob say about the budget?", 398.0, 399.0, True)
    for person in (room or Room()).people[2:]:
        call.joined(Participant(person.identity, person.name), person.joined_at)
    return Toolbox(call, room or Room(), controls or Controls())


async def ask(
    tool: str, controls: Controls | None = None, **arguments: object
) -> Mapping[str, Any]:
    result = await toolbox(controls).call(tool, arguments, ALICE, now=400.0)
    json.dumps(result)
    return result


async def test_who_is_here() -> None:
    result = await ask("who_is_here")
    assert [(p["name"], p["is_you"], p["since"]) for p in result["people"]] == [
        ("Alice", True, "10:40"),
        ("Bob", False, "10:41"),
    ]
    assert result["left"] == [{"name": "Carol", "at": "10:43", "ago": "2 minutes ago"}]


async def test_what_somebody_said_about_something() -> None:
    result = await ask("what_was_said", by="Alice", about="budget")
    assert [turn["text"] for turn in result["turns"]] == [
        "The budget should be twelve thousand euros.",
        "Mulisa, what about the budget?",
    ]
    assert result["turns"][0]["ago"] == "3 minutes ago"
    assert result["turns"][0]["at"] == "10:42"


async def test_the_question_is_no_answer_to_itself() -> None:
    result = await ask("what_was_said")
    assert "Mulisa, what did Bob say about the budget?" not in str(result)
    assert result["found"] == 5


@pytest.mark.parametrize(
    ("by", "names"),
    [("me", {"Alice"}), ("bop", {"Bob"}), ("you", {"Mulisa"}), ("Carol", {"Carol"})],
)
async def test_whom_a_name_means(by: str, names: set[str]) -> None:
    result = await ask("what_was_said", by=by)
    assert {turn["name"] for turn in result["turns"]} == names


async def test_speech_is_smoothed_and_limited() -> None:
    result = await ask("what_was_said", minutes=2.5, limit=2)
    assert result["found"] == 4
    assert len(result["turns"]) == 2
    result = await ask("what_was_said", by="Bob")
    assert result["turns"][0]["text"] == "The tests are green, let's ship on Thursday."


async def test_minutes() -> None:
    result = await ask("minutes")
    assert result["decisions"] == [
        {"name": "Bob", "text": "The tests are green, let's ship on Thursday."}
    ]
    assert result["since"] == "10:40"
    assert result["duration"] == "5 minutes"
    assert (await ask("minutes", minutes=1))["speakers"] == []


async def test_times() -> None:
    assert await ask("call_duration") == {
        "since": "10:40",
        "duration": "5 minutes",
        "you_joined": "10:40",
        "you_for": "5 minutes",
    }
    assert await ask("date_time") == {
        "time": "10:45",
        "date": "Sunday, 1 March 2026",
        "time_zone": "UTC",
    }


async def test_the_last_reply_with_what_was_cut() -> None:
    result = await ask("last_reply")
    assert (result["text"], result["unspoken"]) == ("There are three", "of you.")
    nothing = Toolbox(
        Memory(MemoryConfig(), agent="M", now=0, wall=datetime.now(UTC)), Room(), Controls()
    )
    assert (await nothing.call("last_reply", {}, ALICE, 1.0))["text"] == ""


async def test_connection_of_the_asker_and_of_others() -> None:
    assert (await ask("connection"))["description"] == "alice-1 is connected directly"
    result = await ask("connection", who="Bob")
    assert (result["name"], result["is_you"], result["topology"]) == ("Bob", False, "mesh")
    assert (await ask("connection", Controls(lost=True)))[
        "error"
    ] == "the connection to them is gone"


async def test_staying_quiet() -> None:
    controls = Controls()
    assert (await ask("stay_quiet", controls))["quiet"] is True
    assert controls.quiet is True
    await ask("stay_quiet", controls, until_called=False)
    assert controls.quiet is False


async def test_who_is_heard_and_who_hears() -> None:
    people = (await ask("who_is_here"))["people"]
    assert [(p["you_hear_them"], p["they_hear_you"]) for p in people] == [
        (True, True),
        (True, False),
    ]


@pytest.mark.parametrize(
    ("who", "on", "heard", "named"),
    [
        ("Bob", False, [(BOB, False)], [("Bob", False)]),
        ("bop", False, [(BOB, False)], [("Bob", False)]),
        ("me", False, [(ALICE, False)], [("Alice", True)]),
        ("Carol", True, [(CAROL, True)], [("Carol", False)]),
        ("everybody", False, [(ALICE, False), (BOB, False)], [("Alice", True), ("Bob", False)]),
        (
            "everybody",
            True,
            [(ALICE, True), (BOB, True), (CAROL, True)],
            [("Alice", True), ("Bob", False), ("Carol", False)],
        ),
    ],
)
async def test_hearing_somebody_or_not(
    who: str, on: bool, heard: list[tuple[str, bool]], named: list[tuple[str, bool]]
) -> None:
    controls = Controls()
    result = await ask("hear", controls, who=who, on=on)
    assert controls.heard == heard
    assert [(person["name"], person["is_you"]) for person in result["people"]] == named
    assert result["hears"] is on
    assert ("page" in result["to_undo"]) is not on


@pytest.mark.parametrize(
    ("who", "listeners"),
    [
        (["Bob"], {BOB}),
        (["me", "Bob", "bob"], {ALICE, BOB}),
        ("Alice and Bob", {ALICE, BOB}),
        (["everybody"], None),
        ("everyone", None),
    ],
)
async def test_speaking_to_some_or_to_all(who: object, listeners: set[str] | None) -> None:
    controls = Controls()
    result = await ask("speak_to", controls, who=who)
    assert controls.listeners == [listeners]
    assert result["everybody"] is (listeners is None)


@pytest.mark.parametrize("tool", ["hear", "speak_to"])
async def test_what_was_not_acknowledged_is_told_as_it_is(tool: str) -> None:
    result = await ask(tool, Controls(lost=True), who="Bob")
    assert result == {"error": "the connection to them is gone"}


async def test_that_one_is_still_heard_keeps_no_other_from_being_silenced() -> None:
    class OneIsLost(Controls):
        async def hear(self, identity: Identity, on: bool) -> None:
            if identity == ALICE:
                raise ConnectionLost("the connection to them is gone")
            await super().hear(identity, on)

    controls = OneIsLost()
    result = await ask("hear", controls, who="everybody", on=False)
    assert result == {"error": "the connection to them is gone"}
    assert controls.heard == [(BOB, False)]


@pytest.mark.parametrize("name", ["", " ", "\n\t "])
async def test_somebody_without_a_name_is_no_obstacle(name: str) -> None:
    room = Room(Presence(Identity("dora-4"), name, 170.0))
    tools = toolbox(room=room)
    result = await tools.call("what_was_said", {"by": "Bob"}, ALICE, now=400.0)
    assert {turn["name"] for turn in result["turns"]} == {"Bob"}
    people = (await tools.call("who_is_here", {}, ALICE, now=400.0))["people"]
    assert [person["name"] for person in people] == ["Alice", "Bob", "dora-4"]
    found = await tools.call("connection", {"who": "dora-4"}, ALICE, now=400.0)
    assert found["name"] == "dora-4"


async def test_of_two_with_one_name_somebody_must_say_which() -> None:
    controls, room = Controls(), Room(Presence(Identity("bob-9"), "Bob", 170.0))
    tools = toolbox(controls, room)
    result = await tools.call("hear", {"who": "Bob", "on": False}, ALICE, now=400.0)
    assert "Bob, Bob 2" in result["error"] and controls.heard == []
    await tools.call("hear", {"who": "Bob 2", "on": False}, ALICE, now=400.0)
    assert controls.heard == [("bob-9", False)]


async def test_no_tool_tells_others_what_was_whispered() -> None:
    wall = datetime(2026, 3, 1, 10, 40, tzinfo=UTC)
    call = Memory(MemoryConfig(), agent="Mulisa", now=100.0, wall=wall)
    call.joined(Participant(ALICE, "Alice"), 100.0)
    call.said(ALICE, "Alice", "Mulisa, whisper: what is the code?", 110.0, 111.0, True)
    call.replied("The code is pineapple.", "", ALICE, 113.0, 114.0, listener=ALICE)
    tools = Toolbox(call, Room(), Controls())
    questions: list[tuple[str, dict[str, object]]] = [
        ("what_was_said", {}),
        ("what_was_said", {"by": "you", "about": "the code"}),
        ("minutes", {}),
        ("last_reply", {}),
    ]
    for name, arguments in questions:
        for asker, listener in ((BOB, None), (BOB, BOB), (ALICE, None)):
            told = await tools.call(name, arguments, asker, now=120.0, listener=listener)
            assert "pineapple" not in str(told)
    for name in ("what_was_said", "last_reply"):
        told = await tools.call(name, {}, ALICE, now=120.0, listener=ALICE)
        assert "pineapple" in str(told), "who heard it may hear it again"


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("fly", {}, "fly"),
        ("who_is_here", {"room": "other"}, "room"),
        ("what_was_said", {"by": "Zoe"}, "Zoe"),
        ("what_was_said", {"by": 3}, "by"),
        ("what_was_said", {"minutes": "soon"}, "minutes"),
        ("what_was_said", {"minutes": -1}, "minutes"),
        ("what_was_said", {"minutes": True}, "minutes"),
        ("what_was_said", {"limit": [1]}, "limit"),
        ("stay_quiet", {"until_called": "yes"}, "until_called"),
        ("connection", {"who": "Zoe"}, "Zoe"),
        ("hear", {"who": "Zoe", "on": False}, "Zoe"),
        ("hear", {"on": False}, "name"),
        ("hear", {"who": "yourself"}, "me"),
        ("hear", {"who": "Bob", "on": "no"}, "on"),
        ("speak_to", {}, "who"),
        ("speak_to", {"who": []}, "who"),
        ("speak_to", {"who": 3}, "who"),
        ("speak_to", {"who": [3]}, "who"),
        ("speak_to", {"who": ["Bob", "Zoe"]}, "Zoe"),
        ("speak_to", {"who": ["Bob"] * 51}, "50"),
    ],
)
async def test_what_a_model_invents_is_an_error_it_can_read(
    tool: str, arguments: dict[str, object], named: str
) -> None:
    result = await toolbox().call(tool, arguments, ALICE, now=400.0)
    assert list(result) == ["error"]
    assert named in result["error"]


async def test_forgiving_arguments() -> None:
    result = await ask("what_was_said", by=None, about="", minutes="2.5", limit=10_000)
    assert result["found"] == 4


def test_specs_are_valid_json_schemas_of_every_tool() -> None:
    specs = toolbox().specs
    assert {spec.name for spec in specs} == {
        "who_is_here",
        "what_was_said",
        "minutes",
        "call_duration",
        "last_reply",
        "date_time",
        "connection",
        "stay_quiet",
        "hear",
        "speak_to",
        "help",
    }
    for spec in specs:
        assert spec.description
        assert json.loads(json.dumps(spec.parameters))["type"] == "object"


_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_ARGUMENTS = st.dictionaries(
    st.sampled_from(["by", "about", "minutes", "limit", "who", "on", "until_called", "x"]),
    _VALUES | st.lists(_VALUES, max_size=2),
    max_size=4,
)


@given(tool=st.sampled_from([spec.name for spec in toolbox().specs]), arguments=_ARGUMENTS)
async def test_any_arguments_have_a_result(tool: str, arguments: dict[str, object]) -> None:
    result = await toolbox().call(tool, arguments, ALICE, now=400.0)
    assert json.dumps(result, allow_nan=False) != "{}"


@pytest.mark.parametrize(
    ("seconds", "spoken"),
    [
        (0, "a second"),
        (20, "20 seconds"),
        (60, "a minute"),
        (130, "2 minutes"),
        (3600, "an hour"),
        (3660, "an hour and a minute"),
        (7500, "2 hours and 5 minutes"),
    ],
)
def test_spans_as_people_say_them(seconds: float, spoken: str) -> None:
    assert spoken_duration(seconds) == spoken
    assert spoken_ago(seconds) == ("just now" if seconds < 10 else f"{spoken} ago")
