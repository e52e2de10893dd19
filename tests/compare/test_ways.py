"""Who needs a relay, and what is seen of who hears whom."""

from __future__ import annotations

import pytest

from mulisa.compare.metrics import COMPARED, METRIC_OF
from mulisa.compare.theory import expected
from mulisa.compare.ways import CALLS, NATS, Seen, needs_relay, rounds

pytestmark = pytest.mark.unit

EVERYBODY = ("alice", "bob", "mulisa")


def of(metric: str, condition: str) -> tuple[float | None, ...]:
    """Mesh and SFU."""
    people = len(CALLS[condition])
    return tuple(
        expected(METRIC_OF["nats", metric], topology, people, condition) for topology in COMPARED
    )


def hears(*pairs: tuple[str, str]) -> frozenset[tuple[str, str]]:
    """Both ways."""
    return frozenset(pairs) | {(other, one) for one, other in pairs}


def test_only_a_full_cone_lets_a_symmetric_one_in() -> None:
    direct = [other for other in NATS if not needs_relay("symmetric", other)]
    assert direct == ["full-cone"]
    assert all(needs_relay("udp-blocked", other) for other in NATS)


@pytest.mark.parametrize(
    ("condition", "relayed"),
    [
        ("both full-cone", 0),
        ("both port-restricted", 0),
        ("both symmetric", 1),
        ("both UDP blocked", 3),
        ("one of each", 5),  # port-restricted and symmetric; three people and Mulisa to the blocked
    ],
)
def test_what_theory_says_of_a_call(condition: str, relayed: int) -> None:
    pairs = 10 if condition == "one of each" else 3
    paths = 5 if condition == "one of each" else 3
    assert of("pairs", condition) == (pairs, pairs)
    assert of("paths", condition) == (pairs, paths)
    assert of("pairs_that_need_a_relay", condition) == (relayed, 0)
    assert of("pairs_connected_without_turn", condition) == (pairs - relayed, pairs)
    assert of("pairs_connected_with_turn", condition) == (pairs, pairs)


def test_a_call_that_nobody_planned_has_no_theory() -> None:
    assert expected(METRIC_OF["nats", "pairs"], "mesh", 2, "on the moon") is None


def test_a_pair_is_connected_when_both_hear() -> None:
    one_way = Seen(EVERYBODY, hears(("alice", "mulisa")) | {("alice", "bob")}, frozenset())
    assert list(one_way.connected) == [frozenset({"alice", "mulisa"})]
    assert not one_way.is_complete
    both = Seen(EVERYBODY, one_way.hears | hears(("alice", "bob"), ("bob", "mulisa")), frozenset())
    assert both.is_complete and len(both.connected) == 3


def test_a_relay_is_of_a_pair_in_a_mesh_and_of_a_participant_on_an_sfu() -> None:
    heard = hears(("alice", "bob"), ("alice", "mulisa"), ("bob", "mulisa"))
    mesh = Seen(EVERYBODY, heard, frozenset({frozenset({"alice", "bob"})}))
    assert list(mesh.through_a_relay) == [frozenset({"alice", "bob"})]
    sfu = Seen(EVERYBODY, heard, frozenset({frozenset({"alice"})}))
    assert len(sfu.through_a_relay) == 2
    deaf = Seen(EVERYBODY, frozenset(), mesh.relayed)
    assert not deaf.through_a_relay


def test_calls_run_together_where_nobody_is_in_two_of_them() -> None:
    assert rounds(CALLS) == [list(CALLS)[:4], ["one of each"]]
    assert rounds({"a": ("symmetric",), "b": ("symmetric",)}) == [["a"], ["b"]]
