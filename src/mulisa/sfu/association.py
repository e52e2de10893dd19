"""The DTLS association of one peer with its timer, and the data channels that it carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from mulisa.wire.channels import DataChannels
from mulisa.wire.description import Fingerprint
from mulisa.wire.dtls import DtlsConnection, DtlsError
from mulisa.wire.srtp import SrtpKeys


class AssociationObserver(Protocol):
    """Who is told what becomes of an association."""

    def established(self, keys: SrtpKeys) -> None:
        """The handshake is done, with the peer whose fingerprint was expected."""

    def fail(self, reason: str) -> None:
        """The handshake cannot succeed, or the peer ended the association."""

    def channel_opened(self, label: str) -> None:
        """The peer made a data channel."""

    def data_received(self, label: str, data: bytes) -> None:
        """A message of a data channel."""


class Association:
    """We are the server: the peer begins. Datagrams come by `receive` and go out by `send`."""

    __slots__ = ("_channels", "_dtls", "_is_told", "_loop", "_observer", "_send", "_timer")

    def __init__(self, send: Callable[[bytes], None], observer: AssociationObserver) -> None:
        self._send = send
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._dtls: DtlsConnection | None = DtlsConnection()
        self._channels: DataChannels | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_told = False

    @property
    def data_dropped(self) -> int:
        """Messages that were not sent because the peer does not read."""
        return 0 if self._channels is None else self._channels.dropped

    def expect(self, fingerprint: Fingerprint) -> None:
        """The fingerprint of the only peer that may be at the other end."""
        self._drive(lambda dtls: dtls.expect(fingerprint))

    def receive(self, datagram: bytes) -> None:
        """A datagram of DTLS records."""
        messages: list[bytes] = []
        self._drive(lambda dtls: messages.extend(dtls.receive(datagram)))
        for message in messages:
            self._receive_data(message)
        if self._dtls is not None and self._dtls.is_closed:
            self._observer.fail("the client closed DTLS")

    def send_data(self, label: str, data: bytes) -> bool:
        """A message on a channel that the peer made; False if it is not open, or too full."""
        return self._channels is not None and self._channels.send(label, data)

    def close(self) -> None:
        """Say goodbye and free everything, without waiting for the collector. Idempotent."""
        dtls = self._dtls
        if dtls is None:
            return
        if self._channels is not None:
            self._channels.close()
        dtls.close()
        self._flush(dtls)
        self._cancel_timer()
        self._dtls = self._channels = None

    def _drive(self, step: Callable[[DtlsConnection], None]) -> None:
        """Do something with DTLS, send what it has to say, and see where that led."""
        dtls = self._dtls
        if dtls is None:
            return
        try:
            step(dtls)
            self._flush(dtls)
            if dtls.is_established and not self._is_told:
                self._is_told = True
                self._observer.established(dtls.srtp_keys())
            self._set_timer()
        except DtlsError as error:
            self._flush(dtls)
            self._observer.fail(str(error))

    def _receive_data(self, packet: bytes) -> None:
        if self._dtls is None:
            return
        if self._channels is None:  # many connections never carry data
            opened, received = self._observer.channel_opened, self._observer.data_received
            self._channels = DataChannels(self._send_data, opened, received)
        self._channels.receive(packet)

    def _send_data(self, packet: bytes) -> None:
        if self._dtls is not None and self._dtls.send(packet):
            self._flush(self._dtls)

    def _flush(self, dtls: DtlsConnection) -> None:
        for datagram in dtls.outgoing():
            self._send(datagram)

    def _set_timer(self) -> None:
        self._cancel_timer()
        delay = None if self._dtls is None else self._dtls.timeout()
        if delay is not None:
            self._timer = self._loop.call_later(delay, self._retry)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _retry(self) -> None:
        self._timer = None
        self._drive(DtlsConnection.handle_timeout)
