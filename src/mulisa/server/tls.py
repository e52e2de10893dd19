"""TLS of the gateway: the certificate it listens with, and its successors while it serves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mulisa.core.errors import ConfigError
from mulisa.server.certificate import (
    CertificateFiles,
    read_certificate,
    server_context,
)
from mulisa.server.events import CertificateRefused, CertificateReplaced, OnEvent
from mulisa.server.selfmade import keep_certificate, machine_names

LOOK_INTERVAL: Final = 20.0
"""Seconds between looks at the files and, for a certificate of ours, at our addresses."""


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """Which certificate."""

    files: CertificateFiles
    is_self_made: bool = False
    """We make and renew it."""
    names: tuple[str, ...] = ()
    """For one that we make: names and addresses besides those that the machine knows itself."""


class Tls:
    """What a server listens with. `context` stays the same object; its certificate may change."""

    def __init__(
        self, config: TlsConfig, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """Blocks. Raises ConfigError if the certificate cannot be used."""
        self._config = config
        self._now = now
        self._refusal = ""
        self._keep()
        self._stamp = config.files.stamp()
        self.certificate = read_certificate(config.files, now())
        self.context = self._latest = server_context(config.files)
        # A context whose certificate is replaced in place could meet a file without its key.
        self.context.sni_callback = self._use_latest

    async def watch(self, on_event: OnEvent) -> None:
        """Look at the files for ever; connections made from then on get what is new."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            if (event := await asyncio.to_thread(self.look)) is not None:
                on_event(event)

    def look(self) -> CertificateReplaced | CertificateRefused | None:
        """Take what is new, if it can be used. Blocks. The same refusal is told once."""
        try:
            self._keep()
            stamp = self._config.files.stamp()
            if stamp == self._stamp:
                return None
            latest = read_certificate(self._config.files, self._now())
            self._latest = server_context(self._config.files)
        except ConfigError as error:
            is_known, self._refusal = str(error) == self._refusal, str(error)
            return None if is_known else CertificateRefused(self._refusal)
        self._stamp, self._refusal, self.certificate = stamp, "", latest
        return CertificateReplaced(latest.valid_until, latest.fingerprint)

    @property
    def files(self) -> CertificateFiles:
        """Where certificate and key lie."""
        return self._config.files

    def _keep(self) -> None:
        config = self._config
        if config.is_self_made:
            keep_certificate(config.files, machine_names(config.names), self._now())

    def _use_latest(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _: str | None, __: ssl.SSLContext
    ) -> None:
        """Called by OpenSSL for each handshake, with or without a name in it."""
        connection.context = self._latest
