"""Our end of one of a client's connections: ICE-lite, DTLS, SRTP and data channels over one port.

The client finds us by its checks, begins DTLS, and is known by its certificate's fingerprint.
Media goes up by `on_rtp` and `on_rtcp`; what is sent goes out over `path`, which is the pair that
the client nominated last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from mulisa.core.errors import NegotiationError
from mulisa.sfu.association import Association
from mulisa.sfu.ice import CONSENT_TIME, IceAgent
from mulisa.sfu.path import Path
from mulisa.wire.description import Fingerprint, IceCredentials
from mulisa.wire.dtls import our_certificate
from mulisa.wire.srtp import PacketBuffer, SrtpContexts, SrtpKeys
from mulisa.wire.stun import StunError

__all__ = ["Fingerprint", "IceCredentials", "PeerConnection", "PeerObserver"]

HOLD_TIME: Final = CONSENT_TIME / 2
"""Seconds without a check after which another connection may have the address."""
CONNECT_TIME: Final = 30.0
"""Seconds from the remote description to the end of DTLS."""

logger = logging.getLogger(__name__)


class PeerObserver(Protocol):
    """Who is told what becomes of a connection; called from the event loop, may not raise."""

    def connected(self) -> None:
        """DTLS is done: media may flow."""

    def path_changed(self) -> None:
        """Packets go another way from now on."""

    def failed(self, reason: str) -> None:
        """Consent was lost or DTLS failed; the connection is closed."""

    def channel_opened(self, label: str) -> None:
        """The client made a data channel."""

    def data_received(self, label: str, data: bytes) -> None:
        """A message of a data channel."""


class PeerNames(Protocol):
    """Where a port finds its peers."""

    def rename(self, peer: PeerConnection, ufrags: tuple[bytes, ...]) -> None:
        """Checks for these ufrags, and for no others, are this peer's."""


class PeerConnection:
    """One connection; made by `RtcPort.connect`."""

    __slots__ = (
        "__weakref__",
        "_association",
        "_deadline",
        "_ice",
        "_loop",
        "_names",
        "_observer",
        "_remote",
        "bytes_received",
        "bytes_sent",
        "is_closed",
        "is_connected",
        "on_rtcp",
        "on_rtp",
        "packets_dropped",
        "packets_received",
        "packets_sent",
        "path",
        "remote_fingerprint",
        "srtp",
    )

    def __init__(self, names: PeerNames, observer: PeerObserver) -> None:
        self.path: Path | None = None
        """Where packets go; None before the first check."""
        self.srtp: SrtpContexts | None = None
        """None before `is_connected`, and after `close`."""
        self.is_connected = False
        self.is_closed = False
        self.on_rtp: Callable[[bytearray, int], None] = _ignore_rtp
        """Takes each decrypted RTP packet: a buffer, valid during the call only, and its length."""
        self.on_rtcp: Callable[[bytes], None] = _ignore_rtcp
        """Takes each decrypted compound RTCP packet."""
        self.packets_received = self.bytes_received = 0
        self.packets_sent = self.bytes_sent = 0
        """Of what went through here: whoever sends in batches adds its own."""
        self.packets_dropped = 0
        """Media that came before the keys, or over a way that was full."""
        self.remote_fingerprint: Fingerprint | None = None
        self._loop = asyncio.get_running_loop()
        self._names = names
        self._observer = observer
        self._remote: IceCredentials | None = None
        self._deadline = float("inf")
        self._ice: IceAgent[Path] = IceAgent()
        self._association = Association(self._send, self)
        names.rename(self, self._ice.ufrags)

    @property
    def local(self) -> IceCredentials:
        """What our next description says."""
        return self._ice.local

    @property
    def remote(self) -> IceCredentials | None:
        """What the client's last description said."""
        return self._remote

    @property
    def fingerprint(self) -> Fingerprint:
        """Of this process's certificate."""
        return our_certificate().fingerprint

    @property
    def last_heard(self) -> float:
        """Loop time of the last authentic check; 0 before the first."""
        return self._ice.last_heard

    @property
    def data_dropped(self) -> int:
        """Messages that were not sent because the client does not read."""
        return self._association.data_dropped

    def set_remote(self, credentials: IceCredentials, fingerprint: Fingerprint) -> None:
        """What the client's description says; new credentials are its ICE restart.

        Raises NegotiationError if the fingerprint changes: that would be another client.
        """
        if self.remote_fingerprint is None:
            self._deadline = self._loop.time() + CONNECT_TIME
        elif fingerprint != self.remote_fingerprint:
            raise NegotiationError("the fingerprint of a connection cannot change")
        self._remote = credentials
        self.remote_fingerprint = fingerprint
        self._association.expect(fingerprint)

    def restart_ice(self) -> IceCredentials:
        """New local credentials; those in use hold until a pair of the new ones is nominated."""
        credentials = self._ice.restart()
        if not self.is_closed:
            self._names.rename(self, self._ice.ufrags)
        return credentials

    def send_rtcp(self, data: bytes) -> None:
        """A compound packet; dropped while not connected."""
        if self.srtp is None:
            return
        packet = self.srtp.protect_rtcp(data)
        if packet:
            self._send(packet)

    def send_data(self, label: str, data: bytes) -> bool:
        """A message on a channel that the client made; False if it is not open, or too full."""
        return self._association.send_data(label, data)

    def close(self) -> None:
        """Say goodbye and free everything; the observer is told nothing. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        self.is_connected = False
        self._association.close()
        for path in self._ice.addresses:
            path.unbind(self)
        self._names.rename(self, ())
        self.path = self.srtp = None
        self.on_rtp, self.on_rtcp = _ignore_rtp, _ignore_rtcp

    # What the port calls.

    def receive_check(self, data: bytes, ufrag: bytes, path: Path) -> bool:
        """Answer a connectivity check; False if its sender does not know our password."""
        try:
            outcome = self._ice.receive(data, ufrag, path, path.host, path.port, self._loop.time())
        except StunError:
            return False
        path.send(outcome.reply)
        if outcome.is_accepted:
            path.bind(self)
            for forgotten in outcome.forgotten:
                forgotten.unbind(self)
            self._names.rename(self, self._ice.ufrags)
            self._take_path()
        return True

    def lives_over(self, path: Path) -> bool:
        """Whether it is connected there and was heard of late: then the address stays its own."""
        is_heard = self._loop.time() - self.last_heard < HOLD_TIME
        return is_heard and self.is_connected and self.path == path

    def receive(self, buffer: PacketBuffer, length: int) -> bool:
        """A packet from an address of this peer; False if it is of no protocol of ours.

        What cannot be handled ends this connection and no other.
        """
        first = buffer.data[0]
        try:
            if 127 < first < 192:
                self._receive_media(buffer, length)
            elif 19 < first < 64:
                self._association.receive(bytes(buffer.view[:length]))
            else:
                return False
        except Exception:
            logger.exception("a client's packet could not be handled")
            self.fail("a packet could not be handled")
        return True

    def _receive_media(self, buffer: PacketBuffer, length: int) -> None:
        """SRTP or SRTCP (RFC 5761, 4)."""
        srtp = self.srtp
        if srtp is None:
            self.packets_dropped += 1
            return
        self.packets_received += 1
        self.bytes_received += length
        if 191 < buffer.data[1] < 224:
            packet = srtp.unprotect_rtcp(buffer, length)
            if packet:
                self.on_rtcp(packet)
        else:
            length = srtp.unprotect_rtp(buffer, length)
            if length:
                self.on_rtp(buffer.data, length)

    def forget(self, path: Path) -> None:
        """The path is gone: its TCP connection was closed."""
        self._ice.forget(path)
        if not self.is_closed:
            self._take_path()

    def check_consent(self, now: float) -> None:
        """Give up a peer that is silent for too long; called about once a second."""
        if self.last_heard and now - self.last_heard > CONSENT_TIME:
            self.fail("no check for too long")
        elif not self.is_connected and now > self._deadline:
            self.fail("it took too long to connect")

    def fail(self, reason: str) -> None:
        """Close, and say why."""
        if not self.is_closed:
            self.close()
            self._observer.failed(reason)

    # What the association tells.

    def established(self, keys: SrtpKeys) -> None:
        """Of AssociationObserver."""
        self.srtp = SrtpContexts(keys)
        self.is_connected = True
        self._observer.connected()

    def channel_opened(self, label: str) -> None:
        """Of AssociationObserver."""
        self._observer.channel_opened(label)

    def data_received(self, label: str, data: bytes) -> None:
        """Of AssociationObserver."""
        self._observer.data_received(label, data)

    def _take_path(self) -> None:
        if self._ice.selected == self.path:
            return
        self.path = self._ice.selected
        if self.is_connected:
            self._observer.path_changed()

    def _send(self, packet: bytes) -> None:
        if self.path is not None and self.path.send(packet):
            self.packets_sent += 1
            self.bytes_sent += len(packet)
        else:
            self.packets_dropped += 1


def _ignore_rtp(buffer: bytearray, length: int) -> None:
    """Nobody listens yet."""


def _ignore_rtcp(packet: bytes) -> None:
    """Nobody listens yet."""
