"""Mulisa in rooms of an application whose signalling is its own: the words below are made up.

`Words` stands for the client that such an application has anyway: it asks, and it tells what
comes. `OwnSignalling` is all that Mulisa needs on top of it::

    transport = MediasoupTransport(
        lambda: OwnSignalling(YourClient("wss://...")), room, Participant("mulisa", "Mulisa", ...)
    )

and a `mulisa.Session` with the transport takes part in the room (examples/own_provider has one).
"""

# ruff: noqa: D102 - what the methods do is said by `Signalling`
from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from mulisa import Participant
from mulisa.transport.mediasoup.signalling import (
    Abilities,
    ConsumerClosed,
    ConsumerOffered,
    PeerGone,
    PeerSeen,
    Signalling,
)


class Words(Protocol):
    """Your client."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def ask(self, what: str, *details: Any) -> Any: ...
    def told(self) -> AsyncIterator[tuple[str, Mapping[str, Any]]]: ...


class OwnSignalling(Signalling):
    """Your words for what mediasoup does. JSON objects are mediasoup's, passed on as they are."""

    abilities = Abilities(listeners=True)

    def __init__(self, words: Words) -> None:
        self.words, self.ask = words, words.ask

    async def connect(self) -> None:
        await self.words.open()

    async def aclose(self) -> None:
        await self.words.close()

    async def router_capabilities(self) -> Any:
        return await self.ask("capabilities")

    async def create_transport(self, direction: str) -> Any:
        return await self.ask("transport", direction)

    async def connect_transport(self, transport: str, dtls_parameters: Any) -> None:
        await self.ask("connect", transport, dtls_parameters)

    async def join(self, local: Participant, rtp_capabilities: Any) -> None:
        await self.ask("enter", local.identity, local.name, rtp_capabilities)

    async def produce(self, transport: str, rtp_parameters: Any, listeners: Any) -> str:
        return str(await self.ask("speak", transport, rtp_parameters, listeners))

    async def close_producer(self, producer: str) -> None:
        await self.ask("fall silent", producer)

    async def pause_producer(self, producer: str, paused: bool) -> None:
        await self.ask("mute" if paused else "unmute", producer)

    async def pause_consumer(self, consumer: str, paused: bool) -> None:
        await self.ask("pause" if paused else "resume", consumer)

    async def choose_listeners(self, producer: str, listeners: Any) -> None:
        await self.ask("speak to", producer, listeners)

    async def events(self) -> AsyncIterator[Any]:
        async for what, it in self.words.told():
            if what == "came":
                yield PeerSeen(Participant(it["who"], it["name"]))
            elif what == "left":
                yield PeerGone(it["who"])
            elif what == "voice":
                offer = ConsumerOffered(it["id"], it["who"], it["rtpParameters"])
                yield offer
                if offer.taken:
                    await self.ask("resume", it["id"])
            elif what == "voice ended":
                yield ConsumerClosed(it["id"])
