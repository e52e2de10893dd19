"""Checks what `mulisa serve` needs on this machine, and says how to mend what is missing."""

from __future__ import annotations

import asyncio
import logging
import platform
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal, TypeAlias

from mulisa.app import (
    KINDS,
    EngineChoice,
    build_persona,
    choose_engines,
    find_ollama_models,
)
from mulisa.config import KEYS_FILE_NAME, Config, load_api_keys, server_api_keys
from mulisa.core.errors import ConnectionLost, MulisaError
from mulisa.core.room import Identity
from mulisa.core.secrets import conceal
from mulisa.https import EXPIRES_SOON, check_certificate, tls_config
from mulisa.providers.registry import Kind
from mulisa.server.certificate import Certificate
from mulisa.server.listening import is_loopback
from mulisa.server.selfmade import is_missing, machine_names
from mulisa.server.tls import TlsConfig

Status: TypeAlias = Literal["ok", "warn", "fail"]

LOAD_TIMEOUT: Final = 120.0
"""Seconds one engine may take to load; a model may be downloaded the first time."""
LITTLE_SPACE_BYTES: Final = 200 * 1024 * 1024
ENGINES: tuple[Kind, ...] = KINDS
"""Of these kinds they are checked, in this order."""
OLDEST_PYTHON: Final = (3, 11)
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    name: str
    status: Status
    """``fail`` if `mulisa serve` cannot do without it."""
    found: str
    mend: str = ""
    why: str = ""
    """Of an engine: why this one was picked, after "because"."""


async def examine(config: Config) -> AsyncIterator[Check]:
    """All checks, each as soon as it is known; none of them raises for what it finds."""
    for look in CHECKS.values():
        yield _without_secrets(await look(config))
    for kind in ENGINES:
        for check in await check_engines(kind, config):
            yield _without_secrets(check)


def _without_secrets(check: Check) -> Check:
    """A service may repeat the key that it refuses."""
    return replace(
        check, found=conceal(check.found), mend=conceal(check.mend), why=conceal(check.why)
    )


async def _python(config: Config) -> Check:
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] < OLDEST_PYTHON:
        return Check("python", "fail", found, "install Python 3.11 or newer")
    return Check("python", "ok", found)


async def _page(config: Config) -> Check:
    from mulisa.server.config import PAGE_FOLDER

    if (PAGE_FOLDER / "index.html").is_file():
        return Check("page", "ok", "built")
    return Check("page", "fail", "the web page is not built", "'make run' builds it in a clone")


async def _port(config: Config) -> Check:
    if error := await _cannot_bind(config.listen_host, config.port, socket.SOCK_STREAM):
        found = f"cannot listen on {config.listen_host}:{config.port}: {error}"
        return Check("port", "fail", found, "end what uses it, or choose another --port")
    return Check("port", "ok", f"{config.listen_host}:{config.port} is free")


async def _tls(config: Config) -> Check:
    """The certificate: that it can be used, for how long, for whom, and who may read its key."""
    tls = tls_config(config)
    if tls is None:
        return _plain_http(config.listen_host)
    if tls.is_self_made and not tls.files.certificate.exists():
        return Check("tls", "ok", f"'serve' makes a certificate, {tls.files.certificate}")
    try:
        certificate = await asyncio.to_thread(check_certificate, tls)
    except MulisaError as error:
        found, mend = _found_and_mend(error)
        if tls.is_self_made:
            return Check("tls", "ok", f"{found}; 'serve' makes a new one")
        return Check("tls", "fail", found, mend)
    return _complaint(tls, certificate) or Check("tls", "ok", _says(certificate))


def _complaint(tls: TlsConfig, certificate: Certificate) -> Check | None:
    if stat.S_IMODE(tls.files.key.stat().st_mode) & 0o077:
        return Check(
            "tls", "warn", f"others may read {tls.files.key}", f"chmod 600 {tls.files.key}"
        )
    if not certificate.names:
        mend = "make one with subject alternative names"
        return Check("tls", "warn", "the certificate names no host, so browsers refuse it", mend)
    if tls.is_self_made:
        missing = is_missing(machine_names(tls.names), certificate)
        found = f"not for {', '.join(missing)}; 'serve' makes a new certificate"
        return Check("tls", "ok", found) if missing else None
    if certificate.valid_until - datetime.now(UTC) < EXPIRES_SOON:
        return Check(
            "tls", "warn", _says(certificate), "renew it; 'serve' takes the new one itself"
        )
    return None


def _says(certificate: Certificate) -> str:
    maker = ", self-signed" if certificate.is_self_signed else ""
    names = sorted(certificate.names)
    others = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (
        f"valid until {certificate.valid_until:%Y-%m-%d} for {', '.join(names[:3])}{others}{maker}"
    )


def _plain_http(host: str) -> Check:
    if is_loopback(host):
        return Check("tls", "ok", "not needed: http for browsers on this machine")
    mend = "--tls auto, or a reverse proxy with https"
    return Check("tls", "warn", "over http other machines' browsers give no microphone", mend)


async def _rtc_port(config: Config) -> Check:
    """The embedded SFU's, on all addresses: with a proxy in front only signalling comes from it."""
    if config.livekit_url:
        return Check("rtc port", "ok", f"not needed: rooms are on {config.livekit_url}")
    for name, kind in (("UDP", socket.SOCK_DGRAM), ("TCP", socket.SOCK_STREAM)):
        if error := await _cannot_bind(None, config.media_port, kind):
            found = f"cannot use {name} port {config.media_port}: {error}"
            return Check(
                "rtc port", "fail", found, "end what uses it, or choose another --rtc-port"
            )
    return Check("rtc port", "ok", f"{config.media_port} is free, UDP and TCP")


async def _ice_servers(config: Config) -> Check:
    """STUN and TURN servers, asked as a participant would ask them."""
    from mulisa.server.ice import IceServers, ice_server
    from mulisa.transport.mesh.ice_probe import probe  # loads aiortc

    if not config.ice_servers:
        found = "none configured; people behind strict NATs need a TURN server in a mesh"
        return Check("ice servers", "ok", found)
    secret = config.turn_secret.get_secret_value()
    servers = IceServers(map(ice_server, config.ice_servers), secret)
    answers = await probe(servers.of(Identity("doctor"), datetime.now(UTC)))
    bad = [f"{each.url} {each.problem}" for each in answers if each.problem]
    if bad:
        mend = "start it, let it through the firewall, or correct --ice-server or --turn-secret"
        return Check("ice servers", "warn", "; ".join(bad), mend)
    good = [
        f"{each.url} {'relays from' if each.url.is_relay else 'sees us as'} {each.address}"
        for each in answers
    ]
    return Check("ice servers", "ok", "; ".join(good) or "none that can be asked from here")


async def _cannot_bind(host: str | None, port: int, kind: socket.SocketKind) -> str:
    """Why a socket cannot be bound there, or on any address; empty if it can."""
    try:
        for family, kind_, proto, _, address in await asyncio.get_running_loop().getaddrinfo(
            host, port, type=kind, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind_, proto) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return ""


async def _data(config: Config) -> Check:
    try:
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=config.data):
            free = shutil.disk_usage(config.data).free
    except OSError as error:
        found = f"{config.data} cannot be written: {error.strerror or error}"
        return Check("data", "fail", found, "choose another folder with --data")
    found = f"{config.data}, {free / 1024**3:.1f} GiB free"
    if free < LITTLE_SPACE_BYTES:
        return Check("data", "warn", found, "make room, or choose another folder with --data")
    return Check("data", "ok", found)


async def _keys(config: Config) -> Check:
    try:
        keys = load_api_keys(config)
    except MulisaError as error:
        return Check("keys", "fail", *_found_and_mend(error))
    path = config.data / KEYS_FILE_NAME
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        return Check("keys", "warn", f"others may read {path}", f"chmod 600 {path}")
    return Check("keys", "ok", f"{keys.key} {keys.origin}")


async def _livekit(config: Config) -> Check:
    from mulisa.server.livekit import livekit_server

    if not config.livekit_url:
        return Check(
            "livekit", "ok", "no server configured, not needed: rooms are on the embedded SFU"
        )
    try:
        keys = server_api_keys(config)
        async with livekit_server(config.livekit_url, keys.key, keys.secret) as server:
            await server.check()
    except ConnectionLost as error:
        mend = "start it, or correct --livekit-url or LIVEKIT_URL"
        return Check("livekit", "fail", str(error), mend)
    except MulisaError as error:
        return Check("livekit", "fail", *_found_and_mend(error))
    return Check("livekit", "ok", f"{config.livekit_url} answers and knows the key {keys.key}")


async def _transcripts(config: Config) -> Check:
    from mulisa.store.transcript import TranscriptReader

    try:
        rooms = await asyncio.to_thread(TranscriptReader(config.data).rooms)
    except MulisaError as error:
        return Check("transcript", "fail", *_found_and_mend(error))
    return Check("transcript", "ok", f"words of {len(rooms)} room{'s' * (len(rooms) != 1)}")


async def _persona(config: Config) -> Check:
    try:
        persona = build_persona(config)
    except MulisaError as error:
        return Check("persona", "fail", *_found_and_mend(error))
    return Check("persona", "ok", f"{persona.name}, language {persona.language}")


_listening: ContextVar[list[str] | None] = ContextVar("listening", default=None)
"""Who takes the complaints of the engine that is loaded here and now."""


async def check_engines(kind: Kind, config: Config) -> list[Check]:
    """Each engine of a chain with one cheap call, all at the same time.

    One that fails is no failure of the whole while another of its chain works.
    """
    try:
        choices = await choose_engines(kind, config)
    except MulisaError as error:
        return [Check(kind, "fail", *_found_and_mend(error))]
    if not choices:
        found = "none: what she hears, thinks and says is done engine by engine"
        return [Check(kind, "ok", found, why="--realtime names none")]
    with _complaints_are_heard():
        tasks = [asyncio.create_task(_check_engine(choice)) for choice in choices]
        checks = await asyncio.gather(*tasks)
    if len(checks) == 1:
        return checks
    works = any(check.status == "ok" for check in checks)
    return [_in_chain(check, choice, works) for check, choice in zip(checks, choices, strict=True)]


def _in_chain(check: Check, choice: EngineChoice, works: bool) -> Check:
    status: Status = "warn" if check.status == "fail" and works else check.status
    return replace(check, name=f"{choice.kind} {choice.spec.name}", status=status)


async def _check_engine(choice: EngineChoice) -> Check:
    kind = choice.kind
    try:
        async with asyncio.timeout(LOAD_TIMEOUT):
            label, doubts = await _load(choice)
    except TimeoutError:
        found = f"{choice.spec} was not ready within {LOAD_TIMEOUT:.0f} s"
        return Check(kind, "fail", found, f"choose another engine with --{kind}", choice.why)
    except MulisaError as error:
        return Check(kind, "fail", *_found_and_mend(error), choice.why)
    if doubts:
        found, mend = _split(doubts[-1])
        return Check(kind, "warn", f"{label}: {found}", mend, choice.why)
    return Check(kind, "ok", label, why=choice.why)


async def _load(choice: EngineChoice) -> tuple[str, list[str]]:
    """Its label once it is loaded, and what it had to complain about."""
    engine = await asyncio.to_thread(choice.create)
    complaints: list[str] = []
    _listening.set(complaints)  # of this task alone
    try:
        await engine.load(lambda doing, fraction: None)
        return engine.label, complaints
    finally:
        await engine.aclose()


class _Listener(logging.Handler):
    """Gives each engine's warnings to the task that loads it."""

    def emit(self, record: logging.LogRecord) -> None:
        if (complaints := _listening.get()) is not None:
            complaints.append(record.getMessage())


@contextmanager
def _complaints_are_heard() -> Iterator[None]:
    """What is out of reach now may come back, so it loads and only logs a warning."""
    logger = logging.getLogger("mulisa.providers")
    former, listener = (logger.level, logger.propagate), _Listener(logging.WARNING)
    logger.addHandler(listener)
    logger.setLevel(min(logger.getEffectiveLevel(), logging.WARNING))
    logger.propagate = logger.isEnabledFor(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.setLevel(former[0])
        logger.propagate = former[1]


async def _ollama(config: Config) -> Check:
    models = await find_ollama_models(config.ollama_url)
    if models:
        return Check("ollama", "ok", f"{', '.join(models)} at {config.ollama_url}")
    return Check("ollama", "ok", f"none at {config.ollama_url}, not needed")


async def _browser(config: Config) -> Check:
    names = (config.chromium, *BROWSERS)
    if found := next((path for name in names if name and (path := shutil.which(name))), None):
        return Check("browser", "ok", found)
    mend = "apt-get install chromium, or set MULISA_CHROMIUM"
    return Check("browser", "warn", "no Chromium; only tests need one", mend)


def _found_and_mend(error: MulisaError) -> tuple[str, str]:
    return _split(str(error))


def _split(message: str) -> tuple[str, str]:
    found, _, mend = message.partition("; ")
    return found, mend


CHECKS: Final[Mapping[str, Callable[[Config], Awaitable[Check]]]] = {
    "python": _python,
    "page": _page,
    "port": _port,
    "tls": _tls,
    "rtc port": _rtc_port,
    "ice servers": _ice_servers,
    "data": _data,
    "keys": _keys,
    "livekit": _livekit,
    "transcript": _transcripts,
    "persona": _persona,
    "ollama": _ollama,
    "browser": _browser,
}
"""What is looked at, in this order; then the engines, which take longest."""
