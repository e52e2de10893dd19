"""Participants of a room on a real LiveKit server: who is there, and how they hear each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from aiohttp import web
from livekit import rtc

from mulisa.core.audio import SAMPLE_RATE_HZ, Samples, silence
from mulisa.core.errors import TransportError
from mulisa.core.events import (
    ChatReceived,
    ListenerConnected,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    TrackSubscribed,
    TrackUnsubscribed,
)
from mulisa.core.room import Identity, Participant
from mulisa.core.transport import SubscriptionStats
from mulisa.transport.sfu import joining as joining_module
from mulisa.transport.sfu import voice as voice_module
from mulisa.transport.sfu.transport import SFUTransport
from tests.livekit_server import LiveKitServer
from tests.network import free_port
from tests.transport.mesh.rooms import PATIENCE, Witness, hear, pitch, say, tone
from tests.transport.sfu.rooms import ALICE, BOB, MULISA, call, eventually, record

pytestmark = [pytest.mark.network, pytest.mark.slow]


async def test_tones_arrive_apart_and_with_their_pitch(livekit: LiveKitServer) -> None:
    async with call(livekit, ALICE, BOB, MULISA) as room:
        alice, bob, mulisa = (room.transports[who] for who in (ALICE, BOB, MULISA))
        assert mulisa.topology == "sfu" and mulisa.room == room.room
        at_mulisa = [asyncio.create_task(hear(mulisa, who, 60)) for who in (ALICE, BOB)]
        await asyncio.gather(say(alice, tone(300.0, 60)), say(bob, tone(700.0, 60)))
        for task, frequency in zip(at_mulisa, (300.0, 700.0), strict=True):
            assert pitch((await task)[-24_000:]) == pytest.approx(frequency, abs=2.5)
        assert mulisa.stats(ALICE).frames_received >= 60

        of_her = [asyncio.create_task(hear(each, MULISA, 60)) for each in (alice, bob)]
        await say(mulisa, tone(500.0, 60))
        for task in of_her:
            heard = (await task)[-24_000:]
            assert pitch(heard) == pytest.approx(500.0, abs=2.5)
            assert np.max(np.abs(heard)) == pytest.approx(8_000, rel=0.2)
        await eventually(lambda: mulisa.stats(ALICE).packets_received >= 60)
        assert mulisa.stats(ALICE).packets_lost == 0


async def test_a_tone_in_stereo_at_another_rate_is_48_khz_mono(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        alice = await room.join_plainly(ALICE)
        source = rtc.AudioSource(24_000, 2)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
        await alice.sdk.local_participant.publish_track(track)
        await room.witnesses[MULISA].until(TrackSubscribed(ALICE))
        hearing = asyncio.create_task(hear(room.transports[MULISA], ALICE, 60))
        time = np.arange(24_000) / 24_000
        wave = np.repeat((np.sin(2 * np.pi * 440 * time) * 8_000).astype(np.int16), 2)
        for start in range(0, len(wave), 960):
            piece = wave[start : start + 960].tobytes()
            await source.capture_frame(rtc.AudioFrame(piece, 24_000, 2, 480))
        heard = (await hearing)[-24_000:]
        assert pitch(heard) == pytest.approx(440.0, abs=2.5)
        await source.aclose()


async def test_who_is_there_who_comes_and_who_goes_is_reported(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        mulisa, witness = room.transports[MULISA], room.witnesses[MULISA]
        assert mulisa.local.identity == MULISA and mulisa.local.is_agent
        assert mulisa.participants == {}
        async with room.transport(ALICE) as alice:
            joined = await witness.until(ParticipantJoined)
            assert isinstance(joined, ParticipantJoined)
            assert joined.participant.name == "Alice" and not joined.participant.is_agent
            assert mulisa.participants[ALICE] == joined.participant
            await Witness(alice).until(ParticipantJoined)
            assert alice.participants[MULISA].is_agent
            await witness.until(TrackSubscribed(ALICE))
            hearing = asyncio.create_task(frames_until_the_end(mulisa))
        await witness.until(TrackUnsubscribed(ALICE), ParticipantLeft)
        async with asyncio.timeout(PATIENCE):
            await hearing
        assert mulisa.participants == {}
        assert await frames_until_the_end(mulisa) == 0, "there is nothing to iterate any more"

        async with room.transport(ALICE):  # the room was empty but for her, and fills again
            await witness.until(ParticipantJoined, TrackSubscribed(ALICE))


async def test_who_was_there_before_is_told_in_order_of_coming(livekit: LiveKitServer) -> None:
    people = [Identity(name) for name in ("dora", "bob", "eve", "alice", "frank", "carol")]
    async with call(livekit) as room:
        for identity in people:
            await room.join_plainly(identity)
        assert list((await room.join(MULISA)).participants) == people


async def frames_until_the_end(mulisa: SFUTransport) -> int:
    return len([frame async for frame in mulisa.frames(ALICE)])


async def test_name_attributes_and_mute_are_reported(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        alice = await room.join_plainly(ALICE)
        witness = room.witnesses[MULISA]
        joined = await witness.until(ParticipantJoined)
        assert isinstance(joined, ParticipantJoined)
        assert joined.participant.muted, "who has no microphone is muted"

        track, source = microphone()
        await alice.sdk.local_participant.publish_track(track)
        assert not (await updated(witness)).muted
        track.mute()
        assert (await updated(witness)).muted
        track.unmute()
        assert not (await updated(witness)).muted
        await alice.sdk.local_participant.set_name("Alice B.")
        assert (await updated(witness)).name == "Alice B."
        await alice.sdk.local_participant.set_attributes({"colour": "blue"})
        assert (await updated(witness)).attributes == {"colour": "blue"}
        await source.aclose()


async def updated(witness: Witness) -> Participant:
    event = await witness.until(ParticipantUpdated)
    assert isinstance(event, ParticipantUpdated)
    return event.participant


def microphone() -> tuple[rtc.LocalAudioTrack, rtc.AudioSource]:
    source = rtc.AudioSource(SAMPLE_RATE_HZ, 1)
    return rtc.LocalAudioTrack.create_audio_track("microphone", source), source


async def test_who_is_muted_costs_no_frames_and_is_heard_again(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        alice = await room.join_plainly(ALICE)
        mulisa, witness = room.transports[MULISA], room.witnesses[MULISA]
        track, source = microphone()
        await alice.sdk.local_participant.publish_track(track)
        await witness.until(TrackSubscribed(ALICE))
        await hear(mulisa, ALICE, 10)
        track.mute()
        while not (await updated(witness)).muted:
            pass
        before = await settled_count(mulisa)
        await asyncio.sleep(0.5)
        assert mulisa.stats(ALICE).frames_received == before
        track.unmute()
        await hear(mulisa, ALICE, 10)
        assert TrackUnsubscribed(ALICE) not in witness.seen, "the iterator goes on"
        await source.aclose()


async def settled_count(mulisa: SFUTransport) -> int:
    """The number of frames once it does not change for a while."""
    async with asyncio.timeout(PATIENCE):
        while True:
            before = mulisa.stats(ALICE).frames_received
            await asyncio.sleep(0.2)
            if mulisa.stats(ALICE).frames_received == before:
                return before


async def test_of_two_microphones_the_newest_is_heard(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        alice = await room.join_plainly(ALICE)
        mulisa = room.transports[MULISA]
        (old, old_source), (new, new_source) = microphone(), microphone()
        await alice.sdk.local_participant.publish_track(old)
        await room.witnesses[MULISA].until(TrackSubscribed(ALICE))
        newest = await alice.sdk.local_participant.publish_track(new)
        await eventually(lambda: mulisa._stay.hearing(ALICE).track_sids == {newest.sid})

        async def play(source: rtc.AudioSource, frequency: float) -> None:
            for samples in tone(frequency, 100):
                await source.capture_frame(rtc.AudioFrame(samples.tobytes(), 48_000, 1, 960))

        playing = asyncio.gather(play(old_source, 300.0), play(new_source, 700.0))
        await hear(mulisa, ALICE, 40)
        assert pitch(await hear(mulisa, ALICE, 30)) == pytest.approx(700.0, abs=2.5)
        await playing
        await alice.sdk.local_participant.unpublish_track(newest.sid)
        await room.witnesses[MULISA].until(TrackUnsubscribed(ALICE))
        await old_source.aclose()
        await new_source.aclose()


async def test_who_has_left_loses_their_frames_but_not_their_counters(
    livekit: LiveKitServer,
) -> None:
    async with call(livekit, MULISA) as room:
        mulisa, witness = room.transports[MULISA], room.witnesses[MULISA]
        assert mulisa.stats(ALICE) == SubscriptionStats(0, 0, 0)
        async with room.transport(ALICE) as alice:
            await witness.until(TrackSubscribed(ALICE))
            alice.expect_speech()
            await say(alice, tone(400.0, 30))
            await eventually(lambda: mulisa.stats(ALICE).packets_received > 0)
        await witness.until(ParticipantLeft)
        assert mulisa.stats(ALICE).packets_received > 0


# Her voice


def bursts(n_bursts: int) -> list[Samples]:
    """100 ms of a tone and 100 ms of silence, again and again; the tone comes first."""
    sound, quiet = tone(1_000.0, 5), [silence()] * 5
    return (sound + quiet) * n_bursts


def loud_time(samples: Samples) -> float:
    """Seconds in which there is a tone, by windows of 5 ms."""
    windows = samples[: len(samples) // 240 * 240].reshape(-1, 240).astype(float)
    return float(np.sum(np.sqrt(np.mean(windows**2, axis=1)) > 1_500) * 240 / SAMPLE_RATE_HZ)


@pytest.mark.parametrize("is_expected", [True, False], ids=["expected", "unexpected"])
async def test_after_a_pause_the_first_words_are_whole(
    livekit: LiveKitServer, is_expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What libwebrtc does with a gap: it plays what follows late, or throws words away."""
    monkeypatch.setattr(voice_module, "WARM_TIME", 0.5)
    async with call(livekit, MULISA) as room:
        mulisa = room.transports[MULISA]
        alice = await room.join_plainly(ALICE)
        await room.witnesses[MULISA].until(ParticipantJoined)
        sid = mulisa._stay.speaking.voice_sid
        await alice.until(lambda: sid in alice.subscribed)
        recording = asyncio.create_task(record(alice, sid, 12.0))
        said = bursts(5)
        await say(mulisa, said)
        for _ in range(2):
            await asyncio.sleep(3.0)
            assert not mulisa._stay.speaking._voice.is_warm
            if is_expected:
                mulisa.expect_speech()
                await asyncio.sleep(0.3)
            await say(mulisa, said)
        heard = await recording
        lost = 3 * 0.5 - loud_time(heard)
        assert lost < 0.06, "of 15 bursts not one is missing, nor a good part of one"


async def test_frames_that_come_in_bursts_are_all_heard(livekit: LiveKitServer) -> None:
    """The mouth's timer is not ours: a frame may be late, and the next one on time."""
    async with call(livekit, MULISA) as room:
        mulisa = room.transports[MULISA]
        alice = await room.join_plainly(ALICE)
        await room.witnesses[MULISA].until(ParticipantJoined)
        sid = mulisa._stay.speaking.voice_sid
        await alice.until(lambda: sid in alice.subscribed)
        mulisa.expect_speech()
        recording = asyncio.create_task(record(alice, sid, 3.0))
        await asyncio.sleep(0.5)
        for first in range(0, 100, 2):  # two frames each 40 ms
            for samples in tone(1_000.0, 100)[first : first + 2]:
                mulisa.send_frame(samples)
            await asyncio.sleep(0.04)
        # More, if a busy machine makes the listener's jitter buffer stretch them.
        assert 1.9 < loud_time(await recording) < 2.5


async def test_an_idle_voice_is_muted_and_sends_nothing(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_module, "WARM_TIME", 0.5)
    async with call(livekit, MULISA) as room:
        mulisa = room.transports[MULISA]
        alice = await room.join_plainly(ALICE)
        await room.witnesses[MULISA].until(ParticipantJoined)
        voice = mulisa._stay.speaking._voice
        await alice.until(lambda: voice.sid in alice.subscribed)

        def is_muted() -> bool:
            return bool(alice.subscribed[voice.sid].muted)

        assert is_muted()
        mulisa.expect_speech()
        await alice.until(lambda: not is_muted())
        await alice.until(is_muted)
        await asyncio.sleep(1.5)  # the server itself goes on with silence for a second
        before = await alice.packets(voice.sid)
        await asyncio.sleep(1.0)
        assert await alice.packets(voice.sid) == before
        assert before > 15, "while she was warm there was silence"


async def test_who_hears_her_is_reported_where_it_is_known(livekit: LiveKitServer) -> None:
    async with call(livekit, MULISA) as room:
        witness = room.witnesses[MULISA]
        await room.join_plainly(ALICE)
        bob = await room.join_plainly(BOB)
        await witness.until(ParticipantJoined, ParticipantJoined)
        await bob.sdk.local_participant.publish_data(
            b'{"heard": ["mulisa"]}', reliable=True, topic="mulisa.reception"
        )
        await witness.until(ListenerConnected(BOB))
        assert room.transports[MULISA].receptions == {BOB: {MULISA}}


# Leaving and not getting in


async def test_leaving_leaves_nothing_behind(livekit: LiveKitServer) -> None:
    async with call(livekit, ALICE, BOB) as room:
        before = asyncio.all_tasks()
        async with room.transport(MULISA) as mulisa:
            witness = Witness(mulisa)
            await witness.until(TrackSubscribed(ALICE), TrackSubscribed(BOB))
            hearing = asyncio.create_task(frames_until_the_end(mulisa))
            mulisa.expect_speech()
            await mulisa.whisper(BOB)
        async with asyncio.timeout(PATIENCE):
            await hearing
            assert not [each async for each in mulisa.events() if isinstance(each, ChatReceived)]
        left = asyncio.all_tasks() - before
        assert not [task for task in left if "sfu" in task.get_name()]


async def test_relay_only_goes_through_turn_alone(livekit_program: str) -> None:
    """The TURN server is LiveKit's own; its address and password come from the server."""
    with LiveKitServer(livekit_program, turn=True) as server:
        async with call(server, ALICE) as room, room.transport(MULISA, relay_only=True) as mulisa:
            witness = Witness(mulisa)
            await witness.until(TrackSubscribed(ALICE))
            alice = room.transports[ALICE]
            alice.expect_speech()
            hearing = asyncio.create_task(hear(mulisa, ALICE, 60))
            await say(alice, tone(400.0, 60))
            assert pitch((await hearing)[-24_000:]) == pytest.approx(400.0, abs=2.5)
            stats = await mulisa._stay.room.get_rtc_stats()
            candidates = [
                each.local_candidate.candidate
                for each in (*stats.publisher_stats, *stats.subscriber_stats)
                if each.HasField("local_candidate")
            ]
            assert candidates
            assert all(f":{server.turn_port}" in candidate.url for candidate in candidates)


async def test_a_refused_token_says_so_and_is_not_quoted(livekit: LiveKitServer) -> None:
    expired = livekit.token("alice", "kitchen", ttl=-300.0)
    for token in ("nonsense", expired):
        with pytest.raises(TransportError, match="refuses the token") as caught:
            async with SFUTransport(livekit.url, token):
                pass
        assert not caught.value.retryable
        assert "eyJ" not in str(caught.value)


async def test_the_tokens_owner_may_make_one_for_each_stay(livekit: LiveKitServer) -> None:
    made: list[str] = []

    def make() -> str:
        made.append(livekit.token("alice", "kitchen"))
        return made[-1]

    transport = SFUTransport(livekit.url, make)
    assert made == []
    async with transport:
        assert len(made) == 1


async def test_a_server_that_is_away_cannot_be_reached() -> None:
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:\d+ cannot be reached") as caught:
        async with SFUTransport(f"ws://127.0.0.1:{free_port()}", "token"):
            pass
    assert caught.value.retryable


@pytest.fixture
async def web_server() -> AsyncIterator[str]:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_what_is_no_livekit_server_is_recognised(web_server: str) -> None:
    with pytest.raises(TransportError, match="no LiveKit server") as caught:
        async with SFUTransport(web_server, "token"):
            pass
    assert not caught.value.retryable


async def test_what_is_no_address_is_recognised() -> None:
    with pytest.raises(TransportError, match="not a server's address: 'nonsense'"):
        async with SFUTransport("nonsense", "token"):
            pass


async def test_who_may_not_publish_is_told(livekit: LiveKitServer) -> None:
    token = livekit.token("mulisa", "kitchen", kind="agent", can_publish=False)
    with pytest.raises(TransportError, match="'voice'"):
        async with SFUTransport(livekit.url, token):
            pass


async def test_being_cancelled_while_joining_does_not_join(livekit: LiveKitServer) -> None:
    async with call(livekit, ALICE) as room:
        joining = asyncio.create_task(room.transport(MULISA).__aenter__())
        await asyncio.sleep(0.01)
        joining.cancel()
        await asyncio.wait({joining})
        assert joining.cancelled()
        await eventually(lambda: not joining_module._abandoned)
        assert await room.identities() == {ALICE}
