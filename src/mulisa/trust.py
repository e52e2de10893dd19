"""One more certificate that this process trusts, besides those that the system does.

Everything that speaks TLS here (OpenSSL for aiohttp and httpx, rustls in the LiveKit SDK) reads
``SSL_CERT_FILE``, which replaces the system's own file; so both go into one.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509

from mulisa.core.errors import ConfigError

VARIABLE: Final = "SSL_CERT_FILE"
_SYSTEM_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/cert.pem",  # macOS
)


def trust(certificate: Path, folder: Path) -> None:
    """From now on this process and its children trust `certificate` (PEM), too.

    Call it before aiohttp is imported, which reads the variable only then. `folder` holds the
    file that is made, for as long as the process lives. Raises ConfigError.
    """
    try:
        ours = certificate.read_text(encoding="ascii")
        x509.load_pem_x509_certificates(ours.encode())
    except OSError as error:
        raise ConfigError(f"cannot trust {certificate}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"cannot trust {certificate}: it holds no certificate in PEM") from error
    bundle = folder / "trusted.pem"
    bundle.write_text(f"{_system()}\n{ours}", encoding="utf-8")
    os.environ[VARIABLE] = str(bundle)


def _system() -> str:
    """What is trusted so far, in PEM."""
    configured = os.environ.get(VARIABLE) or ssl.get_default_verify_paths().cafile
    for name in (configured, *_SYSTEM_FILES):
        if name and Path(name).is_file():
            return Path(name).read_text(encoding="utf-8", errors="replace")
    return ""
