"""One client: its socket, its connections, and what it publishes and receives.

It decides nothing about the room: it does what the room's actions say, and feeds the room with
what comes of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, get_args

from livekit.protocol import models, rtc

from mulisa.core.errors import NegotiationError
from mulisa.core.room import Identity, ParticipantSid, RoomName
from mulisa.sfu.connection import Connection
from mulisa.sfu.events import (
    Bound,
    ChannelOpened,
    Connected,
    ConnectionFailed,
    DataLabel,
    DataReceived,
    Request,
    RoomEvent,
    SocketLost,
    Subscribed,
)
from mulisa.sfu.forward import Forwarder
from mulisa.sfu.media import Inbound, TrackSid
from mulisa.sfu.negotiation import WantedTrack
from mulisa.sfu.outbox import Outbox
from mulisa.sfu.port import RtcPort
from mulisa.sfu.publisher import Publisher
from mulisa.sfu.standing import Standing
from mulisa.sfu.subscriber import AskingSubscriber, OfferingSubscriber, Subscriber

logger = logging.getLogger(__name__)

LEAVING_TIME: Final = 2.0
"""Seconds for a goodbye to arrive whose client has closed its connection already."""
DATA_LABELS: Final[Mapping[str, DataLabel]] = {label: label for label in get_args(DataLabel)}


class Client:
    """One stay of a participant. Made when it joins; `close` ends it for good.

    `feed` gives the room an event; it may be called while the room's actions are performed.
    """

    def __init__(
        self,
        sid: ParticipantSid,
        identity: Identity,
        standing: Standing,
        room: RoomName,
        port: RtcPort,
        forwarder: Forwarder,
        feed: Callable[[RoomEvent], None],
        attempt: Callable[[Callable[[], None]], None],
        *,
        is_single_connection: bool,
        hears_everybody: bool,
    ) -> None:
        """`attempt` calls something, and puts this client out if it fails."""
        self.sid = sid
        self.identity = identity
        self.standing = standing
        self._room = room
        self._port = port
        self._forwarder = forwarder
        self._feed = feed
        self._hears_everybody = hears_everybody
        self._outbox: Outbox | None = None
        self._publisher: Publisher | None = None
        self._asking: AskingSubscriber | None = None
        self._offering: OfferingSubscriber | None = None
        if is_single_connection:
            self._asking = AskingSubscriber(self.send, self._subscribed, attempt)
        else:
            self._offering = OfferingSubscriber(
                self.send,
                self._subscribed,
                attempt,
                connect=self._connect_subscriber,
                on_silence=self._offer_ignored,
            )
        self._announced: dict[TrackSid, rtc.AddTrackRequest] = {}
        """Before the first offer."""
        self._is_closed = False
        self._failing: asyncio.TimerHandle | None = None
        self._takes: dict[str, Callable[[rtc.SignalRequest], None]] = {
            "offer": lambda message: self.take_offer(message.offer),
            "answer": lambda message: self._take_answer(message.answer),
            "trickle": lambda _: None,  # whatever address a client has, its checks come from it
        }

    @property
    def subscriber(self) -> Subscriber:
        """What it receives."""
        subscriber = self._asking or self._offering
        assert subscriber is not None
        return subscriber

    # ---- its socket

    def attach(self, outbox: Outbox) -> None:
        """Write to this socket from now on, and leave the one before."""
        if self._outbox:
            self._outbox.finish()
        self._outbox = outbox

    def detach(self, outbox: Outbox) -> None:
        """This socket is gone; the room hears of it, unless the client has another one."""
        if self._outbox is outbox and not self._is_closed:
            self._outbox = None
            self.subscriber.socket_lost()
            self._feed(SocketLost(self.sid))
            if self._failing:
                self.fail("its socket and its connection are gone")

    def resume(self) -> None:
        """The room has greeted the new socket: go on negotiating."""
        self.subscriber.resume()

    def send(self, message: rtc.SignalResponse) -> None:
        """Write to the socket, if there is one."""
        self.send_bytes(message.SerializeToString())

    def send_bytes(self, message: bytes) -> None:
        """Write a serialized `SignalResponse` to the socket, if there is one."""
        if self._outbox:
            self._outbox.send(message)

    def send_token(self) -> None:
        """Give it a new token to come back with."""
        if token := self.standing.token():
            self.send(rtc.SignalResponse(refresh_token=token))

    def receive(self, message: rtc.SignalRequest) -> None:
        """Take a message of the client's; nothing from one that is put out."""
        if self._is_closed:
            return
        take = self._takes.get(message.WhichOneof("message") or "")
        if take:
            take(message)
        else:
            self._feed(Request(self.sid, message))

    def take_offer(self, offer: rtc.SessionDescription) -> None:
        """Answer it; the room hears which tracks have m-lines now."""
        if self._is_closed:  # it was refused, and its offer came with its wish to join
            return
        publisher = self._publisher or self._open_publisher()
        wanted = tuple(self._asking.wanted) if self._asking else ()
        try:
            answered = publisher.answer(offer.sdp, wanted)
        except NegotiationError as error:
            self.fail(f"its offer cannot be answered: {error}")
            return
        answer = rtc.SessionDescription(
            type="answer", sdp=answered.sdp, id=offer.id, mid_to_track_id=answered.mid_to_track
        )
        self.send(rtc.SignalResponse(answer=answer))
        self._feed(Bound(self.sid, answered.inbound))
        if self._asking:
            self._asking.answered(answered)

    def _take_answer(self, answer: rtc.SessionDescription) -> None:
        if self._offering is None:
            return
        try:
            self._offering.accept(answer.sdp)
        except NegotiationError as error:
            self.fail(f"its answer cannot be used: {error}")

    # ---- what the room wants

    def expect(self, track: TrackSid, request: rtc.AddTrackRequest) -> None:
        """A track will be published, or its m-line has been offered already."""
        if self._publisher is None:
            self._announced[track] = request
        elif self._publisher.expect(track, request):
            self._feed(Bound(self.sid, self._publisher.inbound))

    def unpublish(self, track: TrackSid) -> None:
        """Nothing of the track is forwarded any more."""
        self._announced.pop(track, None)
        if self._publisher:
            self._publisher.drop(track)

    def subscribe(self, publisher: ParticipantSid, inbound: Inbound) -> None:
        """Give the client this track."""
        self.subscriber.subscribe(
            WantedTrack(inbound.track, publisher, inbound.kind, inbound.codecs)
        )

    def send_data(self, label: DataLabel, data: bytes) -> None:
        """Write to the client's own data channel."""
        if self._publisher:
            self._publisher.connection.peer.send_data(label, data)

    @property
    def published(self) -> tuple[Inbound, ...]:
        """Its own tracks that have m-lines."""
        return self._publisher.inbound if self._publisher else ()

    def fail(self, reason: str, *, is_final: bool = False) -> None:
        """It cannot go on like this. It comes back as new, which heals what can be healed.

        `is_final`: it shall stay away, for it does what no client of LiveKit's does.
        """
        if self._is_closed:
            return
        logger.info("a client is put out: %s", reason, extra={"room": self._room})
        if is_final:
            self._say_goodbye(rtc.LeaveRequest.DISCONNECT)
        self._feed(ConnectionFailed(self.sid))

    def drop(self) -> None:
        """Something went wrong with us: close, and let it come back as new. Idempotent."""
        if not self._is_closed:
            self._say_goodbye(rtc.LeaveRequest.RECONNECT)
            self.close()

    def close(self) -> None:
        """Close its connections, and its socket after what was sent. Idempotent."""
        self._is_closed = True
        if self._failing:
            self._failing.cancel()
        self.subscriber.close()
        if self._publisher:
            self._publisher.connection.close()
        if self._outbox:
            self._outbox.finish()

    def _say_goodbye(self, action: rtc.LeaveRequest.Action) -> None:
        reason = models.DisconnectReason.STATE_MISMATCH
        leave = rtc.LeaveRequest(reason=reason, action=action)
        self.send(rtc.SignalResponse(leave=leave))
        if self._outbox:
            self._outbox.finish()

    # ---- its connections

    def _open_publisher(self) -> Publisher:
        connection = self._connect(_PublisherListener(self))
        self._publisher = publisher = Publisher(connection, self._room)
        for track, request in self._announced.items():
            publisher.expect(track, request)
        self._announced.clear()
        if self._asking:
            self._asking.publisher = publisher
        return publisher

    def _connect_subscriber(self) -> Connection:
        return self._connect(_SubscriberListener(self))

    def _connect(self, listener: _SubscriberListener) -> Connection:
        return Connection(
            self._port,
            self._forwarder,
            self.sid,
            listener,
            hears_everybody=self._hears_everybody,
        )

    def _subscribed(self, track: TrackSid) -> None:
        self._feed(Subscribed(self.sid, track))

    def _offer_ignored(self) -> None:
        self.fail("it did not answer our offer")

    def connection_failed(self, reason: str) -> None:
        """One of its connections is gone; without a goodbye soon, so is the client."""
        if self._outbox is None:
            self.fail(reason)
        elif self._failing is None:
            loop = asyncio.get_running_loop()
            self._failing = loop.call_later(LEAVING_TIME, self.fail, reason)

    def connected(self) -> None:
        """Its publisher's connection is there."""
        self._feed(Connected(self.sid))

    def channel_opened(self, label: str) -> None:
        """One of its data channels can be written to."""
        if known := DATA_LABELS.get(label):
            self._feed(ChannelOpened(self.sid, known))

    def data_received(self, label: str, data: bytes) -> None:
        """Something came on one of its data channels."""
        if known := DATA_LABELS.get(label):
            self._feed(DataReceived(self.sid, known, data))


class _SubscriberListener:
    """A connection that only sends media."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def connected(self) -> None:
        pass

    def failed(self, reason: str) -> None:
        self._client.connection_failed(reason)

    def channel_opened(self, label: str) -> None:
        pass

    def data_received(self, label: str, data: bytes) -> None:
        pass


class _PublisherListener(_SubscriberListener):
    """The connection on which a client counts as connected."""

    def connected(self) -> None:
        self._client.connected()

    def channel_opened(self, label: str) -> None:
        self._client.channel_opened(label)

    def data_received(self, label: str, data: bytes) -> None:
        self._client.data_received(label, data)
