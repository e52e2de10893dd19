"""No secret reaches logs, errors, metrics or the page, though services repeat them on purpose."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import generate_latest
from typer.testing import CliRunner

from mulisa.agent.persona import Persona
from mulisa.announce import Announcer
from mulisa.app import EngineChoice, build_engines, choose_engines, close_engines, run_session
from mulisa.cli import app
from mulisa.config import Config, load_config
from mulisa.console import Console, configure_logging
from mulisa.core.errors import MulisaError
from mulisa.core.metrics import Observers
from mulisa.core.room import TROUBLE_ATTRIBUTE, Identity, RoomName
from mulisa.core.transport import ChatMessage
from mulisa.doctor import examine
from mulisa.providers.registry import Kind
from mulisa.store.transcript import TranscriptStore
from mulisa.transport.loopback import LoopbackRoom, LoopbackTransport
from mulisa.worker.metrics import AgentMetrics
from mulisa.worker.status import to_line
from mulisa.worker.telling import RoomObserver

pytestmark = pytest.mark.network

CANARY = "cAnArY"
NOBODY = "127.0.0.1:9"
KEYS = {
    name: f"sk-{name.lower().replace('_', '-')}-{CANARY}-0123456789abcdef"
    for name in (
        *("LIVEKIT_API_SECRET", "MULISA_TURN_SECRET", "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY"),
        *("AZURE_SPEECH_KEY", "AZURE_VOICE_LIVE_API_KEY"),
    )
}
CHAINS: dict[Kind, str] = {
    "stt": "openai,azure",
    "llm": "openai,azure:deployed",
    "tts": "openai,azure",
}
ADDRESSES = (
    *("OPENAI_BASE_URL", "AZURE_OPENAI_ENDPOINT", "AZURE_SPEECH_ENDPOINT"),
    *("AZURE_VOICE_LIVE_ENDPOINT", "MULISA_OLLAMA_URL"),
)
ROOM = RoomName("conversation")
MULISA = Identity("mulisa")
SCRIPTED = {"vad": "scripted", "stt": "scripted", "tts": "scripted"}
REALTIME = ("openai", "azure:gpt-realtime")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    settings = {
        **KEYS,
        "LIVEKIT_API_KEY": "devkey",
        "MULISA_DATA": str(tmp_path / "data"),
        "MULISA_OLLAMA_URL": f"http://{NOBODY}",
        "MULISA_ICE_SERVERS": f"turn:someone:{CANARY}-turn-0123456789@{NOBODY}",
        "MULISA_WEBHOOKS": f"http://someone:{CANARY}-hook-0123456789@{NOBODY}/hook",
        "OPENAI_API_VERSION": "2025-04-01-preview",
        "MULISA_PORT": "0",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that is logged, as `--debug` shows it."""
    ours = ("", "mulisa", "aioice", "aiortc", "livekit")
    levels = {name: logging.getLogger(name).level for name in ours}
    handlers = logging.getLogger().handlers[:]
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    configure_logging(debug=True)
    logging.getLogger().setLevel(logging.DEBUG)  # SDKs, too
    try:
        yield log
    finally:
        logging.getLogger().handlers[:] = handlers
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


async def _refuse(request: web.Request) -> web.Response:
    """401 with every header and query of the request, keys included."""
    said = f"Incorrect API key provided: {dict(request.headers)} {dict(request.query)}"
    error = {"message": said, "type": "invalid_request_error", "code": "invalid_api_key"}
    return web.json_response({"error": error}, status=401, reason="Unauthorized")


@asynccontextmanager
async def a_parrot(port: int = 0) -> AsyncIterator[str]:
    """HOST:PORT of a service that repeats the keys that it refuses."""
    service = web.Application()
    service.router.add_route("*", "/{path:.*}", _refuse)
    runner = web.AppRunner(service)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, port = runner.addresses[0]
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def parrot() -> AsyncIterator[str]:
    async with a_parrot() as host:
        yield host


def pointed_at(host: str, monkeypatch: pytest.MonkeyPatch, **flags: object) -> Config:
    """All services are there, and the one address that may hold a password does."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://someone:{CANARY}-url-0123456789@{host}/v1")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"http://{host}")
    monkeypatch.setenv("AZURE_SPEECH_ENDPOINT", f"ws://{host}")
    monkeypatch.setenv("AZURE_VOICE_LIVE_ENDPOINT", f"http://{host}")
    return load_config(flags)


def shows(thing: object) -> str:
    """How a thing shows itself to people who debug."""
    return f"{thing!r} {thing}"


def terminal(kind: str, doing: str) -> str:
    """What is shown of an engine that loads."""
    out = io.StringIO()
    Console(file=out).loading(kind, doing, 1.0)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["stt", "llm", "tts", "realtime"])
async def test_no_configuration_choice_or_engine_shows_one(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for realtime in REALTIME:
        config = pointed_at(NOBODY, monkeypatch, realtime=realtime, **CHAINS)
        assert CANARY not in shows(config)
        for choice in await choose_engines(kind, config):
            try:
                engine = choice.create()
            except MulisaError as error:  # its package is not installed
                assert CANARY not in shows(error)
                continue
            assert CANARY in str(dict(choice.options)), "it has a secret to keep"
            assert CANARY not in shows(choice) + shows(engine) + terminal(kind, engine.label)
            await engine.aclose()


SHORT = "oRca"
"""A password that might be a word in any text; so it is kept out where addresses are shown."""


BASIC = "bWU6b1JjYQ=="
"""The same as it is sent: ``me:oRca`` in base64."""


def behind_a_password(host: str, monkeypatch: pytest.MonkeyPatch, **flags: object) -> Config:
    """All services are there and want it."""
    for name in ADDRESSES:
        monkeypatch.setenv(name, f"http://me:{SHORT}@{host}")
    return load_config(flags)


@pytest.mark.parametrize("kind", ["stt", "llm", "tts", "realtime"])
async def test_no_address_is_shown_with_its_password(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, parrot: str
) -> None:
    for realtime in REALTIME:
        config = behind_a_password(parrot, monkeypatch, realtime=realtime, **CHAINS)
        for choice in await choose_engines(kind, config):
            try:
                engine = choice.create()
            except MulisaError as error:  # its package is not installed
                assert SHORT not in shows(error)
                continue
            assert SHORT in str(dict(choice.options)), "it has a password to keep"
            label = engine.label
            assert parrot in label
            said = " ".join(await _load(choice))
            assert parrot in said
            assert SHORT not in label + said + shows(choice) + shows(engine)
            assert BASIC not in said
            await engine.aclose()


async def test_the_doctor_shows_no_address_with_its_password(
    parrot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = behind_a_password(parrot, monkeypatch, realtime="openai", **CHAINS)
    checks = [check async for check in examine(config)]
    assert parrot in repr(checks)
    assert SHORT not in repr(checks)
    assert BASIC not in repr(checks)


@pytest.mark.parametrize("refuses", [True, False])
async def test_no_failure_to_load_shows_one(
    refuses: bool,
    parrot: str,
    logged: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    for realtime in REALTIME:
        host = parrot if refuses else NOBODY
        config = pointed_at(host, monkeypatch, realtime=realtime, **CHAINS)
        for kind in ("stt", "llm", "tts", "realtime"):
            for choice in await choose_engines(kind, config):
                said += await _load(choice)
    assert said, "something is tried"
    assert ("refuses" in " ".join(said)) is refuses
    assert CANARY not in " ".join(said) + logged.getvalue()


async def _load(choice: EngineChoice) -> list[str]:
    """What it says meanwhile, its failure included, which is logged with its traceback."""
    said: list[str] = []
    try:
        engine = choice.create()
        try:
            await engine.load(lambda doing, _: said.append(terminal(choice.kind, doing)))
        finally:
            await engine.aclose()
    except MulisaError as error:
        said.append(shows(error))
        logging.getLogger("mulisa.test").exception("it failed")
    return said


async def test_the_doctor_shows_none(parrot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for realtime in REALTIME:
        config = pointed_at(parrot, monkeypatch, realtime=realtime, **CHAINS)
        checks = [check async for check in examine(config)]
        failed = [check.name for check in checks if check.status != "ok"]
        assert "llm openai" in failed
        assert CANARY not in repr(checks)


@pytest.mark.parametrize("form", ["--json", "--debug"])
def test_the_doctors_command_shows_none(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pointed_at(NOBODY, monkeypatch)
    chains = [word for kind, chain in CHAINS.items() for word in (f"--{kind}", chain)]
    result = CliRunner().invoke(app, ["doctor", form, "--realtime", REALTIME[0], *chains])
    assert "OPENAI_API_KEY" in result.stdout or "cannot reach" in result.stdout
    assert CANARY not in result.output


def test_a_setting_that_is_wrong_does_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULISA_ICE_SERVERS", f"turn:{CANARY}-turn-0123456789@host")
    result = CliRunner().invoke(app, ["serve", "--no-agent"])
    assert result.exit_code == 2
    assert CANARY not in result.output


async def test_a_room_whose_engine_is_refused_sees_none(
    here: Path, logged: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    config = pointed_at(f"127.0.0.1:{port}", monkeypatch, **SCRIPTED)
    engines = await build_engines(config, Persona(), lambda *_: None)  # not there yet: no error
    said: list[str] = []
    terminal = io.StringIO()
    announce = Announcer(Console(file=terminal), "Mulisa", "join")

    def on_status(status: Any) -> None:
        said.append(to_line(status))
        announce(status)

    metrics = AgentMetrics()
    observers = Observers(metrics, RoomObserver(ROOM, on_status))
    room = LoopbackRoom(ROOM)
    joining = room.join("mulisa", "Mulisa", kind="agent")
    async with TranscriptStore(here / "data") as store, a_parrot(port):
        session = asyncio.create_task(run_session(joining, engines, Persona(), store, observers))
        try:
            async with asyncio.timeout(30), room.join("alice", "Alice") as alice:
                said += await _ask_until_she_fails(alice)
        finally:
            session.cancel()
            await asyncio.gather(session, return_exceptions=True)
            await close_engines(engines)
    said += [terminal.getvalue(), logged.getvalue(), generate_latest(metrics._registry).decode()]
    text = " ".join(said)
    assert "refuses the key" in text and "[secret]" in text, "it was repeated to us"
    assert "it refuses our key" in text, "the room is told in our words"
    assert CANARY not in text


async def _ask_until_she_fails(alice: LoopbackTransport) -> list[str]:
    """What the room sees of her trouble, and of her apology."""

    async def until(is_so: Callable[[], object]) -> None:
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    await until(lambda: MULISA in alice.participants)
    await alice.send_chat(ChatMessage("m1", "Who is here?"))
    await until(lambda: alice.participants[MULISA].attributes.get(TROUBLE_ATTRIBUTE))
    await until(lambda: any(caption.identity == MULISA for caption in alice.captions))
    return [repr(alice.participants[MULISA]), *map(repr, alice.captions)]
