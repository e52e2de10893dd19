"""Who may subscribe to what."""

from __future__ import annotations

import pytest

from mulisa.core.room import Identity
from mulisa.transport.sfu.permissions import Permissions, permissions

pytestmark = pytest.mark.unit

ALICE, BOB, CAROL = map(Identity, ("alice", "bob", "carol"))


def test_by_default_everybody_may_have_everything() -> None:
    assert permissions(None, [ALICE, BOB], "V", {}) == Permissions(everything_for_all=True)


def test_listeners_need_not_be_here() -> None:
    assert permissions(frozenset({ALICE, CAROL}), [ALICE, BOB], "V", {}).tracks == {
        ALICE: ("V",),
        CAROL: ("V",),
    }


def test_nobody_is_nobody() -> None:
    assert permissions(frozenset(), [ALICE], "V", {}) == Permissions(tracks={})


def test_a_whisper_is_for_one_and_the_voice_for_all_who_are_here() -> None:
    assert permissions(None, [ALICE, BOB], "V", {BOB: "W"}).tracks == {
        ALICE: ("V",),
        BOB: ("V", "W"),
    }


def test_a_whisper_does_not_ask_for_listeners() -> None:
    assert permissions(frozenset({ALICE}), [ALICE, BOB], "V", {BOB: "W"}).tracks == {
        ALICE: ("V",),
        BOB: ("W",),
    }


def test_a_track_that_has_no_name_yet_is_for_nobody() -> None:
    assert permissions(None, [ALICE], "V", {}, is_private=True).tracks == {ALICE: ("V",)}
    assert permissions(frozenset({ALICE}), [ALICE], "", {}, is_private=True).tracks == {}
