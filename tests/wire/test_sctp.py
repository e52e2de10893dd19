from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from struct import pack
from typing import Any

import pytest
from aiortc import RTCDataChannel, rtcsctptransport
from aiortc.rtcdatachannel import RTCDataChannelParameters
from aiortc.rtcsctptransport import RTCSctpTransport
from google_crc32c import value as crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.wire import sctp, sctp_limits
from mulisa.wire.channels import MAX_LOSSY_BYTES, MAX_RELIABLE_BYTES, DataChannels

pytestmark = pytest.mark.unit


class TheirWire:
    """The client's DTLS as its SCTP sees it."""

    state = "connected"
    _role = "client"

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    async def _send_data(self, data: bytes) -> None:
        self._send(data)

    def _register_data_receiver(self, receiver: object) -> None: ...

    def _unregister_data_receiver(self, receiver: object) -> None: ...


class Pair:
    """A stock aiortc client and our channels, with a way between them that can lose packets."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.received: list[tuple[str, bytes]] = []
        self.sent: list[bytes] = []
        """What we sent."""
        self.loses: Callable[[bytes], bool] = lambda packet: False
        self.ours = DataChannels(
            self._to_them, self.opened.append, lambda *args: self.received.append(args)
        )
        self.theirs = RTCSctpTransport(TheirWire(self._to_us))  # type: ignore[arg-type]
        self._ours_first: deque[bytes] = deque()

    def _to_them(self, packet: bytes) -> None:
        self.sent.append(packet)
        if not self.loses(packet):
            asyncio.get_running_loop().call_soon(self._arrive, packet)

    def _arrive(self, packet: bytes) -> None:
        sctp.run(self.theirs._handle_data(packet))

    def _to_us(self, packet: bytes) -> None:
        if not self.loses(packet):
            asyncio.get_running_loop().call_soon(self.ours.receive, packet)

    def make(self, label: str, **parameters: Any) -> RTCDataChannel:
        return RTCDataChannel(self.theirs, RTCDataChannelParameters(label=label, **parameters))

    async def __aenter__(self) -> Pair:
        await self.theirs.start(None, sctp.SCTP_PORT)
        return self

    async def __aexit__(self, *args: object) -> None:
        self.ours.close()
        await self.theirs.stop()


async def until(condition: Callable[[], bool]) -> None:
    """In virtual time: a minute passes at once if nothing happens."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - virtual time costs nothing
            await asyncio.sleep(0.01)


def heard(channel: RTCDataChannel) -> list[Any]:
    messages: list[Any] = []
    channel.on("message", messages.append)
    return messages


async def test_messages_go_both_ways_on_channels_of_the_client() -> None:
    async with Pair() as pair:
        reliable, lossy = pair.make("_reliable"), pair.make("_lossy", maxRetransmits=0)
        messages = heard(reliable), heard(lossy)
        await until(lambda: len(pair.opened) == 2)
        assert pair.ours.labels == ("_reliable", "_lossy")
        reliable.send(b"up")
        lossy.send("text")
        reliable.send(b"")
        await until(lambda: len(pair.received) == 3)
        assert pair.received == [("_reliable", b"up"), ("_lossy", b"text"), ("_reliable", b"")]
        assert pair.ours.send("_reliable", b"down") and pair.ours.send("_lossy", b"")
        await until(lambda: messages == ([b"down"], [b""]))


async def test_text_goes_both_ways_on_a_channel_that_both_ends_know_of() -> None:
    async with Pair() as pair:
        pair.ours.agree("chat", 5)
        channel = pair.make("whatever", negotiated=True, id=5)
        messages = heard(channel)
        await until(lambda: channel.readyState == "open")
        channel.send("up")
        assert pair.ours.send("chat", "down ü".encode())
        await until(lambda: pair.received == [("chat", b"up")] and messages == ["down ü"])
        assert pair.opened == []


async def test_a_stream_that_was_forgotten_can_be_another_channel() -> None:
    async with Pair() as pair:
        pair.ours.agree("first", 5)
        channel = pair.make("whatever", negotiated=True, id=5)
        await until(lambda: channel.readyState == "open")
        channel.send("one")
        await until(lambda: bool(pair.received))
        pair.ours.part("first")
        pair.ours.part("first")
        channel.send("missed")
        await until(lambda: not (channel.bufferedAmount or pair.theirs._sent_queue))
        pair.ours.agree("second", 5)
        pair.ours.part("first")
        channel.send("two")
        await until(lambda: pair.received == [("first", b"one"), ("second", b"two")])
        assert pair.ours.labels == ("second",) and not pair.ours.send("first", b"x")


async def test_we_begin_nothing() -> None:
    async with Pair() as pair:
        assert pair.sent == []
        assert not pair.ours.send("_reliable", b"too early")


async def test_a_message_of_the_longest_length_arrives() -> None:
    async with Pair() as pair:
        channel = pair.make("_reliable")
        messages = heard(channel)
        await until(lambda: bool(pair.opened))
        longest = bytes(range(256)) * 256
        channel.send(longest[:-1])
        assert pair.ours.send("_reliable", longest[:-1])
        assert not pair.ours.send("_reliable", longest)
        await until(lambda: bool(messages and pair.received))
        assert messages == [longest[:-1]] == [pair.received[0][1]]


async def test_what_is_lost_is_sent_again() -> None:
    async with Pair() as pair:
        channel = pair.make("_reliable")
        messages = heard(channel)
        await until(lambda: bool(pair.opened))
        count = 0

        def every_third(packet: bytes) -> bool:
            nonlocal count
            count += 1
            return count % 3 == 0

        pair.loses = every_third
        expected = [bytes([number]) * 3000 for number in range(20)]
        for message in expected:
            channel.send(message)
            assert pair.ours.send("_reliable", message)
        await until(lambda: len(messages) == len(pair.received) == 20)
        assert messages == expected == [data for _, data in pair.received]


async def test_who_does_not_read_costs_no_more_than_the_limit() -> None:
    async with Pair() as pair:
        pair.make("_reliable"), pair.make("_lossy", maxRetransmits=0)
        await until(lambda: len(pair.opened) == 2)
        pair.loses = lambda packet: True
        for label, limit in (
            ("_lossy", MAX_LOSSY_BYTES),
            ("_reliable", MAX_RELIABLE_BYTES),
        ):
            while pair.ours.send(label, bytes(1000)):
                assert pair.ours.buffered_bytes <= limit + 2 * 1000
        assert pair.ours.dropped == 2
        while pair.ours.send("_reliable", b"x"):
            pass
        queued = len(pair.ours._association._data_channel_queue)
        assert queued * sctp.OBJECT_BYTES < MAX_RELIABLE_BYTES


async def test_a_channel_the_client_closes_is_gone() -> None:
    async with Pair() as pair:
        channel = pair.make("_reliable")
        await until(lambda: bool(pair.opened))
        channel.close()
        await until(lambda: not pair.ours.labels)
        assert not pair.ours.send("_reliable", b"x")
        pair.make("_reliable")
        await until(lambda: len(pair.opened) == 2)
        assert pair.ours.send("_reliable", b"x")


async def test_a_client_that_begins_anew_gets_a_new_association() -> None:
    async with Pair() as pair:
        first = pair.make("_reliable")
        await until(lambda: bool(pair.opened))
        first.send(b"before")
        await until(lambda: bool(pair.received))
        pair.theirs._set_state(pair.theirs.State.CLOSED)  # it forgets everything
        pair.theirs = RTCSctpTransport(TheirWire(pair._to_us))  # type: ignore[arg-type]
        await pair.theirs.start(None, sctp.SCTP_PORT)
        second = pair.make("_reliable")
        await until(lambda: len(pair.opened) == 2)
        second.send(b"after")
        await until(lambda: pair.received[-1] == ("_reliable", b"after"))
        assert pair.ours.labels == ("_reliable",)


async def test_a_late_copy_of_the_first_packet_changes_nothing() -> None:
    packets: list[bytes] = []

    def note(packet: bytes) -> bool:
        packets.append(packet)
        return False

    pair = Pair()
    pair.loses = note
    async with pair:
        channel = pair.make("_reliable")
        await until(lambda: bool(pair.opened))
        channel.send(b"one")
        await until(lambda: bool(pair.received))
        pair.ours.receive(packets[0])
        channel.send(b"two")
        await until(lambda: len(pair.received) == 2)
        assert pair.received == [("_reliable", b"one"), ("_reliable", b"two")]


async def test_only_so_many_channels_are_opened() -> None:
    async with Pair() as pair:
        for number in range(sctp.MAX_CHANNELS + 10):
            pair.make(f"{number}")
        await until(lambda: len(pair.opened) == sctp.MAX_CHANNELS)
        await asyncio.sleep(5)
        assert len(pair.ours.labels) == sctp.MAX_CHANNELS


async def test_after_closing_nothing_is_sent_nor_told() -> None:
    async with Pair() as pair:
        channel = pair.make("_reliable")
        await until(lambda: bool(pair.opened))
        pair.ours.send("_reliable", bytes(60_000))
        pair.ours.close()
        pair.ours.close()
        sent = len(pair.sent)
        channel.send(b"x")
        await asyncio.sleep(120)
        assert (len(pair.sent), pair.received) == (sent, [])


def test_the_private_part_of_aiortc_is_what_we_know() -> None:
    """What `sctp` and `sctp_limits` override or call; if this fails, read the new version."""
    coroutines = (
        "_handle_data _init _receive_chunk _receive_data_chunk _receive_forward_tsn_chunk "
        "_receive_sack_chunk _data_channel_receive _data_channel_flush start stop"
    )
    for name in coroutines.split():
        assert asyncio.iscoroutinefunction(getattr(RTCSctpTransport, name)), name
    kinds = "InitChunk DataChunk SackChunk ForwardTsnChunk"
    assert all(hasattr(rtcsctptransport, name) for name in kinds.split())
    assert rtcsctptransport.SCTP_MAX_PACKET_LENGTH < 1200


# A hostile client: it has an association, and then sends what it likes.


def packet_of(tag: int, *chunks: bytes) -> bytes:
    header, body = pack("!HHL", 5000, 5000, tag), b"".join(chunks)
    return header + pack("<L", crc32c(header + bytes(4) + body)) + body


def chunk_of(kind: int, body: bytes, flags: int = 3, length: int | None = None) -> bytes:
    claimed = 4 + len(body) if length is None else length
    return pack("!BBH", kind, flags, claimed % 65536) + body + bytes(-len(body) % 4)


def data_of(tsn: int, stream: int, payload: bytes, protocol: int = 53, flags: int = 3) -> bytes:
    return chunk_of(0, pack("!LHHL", tsn % 2**32, stream, 0, protocol) + payload, flags)


async def hostile(attack: Callable[[Pair, int], Awaitable[None]]) -> None:
    """Attack with an association that works; afterwards another client's still does."""
    async with Pair() as pair:
        pair.make("_reliable")
        await until(lambda: bool(pair.opened))
        await attack(pair, pair.ours._association._local_verification_tag)
        assert pair.ours.buffered_bytes < 100_000


@pytest.mark.parametrize("kind", [1, 2, 4, 5, 6, 9, 130])
async def test_a_parameter_without_length_does_not_hang_us(kind: int) -> None:
    async def attack(pair: Pair, tag: int) -> None:
        body = bytes(16 if kind < 3 else 0) + pack("!HHL", 7, 0, 0)
        pair.ours.receive(packet_of(0 if kind == 1 else tag, chunk_of(kind, body)))
        assert pair.ours.faults == 1

    await hostile(attack)


async def test_gaps_that_were_never_sent_are_not_counted_out() -> None:
    async def attack(pair: Pair, tag: int) -> None:
        cumulative = pair.ours._association._last_sacked_tsn
        gaps = pack("!HH", 1, 65535) * 280
        body = pack("!LLHH", cumulative, 0, 280, 0) + gaps
        for _ in range(100):  # counting them out would be 1.8 billion steps
            pair.ours.receive(packet_of(tag, chunk_of(3, body)))

    await hostile(attack)


async def test_what_never_completes_is_bounded() -> None:
    async def attack(pair: Pair, tag: int) -> None:
        association = pair.ours._association
        assert association._last_received_tsn is not None
        start = association._last_received_tsn
        for number in range(3000):
            chunk = data_of(start + 2 + number, number, bytes(1000), flags=0)
            pair.ours.receive(packet_of(tag, chunk))
        kept = association._inbound_streams.values()
        assert sum(len(stream.reassembly) for stream in kept) <= sctp_limits.MAX_UNORDERED_CHUNKS
        assert association._advertised_rwnd >= 0
        assert len(association._inbound_streams) <= sctp_limits.MAX_STREAMS
        assert max(map(len, pair.sent)) < 1400

    await hostile(attack)


@pytest.mark.parametrize("size", [1, 1000])
async def test_a_message_without_end_is_bounded(size: int) -> None:
    async def attack(pair: Pair, tag: int) -> None:
        association = pair.ours._association
        assert association._last_received_tsn is not None
        start = association._last_received_tsn + 1
        for number in range(2000):
            chunk = data_of(start + number, 0, bytes(size), flags=0 if number else 2)
            pair.ours.receive(packet_of(tag, chunk))
        kept = [
            chunk for each in association._inbound_streams.values() for chunk in each.reassembly
        ]
        assert len(kept) <= sctp_limits.MAX_INCOMPLETE_CHUNKS
        most = sctp_limits.RECEIVE_WINDOW_BYTES + sctp_limits.MAX_MESSAGE_BYTES + size
        assert sum(len(chunk.user_data) for chunk in kept) <= most

    await hostile(attack)


CHUNKS = st.builds(
    chunk_of,
    st.sampled_from([*range(15), 130, 192]) | st.integers(0, 255),
    st.binary(max_size=80),
    st.integers(0, 255),
    st.none() | st.integers(0, 100),
)


@settings(max_examples=500)
@given(chunks=st.lists(CHUNKS, min_size=1, max_size=6))
async def test_any_chunks_are_survived(chunks: list[bytes]) -> None:
    await survive(chunks)


@settings(max_examples=500)
@given(
    chunks=st.lists(
        st.builds(
            data_of,
            st.integers(-3, 6),
            st.integers(0, 130),
            st.binary(max_size=40) | st.builds(lambda end: b"\x03" + end, st.binary(max_size=30)),
            st.sampled_from([50, 51, 53, 56, 57]),
            st.integers(0, 7),
        ),
        min_size=1,
        max_size=12,
    )
)
async def test_any_messages_are_survived(chunks: list[bytes]) -> None:
    await survive(chunks, is_relative=True)


@pytest.mark.slow
@settings(max_examples=4_000)
@given(chunks=st.lists(CHUNKS, min_size=1, max_size=8))
async def test_any_chunks_are_survived_in_great_number(chunks: list[bytes]) -> None:
    await survive(chunks)


async def survive(chunks: list[bytes], *, is_relative: bool = False) -> None:
    """Whatever comes, nothing escapes, and a new association can be made over the same wire."""
    async with Pair() as pair:
        pair.make("_reliable")
        await until(lambda: bool(pair.opened))
        association = pair.ours._association
        tag, last = association._local_verification_tag, association._last_received_tsn or 0
        pair.loses = lambda packet: True  # a hostile client hears nothing of what it did
        for chunk in chunks:
            if is_relative:
                tsn = (int.from_bytes(chunk[4:8], "big") + last) % 2**32
                chunk = chunk[:4] + tsn.to_bytes(4, "big") + chunk[8:]
            pair.ours.receive(packet_of(0 if chunk[0] == 1 else tag, chunk))
            pair.ours.receive(packet_of(association._local_verification_tag, *chunks))
        await asyncio.sleep(10)
        assert pair.ours.buffered_bytes < 100_000
