"""What a mediasoup application is asked and what it tells, whatever its own words for it are.

mediasoup is a library without signalling: every application has its own. Ours to speak with the
public demo's, and with what grew from it, is `mulisa.transport.mediasoup.demo`. For another one
write a `Signalling`; `docs/mediasoup.md` has one in about twenty lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mulisa.core.errors import TransportError
from mulisa.core.room import Identity, Participant
from mulisa.transport.mediasoup.parameters import Json

Direction: TypeAlias = Literal["send", "recv"]


@dataclass(frozen=True, slots=True)
class Abilities:
    """What an application can do beyond forwarding everything to everybody."""

    listeners: bool = False
    """A producer's owner may choose who consumes it (`Signalling.choose_listeners`)."""
    text: bool = False
    """Text reaches the others (`Signalling.send_text`)."""
    attributes: bool = False
    """Others see a participant's attributes (`Signalling.set_attributes`)."""
    ready: bool = False
    """It tells when somebody hears us (`ListenerReady`); else who joins is taken to hear us."""
    chat: bool = False
    """Bare strings go to everybody over data channels (`Signalling.produce_chat`)."""


@dataclass(frozen=True, slots=True)
class PeerSeen:
    """Somebody is in the room, came, or is shown differently from now on."""

    participant: Participant


@dataclass(frozen=True, slots=True)
class PeerGone:
    """Somebody left."""

    identity: Identity


@dataclass(slots=True)
class ConsumerOffered:
    """The server has made a consumer for us, which is paused until we take it."""

    consumer: str
    identity: Identity
    """Whose voice it is."""
    rtp_parameters: object
    """mediasoup's, of the consumer."""
    kind: str = "audio"
    """``audio`` or ``video``."""
    muted: bool = False
    """Its producer is paused (``producerPaused``)."""
    taken: bool = False
    """Set before the next event is asked for: then resume it. If not, it stays there and paused,
    until `Signalling.pause_consumer` resumes it."""


@dataclass(frozen=True, slots=True)
class ConsumerClosed:
    """Its producer is gone."""

    consumer: str


@dataclass(frozen=True, slots=True)
class ConsumerMuted:
    """Its producer was paused, or is no longer."""

    consumer: str
    muted: bool


@dataclass(slots=True)
class ChatOffered:
    """The server has made a data consumer for us."""

    consumer: str
    identity: Identity
    """Who writes there."""
    stream: int
    """Of SCTP, on the path by which we receive."""
    taken: bool = False
    """Set before the next event is asked for."""


@dataclass(frozen=True, slots=True)
class ChatClosed:
    """Its data producer is gone."""

    consumer: str


@dataclass(frozen=True, slots=True)
class ListenerReady:
    """Somebody consumes our main voice from now on."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class Loudness:
    """How loud each voice was lately, in dBov (-127 to 0), by the AudioLevelObserver.

    Who is not in it is silent.
    """

    levels: Mapping[Identity, float]


@dataclass(frozen=True, slots=True)
class DominantSpeaker:
    """Who speaks, by the ActiveSpeakerObserver."""

    identity: Identity


@dataclass(frozen=True, slots=True)
class TextReceived:
    """Somebody sent text as with `Signalling.send_text`; not validated."""

    sender: Identity
    text: str


RoomEvent: TypeAlias = (
    PeerSeen
    | PeerGone
    | ConsumerOffered
    | ConsumerClosed
    | ConsumerMuted
    | ChatOffered
    | ChatClosed
    | ListenerReady
    | Loudness
    | DominantSpeaker
    | TextReceived
)


class Signalling(ABC):
    """One connection to one room of an application; used once.

    JSON objects are mediasoup's own, passed on as they come: who calls these methods checks them.
    A method returns when the server has done what it was asked. It raises TransportError if the
    server refuses, ConnectionLost if it cannot be asked any more, and SignalingError for what
    cannot be read; the caller bounds the time.
    """

    abilities = Abilities()
    """Known when `join` has returned."""

    @abstractmethod
    async def connect(self) -> None:
        """Reach the application. Raises TransportError; not retryable if that will not change."""

    @abstractmethod
    async def aclose(self) -> None:
        """Leave. Idempotent."""

    @abstractmethod
    async def router_capabilities(self) -> object:
        """``router.rtpCapabilities``."""

    @abstractmethod
    async def create_transport(self, direction: Direction) -> object:
        """A WebRtcTransport: its id, iceParameters, iceCandidates and dtlsParameters."""

    @abstractmethod
    async def connect_transport(self, transport: str, dtls_parameters: Json) -> None:
        """``transport.connect()``."""

    @abstractmethod
    async def join(self, local: Participant, rtp_capabilities: Json) -> None:
        """Be in the room. Who is there comes as `PeerSeen`, their voices as `ConsumerOffered`."""

    @abstractmethod
    async def produce(
        self, transport: str, rtp_parameters: Json, listeners: frozenset[Identity] | None
    ) -> str:
        """``transport.produce()`` of audio; the producer's id.

        `listeners` alone may consume it, and those of them who are here do when it returns; None
        is everybody, whom it need not wait for. It is None without the ability.
        """

    @abstractmethod
    async def close_producer(self, producer: str) -> None:
        """``producer.close()``."""

    @abstractmethod
    async def pause_producer(self, producer: str, paused: bool) -> None:
        """``producer.pause()`` or ``resume()``."""

    @abstractmethod
    async def pause_consumer(self, consumer: str, paused: bool) -> None:
        """``consumer.pause()`` or ``resume()``: the worker has done it when this returns."""

    @abstractmethod
    def events(self) -> AsyncIterator[RoomEvent]:
        """What the application tells, oldest first. One reader.

        Ends when the application ended our stay; raises ConnectionLost when it is out of reach.
        """

    async def choose_listeners(self, producer: str, listeners: frozenset[Identity] | None) -> None:
        """Let these alone consume a producer of ours; None is everybody, also who comes later.

        The worker forwards nothing of it to anybody else when this returns.
        """
        raise TransportError(
            "this application lets everybody consume every producer, so nobody can be left out",
            retryable=False,
        )

    async def send_text(self, text: str, listener: Identity | None) -> None:
        """To everybody, or to one."""
        raise TransportError("this application passes no text on", retryable=False)

    async def produce_chat(self, transport: str, stream: int) -> None:
        """``transport.produceData()`` of what we write, on this stream of SCTP."""
        raise TransportError("this application has no chat over data channels", retryable=False)

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """Show all of these to the others, in place of what was shown before."""
        raise TransportError("this application shows no attributes", retryable=False)
