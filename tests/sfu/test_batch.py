"""Batches on real sockets: IPv4 and IPv6, a path without a socket, an address that is refused."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mulisa.sfu import batch
from mulisa.sfu.batch import ROWS
from tests.sfu.media_peers import FakePeer, RecordingPath, Stage, Voice, audio, to_audio

pytestmark = pytest.mark.network


class Sockets:
    """Ours and the clients'; everything is closed at the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def open(self, family: socket.AddressFamily, host: str) -> socket.socket:
        opened = self._stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        opened.bind((host, 0))
        opened.settimeout(20)
        return opened


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    with ExitStack() as stack:
        yield Sockets(stack)


def address_of(client: socket.socket) -> bytes:
    """The client's address as the kernel takes it."""
    host, port, *_ = client.getsockname()
    family = struct.pack("=H", client.family)
    if client.family == socket.AF_INET:
        return family + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)
    return family + struct.pack("!HI", port, 0) + socket.inet_pton(client.family, host) + bytes(4)


def receive(peer: FakePeer, client: socket.socket) -> bytes:
    return peer.decrypt(client.recv(2048)).payload


@pytest.fixture(params=["batched", "singly"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With sendmmsg, and as on a system that lacks it."""
    if request.param == "singly":
        monkeypatch.setattr(batch, "_libc", None)
    return str(request.param)


def test_each_row_goes_its_own_way(sockets: Sockets, way: str) -> None:
    stage = Stage()
    ours = [
        sockets.open(socket.AF_INET, "127.0.0.1"),
        sockets.open(socket.AF_INET6, "::1"),
    ]
    voice = Voice(stage, stage.publisher(audio()))
    listeners: list[tuple[FakePeer, socket.socket]] = []
    for number in range(6):
        mine = ours[number % 2]
        client = sockets.open(mine.family, mine.getsockname()[0])
        peer = stage.subscriber(to_audio(ssrc=number + 1))
        peer.path = RecordingPath(mine.fileno(), address_of(client), *client.getsockname()[:2])
        peer.path.socket = mine
        listeners.append((peer, client))
    stream = stage.subscriber(to_audio(ssrc=99))
    for word in (b"one", b"two"):
        voice.speak(1, word)
        assert [receive(*each) for each in listeners] == [word] * 6
        assert [packet.payload for packet in stream.take()] == [word]
    assert stage.forwarder.counters.packets_forwarded == 14


def test_an_address_that_the_system_refuses_costs_nobody_else_a_packet(sockets: Sockets) -> None:
    stage = Stage()
    ours = sockets.open(socket.AF_INET, "127.0.0.1")
    voice = Voice(stage, stage.publisher(audio()))
    clients = [sockets.open(socket.AF_INET, "127.0.0.1") for _ in range(3)]
    addresses = [address_of(client) for client in clients]
    addresses[1:1] = [struct.pack("=H", socket.AF_INET) + bytes(14)]  # port 0
    peers = []
    for ssrc, address in enumerate(addresses):
        peers.append(stage.subscriber(to_audio(ssrc=ssrc)))
        peers[-1].path = RecordingPath(ours.fileno(), address)
    voice.speak()
    del peers[1]
    assert [receive(*each) for each in zip(peers, clients, strict=True)] == [b"opus"] * 3
    assert stage.forwarder.counters.packets_forwarded == 3
    assert stage.forwarder.counters.dropped == {"not sent": 1}


def test_more_subscribers_than_rows(sockets: Sockets) -> None:
    stage = Stage()
    ours = sockets.open(socket.AF_INET, "127.0.0.1")
    client = sockets.open(socket.AF_INET, "127.0.0.1")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    voice = Voice(stage, stage.publisher(audio()))
    for ssrc in range(ROWS + 5):
        peer = stage.subscriber(to_audio(ssrc=ssrc))
        peer.path = RecordingPath(ours.fileno(), address_of(client))
    voice.speak()
    ssrcs = {int.from_bytes(client.recv(2048)[8:12]) for _ in range(ROWS + 5)}
    assert ssrcs == set(range(ROWS + 5))


def test_a_full_socket_drops_the_rest_and_counts_it(sockets: Sockets) -> None:
    """A connected pair whose reader does not read is full after a few packets."""
    stage = Stage()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.setblocking(False)
        voice = Voice(stage, stage.publisher(audio()))
        for ssrc in range(ROWS):
            stage.subscriber(to_audio(ssrc=ssrc)).path = RecordingPath(ours.fileno())
        voice.speak(20)
        counters = stage.forwarder.counters
        assert 0 < counters.packets_forwarded < 20 * ROWS
        assert counters.dropped["not sent"] == 20 * ROWS - counters.packets_forwarded
