"""Where the gateway listens, and the addresses at which people and its agent process reach it."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from mulisa.core.errors import ConfigError
from mulisa.server.certificate import Certificate
from mulisa.server.config import GatewayConfig
from mulisa.server.events import Listening
from mulisa.server.tls import Tls
from mulisa.wire.addresses import local_addresses

HTTPS_PORT: Final = 443

_LOOPBACK: Final = "127.0.0.1"
_EVERYWHERE_V4: Final = "0.0.0.0"
_EVERYWHERE_V6: Final = "::"
"""What asyncio opens there is for IPv6 alone, so the other one is opened as well."""
_EVERYWHERE: Final = ("", _EVERYWHERE_V4, _EVERYWHERE_V6)
_ELSEWHERE: Final = ("198.51.100.1", 9)
"""Any address that is not ours (RFC 5737); nothing is sent there."""


async def listen(runner: web.AppRunner, config: GatewayConfig, tls: Tls | None) -> Listening:
    """Open the port. Raises ConfigError if the address cannot be listened on.

    With TLS our own agent process gets a port without it, on loopback: it needs to trust no
    certificate, neither one that names another host nor one that is replaced while it runs.
    """
    port = await _listen_at(runner, config.host, config.port, tls)
    if config.host == _EVERYWHERE_V6:
        await _listen_at(runner, _EVERYWHERE_V4, port, tls)
    certificate = tls.certificate if tls else None
    url = _url(_own_host(config.host, certificate), port, certificate)
    if certificate:
        await web.TCPSite(runner, _LOOPBACK, 0).start()
        agent_url = f"ws://{_LOOPBACK}:{runner.addresses[-1][1]}"
    else:
        agent_url = url.replace("http", "ws", 1)
    others = _network_host(config, certificate)
    network_url = _url(others, port, certificate) if others else ""
    return Listening(url, agent_url, network_url, certificate)


def is_strict(config: GatewayConfig, tls: Tls | None) -> bool:
    """Whether browsers may be told to use https for this host from now on.

    That binds every port of the host, so we say it only as its web site, and never with a
    certificate that people have to make an exception for.
    """
    return tls is not None and config.port == HTTPS_PORT and not tls.certificate.is_self_signed


def is_loopback(host: str) -> bool:
    """Whether nobody on another machine reaches what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def network_address() -> str | None:
    """The address of this machine that others in its network know; None without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)  # chooses our end of the way there
            return str(probe.getsockname()[0])
        except OSError:
            pass  # no way out: then any address will do
    return next((each for each in local_addresses("") if not is_loopback(each)), None)


async def _listen_at(runner: web.AppRunner, host: str, port: int, tls: Tls | None) -> int:
    """The number of the port."""
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls.context if tls else None).start()
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror
        where = f"{f'[{host}]' if ':' in host else host}:{port}"
        raise ConfigError(f"cannot listen on {where}: {reason}; choose another --port") from error
    number: int = runner.addresses[-1][1]
    return number


def _own_host(host: str, certificate: Certificate | None) -> str:
    own = "localhost" if host in (*_EVERYWHERE, _LOOPBACK) else host
    if certificate is None or certificate.covers(own):
        return own
    return certificate.best_name() or own


def _network_host(config: GatewayConfig, certificate: Certificate | None) -> str | None:
    """A host in a link for people elsewhere."""
    if is_loopback(config.host):
        return None
    host = network_address() if config.host in _EVERYWHERE else config.host
    if host is None or certificate is None or certificate.covers(host):
        return host
    return certificate.best_name() or host


def _url(host: str, port: int, certificate: Certificate | None) -> str:
    scheme, usual = ("https", HTTPS_PORT) if certificate else ("http", 80)
    where = f"[{host}]" if ":" in host else host
    return f"{scheme}://{where}" + ("" if port == usual else f":{port}")
