"""Our end of one of a client's connections: ICE, DTLS and data below, RTP beside it."""

from __future__ import annotations

from typing import Protocol

from mulisa.core.room import ParticipantSid
from mulisa.sfu.forward import Forwarder
from mulisa.sfu.negotiation import OurSide
from mulisa.sfu.peer import Fingerprint, IceCredentials
from mulisa.sfu.port import RtcPort


class ConnectionListener(Protocol):
    """Who is told what becomes of a connection; called from the event loop."""

    def connected(self) -> None:
        """Media and data may flow."""

    def failed(self, reason: str) -> None:
        """The connection is closed for good."""

    def channel_opened(self, label: str) -> None:
        """A data channel can be written to."""

    def data_received(self, label: str, data: bytes) -> None:
        """A message came on a data channel."""


class Connection:
    """Made when negotiation begins; the packets of its tracks flow once it is connected."""

    def __init__(
        self,
        port: RtcPort,
        forwarder: Forwarder,
        sid: ParticipantSid,
        listener: ConnectionListener,
        *,
        hears_everybody: bool = False,
    ) -> None:
        """`hears_everybody`: even in rooms that forward the loudest only."""
        self._port = port
        self._listener = listener
        self.peer = port.connect(self)
        self.session = forwarder.session(self.peer, sid)
        self.session.hears_everybody = hears_everybody

    @property
    def is_connected(self) -> bool:
        """Media and data flow."""
        return self.peer.is_connected

    def our_side(self, *, is_restart: bool = False) -> OurSide:
        """What our description says; with new credentials at an ICE restart (RFC 8445, 9)."""
        if is_restart:
            self.peer.restart_ice()
        return OurSide(self.peer.local, self.peer.fingerprint, self._port.candidates)

    def set_remote(self, remote: IceCredentials, fingerprint: Fingerprint) -> None:
        """Raises NegotiationError if this cannot be the client that we knew."""
        self.peer.set_remote(remote, fingerprint)

    def close(self) -> None:
        """Idempotent; nothing is told to the listener any more."""
        self.session.close()
        self.peer.close()

    def connected(self) -> None:
        """Of PeerObserver."""
        self.session.path_changed()
        self._listener.connected()

    def path_changed(self) -> None:
        """Of PeerObserver."""
        self.session.path_changed()

    def failed(self, reason: str) -> None:
        """Of PeerObserver; packets stop at once, whatever the listener does (RFC 7675, 5.1)."""
        self.session.path_changed()
        self._listener.failed(reason)

    def channel_opened(self, label: str) -> None:
        """Of PeerObserver."""
        self._listener.channel_opened(label)

    def data_received(self, label: str, data: bytes) -> None:
        """Of PeerObserver."""
        self._listener.data_received(label, data)
