"""Which certificate the settings mean, and whether it can be used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from mulisa.config import Config, TlsSpec
from mulisa.server.certificate import (
    Certificate,
    CertificateFiles,
    read_certificate,
    server_context,
)
from mulisa.server.listening import network_address
from mulisa.server.selfmade import self_made_files
from mulisa.server.tls import TlsConfig

EXPIRES_SOON: Final = timedelta(days=14)
"""Before its end a certificate of the operator's is worth a warning."""


def tls_config(config: Config) -> TlsConfig | None:
    """What the gateway is told of TLS; None for plain http."""
    if not config.tls:
        return None
    spec = TlsSpec.parse(config.tls)
    if spec.certificate and spec.key:
        return TlsConfig(CertificateFiles(spec.certificate, spec.key))
    known = (config.host, config.public_address, network_address())
    names = tuple(name for name in known if name)
    return TlsConfig(self_made_files(config.data), is_self_made=True, names=names)


def check_certificate(tls: TlsConfig) -> Certificate:
    """The certificate as it lies there now. Raises ConfigError that says what is wrong with it."""
    certificate = read_certificate(tls.files, datetime.now(UTC))
    server_context(tls.files)
    return certificate
