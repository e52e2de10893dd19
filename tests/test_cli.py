"""The command as its users meet it: words, exit codes, signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psutil  # type: ignore[import-untyped]
import pytest
import webvtt
from typer.testing import CliRunner, Result

from mulisa.cli import app
from mulisa.core.errors import ConnectionLost
from mulisa.core.room import Identity, RoomName
from mulisa.core.transcript import TranscriptEntry
from mulisa.store import transcript as transcript_module
from mulisa.store.transcript import TranscriptStore
from mulisa.worker.link import WorkerConfig, registered

pytestmark = pytest.mark.network

FIRST_LINE = 2.0
"""Seconds in which `mulisa serve` says its first word, of processor: others may be busy."""
PATIENCE = 60.0
"""Seconds for everything else; the machine may be busy."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and data in `tmp_path`/data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULISA_DATA", str(tmp_path / "data"))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


async def say(data: Path, room: str, *texts: str) -> None:
    now = datetime.now(UTC)
    async with TranscriptStore(data) as store:
        for n, text in enumerate(texts):
            at = now + timedelta(seconds=n)
            entry = TranscriptEntry(
                f"{text}-{n}", Identity("alice"), "Alice", "standard", "voice", text, at, at
            )
            await store.append(RoomName(room), entry)
        await store.end_call(RoomName(room))


class Serving:
    """A `mulisa serve --json` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def next_event(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await self.process.stdout.readline()
        assert line, "it ended early"
        event: dict[str, Any] = json.loads(line)
        return event

    async def event(self, name: str) -> dict[str, Any]:
        while (event := await self.next_event())["event"] != name:
            pass
        return event

    async def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Exit code and what it complained about."""
        self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            _, complaints = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, complaints.decode()


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[Serving]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "mulisa", "serve", "--json", "--port", "0", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Serving(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize(
    "arguments", [[], ["serve"], ["join"], ["worker"], ["transcript"], ["compare"], ["doctor"]]
)
def test_help(arguments: list[str]) -> None:
    result = run(*arguments, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


@pytest.mark.parametrize("command", ["serve", "join", "worker"])
def test_help_teaches_engines_and_services(command: str) -> None:
    lines = run(command, "--help").stdout.splitlines()
    text = " ".join(" ".join(lines).split())
    flags = ("--realtime E", "--patience SECONDS", "--budget LIMITS")
    for word in ("openai,local", "livekit:PLUGIN", *flags):
        assert word in text
    for name in ("OPENAI_API_KEY", "AZURE_SPEECH_REGION", "AZURE_VOICE_LIVE_ENDPOINT"):
        assert any(line.startswith("  ") and name in line for line in lines), "one line for each"


def test_the_list_of_commands_is_whole_sentences() -> None:
    commands = run("--help").stdout.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert len(commands) == 6
    assert all(line.endswith(".") and not line.endswith("...") for line in commands), commands


def test_help_imports_nothing_heavy() -> None:
    heavy = ("aiohttp", "livekit", "aiortc", "asyncio", "pydantic", "rich", "numpy", "webvtt")
    code = (
        "import sys; from typer.testing import CliRunner; before = set(sys.modules);"
        "from mulisa.cli import app; CliRunner().invoke(app, ['--help']);"
        f"print([name for name in {heavy!r} if name in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["serve", "--port", "many"], "--port"),
        (["serve", "--port", "99999"], "--port"),
        (["serve", "--topology", "star"], "--topology: "),
        (["serve", "--rtc-port", "99999"], "--rtc-port"),
        (["serve", "--public-address", "here"], "--public-address: 'here'"),
        (["serve", "--webhook", "here"], "--webhook: a webhook is an address to post to"),
        (["serve", "--ice-server", "turn:h"], "--ice-server: a TURN server needs credentials"),
        (["serve", "--livekit-url", "localhost"], "--livekit-url: 'localhost' is not a LiveKit"),
        (["serve", "--livekit-url", "ws://h"], "set LIVEKIT_API_KEY and LIVEKIT_API_SECRET"),
        (["join"], "--room"),
        (["join", "--room", "standup"], "name it with --url or LIVEKIT_URL"),
        (["join", "--room", "x", "--mediasoup", "host"], "--mediasoup: 'host' is no WebSocket"),
        (["join", "--room", "x", "--mediasoup", "ws://h", "--url", "ws://h"], "two servers"),
        (["join", "--room", "x", "--mediasoup", "ws://h", "--relay"], "mediasoup has no relays"),
        (["join", "--room", "../x", "--url", "ws://h"], "not a room name"),
        (["join", "--room", "standup", "--url", "ws://h"], "set LIVEKIT_API_KEY"),
        (["join", "--room", "standup", "--url", "h"], "--livekit-url: 'h' is not a LiveKit"),
        (["serve", "--ice-server", "http://a"], "is no ICE server"),
        (["serve", "--stt", ":tiny"], "--stt: ':tiny' is not an engine"),
        (["serve", "--stt", "local,"], "--stt: '' is not an engine"),
        (["serve", "--tts", "local,crystal-ball"], "there is no tts engine 'crystal-ball'"),
        (["serve", "--realtime", "crystal-ball"], "there is no realtime engine 'crystal-ball'"),
        (["serve", "--realtime", "openai,azure"], "--realtime: 'openai,azure' is a chain"),
        (["serve", "--patience", "long"], "--patience"),
        (["join", "--room", "x", "--patience", "60"], "--patience: 60 is no patience"),
        (["worker", "--budget", "much"], "--budget: 'much' is no limit of a budget"),
        (["serve", "--config", "missing.toml"], "there is no file missing.toml"),
        (["transcript"], "ROOM"),
        (["transcript", "standup", "--format", "pdf"], "--format is one of vtt, json, md, txt"),
        (["transcript", "../etc/passwd"], "not a room name"),
        (["fly"], "fly"),
    ],
)
def test_wrong_usage_is_2_and_says_what_is_wrong(arguments: list[str], complaint: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("kind", ["stt", "llm", "tts"])
def test_an_engine_that_does_not_exist(kind: str) -> None:
    result = run("serve", "--port", "0", f"--{kind}", "crystal-ball")
    assert result.exit_code == 2
    assert f"there is no {kind} engine 'crystal-ball'" in result.stderr
    assert "local" in result.stderr


def test_a_persona_that_is_wrong(here: Path) -> None:
    (here / "persona.toml").write_text('name = 7\nsecret_powers = "all"\n')
    result = run("serve", "--no-agent", "--port", "0", "--persona", "persona.toml")
    assert result.exit_code == 2
    assert "persona.toml" in result.stderr
    assert "secret_powers" in result.stderr


def test_transcript_of_a_room_where_nothing_was_said(here: Path) -> None:
    asyncio.run(say(here / "data", "retro", "Hello."))
    result = run("transcript", "standup")
    assert result.exit_code == 1
    assert "nothing was said in the room 'standup'" in result.stderr
    assert "retro" in result.stderr
    assert result.stdout == ""


def test_transcript_formats(here: Path) -> None:
    asyncio.run(say(here / "data", "standup", "Good morning.", "Bye <b>."))
    assert run("transcript", "standup").stdout.splitlines() == [
        "00:00:00  Alice: Good morning.",
        "00:00:01  Alice: Bye <b>.",
    ]
    entries = json.loads(run("transcript", "standup", "--format", "json").stdout)["entries"]
    assert [entry["text"] for entry in entries] == ["Good morning.", "Bye <b>."]
    vtt = webvtt.from_string(run("transcript", "standup", "--format", "vtt").stdout, strict=True)
    assert [caption.voice for caption in vtt.captions] == ["Alice", "Alice"]
    assert "**Alice**" in run("transcript", "standup", "--format", "md").stdout


def test_transcript_is_of_the_latest_call(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript_module, "RELOAD_GRACE", timedelta(0))
    asyncio.run(say(here / "data", "standup", "Yesterday."))
    asyncio.run(say(here / "data", "standup", "Today."))
    assert "Yesterday" not in run("transcript", "standup").stdout
    assert "Yesterday" in run("transcript", "standup", "--all").stdout


async def test_the_first_line_comes_soon() -> None:
    async with serving("--no-agent") as room:
        assert (await room.next_event())["event"] == "starting"
        times = psutil.Process(room.process.pid).cpu_times()
        assert times.user + times.system < FIRST_LINE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serve_answers_and_ends_quietly(number: signal.Signals) -> None:
    async with serving("--no-agent") as room:
        url = (await room.event("link"))["url"]
        async with aiohttp.ClientSession() as session:
            answer = await session.get(f"{url}/api/rooms")
            assert await answer.json() == {"rooms": []}
        assert await room.stop(number) == (0, "")


async def test_without_its_engines_the_room_is_served_and_says_what_is_missing() -> None:
    async with serving("--stt", "whisper:/no/such/model") as room:
        url = (await room.event("link"))["url"]
        missing = await room.event("agent_cannot_start")
        assert "/no/such/model" in missing["message"]
        assert (await room.event("agent"))["text"].startswith("none")
        async with aiohttp.ClientSession() as session:
            answer = await session.get(f"{url}/api/rooms")
            assert answer.status == 200
        assert not psutil.Process(room.process.pid).children()  # and is not tried again
        code, _ = await room.stop(signal.SIGINT)
        assert code == 0


async def test_an_agent_process_that_dies_is_started_again_and_none_is_left_behind() -> None:
    async with serving() as room:
        await room.event("agent_ready")
        (agent,) = psutil.Process(room.process.pid).children()
        family = [agent, *agent.children(recursive=True)]
        agent.kill()
        assert (await room.event("agent_died"))["exit_code"] == -signal.SIGKILL
        await room.event("agent_ready")
        family += psutil.Process(room.process.pid).children(recursive=True)
        code, complaints = await room.stop(signal.SIGINT)
        assert (code, complaints) == (0, "")
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, 5.0)
        assert not alive


def serve_in_vain(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mulisa", "serve", "--no-agent", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("arguments", [[], ["--quiet"]])
def test_a_port_in_use(arguments: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = serve_in_vain("--port", port, "--rtc-port", "0", *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: cannot listen on 127.0.0.1:{port}: it is in use",
        "       choose another --port",
    ]
    assert bool(done.stdout) != ("--quiet" in arguments)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_rtc_port_in_use(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = str(taken.getsockname()[1])
        done = serve_in_vain("--port", "0", "--rtc-port", port)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and port in done.stderr
    assert "--rtc-port" in done.stderr and "Traceback" not in done.stderr
    assert "link" not in done.stdout, "nobody was told to come"


def test_python_m_mulisa_reads_the_environment_of_its_own() -> None:
    environment = {**os.environ, "MULISA_PORT": "nonsense"}
    done = subprocess.run(
        [sys.executable, "-m", "mulisa", "serve"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: MULISA_PORT: ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["serve", "--tls", "cert.pem,key.pem"],
            ("cannot read the certificate cert.pem", "no such"),
        ),
        (["serve", "--tls", "yes"], ("--tls", "CERT,KEY")),
        (["serve", "--trusted-proxy", "nginx"], ("--trusted-proxy", "nginx")),
        (["worker", "--trust", "cert.pem"], ("cannot trust cert.pem",)),
    ],
)
def test_a_certificate_that_is_not_there_is_wrong_usage(
    arguments: list[str], words: tuple[str, ...]
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    for word in words:
        assert word.lower() in result.output.lower()


async def test_a_worker_elsewhere_trusts_the_self_made_certificate_that_it_is_given(
    here: Path,
) -> None:
    options = ("--no-agent", "--tls", "auto", "--host", "127.0.0.1", "--rtc-port", "0")
    async with serving(*options) as gateway:
        link = await gateway.event("link")
        url = link["url"].replace("https", "wss")
        config = WorkerConfig(url, *_keys(here / "data"))
        with pytest.raises(ConnectionLost, match="is not trusted: self-signed .*--trust"):
            async with registered(config):
                pytest.fail("nobody vouches for that certificate")
        certificate = here / "data/tls/certificate.pem"
        environment = os.environ | {"LIVEKIT_API_KEY": config.api_key}
        environment |= {"LIVEKIT_API_SECRET": config.api_secret, "MULISA_STT": "scripted"}
        environment |= {"MULISA_TTS": "scripted", "MULISA_VAD": "scripted"}
        environment |= {"MULISA_LLM": "scripted"}
        arguments = ("worker", "--json", "--url", url, "--trust", str(certificate))
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mulisa", *arguments),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            await Serving(worker).event("registered")
        finally:
            worker.terminate()
            await worker.wait()


def _keys(data: Path) -> tuple[str, str]:
    key, _, secret = (data / "livekit-keys").read_text().strip().partition(": ")
    return key, secret


def test_sizes_that_cannot_be_compared_are_wrong_usage() -> None:
    pytest.importorskip("playwright", reason="needs the extra: pip install 'mulisa[compare]'")
    result = run("compare", "--participants", "1")
    assert result.exit_code == 2
    assert "--participants" in result.stderr


def test_a_further_sfu_must_be_a_websocket() -> None:
    pytest.importorskip("playwright", reason="needs the extra: pip install 'mulisa[compare]'")
    result = run("compare", "--mediasoup", "http://localhost:3000")
    assert result.exit_code == 2
    assert "is no WebSocket of a mediasoup application" in result.stderr
