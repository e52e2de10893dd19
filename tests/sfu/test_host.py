"""The embedded SFU as unmodified clients of LiveKit's Python SDK meet it."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref

import aiohttp
import pytest
from livekit import rtc

from mulisa.core.errors import ConfigError
from mulisa.sfu.client import Client
from mulisa.sfu.config import HostConfig
from mulisa.sfu.events import RoomConfig
from mulisa.sfu.host import Host
from tests.network import free_port
from tests.sfu.hosting import Person, hosting, pitch, token, until, verify

pytestmark = pytest.mark.network

DUAL = pytest.mark.parametrize("dual", [False, True], ids=["v1", "v0"])


@pytest.mark.parametrize(
    ("alice_dual", "bob_dual"),
    [(False, False), (True, True), (False, True)],
    ids=["v1", "v0", "v1-and-v0"],
)
async def test_two_people_hear_each_other(alice_dual: bool, bob_dual: bool) -> None:
    async with (
        hosting() as here,
        Person(here.url, "alice", dual=alice_dual) as alice,
        Person(here.url, "bob", dual=bob_dual) as bob,
    ):
        await asyncio.gather(alice.speak(300.0), bob.speak(700.0))
        at_alice, at_bob = await asyncio.gather(alice.hear("bob"), bob.hear("alice"))
        assert pitch(at_alice) == pytest.approx(700.0, abs=5.0)
        assert pitch(at_bob) == pytest.approx(300.0, abs=5.0)
        assert here.host.counters.packets_forwarded > 0


@DUAL
async def test_data_goes_to_everybody_or_to_some(dual: bool) -> None:
    async with (
        hosting() as here,
        Person(here.url, "alice", dual=dual) as alice,
        Person(here.url, "bob", dual=dual) as bob,
        Person(here.url, "carol", dual=dual) as carol,
    ):
        await alice.sdk.local_participant.publish_data(b"to all")
        only = ["carol"]
        await alice.sdk.local_participant.publish_data(b"to carol", destination_identities=only)
        await bob.sdk.local_participant.publish_data(b"last")
        await carol.until(lambda: len(carol.data) == 3)
        assert sorted(carol.data) == [
            ("alice", b"to all"),
            ("alice", b"to carol"),
            ("bob", b"last"),
        ]
        await alice.until(lambda: alice.data == [("bob", b"last")])
        assert bob.data == [("alice", b"to all")]


@DUAL
async def test_who_comes_late_hears_those_who_were_there(dual: bool) -> None:
    async with hosting() as here, Person(here.url, "alice", dual=dual) as alice:
        await alice.speak(300.0)
        async with Person(here.url, "bob", dual=dual) as bob:
            assert pitch(await bob.hear("alice")) == pytest.approx(300.0, abs=5.0)
        await alice.until(lambda: not alice.sdk.remote_participants)
        async with Person(here.url, "carol", dual=dual) as carol:
            assert pitch(await carol.hear("alice")) == pytest.approx(300.0, abs=5.0)


@DUAL
async def test_unpublishing_and_publishing_again(dual: bool) -> None:
    async with (
        hosting() as here,
        Person(here.url, "alice", dual=dual) as alice,
        Person(here.url, "bob", dual=dual) as bob,
    ):
        for frequency in (300.0, 500.0):
            publication = await alice.speak(frequency)
            assert pitch(await bob.hear("alice")) == pytest.approx(frequency, abs=5.0)
            await alice.sdk.local_participant.unpublish_track(publication.sid)
            await bob.until(lambda: "alice" not in bob.tracks)


async def test_who_unsubscribes_gets_no_packet_more() -> None:
    """Mode v1 only: the SDK itself does not show a track again in v0, whatever the server.

    It sends each wish in a task of its own, so the second waits until the first has arrived.
    """
    async with (
        hosting() as here,
        Person(here.url, "alice") as alice,
        Person(here.url, "bob") as bob,
    ):
        publication = await alice.speak(300.0)
        await bob.hear("alice", 0.2)
        theirs = bob.sdk.remote_participants["alice"].track_publications[publication.sid]
        assert isinstance(theirs, rtc.RemoteTrackPublication)
        for _ in range(2):
            theirs.set_subscribed(False)
            await bob.until(lambda: "alice" not in bob.tracks)
            await until(lambda: not here.client("bob").subscriber.wanted)
            theirs.set_subscribed(True)
            assert pitch(await bob.hear("alice")) == pytest.approx(300.0, abs=5.0)


async def test_rooms_are_apart() -> None:
    async with (
        hosting() as here,
        Person(here.url, "alice", room="one") as alice,
        Person(here.url, "bob", room="two") as bob,
    ):
        await alice.speak()
        await alice.sdk.local_participant.publish_data(b"hello?")
        assert sorted(room.name for room in here.host.rooms()) == ["one", "two"]
        assert not bob.sdk.remote_participants and not bob.data


async def test_a_second_client_of_one_identity_takes_the_place_of_the_first() -> None:
    async with (
        hosting() as here,
        Person(here.url, "carol") as carol,
        Person(here.url, "alice") as first,
    ):
        reasons: list[int] = []
        first.sdk.on("disconnected", reasons.append)
        async with Person(here.url, "alice") as second:
            await first.until(lambda: bool(reasons))
            assert reasons == [rtc.DisconnectReason.DUPLICATE_IDENTITY]
            await second.speak(300.0)
            assert pitch(await carol.hear("alice")) == pytest.approx(300.0, abs=5.0)
        await until(lambda: len(here.host.participants(here.room)) == 1)


@DUAL
async def test_a_lost_socket_is_resumed_on_the_same_connections(dual: bool) -> None:
    async with (
        hosting() as here,
        Person(here.url, "alice", dual=dual) as alice,
        Person(here.url, "bob", dual=dual) as bob,
    ):
        await asyncio.gather(alice.speak(300.0), bob.speak(700.0))
        await asyncio.gather(alice.hear("bob", 0.2), bob.hear("alice", 0.2))
        sid = bob.sdk.local_participant.sid
        back: list[None] = []
        bob.sdk.on("reconnected", lambda: back.append(None))
        here.cut("bob")
        await bob.until(lambda: bool(back))
        assert bob.sdk.local_participant.sid == sid, "the very same stay"
        assert here.host.counters.resumes == 1 and here.host.counters.joins == 2
        at_alice, at_bob = await asyncio.gather(alice.hear("bob"), bob.hear("alice"))
        assert pitch(at_alice) == pytest.approx(700.0, abs=5.0)
        assert pitch(at_bob) == pytest.approx(300.0, abs=5.0)
        async with Person(here.url, "carol", dual=dual) as carol:  # all goes on for him
            await carol.speak(500.0)
            assert pitch(await bob.hear("carol")) == pytest.approx(500.0, abs=5.0)
        await bob.until(lambda: "carol" not in bob.sdk.remote_participants)


@pytest.mark.parametrize("crashes", [False, True], ids=["stopped", "crashed"])
@DUAL
async def test_a_restart_heals_by_itself(dual: bool, crashes: bool) -> None:
    ports = {"http_port": free_port(), "rtc_port": free_port(socket.SOCK_DGRAM)}
    async with hosting(**ports) as here:
        alice = Person(here.url, "alice", dual=dual)
        bob = Person(here.url, "bob", dual=dual)
        await asyncio.gather(alice.__aenter__(), bob.__aenter__())
        await asyncio.gather(alice.speak(300.0), bob.speak(700.0))
        await asyncio.gather(alice.hear("bob", 0.2), bob.hear("alice", 0.2))
        alice.tracks.clear()
        bob.tracks.clear()
        if crashes:
            here.crash()
    async with hosting(**ports):
        try:
            at_alice, at_bob = await asyncio.gather(alice.hear("bob"), bob.hear("alice"))
            assert pitch(at_alice) == pytest.approx(700.0, abs=5.0)
            assert pitch(at_bob) == pytest.approx(300.0, abs=5.0)
        finally:
            await asyncio.gather(alice.__aexit__(), bob.__aexit__())


@DUAL
async def test_who_leaves_leaves_nothing_behind(dual: bool) -> None:
    async with hosting() as here, Person(here.url, "alice", dual=dual) as alice:
        await alice.speak()
        async with Person(here.url, "bob", dual=dual) as bob:
            await bob.speak()
            await asyncio.gather(alice.hear("bob", 0.1), bob.hear("alice", 0.1))
            remains = weakref.WeakSet(each for each in here.clients() if each.identity == "bob")
            assert len(remains) == 1
        await alice.until(lambda: not alice.sdk.remote_participants)
        await until(lambda: not collected(remains))
        assert here.connections() == 1 + dual


def collected(clients: weakref.WeakSet[Client]) -> int:
    gc.collect()
    return len(clients)


async def test_a_room_that_is_deleted_is_over_for_everybody() -> None:
    async with hosting() as here, Person(here.url, "alice") as alice:
        reasons: list[int] = []
        alice.sdk.on("disconnected", reasons.append)
        await alice.speak()
        here.host.delete_room(here.room)
        await alice.until(lambda: bool(reasons))
        assert reasons == [rtc.DisconnectReason.ROOM_DELETED]
        assert here.host.rooms() == [] and here.host.participants(here.room) == []
        assert here.reports[-1].event == "room_finished"


async def test_a_room_that_everybody_left_is_over_after_a_while() -> None:
    async with hosting(room=RoomConfig(departure_timeout=0.2)) as here:
        async with Person(here.url, "alice"):
            assert [room.name for room in here.host.rooms()] == [here.room]
        await until(lambda: not here.host.rooms())
        assert here.reports[-1].event == "room_finished"


async def test_a_port_that_is_taken_is_told_before_anything_else() -> None:
    async with Host(HostConfig(verify, rtc_host="127.0.0.1", rtc_port=0)) as host:
        with pytest.raises(ConfigError, match=f"{host.port}"):
            async with Host(HostConfig(verify, rtc_host="127.0.0.1", rtc_port=host.port)):
                pass


async def test_the_door_answers_as_livekits() -> None:
    async with hosting(creates_rooms=False) as here, aiohttp.ClientSession() as http:

        async def get(path: str, bearer: str = "") -> tuple[int, str]:
            headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
            async with http.get(here.http_url(path), headers=headers) as response:
                assert response.headers["Access-Control-Allow-Origin"] == "*"
                return response.status, await response.text()

        good, stranger = token("alice"), token("alice", secret="another secret that is long enough")
        assert (await get("/rtc/validate"))[0] == 401
        assert (await get("/rtc/validate", stranger))[0] == 401
        assert (await get(f"/rtc/validate?access_token={good}", stranger))[0] == 401
        assert (await get("/rtc/validate", token("alice", room_join=False)))[0] == 401
        assert (await get("/rtc/validate", token("alice", room="r" * 257)))[0] == 400
        assert (await get("/rtc/v1/validate?join_request=nonsense!", good))[0] == 400
        assert await get("/rtc/validate", good) == (404, "requested room does not exist")
        here.create("standup")
        for path in ("/rtc/validate", "/rtc/v1/validate", "//rtc/validate", "//rtc/v1/validate"):
            assert await get(path, good) == (200, "success")
            assert await get(f"{path}?access_token={good}") == (200, "success")
        assert (await get("/rtc", good))[0] == 404
        assert (await get("/rtc/v1", good))[0] == 404
        async with http.options(here.http_url("/rtc/v1/validate")) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Headers"] == "*"


async def test_what_is_full_says_so() -> None:
    async with hosting(max_rooms=1) as here, aiohttp.ClientSession() as http:
        here.create("standup", max_participants=1)

        async def status(bearer: str) -> int:
            headers = {"Authorization": f"Bearer {bearer}"}
            async with http.get(here.http_url("/rtc/validate"), headers=headers) as response:
                return response.status

        assert await status(token("alice")) == 200
        assert await status(token("alice", room="another")) == 503
        async with Person(here.url, "alice"):
            assert await status(token("bob")) == 503
            assert await status(token("alice")) == 200, "who comes again takes her own place"
            assert await status(token("mulisa", kind="agent")) == 200
