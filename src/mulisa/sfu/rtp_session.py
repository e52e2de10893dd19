"""What one connection publishes and receives: its streams, its subscriptions, its RTCP."""

from __future__ import annotations

from collections.abc import Iterable
from secrets import randbits
from typing import TYPE_CHECKING

from mulisa.core.room import ParticipantSid, RoomName
from mulisa.sfu.batch import MAX_PAYLOAD
from mulisa.sfu.codecs import DESCRIBED
from mulisa.sfu.fanout import Fanout
from mulisa.sfu.media import Inbound, Outbound, TrackSid
from mulisa.sfu.packets import NO_LEVEL
from mulisa.sfu.recognition import recognise
from mulisa.sfu.simulcast import begins_key_frame
from mulisa.sfu.source import Source, Sources
from mulisa.sfu.subscription import Subscription
from mulisa.wire.reception import Reception
from mulisa.wire.rtcp import (
    MAX_BLOCKS,
    Bye,
    FullIntraRequest,
    Nack,
    PictureLoss,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    parse,
)
from mulisa.wire.rtp import Buffer, RtpHeader

if TYPE_CHECKING:
    from mulisa.sfu.forward import Forwarder
    from mulisa.sfu.peer import PeerConnection


class RtpSession:
    """What one connection publishes and receives."""

    def __init__(self, forwarder: Forwarder, peer: PeerConnection, sid: ParticipantSid) -> None:
        self.peer = peer
        self.sid = sid
        self.hears_everybody = False
        """Agents: loudest N neither holds back what they receive nor what they publish."""
        self._forwarder = forwarder
        self._counters = forwarder.counters
        self._now = forwarder.now
        self._header = RtpHeader()
        self._ssrc = randbits(32)
        """Of our reports and requests."""
        self._room = RoomName("")
        self._published: dict[TrackSid, Inbound] = {}
        self._sources = Sources()
        self._subscriptions: dict[TrackSid, Subscription] = {}
        self._by_ssrc: dict[int, Subscription] = {}
        self._paused: set[TrackSid] = set()
        peer.on_rtp = self._receive_rtp
        peer.on_rtcp = self._receive_rtcp

    @property
    def is_ready(self) -> bool:
        """True if packets can be sent: there are keys, and a path."""
        return self.peer.srtp is not None and self.peer.path is not None

    def publish(self, tracks: Iterable[Inbound], room: RoomName) -> None:
        """Take these tracks from the connection, and no others that it published before."""
        published = {inbound.track: inbound for inbound in tracks}
        self._room = room
        for track in self._published.keys() - published.keys():
            self._unpublish(track)
        for track, inbound in published.items():
            if self._published.get(track) != inbound:
                self._publish(inbound)

    def _publish(self, inbound: Inbound) -> None:
        is_new = inbound.track not in self._published
        self._published[inbound.track] = inbound
        fanout = self._forwarder.fanout(inbound.track, inbound.kind)
        fanout.publisher = self
        fanout.describe(inbound.rids)
        for source in self._sources.of(inbound.track):
            source.describe(inbound)
        if is_new and inbound.kind == "audio" and not self.hears_everybody:
            self._forwarder.compete(fanout, self._room)

    def _unpublish(self, track: TrackSid) -> None:
        inbound = self._published.pop(track)
        for source in self._sources.of(track):
            self._sources.forget(source)
        fanout = self._forwarder.fanout(track, inbound.kind)
        fanout.publisher = None
        self._forwarder.withdraw(fanout, self._room)
        self._forwarder.tidy(track)

    def subscribe(self, tracks: Iterable[Outbound]) -> None:
        """Send these tracks to the connection, and from now on no packet of any other."""
        wanted = {outbound.track: outbound for outbound in tracks}
        for track, subscription in list(self._subscriptions.items()):
            if track not in wanted or wanted[track].ssrc != subscription.outbound.ssrc:
                self._unsubscribe(track)
                self._paused -= {track} - wanted.keys()
        for track, outbound in wanted.items():
            self._subscribe(track, outbound)

    def _subscribe(self, track: TrackSid, outbound: Outbound) -> None:
        subscription = self._subscriptions.get(track)
        fanout = self._forwarder.fanout(track, outbound.kind)
        if subscription is None:
            subscription = Subscription(outbound)
            subscription.is_paused = track in self._paused
            self._subscriptions[track] = self._by_ssrc[outbound.ssrc] = subscription
            fanout.subscribe(subscription, self)
        elif subscription.outbound != outbound:
            fanout.redescribe(subscription, outbound)

    def _unsubscribe(self, track: TrackSid) -> None:
        subscription = self._subscriptions.pop(track)
        ssrc = subscription.outbound.ssrc
        del self._by_ssrc[ssrc]
        self._forwarder.fanout(track, subscription.outbound.kind).unsubscribe(subscription)
        self._forwarder.tidy(track)
        if self.peer.srtp is not None:
            self.peer.srtp.remove_outbound(ssrc)

    def pause(self, track: TrackSid, is_paused: bool) -> None:
        """Hold a track back, or go on with it; also before it is subscribed to."""
        if is_paused:
            self._paused.add(track)
        else:
            self._paused.discard(track)
        subscription = self._subscriptions.get(track)
        if subscription is not None:
            subscription.is_paused = is_paused
            self._fanout_of(subscription).change()

    def path_changed(self) -> None:
        """The connection can send, or sends another way from now on."""
        for subscription in self._subscriptions.values():
            subscription.revision += 1
            self._fanout_of(subscription).change()

    def close(self) -> None:
        """Give the connection back: nothing is taken from it or sent to it any more."""
        self.publish((), self._room)
        self.subscribe(())
        self.peer.on_rtp = _ignore_rtp
        self.peer.on_rtcp = _ignore_rtcp
        self._forwarder.close(self)

    def _receive_rtp(self, buffer: Buffer, length: int) -> None:
        header, counters = self._header, self._counters
        counters.packets_received += 1
        counters.bytes_received += length
        if not header.read(buffer, length) or length > MAX_PAYLOAD:
            counters.drop("malformed")
            return
        source = self._sources.by_ssrc.get(header.ssrc) or self._recognise(buffer)
        codec = source.codecs.get(header.payload_type) if source else None
        if source is None or codec is None:
            counters.drop("unknown")
            return
        now = self._now()
        extended = source.reception.receive(header.sequence, header.timestamp, now)
        if extended is None:
            counters.drop("duplicate")
            return
        if source.reception.has_missing and source.asks:
            self._ask(source, now)
        payload = bytes(buffer[header.payload_start : header.payload_end])
        if not source.is_plain and not self._admits(source, codec.name, payload, now):
            counters.drop("superseded")
            return
        if source.wants_key_frame:
            self._ask_for_key_frame(source, now)
        level = header.first_byte(buffer, source.level_id) if source.level_id else NO_LEVEL
        descriptor = self._descriptor(source, buffer) if codec.name in DESCRIBED else b""
        source.fanout.receive(source, extended, header, codec.name, level, payload, now, descriptor)

    def _descriptor(self, source: Source, buffer: Buffer) -> bytes:
        """The packet's dependency descriptor, if it has one."""
        number = source.descriptor_id
        return self._header.elements(buffer).get(number, b"") if number else b""

    def _recognise(self, buffer: Buffer) -> Source | None:
        """A stream that has not been heard before takes the place of its track's last one."""
        header = self._header
        found = recognise(header, buffer, self._published.values())
        if found is None:
            return None
        inbound, rid = found
        fanout = self._forwarder.fanout(inbound.track, inbound.kind)
        reception = Reception(inbound.codecs[0].clock_rate, header.sequence)
        source = Source(header.ssrc, inbound, rid, fanout, reception)
        self._sources.add(source)
        return source

    def _admits(self, source: Source, codec: str, payload: bytes, now: float) -> bool:
        """True for a stream that speaks for its track, and if it is the layer to forward."""
        if not self._sources.admits(source, now):
            return False
        layers = source.fanout.layers
        if layers is None:
            return True
        is_forwarded = layers.receive(source.rid, begins_key_frame(codec, payload), now)
        if source.rid == layers.best(now) and not is_forwarded:
            source.want_key_frame()
            self._ask_for_key_frame(source, now)
        return is_forwarded

    def request_key_frame(self, fanout: Fanout) -> None:
        """Ask this publisher for a key frame of what is forwarded of a track."""
        rid = fanout.layers.current if fanout.layers else ""
        source = self._sources.current(fanout.track, rid or "")
        if source is not None:
            source.want_key_frame()
            self._ask_for_key_frame(source, self._now())

    def _ask_for_key_frame(self, source: Source, now: float) -> None:
        if source.takes_key_frame_request(now):
            self.peer.send_rtcp(bytes(PictureLoss(self._ssrc, source.ssrc)))

    def _ask(self, source: Source, now: float) -> None:
        """Ask the publisher for what is missing."""
        sequences = source.reception.requests(now)
        if sequences:
            self.peer.send_rtcp(bytes(Nack(self._ssrc, source.ssrc, tuple(sequences))))

    def _receive_rtcp(self, compound: bytes) -> None:
        now = self._now()
        for packet in parse(compound):
            if isinstance(packet, SenderReport):
                self._receive_sender_report(packet, now)
            if isinstance(packet, SenderReport | ReceiverReport):
                self._receive_blocks(packet.blocks, now)
            elif isinstance(packet, Nack):
                self._resend(packet, now)
            elif isinstance(packet, PictureLoss):
                self._pass_on_key_frame_requests((packet.media_ssrc,))
            elif isinstance(packet, FullIntraRequest):
                self._pass_on_key_frame_requests(packet.media_ssrcs)
            elif isinstance(packet, Bye):
                self._forget_all(packet.ssrcs)

    def _receive_sender_report(self, report: SenderReport, now: float) -> None:
        source = self._sources.by_ssrc.get(report.ssrc)
        if source is not None:
            source.reception.receive_report(report, now)
            source.fanout.forward_report(source, report, now)

    def _receive_blocks(self, blocks: Iterable[ReportBlock], now: float) -> None:
        for block in blocks:
            subscription = self._by_ssrc.get(block.ssrc)
            if subscription is not None:
                subscription.receive_report(block, now)

    def _resend(self, nack: Nack, now: float) -> None:
        subscription = self._by_ssrc.get(nack.media_ssrc)
        if subscription is not None:
            self._fanout_of(subscription).resend(subscription, nack.sequences, now)

    def _pass_on_key_frame_requests(self, ssrcs: Iterable[int]) -> None:
        for ssrc in ssrcs:
            subscription = self._by_ssrc.get(ssrc)
            if subscription is not None and subscription.outbound.kind == "video":
                self._fanout_of(subscription).request_key_frame()

    def _forget_all(self, ssrcs: Iterable[int]) -> None:
        """A stream that goes on after its BYE is taken for a new one."""
        for ssrc in ssrcs:
            if ssrc in self._sources.by_ssrc:
                self._sources.forget(self._sources.by_ssrc[ssrc])

    def _fanout_of(self, subscription: Subscription) -> Fanout:
        return self._forwarder.fanout(subscription.outbound.track, subscription.outbound.kind)

    def report(self, now: float) -> None:
        """Tell the publisher what arrived of its streams (RFC 3550, 6.4.2)."""
        heard = [each for each in self._sources.by_ssrc.values() if each.reception.is_news]
        blocks = [each.reception.report(each.ssrc, now) for each in heard]
        for start in range(0, len(blocks), MAX_BLOCKS):
            report = ReceiverReport(self._ssrc, tuple(blocks[start : start + MAX_BLOCKS]))
            self.peer.send_rtcp(bytes(report))

    def quality(self, now: float) -> tuple[float, float]:
        """Loss of its worst stream, its longest round-trip time (s, 0: unknown)."""
        up = [each.reception.loss(now) for each in self._sources.by_ssrc.values()]
        down = [each.loss(now) for each in self._subscriptions.values()]
        trips = [each.round_trip for each in self._subscriptions.values()]
        return max(up + down, default=0.0), max(trips, default=0.0)


def _ignore_rtp(buffer: Buffer, length: int) -> None:
    """The session is closed."""


def _ignore_rtcp(compound: bytes) -> None:
    """The session is closed."""
