"""What tokens grant, and whom publishers admit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import models, rtc

from mulisa.core.errors import SignalingError
from mulisa.core.room import Identity, ParticipantSid
from mulisa.sfu.media import TrackSid
from mulisa.sfu.permissions import Audience, Permissions

pytestmark = pytest.mark.unit

ALICE, BOB = Identity("alice"), Identity("bob")
ONE, TWO = TrackSid("TR_1"), TrackSid("TR_2")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
GRANTS = ("canPublish", "canSubscribe", "canPublishData", "canPublishSources", "hidden", "agent")


def test_what_is_absent_has_livekits_defaults() -> None:
    permissions = Permissions.from_claim({"roomJoin": True})
    assert permissions.can_publish and permissions.can_subscribe and permissions.can_publish_data
    assert not permissions.can_update_own_metadata
    assert not permissions.hidden and not permissions.recorder and not permissions.agent
    assert permissions.may_publish(models.SCREEN_SHARE)


def test_data_goes_with_publishing_unless_said_otherwise() -> None:
    assert not Permissions.from_claim({"canPublish": False}).can_publish_data
    assert Permissions.from_claim({"canPublish": False, "canPublishData": True}).can_publish_data


@pytest.mark.parametrize("value", [0, "", "true", [], {}])
def test_a_grant_of_the_wrong_type_grants_nothing(value: object) -> None:
    permissions = Permissions.from_claim({"canPublish": value, "canUpdateOwnMetadata": value})
    assert not permissions.can_publish and not permissions.can_update_own_metadata


def test_sources_limit_what_may_be_published() -> None:
    permissions = Permissions.from_claim(
        {"canPublishSources": ["microphone", "SCREEN_SHARE_AUDIO"]}
    )
    assert permissions.may_publish(models.MICROPHONE)
    assert permissions.may_publish(models.SCREEN_SHARE_AUDIO)
    assert not permissions.may_publish(models.CAMERA)
    assert not permissions.may_publish(models.TrackSource.UNKNOWN)
    for nonsense in (["webcam"], "camera", {"camera": True}, 1):
        permissions = Permissions.from_claim({"canPublishSources": nonsense})
        assert not permissions.may_publish(models.CAMERA)
    assert Permissions.from_claim({"canPublishSources": []}).may_publish(models.CAMERA)
    nothing = Permissions.from_claim({"canPublish": False, "canPublishSources": ["camera"]})
    assert not nothing.may_publish(models.CAMERA)


@given(st.dictionaries(st.sampled_from(GRANTS), JSON))
def test_any_claim_can_be_read_and_written_again(claim: dict[str, Any]) -> None:
    permissions = Permissions.from_claim(claim)
    assert Permissions.from_claim(permissions.to_claim()) == permissions
    assert Permissions.from_message(permissions.to_message()) == permissions


def identity_of(sid: ParticipantSid) -> Identity | None:
    return {"PA_alice": ALICE, "PA_bob": BOB}.get(sid)


def audience(*entries: rtc.TrackPermission, everybody: bool = False) -> Audience:
    message = rtc.SubscriptionPermission(all_participants=everybody, track_permissions=entries)
    return Audience.from_message(message, identity_of)


def test_everybody_is_admitted_until_somebody_is_named() -> None:
    assert Audience().admits(ALICE, ONE)
    assert audience(everybody=True).admits(ALICE, ONE)
    assert not audience().admits(ALICE, ONE)


def test_tracks_are_admitted_one_by_one_or_all_at_once() -> None:
    allowed = audience(
        rtc.TrackPermission(participant_identity="alice", track_sids=[ONE]),
        rtc.TrackPermission(participant_sid="PA_bob", all_tracks=True),
        rtc.TrackPermission(participant_sid="PA_gone", all_tracks=True),
    )
    assert allowed.admits(ALICE, ONE) and not allowed.admits(ALICE, TWO)
    assert allowed.admits(BOB, ONE) and allowed.admits(BOB, TWO)


def test_the_last_word_about_somebody_counts() -> None:
    everything = rtc.TrackPermission(participant_identity="alice", all_tracks=True)
    nothing = rtc.TrackPermission(participant_sid="PA_alice")
    assert not audience(everything, nothing).admits(ALICE, ONE)
    assert audience(nothing, everything).admits(ALICE, ONE)


def test_an_entry_names_somebody() -> None:
    with pytest.raises(SignalingError):
        audience(rtc.TrackPermission(all_tracks=True))
