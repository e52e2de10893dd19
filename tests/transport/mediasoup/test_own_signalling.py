"""The example of a signalling of one's own takes part in a room."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import pytest

from mulisa.core.events import ParticipantJoined, ParticipantLeft, TrackSubscribed
from mulisa.core.room import Identity, Participant, RoomName
from mulisa.transport.mediasoup.transport import MediasoupTransport
from tests.mediasoup_server import EXAMPLE
from tests.transport.mediasoup.application import Application
from tests.transport.mesh.rooms import PATIENCE, Witness, say, tone

pytestmark = pytest.mark.network

ALICE, MULISA = Identity("alice"), Identity("mulisa")


class MadeUpWords:
    """The example's `Words`, without a network; media ends are real."""

    def __init__(self, app: Application) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.telling: asyncio.Queue[tuple[str, Mapping[str, Any]] | None] = asyncio.Queue()
        self._app = app

    async def open(self) -> None:
        """See the example."""

    async def close(self) -> None:
        """See the example."""
        self.telling.put_nowait(None)

    async def ask(self, what: str, *details: Any) -> Any:
        """See the example."""
        self.asked.append((what, *details))
        if what == "transport":
            return await self._app._usual(
                "createWebRtcTransport", {"producing": details[0] == "send"}
            )
        if what == "connect":
            given = {"transportId": details[0], "dtlsParameters": details[1]}
            return await self._app._usual("connectWebRtcTransport", given)
        if what == "capabilities":
            return await self._app._usual("getRouterRtpCapabilities", {})
        return "our voice" if what == "speak" else None

    async def told(self) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """See the example."""
        while (each := await self.telling.get()) is not None:
            yield each


@pytest.fixture
def example() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("own_signalling", EXAMPLE / "own_signalling.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


async def test_an_application_with_its_own_words_is_a_room_like_others(example: Any) -> None:
    app = Application()
    words = MadeUpWords(app)
    room, local = RoomName("kitchen"), Participant(MULISA, "Mulisa", kind="agent")
    transport = MediasoupTransport(lambda: example.OwnSignalling(words), room, local)
    async with transport as mulisa:
        witness = Witness(mulisa)
        words.telling.put_nowait(("came", {"who": "alice", "name": "Alice"}))
        await witness.until(ParticipantJoined)
        codec = {"mimeType": "audio/opus", "payloadType": 100, "clockRate": 48_000, "channels": 2}
        parameters = {"codecs": [codec], "encodings": [{"ssrc": 7}]}
        words.telling.put_nowait(
            ("voice", {"who": "alice", "id": "v1", "rtpParameters": parameters})
        )
        await witness.until(TrackSubscribed(ALICE))
        await say(mulisa, tone(500.0, 5))
        await mulisa.speak_to(frozenset({ALICE}))
        await mulisa.hear(ALICE, False)
        await mulisa.whisper(ALICE)
        words.telling.put_nowait(("left", {"who": "alice"}))
        async with asyncio.timeout(PATIENCE):
            await witness.until(ParticipantLeft)
        assert app.endpoints["send"].packets
    app.end()
    asked = [(what, *details[:1]) for what, *details in words.asked]
    assert ("enter", "mulisa") in asked and ("resume", "v1") in asked
    assert ("speak to", "our voice") in asked and ("pause", "v1") in asked
