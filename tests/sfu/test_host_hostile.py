"""Clients that break the protocol: they are put out, and nobody else notices."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest
from livekit.protocol import models, rtc

from mulisa.sfu.client import Client
from tests.sfu.hosting import PATIENCE, Hosting, Person, hosting, pitch, token, until

pytestmark = pytest.mark.network

LEAVE = rtc.LeaveRequest


class Stranger:
    """A WebSocket with a valid token, and no client behind it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, message: rtc.SignalRequest | bytes) -> None:
        data = message if isinstance(message, bytes) else message.SerializeToString()
        await self._socket.send_bytes(data)

    async def send_text(self, text: str) -> None:
        await self._socket.send_str(text)

    async def receive(self, name: str) -> rtc.SignalResponse:
        """The next message of that kind."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message = rtc.SignalResponse.FromString(await self._socket.receive_bytes())
                if message.WhichOneof("message") == name:
                    return message

    async def closed(self) -> list[rtc.SignalResponse]:
        """What came until the socket was closed."""
        async with asyncio.timeout(PATIENCE):
            return [
                rtc.SignalResponse.FromString(message.data)
                async for message in self._socket
                if message.type is aiohttp.WSMsgType.BINARY
            ]


@asynccontextmanager
async def stranger(
    here: Hosting, identity: str = "mallory", query: str = ""
) -> AsyncIterator[Stranger]:
    async with aiohttp.ClientSession() as http:
        url = here.http_url(f"/rtc?access_token={token(identity)}{query}")
        async with http.ws_connect(url) as socket:
            yield Stranger(socket)


@pytest.fixture
async def here(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Hosting]:
    """A host in which two people talk, before and after whatever the test does."""
    async with (
        hosting() as made,
        Person(made.url, "alice") as alice,
        Person(made.url, "bob") as bob,
    ):
        await asyncio.gather(alice.speak(300.0), bob.speak(700.0))
        await asyncio.gather(alice.hear("bob", 0.1), bob.hear("alice", 0.1))
        yield made
        at_alice, at_bob = await asyncio.gather(alice.hear("bob"), bob.hear("alice"))
        assert pitch(at_alice) == pytest.approx(700.0, abs=5.0)
        assert pitch(at_bob) == pytest.approx(300.0, abs=5.0)
        await until(lambda: {each.identity for each in made.clients()} == {"alice", "bob"})
        assert made.host.counters.joins >= 2 and made.host.counters.resumes == 0
    ours = [record for record in caplog.records if record.name.startswith(("mulisa", "asyncio"))]
    assert not [record for record in ours if record.levelno >= logging.WARNING]


def last_leave(messages: list[rtc.SignalResponse]) -> rtc.LeaveRequest:
    return next(each.leave for each in reversed(messages) if each.HasField("leave"))


@pytest.mark.parametrize("garbage", [b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f"])
async def test_garbage_ends_the_stay(here: Hosting, garbage: bytes) -> None:
    async with stranger(here) as mallory:
        await mallory.receive("join")
        await mallory.send(garbage)
        assert last_leave(await mallory.closed()).action == LEAVE.DISCONNECT
    assert here.host.counters.failed == 1


async def test_text_ends_the_stay(here: Hosting) -> None:
    async with stranger(here) as mallory:
        await mallory.receive("join")
        await mallory.send_text("{}")
        assert last_leave(await mallory.closed()).action == LEAVE.DISCONNECT


async def test_a_flood_ends_the_stay(here: Hosting) -> None:
    async with stranger(here) as mallory:
        await mallory.receive("join")
        ping = rtc.SignalRequest(ping=1)
        closed = asyncio.create_task(mallory.closed())
        while not closed.done():
            try:
                await mallory.send(ping)
            except ConnectionError:
                break
            await asyncio.sleep(0)
        assert last_leave(await closed).action == LEAVE.DISCONNECT


async def test_candidates_of_a_client_that_gathers_for_long_are_no_flood(here: Hosting) -> None:
    init = '{"sdpMid":"0","sdpMLineIndex":0,"candidate":"candidate:1 1 tcp 1 192.0.2.2 9 typ host"}'
    async with stranger(here) as mallory:
        await mallory.receive("join")
        for _ in range(2_000):
            await mallory.send(rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit=init)))
        await mallory.send(rtc.SignalRequest(ping=1))
        await mallory.receive("pong")
        await mallory.send(rtc.SignalRequest(leave=LEAVE()))
        await mallory.closed()
    assert here.host.counters.failed == 0


async def test_a_message_that_is_too_big_ends_the_stay(here: Hosting) -> None:
    async with stranger(here) as mallory:
        await mallory.receive("join")
        with suppress(ConnectionError):
            await mallory.send(b"\0" * (5 * 1024 * 1024))
        await mallory.closed()


def broken_offers(seed: int) -> list[str]:
    """Nonsense, and what is nearly an offer."""
    chance, offer = random.Random(seed), OFFER
    lines = offer.splitlines(keepends=True)
    made = ["", "v=0\r\n", "\0" * 1000, offer * 20, "m=audio 9 X 0\r\n" * 20_000]
    for _ in range(40):
        some = list(lines)
        for _ in range(chance.randint(1, 5)):
            at = chance.randrange(len(some))
            match chance.randrange(3):
                case 0:
                    del some[at]
                case 1:
                    some.insert(at, chance.choice(lines))
                case _:
                    cut = chance.randrange(len(some[at]))
                    some[at] = some[at][:cut] + chr(chance.randrange(1, 300)) + some[at][cut + 1 :]
        made.append("".join(some))
    return made


OFFER = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=ice-ufrag:abcd\r\n"
    "a=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=sendonly\r\na=rtcp-mux\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=msid:- track\r\na=ssrc:1 cname:x\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n"
    "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n"
    "a=sctp-port:5000\r\n"
)


def offer(sdp: str) -> rtc.SignalRequest:
    return rtc.SignalRequest(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=7))


async def test_an_offer_that_is_one_is_answered(here: Hosting) -> None:
    async with stranger(here) as mallory:
        await mallory.send(offer(OFFER))
        answer = (await mallory.receive("answer")).answer
        assert answer.id == 7 and "a=ice-lite" in answer.sdp


async def test_broken_offers_are_answered_or_end_the_stay(here: Hosting) -> None:
    for number, sdp in enumerate(broken_offers(seed=1)):
        async with stranger(here, f"mallory {number}") as mallory:
            await mallory.receive("join")
            await mallory.send(offer(sdp))
            message = await first_of(mallory, "answer", "leave")
            assert message.HasField("answer") or message.leave.action == LEAVE.RECONNECT


async def first_of(mallory: Stranger, *names: str) -> rtc.SignalResponse:
    async with asyncio.timeout(PATIENCE):
        while True:
            message = rtc.SignalResponse.FromString(await mallory._socket.receive_bytes())
            if message.WhichOneof("message") in names:
                return message


async def test_another_clients_stay_cannot_be_resumed(here: Hosting) -> None:
    (bob,) = (each for each in here.clients() if each.identity == "bob")
    async with stranger(here, query=f"&reconnect=1&sid={bob.sid}") as mallory:
        (leave,) = await mallory.closed()
        assert leave.leave.action == LEAVE.RECONNECT
    assert bob in here.clients()


async def test_a_stay_that_is_over_cannot_be_resumed(here: Hosting) -> None:
    async with stranger(here, query="&reconnect=1&sid=PA_gone") as mallory:
        (leave,) = await mallory.closed()
        assert leave.leave.action == LEAVE.RECONNECT
        assert leave.leave.reason == models.DisconnectReason.STATE_MISMATCH


async def test_who_is_put_out_opens_no_connection_any_more(here: Hosting) -> None:
    before = here.connections()
    async with stranger(here) as mallory:
        await mallory.receive("join")
        (client,) = (each for each in here.clients() if each.identity == "mallory")
        here.host.remove(here.room, client.identity)
        client.receive(offer(OFFER))  # it had come already
        await mallory.closed()
    assert here.connections() == before


Make = Callable[[random.Random], rtc.SignalRequest]
SIDS = ["TR_1", "", "PA_1", "x" * 300]
MAKES: list[Make] = [
    lambda r: offer(OFFER if r.random() < 0.7 else OFFER[: r.randrange(len(OFFER))]),
    lambda r: rtc.SignalRequest(answer=rtc.SessionDescription(type="answer", sdp=OFFER)),
    lambda r: rtc.SignalRequest(trickle=rtc.TrickleRequest(candidateInit="{")),
    lambda r: rtc.SignalRequest(
        add_track=rtc.AddTrackRequest(
            cid=r.choice(["track", "", "c2"]),
            type=r.choice(models.TrackType.keys()),
            source=r.choice(models.TrackSource.keys()),
        )
    ),
    lambda r: rtc.SignalRequest(mute=rtc.MuteTrackRequest(sid=r.choice(SIDS), muted=True)),
    lambda r: rtc.SignalRequest(
        subscription=rtc.UpdateSubscription(track_sids=SIDS, subscribe=r.random() < 0.5)
    ),
    lambda r: rtc.SignalRequest(track_setting=rtc.UpdateTrackSettings(track_sids=SIDS)),
    lambda r: rtc.SignalRequest(subscription_permission=rtc.SubscriptionPermission()),
    lambda r: rtc.SignalRequest(sync_state=rtc.SyncState(track_sids_disabled=SIDS)),
    lambda r: rtc.SignalRequest(simulate=rtc.SimulateScenario(node_failure=True)),
    lambda r: rtc.SignalRequest(ping=r.randrange(2**60)),
    lambda r: rtc.SignalRequest(
        update_metadata=rtc.UpdateParticipantMetadata(name="n", attributes={"a": "b"})
    ),
    lambda r: rtc.SignalRequest(ping_req=rtc.Ping(timestamp=1, rtt=-1)),
    lambda r: rtc.SignalRequest(update_layers=rtc.UpdateVideoLayers(track_sid="TR_1")),
    lambda r: rtc.SignalRequest(),
]


@pytest.mark.parametrize("seed", range(10))
async def test_messages_in_any_order(here: Hosting, seed: int) -> None:
    await send_anything(here, random.Random(seed), damaged=0.0)


@pytest.mark.slow
async def test_damaged_messages_in_any_order(here: Hosting) -> None:
    for seed in range(300):
        await send_anything(here, random.Random(seed), damaged=0.02)
    await until(lambda: here.connections() == 2)


async def send_anything(here: Hosting, chance: random.Random, damaged: float) -> None:
    """A stay of a hundred messages, some of them `damaged`; nothing of it is ours to fail at."""
    async with stranger(here) as mallory:
        with suppress(ConnectionError):
            for _ in range(100):
                message = chance.choice(MAKES)(chance).SerializeToString()
                await mallory.send(
                    damage(message, chance) if chance.random() < damaged else message
                )
            await mallory.send(rtc.SignalRequest(leave=rtc.LeaveRequest()))
        await mallory.closed()


def damage(message: bytes, chance: random.Random) -> bytes:
    changed = bytearray(message or b"\0")
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


async def test_an_error_of_ours_puts_one_client_out_and_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Client, *_: object) -> None:
        raise RuntimeError("this is the test's")

    async with (
        hosting() as here,
        Person(here.url, "alice") as alice,
        Person(here.url, "bob") as bob,
        stranger(here) as mallory,
    ):
        await mallory.receive("join")
        await alice.speak(300.0)
        await bob.hear("alice", 0.1)
        with monkeypatch.context() as patch:
            patch.setattr(Client, "expect", fail)
            await mallory.send(rtc.SignalRequest(add_track=rtc.AddTrackRequest(cid="track")))
            assert last_leave(await mallory.closed()).action == LEAVE.RECONNECT
        assert "this is the test's" in caplog.text
        await until(lambda: {each.identity for each in here.clients()} == {"alice", "bob"})
        assert pitch(await bob.hear("alice")) == pytest.approx(300.0, abs=5.0)


async def test_who_has_no_token_costs_nothing() -> None:
    async with hosting() as here, aiohttp.ClientSession() as http:
        for bad in ("", "?access_token=x", f"?access_token={token('m', secret='s' * 40)}"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(here.http_url("/rtc" + bad))
            assert refused.value.status == 401
        assert here.host.rooms() == []
        assert here.host.counters.refused == 3 and here.host.counters.joins == 0


async def test_too_many_at_once_are_told_to_try_later() -> None:
    async with hosting(join_burst=2, join_rate=0.001) as here, aiohttp.ClientSession() as http:
        async with stranger(here, "one") as one, stranger(here, "two"):
            await one.receive("join")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(here.http_url(f"/rtc?access_token={token('three')}"))
            assert refused.value.status == 503
