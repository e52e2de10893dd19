"""How a client learns of its tracks: one exchange at a time, and what is unwanted stops at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import cast

import pytest
from livekit.protocol import models, rtc

from mulisa.core.room import RoomName
from mulisa.sfu.connection import Connection
from mulisa.sfu.media import Inbound, Outbound, TrackSid
from mulisa.sfu.negotiation import MAX_IDLE, OurSide
from mulisa.sfu.publisher import Publisher
from mulisa.sfu.subscriber import (
    ANSWER_TIME,
    FEW_TRACKS,
    MAX_ASKED,
    OFFER_TIME,
    AskingSubscriber,
    OfferingSubscriber,
)
from mulisa.wire.description import Fingerprint, IceCredentials
from tests.sfu.recordings import OURS, VP8, offers, wanted_track

pytestmark = pytest.mark.unit

OFFER = offers("sdp_python_v1")[0]
"""Three m-lines of audio and three of video to receive with."""
A, B, C, D = (wanted_track(name) for name in "abcd")


class Wire:
    """A connection and its RTP session: what would flow."""

    def __init__(self) -> None:
        self.flowing: set[TrackSid] = set()
        self.paused: set[TrackSid] = set()
        self.restarts = 0
        self.is_closed = False
        self.session = self

    def our_side(self, *, is_restart: bool = False) -> OurSide:
        self.restarts += is_restart
        return OURS

    def set_remote(self, remote: IceCredentials, fingerprint: Fingerprint) -> None:
        pass

    def publish(self, tracks: Iterable[Inbound], room: RoomName) -> None:
        pass

    def subscribe(self, tracks: Iterable[Outbound]) -> None:
        self.flowing = {each.track for each in tracks}

    def pause(self, track: TrackSid, is_paused: bool) -> None:
        assert track in self.flowing
        (self.paused.add if is_paused else self.paused.discard)(track)

    def close(self) -> None:
        self.is_closed = True


def directly(work: Callable[[], None]) -> None:
    work()


async def settle() -> None:
    await asyncio.sleep(0.001)


class Single:
    """Mode v1: our end, and a client that offers when it is told to."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.sent: list[rtc.SignalResponse] = []
        self.subscribed: list[TrackSid] = []
        self.subscriber = AskingSubscriber(self.sent.append, self.subscribed.append, directly)
        self.publisher = Publisher(cast(Connection, self.wire), RoomName("standup"))

    def offer(self) -> None:
        self.subscriber.publisher = self.publisher
        self.subscriber.answered(self.publisher.answer(OFFER, self.subscriber.wanted))

    def asked(self) -> list[tuple[int, int]]:
        """How many m-lines were asked for, each time since the last look."""
        wishes = [each.media_sections_requirement for each in self.sent]
        self.sent.clear()
        return [(wish.num_audios, wish.num_videos) for wish in wishes]


async def test_what_was_wanted_before_the_first_offer_is_in_its_answer() -> None:
    single = Single()
    single.subscriber.subscribe(A)
    await settle()
    assert single.asked() == []
    single.offer()
    await settle()
    assert single.subscribed == [A.track] and single.wire.flowing == {A.track}
    assert single.asked() == []


async def test_changes_of_one_moment_are_one_wish_and_later_ones_wait_for_its_offer() -> None:
    single = Single()
    single.offer()
    single.subscriber.subscribe(A)
    single.subscriber.subscribe(B)
    await settle()
    assert single.asked() == [(0, 0)]
    single.subscriber.subscribe(C)
    single.subscriber.subscribe(D)
    await settle()
    assert single.asked() == [], "one is awaited"
    single.offer()
    await settle()
    assert single.wire.flowing == {A.track, B.track, C.track}
    assert single.asked() == [(1, 0)], "it has three m-lines of audio and needs one more"


async def test_who_never_brings_what_was_asked_for_is_not_asked_for_ever() -> None:
    single = Single()
    for wanted in (A, B, C, D):
        single.subscriber.subscribe(wanted)
    for _ in range(3 * MAX_ASKED):
        single.offer()
        await settle()
    assert single.asked() == [(1, 0)] * MAX_ASKED
    single.subscriber.unsubscribe(A.track)
    single.subscriber.subscribe(wanted_track("e"))
    await settle()
    assert len(single.asked()) == 1, "something new is worth a new try"


async def test_what_is_unsubscribed_stops_at_once() -> None:
    single = Single()
    single.subscriber.subscribe(A)
    single.subscriber.subscribe(B)
    single.offer()
    single.subscriber.unsubscribe(A.track)
    assert single.wire.flowing == {B.track}
    await settle()
    assert single.asked() == [(0, 0)]
    single.offer()
    assert single.wire.flowing == {B.track}
    assert single.subscribed == [A.track, B.track]


async def test_nobody_is_asked_because_a_track_has_ended() -> None:
    single = Single()
    for wanted in (A, B):
        single.subscriber.subscribe(wanted)
    single.offer()
    single.subscriber.unsubscribe(A.track, has_ended=True)
    assert single.wire.flowing == {B.track}
    await settle()
    assert single.asked() == []
    single.subscriber.subscribe(C)
    await settle()
    assert single.asked() == [(0, 0)], "the third of three m-lines is free"
    single.offer()
    await settle()
    assert single.wire.flowing == {B.track, C.track} and single.asked() == []
    single.subscriber.subscribe(D)
    await settle()
    assert single.asked() == [(0, 0)], "the first was taken back with that"


async def test_who_is_about_to_publish_is_not_asked_meanwhile() -> None:
    single = Single()
    single.offer()
    single.publisher.expect(TrackSid("TR_own"), rtc.AddTrackRequest(cid="own"))
    single.subscriber.subscribe(A)
    await settle()
    assert single.asked() == [], "its offer for its own track is on its way"
    single.offer()
    await asyncio.sleep(2 * OFFER_TIME)
    assert single.wire.flowing == {A.track} and single.asked() == []
    single.subscriber.subscribe(B)
    await settle()
    assert single.asked() == [(0, 0)], "it was waited for that track before"


async def test_who_announces_a_track_and_never_offers_it_is_asked_all_the_same() -> None:
    single = Single()
    single.offer()
    single.publisher.expect(TrackSid("TR_own"), rtc.AddTrackRequest(cid="own"))
    single.subscriber.subscribe(A)
    await asyncio.sleep(2 * OFFER_TIME)
    assert single.asked() == [(0, 0)]
    single.subscriber.close()


async def test_what_is_paused_stays_so_until_it_is_not() -> None:
    single = Single()
    single.subscriber.subscribe(A)
    single.subscriber.pause(A.track, True)
    single.offer()
    assert single.wire.paused == {A.track}
    single.subscriber.pause(A.track, False)
    assert single.wire.paused == set()
    single.subscriber.pause(A.track, True)
    single.subscriber.unsubscribe(A.track)
    single.subscriber.subscribe(A)
    single.offer()
    single.wire.paused.clear()
    single.offer()
    assert single.wire.flowing == {A.track} and single.wire.paused == set()


async def test_nobody_is_asked_without_a_socket_and_everybody_after_resuming() -> None:
    single = Single()
    single.offer()
    single.subscriber.subscribe(A)
    await settle()
    assert len(single.asked()) == 1
    single.subscriber.socket_lost()
    single.subscriber.subscribe(B)
    await settle()
    assert single.asked() == []
    single.subscriber.resume()
    await settle()
    assert single.asked() == [(0, 0)], "the wish before was lost with its socket"


async def test_in_a_big_room_many_changes_are_one() -> None:
    single = Single()
    single.offer()
    for number in range(FEW_TRACKS + 50):
        single.subscriber.subscribe(wanted_track(f"n{number}"))
        await asyncio.sleep(0.01)
    await asyncio.sleep(5)
    assert len(single.asked()) == 1


class Dual:
    """Mode v0: our end, and a client that answers when it is told to."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.connections = 0
        self.sent: list[rtc.SignalResponse] = []
        self.subscribed: list[TrackSid] = []
        self.silences = 0
        self.subscriber = OfferingSubscriber(
            self.sent.append,
            self.subscribed.append,
            directly,
            connect=self._connect,
            on_silence=self._on_silence,
        )

    def _connect(self) -> Connection:
        self.connections += 1
        return cast(Connection, self.wire)

    def _on_silence(self) -> None:
        self.silences += 1

    def offered(self) -> list[str]:
        """Our offers since the last look."""
        made = [each.offer.sdp for each in self.sent if each.HasField("offer")]
        self.sent.clear()
        return made


def answer(offer: str) -> str:
    """As a client that takes everything answers."""
    lines = []
    for line in offer.splitlines():
        if line.startswith(("a=ssrc", "a=msid:", "a=candidate", "a=end-of", "a=ice-lite")):
            continue
        line = line.replace("a=sendonly", "a=recvonly").replace("a=setup:passive", "a=setup:active")
        line = line.replace("a=setup:actpass", "a=setup:active")
        line = line.replace("a=ice-ufrag:ourufrag", "a=ice-ufrag:theirs")
        lines.append(line)
    return "".join(f"{line}\r\n" for line in lines)


async def test_without_a_track_there_is_no_connection() -> None:
    dual = Dual()
    dual.subscriber.unsubscribe(A.track)
    dual.subscriber.resume()
    await settle()
    assert dual.connections == 0 and dual.offered() == []
    dual.subscriber.accept("nobody asked")


async def test_one_offer_is_under_way_at_a_time() -> None:
    dual = Dual()
    dual.subscriber.subscribe(A)
    dual.subscriber.subscribe(B)
    await settle()
    (first,) = dual.offered()
    dual.subscriber.subscribe(C)
    dual.subscriber.unsubscribe(A.track)
    await settle()
    assert dual.offered() == []
    dual.subscriber.accept(answer(first))
    assert dual.subscribed == [B.track] and dual.wire.flowing == {B.track}
    await settle()
    (second,) = dual.offered()
    assert C.track in second
    dual.subscriber.accept(answer(second))
    await settle()
    assert dual.wire.flowing == {B.track, C.track}
    assert dual.offered() == [] and dual.connections == 1
    await asyncio.sleep(2 * ANSWER_TIME)
    assert dual.silences == 0


async def test_nothing_is_offered_because_a_track_has_ended() -> None:
    dual = Dual()
    for wanted in (A, B):
        dual.subscriber.subscribe(wanted)
    await settle()
    (first,) = dual.offered()
    dual.subscriber.accept(answer(first))
    dual.subscriber.unsubscribe(A.track, has_ended=True)
    assert dual.wire.flowing == {B.track}
    await settle()
    assert dual.offered() == []
    dual.subscriber.subscribe(C)
    await settle()
    (second,) = dual.offered()
    assert second.count("a=sendonly") == 2 and second.count("a=inactive") == 1
    assert A.track not in second


async def test_many_tracks_that_have_ended_are_taken_back() -> None:
    dual = Dual()
    tracks = [wanted_track(f"n{number}") for number in range(MAX_IDLE + 1)]
    for wanted in tracks:
        dual.subscriber.subscribe(wanted)
    await settle()
    dual.subscriber.accept(answer(*dual.offered()))
    for wanted in tracks[1:]:
        dual.subscriber.unsubscribe(wanted.track, has_ended=True)
    await settle()
    assert dual.offered() == []
    dual.subscriber.unsubscribe(tracks[0].track, has_ended=True)
    await settle()
    (second,) = dual.offered()
    assert second.count("a=inactive") == len(tracks)


async def test_an_offer_that_is_not_answered_is_told_once() -> None:
    dual = Dual()
    dual.subscriber.subscribe(A)
    await asyncio.sleep(3 * ANSWER_TIME)
    assert dual.silences == 1


async def test_resuming_restarts_ice_with_a_new_offer() -> None:
    dual = Dual()
    dual.subscriber.subscribe(A)
    await settle()
    (lost,) = dual.offered()
    dual.subscriber.socket_lost()
    dual.subscriber.subscribe(B)
    await asyncio.sleep(2 * ANSWER_TIME)
    assert dual.silences == 0 and dual.offered() == []
    dual.subscriber.accept(answer(lost))
    assert dual.wire.flowing == set(), "it came too late"
    dual.subscriber.resume()
    (again,) = dual.offered()
    assert A.track in again and B.track in again and dual.wire.restarts == 1
    dual.subscriber.accept(answer(again))
    assert dual.wire.flowing == {A.track, B.track}


async def test_a_second_socket_before_the_first_was_missed_is_no_silence() -> None:
    dual = Dual()
    dual.subscriber.subscribe(A)
    await settle()
    dual.offered()
    await asyncio.sleep(ANSWER_TIME - 1)
    dual.subscriber.resume()
    (again,) = dual.offered()
    await asyncio.sleep(ANSWER_TIME - 1)
    dual.subscriber.accept(answer(again))
    await asyncio.sleep(2 * ANSWER_TIME)
    assert dual.silences == 0


async def test_a_codec_that_the_client_lacks_is_told_and_the_rest_flows() -> None:
    dual = Dual()
    film = wanted_track("film", "video", VP8)
    dual.subscriber.subscribe(film)
    await settle()
    (offer,) = dual.offered()
    refusal = answer(offer).replace("m=video 9", "m=video 0")
    dual.subscriber.accept(refusal)
    (told,) = dual.sent
    assert told.subscription_response.track_sid == film.track
    assert told.subscription_response.err == models.SubscriptionError.SE_CODEC_UNSUPPORTED
    dual.subscriber.subscribe(A)
    await settle()
    (offer,) = dual.offered()
    dual.subscriber.accept(answer(offer))
    assert dual.wire.flowing == {A.track}


async def test_closing_ends_it() -> None:
    dual = Dual()
    dual.subscriber.subscribe(A)
    await settle()
    dual.subscriber.close()
    dual.subscriber.subscribe(B)
    await asyncio.sleep(2 * ANSWER_TIME)
    assert dual.wire.is_closed and dual.silences == 0 and len(dual.offered()) == 1
