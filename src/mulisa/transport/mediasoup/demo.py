"""The dialogue of mediasoup's public demo application, and of what grew from it.

Whoever joins consumes what everybody produces, and is told by requests of the server's. There are
two generations: since the server became TypeScript (2025) ids have longer names, and what has
nothing to answer is a notification. Both are spoken; the first answer tells which one it is.

Beyond the demo's words there are a few of ours, for applications that say in their answer to
``join`` that they know them (``abilities``): examples/mediasoup does, and docs/mediasoup.md lists
them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from importlib.metadata import version
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AliasChoices, Field, StringConstraints

from mulisa.core.errors import InputError, TransportError
from mulisa.core.room import (
    Identity,
    Participant,
    ParticipantSid,
    RoomName,
    parse_display_name,
)
from mulisa.transport.mediasoup.address import room_url
from mulisa.transport.mediasoup.parameters import Id, Json, Wire, parse
from mulisa.transport.mediasoup.protoo import Notification, Request
from mulisa.transport.mediasoup.protoo_link import ProtooLink
from mulisa.transport.mediasoup.signalling import (
    Abilities,
    ChatClosed,
    ChatOffered,
    ConsumerClosed,
    ConsumerMuted,
    ConsumerOffered,
    Direction,
    DominantSpeaker,
    ListenerReady,
    Loudness,
    PeerGone,
    PeerSeen,
    RoomEvent,
    Signalling,
    TextReceived,
)
from mulisa.transport.text import MAX_TEXT_BYTES
from mulisa.wire.sctp_limits import MAX_STREAMS

AGENT_FLAG: Final = "agent"
"""``device.flag`` of an agent; browsers have their own names there."""
NOT_WANTED: Final = 403
UNKNOWN: Final = 404
MAX_PEERS: Final = 1_000
CHAT: Final = "chat"
"""The label of a data channel; another one is that of the demo's bot."""
SCTP_CAPABILITIES: Final = {"numStreams": {"OS": MAX_STREAMS, "MIS": MAX_STREAMS}}

_Volume: TypeAlias = Annotated[float, Field(ge=-127, le=0)]
_Attributes: TypeAlias = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=256)],
        Annotated[str, StringConstraints(max_length=8192)],
    ],
    Field(max_length=64),
]


class _Device(Wire):
    flag: str = ""


class _Peer(Wire):
    id: Id = Field(validation_alias=AliasChoices("id", "peerId"))
    display_name: str = ""
    device: _Device | None = None
    attributes: _Attributes = Field(default_factory=dict)


class _Joined(Wire):
    peers: Annotated[tuple[_Peer, ...], Field(max_length=MAX_PEERS)] = ()
    abilities: Annotated[frozenset[str], Field(max_length=64)] = frozenset()


class _Produced(Wire):
    id: Id = Field(validation_alias=AliasChoices("id", "producerId"))


class _NewConsumer(Wire):
    peer_id: Id
    id: Id = Field(validation_alias=AliasChoices("id", "consumerId"))
    kind: str
    rtp_parameters: dict[str, Any]
    producer_paused: bool = False


class _SctpStream(Wire):
    stream_id: Annotated[int, Field(ge=0, lt=MAX_STREAMS, strict=True)]


class _NewDataConsumer(Wire):
    peer_id: Id
    id: Id = Field(validation_alias=AliasChoices("id", "dataConsumerId"))
    sctp_stream_parameters: _SctpStream
    label: Literal["chat"]


class _DataConsumerId(Wire):
    data_consumer_id: Id


class _PeerId(Wire):
    peer_id: Id


class _Renamed(Wire):
    peer_id: Id
    display_name: str


class _Shown(Wire):
    peer_id: Id
    attributes: _Attributes


class _ConsumerId(Wire):
    consumer_id: Id


class _Loudest(Wire):
    peer_id: Id | None = None
    volume: _Volume | None = None


class _PeerVolume(Wire):
    peer_id: Id
    volume: _Volume


class _Volumes(Wire):
    peer_volumes: Annotated[tuple[_PeerVolume, ...], Field(max_length=MAX_PEERS)]


class _Text(Wire):
    peer_id: Id
    text: Annotated[str, StringConstraints(max_length=MAX_TEXT_BYTES)]


class DemoSignalling(Signalling):
    """protoo as the demo speaks it: ``wss://HOST:4443/?roomId=R&peerId=P``."""

    def __init__(self, url: str, room: RoomName, identity: Identity) -> None:
        """`url` is the application's WebSocket; what its query says besides is kept.

        Raises ConfigError if it is none.
        """
        self.abilities = Abilities()
        self._link = ProtooLink(room_url(url, room, identity))
        self._is_newer = False
        """The server is of the second generation."""
        self._has_data = False
        """Its transports carry data channels."""
        self._peers: dict[str, _Peer] = {}
        self._before: list[RoomEvent] = []
        self._handlers: Mapping[str, Callable[[Any], RoomEvent | None]] = {
            "newPeer": self._on_peer,
            "peerClosed": self._on_peer_closed,
            "peerDisplayNameChanged": self._on_renamed,
            "peerAttributesChanged": self._on_attributes,
            "consumerClosed": lambda data: ConsumerClosed(_consumer(data)),
            "consumerPaused": lambda data: ConsumerMuted(_consumer(data), True),
            "consumerResumed": lambda data: ConsumerMuted(_consumer(data), False),
            "dataConsumerClosed": lambda data: ChatClosed(_data_consumer(data)),
            "activeSpeaker": _on_loudest,
            "speakingPeers": _on_volumes,
            "dominantSpeaker": lambda data: DominantSpeaker(_identity(data)),
            "listenerReady": lambda data: ListenerReady(_identity(data)),
            "text": _on_text,
        }

    async def connect(self) -> None:
        """See `Signalling`."""
        await self._link.connect()

    async def aclose(self) -> None:
        """See `Signalling`."""
        await self._link.aclose()

    async def router_capabilities(self) -> object:
        """See `Signalling`."""
        answer = await self._link.request("getRouterRtpCapabilities")
        self._is_newer = isinstance(answer, dict) and "routerRtpCapabilities" in answer
        return answer["routerRtpCapabilities"] if self._is_newer else answer

    async def create_transport(self, direction: Direction) -> object:
        """See `Signalling`."""
        sends = direction == "send"
        answer = await self._link.request(
            "createWebRtcTransport",
            {
                "forceTcp": False,
                "producing": sends,
                "consuming": not sends,
                "sctpCapabilities": SCTP_CAPABILITIES,
                "appData": {"direction": "producer" if sends else "consumer"},
            },
        )
        self._has_data = isinstance(answer, dict) and bool(answer.get("sctpParameters"))
        return answer

    async def connect_transport(self, transport: str, dtls_parameters: Json) -> None:
        """See `Signalling`."""
        await self._link.request(
            "connectWebRtcTransport",
            {"transportId": transport, "dtlsParameters": dtls_parameters},
        )

    async def join(self, local: Participant, rtp_capabilities: Json) -> None:
        """See `Signalling`."""
        flag = AGENT_FLAG if local.is_agent else "mulisa"
        answer = await self._link.request(
            "join",
            {
                "displayName": local.name,
                "device": {"flag": flag, "name": "Mulisa", "version": version("mulisa")},
                "rtpCapabilities": rtp_capabilities,
                **({"sctpCapabilities": SCTP_CAPABILITIES} if self._has_data else {}),
            },
        )
        joined = parse(_Joined, answer, "an answer to 'join'")
        said = {each: each in joined.abilities for each in Abilities.__slots__}
        self.abilities = Abilities(**said | {"chat": self._has_data and not said["text"]})
        for peer in joined.peers:
            self._peers[peer.id] = peer
            self._before.append(PeerSeen(_participant(peer)))

    async def produce(
        self, transport: str, rtp_parameters: Json, listeners: frozenset[Identity] | None
    ) -> str:
        """See `Signalling`."""
        chosen = {} if listeners is None else {"listeners": sorted(listeners)}
        answer = await self._link.request(
            "produce",
            {
                "transportId": transport,
                "kind": "audio",
                "rtpParameters": rtp_parameters,
                "appData": {"source": "audio", **chosen},
            },
        )
        return parse(_Produced, answer, "an answer to 'produce'").id

    async def close_producer(self, producer: str) -> None:
        """See `Signalling`."""
        if self._is_newer:
            await self._link.notify("closeProducer", {"producerId": producer})
        else:
            await self._link.request("closeProducer", {"producerId": producer})

    async def pause_producer(self, producer: str, paused: bool) -> None:
        """See `Signalling`."""
        method = "pauseProducer" if paused else "resumeProducer"
        await self._change(method, {"producerId": producer}, "getProducerStats")

    async def pause_consumer(self, consumer: str, paused: bool) -> None:
        """See `Signalling`."""
        method = "pauseConsumer" if paused else "resumeConsumer"
        await self._change(method, {"consumerId": consumer}, "getConsumerStats")

    async def choose_listeners(self, producer: str, listeners: frozenset[Identity] | None) -> None:
        """See `Signalling`."""
        chosen = None if listeners is None else sorted(listeners)
        await self._link.request("setListeners", {"producerId": producer, "listeners": chosen})

    async def send_text(self, text: str, listener: Identity | None) -> None:
        """See `Signalling`."""
        await self._link.notify("text", {"text": text, "peerId": listener})

    async def produce_chat(self, transport: str, stream: int) -> None:
        """See `Signalling`."""
        await self._link.request(
            "produceData",
            {
                "transportId": transport,
                "sctpStreamParameters": {"streamId": stream, "ordered": True},
                "label": CHAT,
                "protocol": "",
                "appData": {"channel": CHAT},
            },
        )

    async def set_attributes(self, attributes: Mapping[str, str]) -> None:
        """See `Signalling`."""
        await self._link.request("setAttributes", {"attributes": dict(attributes)})

    async def events(self) -> AsyncIterator[RoomEvent]:
        """See `Signalling`. What cannot be read is logged and left out."""
        before, self._before = self._before, []
        for event in before:
            yield event
        async for message in self._link.incoming():
            if isinstance(message, Notification):
                told = self._told(message)
                if told is not None:
                    yield told
                continue
            offer = _offer(message)
            if offer is not None:
                yield offer
            await self._answer(message, offer)

    async def _change(self, method: str, what: Json, question: str) -> None:
        """Return when the worker has done it.

        Where it is a notification, a question about the same object is asked behind it: the
        worker takes them in order.
        """
        if not self._is_newer:
            await self._link.request(method, what)
            return
        await self._link.notify(method, what)
        await self._link.request(question, what)

    async def _answer(self, request: Request, offer: ConsumerOffered | ChatOffered | None) -> None:
        """The demo resumes a consumer when its request is granted, and leaves it paused if not."""
        if offer is None:
            await self._link.reject(request, UNKNOWN, "Mulisa does not take this")
        elif offer.taken:
            await self._link.accept(request)
        else:
            await self._link.reject(request, NOT_WANTED, "not wanted now")

    def _told(self, message: Notification) -> RoomEvent | None:
        handler = self._handlers.get(message.method)
        if handler is None:
            return None
        try:
            return handler(message.data)
        except TransportError as error:
            self._link.complain(str(error))
            return None

    def _on_peer(self, data: Any) -> RoomEvent | None:
        peer = data["peer"] if isinstance(data, dict) and "peer" in data else data
        return self._seen(parse(_Peer, peer, "a peer"))

    def _on_peer_closed(self, data: Any) -> RoomEvent:
        identity = _identity(data)
        self._peers.pop(identity, None)
        return PeerGone(identity)

    def _on_renamed(self, data: Any) -> RoomEvent | None:
        renamed = parse(_Renamed, data, "a new name")
        return self._changed(renamed.peer_id, display_name=renamed.display_name)

    def _on_attributes(self, data: Any) -> RoomEvent | None:
        shown = parse(_Shown, data, "attributes")
        return self._changed(shown.peer_id, attributes=shown.attributes)

    def _changed(self, peer_id: str, **news: Any) -> RoomEvent | None:
        peer = self._peers.get(peer_id)
        return self._seen(peer.model_copy(update=news)) if peer else None

    def _seen(self, peer: _Peer) -> RoomEvent | None:
        if len(self._peers) >= MAX_PEERS and peer.id not in self._peers:
            return None
        self._peers[peer.id] = peer
        return PeerSeen(_participant(peer))


def _offer(request: Request) -> ConsumerOffered | ChatOffered | None:
    try:
        if request.method == "newConsumer":
            return _voice(parse(_NewConsumer, request.data, "a consumer"))
        if request.method == "newDataConsumer":
            return _chat(parse(_NewDataConsumer, request.data, "a data consumer"))
    except TransportError:
        pass
    return None


def _voice(new: _NewConsumer) -> ConsumerOffered:
    identity = Identity(new.peer_id)
    return ConsumerOffered(new.id, identity, new.rtp_parameters, new.kind, new.producer_paused)


def _chat(new: _NewDataConsumer) -> ChatOffered:
    return ChatOffered(new.id, Identity(new.peer_id), new.sctp_stream_parameters.stream_id)


def _participant(peer: _Peer) -> Participant:
    try:
        name = parse_display_name(peer.display_name)
    except InputError:
        name = peer.id[:64]
    is_agent = peer.device is not None and peer.device.flag == AGENT_FLAG
    return Participant(
        Identity(peer.id),
        name,
        ParticipantSid(""),
        "agent" if is_agent else "standard",
        attributes=dict(peer.attributes),
    )


def _identity(data: Any) -> Identity:
    return Identity(parse(_PeerId, data, "a peer's id").peer_id)


def _consumer(data: Any) -> str:
    return parse(_ConsumerId, data, "a consumer's id").consumer_id


def _data_consumer(data: Any) -> str:
    return parse(_DataConsumerId, data, "a data consumer's id").data_consumer_id


def _on_loudest(data: Any) -> RoomEvent:
    """The first generation tells the loudest one so, the second the one who speaks."""
    loudest = parse(_Loudest, data, "the loudest speaker")
    if loudest.peer_id is None:
        return Loudness({})
    identity = Identity(loudest.peer_id)
    if loudest.volume is None:
        return DominantSpeaker(identity)
    return Loudness({identity: loudest.volume})


def _on_volumes(data: Any) -> RoomEvent:
    volumes = parse(_Volumes, data, "volumes")
    return Loudness({Identity(each.peer_id): each.volume for each in volumes.peer_volumes})


def _on_text(data: Any) -> RoomEvent:
    text = parse(_Text, data, "a text")
    return TextReceived(Identity(text.peer_id), text.text)
