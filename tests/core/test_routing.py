from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mulisa.core.errors import InputError
from mulisa.core.room import Identity
from mulisa.core.routing import (
    MAX_IDENTITIES,
    MAX_IDENTITY_CHARS,
    Routing,
    RoutingChange,
    parse_routing,
)

pytestmark = pytest.mark.unit

ALICE, BOB, CAROL = Identity("alice"), Identity("bob"), Identity("carol")

identities = st.text(min_size=1, max_size=20).map(Identity)
routings = st.builds(
    Routing, st.frozensets(identities), st.none() | st.frozensets(identities, max_size=5)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def test_by_default_everybody_hears_and_is_heard() -> None:
    assert Routing().hears(ALICE) and Routing().speaks_to(ALICE)
    assert Routing().as_attribute() == ""


def test_a_change_leaves_what_it_does_not_name() -> None:
    before = Routing(frozenset({ALICE, BOB}), frozenset({CAROL}))
    heard = before.changed(RoutingChange({ALICE: True, CAROL: False}))
    assert heard == Routing(frozenset({BOB, CAROL}), frozenset({CAROL}))
    told = before.changed(RoutingChange(sets_listeners=True))
    assert told == Routing(frozenset({ALICE, BOB}), None)


def test_to_nobody_is_not_to_everybody() -> None:
    nobody = parse_routing({"speak_to": []})
    assert not nobody.speaks_to(ALICE)
    assert nobody != parse_routing({"speak_to": None}) == Routing()


def test_who_is_here_stands_in_it_and_who_is_not_heard() -> None:
    routing = Routing(unheard=frozenset({BOB}))
    assert routing.to_json([ALICE]) == {"hear": {"alice": True, "bob": False}, "speak_to": None}


@given(routings, st.lists(identities, max_size=3))
def test_what_was_written_is_read(routing: Routing, people: list[Identity]) -> None:
    assert parse_routing(json.loads(json.dumps(routing.to_json(people)))) == routing
    assert parse_routing(json.loads(routing.as_attribute() or "{}")) == routing


def test_a_wish_is_limited_and_what_many_of_them_made_is_not() -> None:
    many = frozenset(Identity(f"person-{n}") for n in range(MAX_IDENTITIES + 1))
    routing = Routing(unheard=many, listeners=many)
    assert parse_routing(routing.to_json()) == routing
    for key in ("hear", "speak_to"):
        with pytest.raises(InputError, match=str(MAX_IDENTITIES)):
            RoutingChange.parse({key: routing.to_json()[key]})


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {"hears": {}},
        {"hear": ["alice"]},
        {"hear": {"alice": 1}},
        {"hear": {"": True}},
        {"hear": {"a" * (MAX_IDENTITY_CHARS + 1): True}},
        {"speak_to": "alice"},
        {"speak_to": {"alice": True}},
        {"speak_to": [1]},
        {"speak_to": [["alice"]]},
    ],
)
def test_what_is_no_change_is_refused(data: object) -> None:
    with pytest.raises(InputError):
        RoutingChange.parse(data)


@given(st.fixed_dictionaries({}, optional={"hear": json_values, "speak_to": json_values}))
def test_any_json_is_a_change_or_refused(data: dict[str, object]) -> None:
    try:
        change = RoutingChange.parse(data)
    except InputError:
        return
    assert change.sets_listeners == ("speak_to" in data)
    assert dict(change.hear) == data.get("hear", {})
