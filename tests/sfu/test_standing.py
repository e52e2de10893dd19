"""What a client's token says of it, after things have changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from livekit.protocol import models

from mulisa.sfu.config import Claims
from mulisa.sfu.permissions import Permissions
from mulisa.sfu.standing import Standing

pytestmark = pytest.mark.unit

CLAIMS: dict[str, Any] = {
    "sub": "alice",
    "name": "Alice",
    "kind": "agent",
    "video": {"roomJoin": True, "room": "standup", "canPublishSources": ["microphone"]},
}
INFO = models.ParticipantInfo(identity="alice", name="Alice")


@pytest.fixture
def issued() -> list[Claims]:
    return []


@pytest.fixture
def standing(issued: list[Claims]) -> Standing:
    def issue(claims: Claims) -> str:
        issued.append(claims)
        return f"token {len(issued)}"

    return Standing(CLAIMS, issue)


def test_what_is_said_already_needs_no_new_token(standing: Standing) -> None:
    assert not standing.settle(INFO, Permissions.from_claim(CLAIMS["video"]))
    assert not standing.settle(INFO, Permissions.from_claim(CLAIMS["video"]))


def test_a_new_name_and_attributes_are_in_the_next_token(
    standing: Standing, issued: list[Claims]
) -> None:
    permissions = Permissions.from_claim(CLAIMS["video"])
    renamed = models.ParticipantInfo(name="Al", metadata="m", attributes={"colour": "blue"})
    assert standing.settle(renamed, permissions)
    assert not standing.settle(renamed, permissions)
    assert standing.token() == "token 1"
    (claims,) = issued
    assert (claims["sub"], claims["name"], claims["metadata"]) == ("alice", "Al", "m")
    assert claims["attributes"] == {"colour": "blue"}
    assert claims["video"]["roomJoin"] is True and claims["video"]["room"] == "standup"


def test_permissions_that_were_taken_or_given_stay_so(
    standing: Standing, issued: list[Claims]
) -> None:
    muted = replace(Permissions.from_claim(CLAIMS["video"]), can_publish=False)
    assert standing.settle(INFO, muted)
    standing.token()
    assert issued[-1]["video"]["canPublish"] is False
    assert issued[-1]["video"]["canPublishSources"] == ["microphone"]
    assert standing.settle(INFO, Permissions())
    standing.token()
    assert "canPublishSources" not in issued[-1]["video"]
    assert Permissions.from_claim(issued[-1]["video"]) == Permissions()


def test_an_agent_in_a_room_does_not_become_an_agent_process(
    standing: Standing, issued: list[Claims]
) -> None:
    standing.settle(INFO, Permissions(agent=True))
    standing.token()
    assert not issued[-1]["video"].get("agent")
