"""Data between participants: whose it is, who gets it. Pure.

A packet says neither truly who sent it nor over which channel it came: both are stamped here.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet
from livekit.protocol import models

from mulisa.sfu.events import DataLabel, SendData
from mulisa.sfu.participants import Participant
from mulisa.sfu.roster import Actions, Roster

MAX_PACKET_BYTES: Final = 64 * 1024
"""What LiveKit's servers announce to take."""
NONCE_BYTES: Final = 16
"""Of what marks a packet that may be sent twice; another length marks nothing."""
_MAX_NONCES: Final = 1_000

_KINDS: Final[dict[DataLabel, models.DataPacket.Kind]] = {
    "_reliable": models.DataPacket.RELIABLE,
    "_lossy": models.DataPacket.LOSSY,
}
_LABELS: Final[dict[int, DataLabel]] = {kind: label for label, kind in _KINDS.items()}
_FORWARDED: Final = frozenset(
    {
        "user",
        "sip_dtmf",
        "transcription",
        "chat_message",
        "rpc_request",
        "rpc_ack",
        "rpc_response",
        "stream_header",
        "stream_chunk",
        "stream_trailer",
        "encrypted_packet",
    }
)


class DataRelay:
    """Forwards the data of one room: to all others, or to those that it names."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._nonces: OrderedDict[bytes, None] = OrderedDict()
        self.dropped: Counter[str] = Counter()
        """Packets that nobody got, by reason."""

    def receive(self, sender: Participant, label: DataLabel, data: bytes) -> Actions:
        """A client's packet, not trusted; one that is wrong is dropped and counted."""
        if not sender.permissions.can_publish_data:
            self.dropped["forbidden"] += 1
            return
        packet = _read(data)
        if packet is None:
            self.dropped["malformed"] += 1
            return
        if label == "_reliable" and not sender.channels.is_new(packet.sequence):
            self.dropped["repeated"] += 1
            return
        if not _may_forward(sender, packet):
            self.dropped["not forwarded"] += 1
            return
        _stamp(sender, label, packet)
        yield from self._forward(packet, label, sender)

    def is_flood(self, sender: Participant, label: DataLabel, data: bytes, now: float) -> bool:
        """Whether this packet is one too many: not to be received. Lossy ones are counted."""
        if sender.channels.admits(label, len(data), now):
            return False
        self.dropped["too much"] += label == "_lossy"
        return True

    def send(self, packet: models.DataPacket) -> Actions:
        """The server's own packet, from nobody."""
        yield from self._forward(packet, _LABELS[packet.kind], None)

    def opened(self, participant: Participant, label: DataLabel) -> Actions:
        """A channel can be written to: what waited for it goes first."""
        for data in participant.channels.open(label):
            yield SendData(participant.sid, label, data)

    def _forward(
        self, packet: models.DataPacket, label: DataLabel, sender: Participant | None
    ) -> Actions:
        if len(packet.user.nonce) == NONCE_BYTES and self._is_repeated(packet.user.nonce):
            self.dropped["repeated"] += 1
            return
        targets = self._targets(packet, sender)
        data = packet.SerializeToString() if targets else b""
        for participant in targets:
            outcome = participant.channels.offer(label, data)
            if outcome:
                yield SendData(participant.sid, label, data)
            elif outcome is False:
                self.dropped["no channel"] += 1

    def _targets(
        self, packet: models.DataPacket, sender: Participant | None
    ) -> Collection[Participant]:
        identities, sids = set(packet.destination_identities), set(packet.user.destination_sids)
        is_for_all = not identities and not sids
        return [
            participant
            for participant in self._roster
            if participant is not sender
            and (is_for_all or participant.identity in identities or participant.sid in sids)
        ]

    def _is_repeated(self, nonce: bytes) -> bool:
        if nonce in self._nonces:
            return True
        self._nonces[nonce] = None
        if len(self._nonces) > _MAX_NONCES:
            self._nonces.popitem(last=False)
        return False


def _read(data: bytes) -> models.DataPacket | None:
    """Kinds of data that we do not know yet are packets too, those without any are not."""
    if len(data) > MAX_PACKET_BYTES:
        return None
    try:
        packet = models.DataPacket.FromString(data)
    except DecodeError:
        return None
    return packet if packet.WhichOneof("value") or len(UnknownFieldSet(packet)) else None


def _may_forward(sender: Participant, packet: models.DataPacket) -> bool:
    kind = packet.WhichOneof("value")
    if kind == "transcription":
        return sender.is_agent
    return kind is None or kind in _FORWARDED


def _stamp(sender: Participant, label: DataLabel, packet: models.DataPacket) -> None:
    packet.kind = _KINDS[label]
    packet.participant_sid = sender.sid
    identity = "" if sender.is_hidden else sender.identity
    if not _speaks_for_another(sender, packet):
        packet.participant_identity = identity
    if packet.WhichOneof("value") == "user":
        packet.user.participant_sid = "" if sender.is_hidden else sender.sid
        packet.user.participant_identity = identity
        _agree_on_destinations(packet)


def _speaks_for_another(sender: Participant, packet: models.DataPacket) -> bool:
    """An agent may give texts another author, and then they are marked as generated."""
    if not sender.is_agent or packet.participant_identity in ("", sender.identity):
        return False
    if packet.HasField("chat_message"):
        packet.chat_message.generated = True
        return True
    if packet.HasField("stream_header") and packet.stream_header.HasField("text_header"):
        packet.stream_header.text_header.generated = True
        return True
    return False


def _agree_on_destinations(packet: models.DataPacket) -> None:
    """Old clients name them in the one place, new ones in the other."""
    if packet.destination_identities:
        del packet.user.destination_identities[:]
        packet.user.destination_identities.extend(packet.destination_identities)
    else:
        packet.destination_identities.extend(packet.user.destination_identities)
