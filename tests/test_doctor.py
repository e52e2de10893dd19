"""The doctor finds what is broken, says how to mend it, and never falls ill itself."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from typer.testing import CliRunner

from mulisa import doctor
from mulisa.cli import app
from mulisa.config import KEYS_FILE_NAME, Config, load_config
from mulisa.doctor import CHECKS, Check, check_engines
from mulisa.server import config as server_config
from mulisa.server.selfmade import keep_certificate, machine_names, self_made_files
from mulisa.store.database import FILE_NAME
from tests.certificates import YEAR, write_pair
from tests.livekit_server import LiveKitServer
from tests.network import free_port
from tests.turn_server import CREDENTIAL, turn_server

pytestmark = pytest.mark.network

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULISA_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MULISA_OLLAMA_URL", NOBODY)
    return tmp_path


def config(**flags: object) -> Config:
    return load_config(flags)


async def test_a_free_port_and_a_taken_one() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        check = await CHECKS["port"](config(port=port))
        assert check.status == "fail"
        assert str(port) in check.found
        assert "--port" in check.mend
    assert (await CHECKS["port"](config(port=port))).status == "ok"


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
async def test_the_rtc_port_is_udp_and_tcp(kind: socket.SocketKind) -> None:
    port = free_port(kind)
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", port))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        check = await CHECKS["rtc port"](config(rtc_port=port))
        assert check.status == "fail" and str(port) in check.found
        assert "--rtc-port" in check.mend
    assert (await CHECKS["rtc port"](config(rtc_port=port))).status == "ok"


async def test_an_address_of_another_machine() -> None:
    check = await CHECKS["port"](config(host="203.0.113.7"))
    assert check.status == "fail"
    check = await CHECKS["port"](config(host="not a host"))
    assert check.status == "fail"


async def test_a_folder_that_cannot_be_written(here: Path) -> None:
    (here / "data").write_text("a file is in the way")
    for name in ("data", "keys"):
        check = await CHECKS[name](config())
        assert check.status == "fail"
        assert str(here / "data") in check.found


async def test_keys_that_others_may_read(here: Path) -> None:
    assert (await CHECKS["keys"](config())).status == "ok"
    (here / "data" / KEYS_FILE_NAME).chmod(0o644)
    check = await CHECKS["keys"](config())
    assert (check.status, check.mend[:5]) == ("warn", "chmod")


async def test_half_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "devkey")
    check = await CHECKS["keys"](config())
    assert (check.status, check.found) == (
        "fail",
        "LIVEKIT_API_SECRET is missing: set both, or neither to have them generated",
    )


async def test_a_transcript_that_is_broken(here: Path) -> None:
    assert (await CHECKS["transcript"](config())).status == "ok"
    (here / "data").mkdir()
    (here / "data" / FILE_NAME).write_bytes(b"no database" * 1000)
    assert (await CHECKS["transcript"](config())).status == "fail"


async def test_a_page_that_is_not_built(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_config, "PAGE_FOLDER", here / "page")
    assert (await CHECKS["page"](config())).status == "fail"
    (here / "page").mkdir()
    (here / "page/index.html").write_text("<!doctype html>")
    assert (await CHECKS["page"](config())).status == "ok"


async def test_a_persona_that_is_wrong(here: Path) -> None:
    (here / "p.toml").write_text("name = 1")
    check = await CHECKS["persona"](config(persona=here / "p.toml"))
    assert check.status == "fail"
    assert "p.toml" in check.found


async def test_engines_by_name() -> None:
    (check,) = await check_engines("llm", config(llm="concierge"))
    assert (check.status, check.why) == ("ok", "--llm names it")
    assert "concierge" in check.found
    (check,) = await check_engines("stt", config(stt="crystal-ball"))
    assert check.status == "fail"
    assert "whisper" in check.mend
    (check,) = await check_engines("realtime", config())
    assert (check.status, check.found[:5]) == ("ok", "none:")


async def test_each_engine_of_a_chain_is_checked() -> None:
    checks = await check_engines("llm", config(llm="openai,concierge"))
    assert [(check.name, check.status) for check in checks] == [
        ("llm openai", "warn"),
        ("llm concierge", "ok"),
    ]
    assert "OPENAI_API_KEY" in checks[0].found + checks[0].mend
    checks = await check_engines("llm", config(llm="openai,ollama"))
    assert [check.status for check in checks] == ["fail", "fail"], "none of them works"


async def test_a_service_that_is_out_of_reach_now_is_a_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{NOBODY}/v1")
    logging.getLogger("mulisa").setLevel(logging.ERROR)  # as with --quiet
    try:
        away, here = await check_engines("llm", config(llm="auto,concierge"))
    finally:
        logging.getLogger("mulisa").setLevel(logging.NOTSET)
    assert away.status == "warn" and "cannot reach" in away.found
    assert away.why == "OPENAI_BASE_URL is set"
    assert "OPENAI_BASE_URL" in away.mend
    assert here.status == "ok", "others' complaints are not its own"


async def test_an_ollama_that_is_wished_for_and_not_there() -> None:
    assert (await check_engines("llm", config()))[0].found.startswith("concierge")
    (check,) = await check_engines("llm", config(llm="ollama"))
    assert check.status == "fail"
    assert "ollama serve" in check.mend


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('{"models": [{"name": "nomic-embed-text"}, {"name": "llama3.2"}]}', "llama3.2 at"),
        ('{"models": []}', "none at"),
        ("<html>", "none at"),
        ('{"models": 7}', "none at"),
    ],
)
async def test_an_ollama_that_answers(
    body: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tags(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type="application/json")

    server = web.Application()
    server.add_routes([web.get("/api/tags", tags)])
    runner = web.AppRunner(server)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        monkeypatch.setenv("MULISA_OLLAMA_URL", f"http://{host}:{port}")
        assert (await CHECKS["ollama"](config())).found.startswith(found)
    finally:
        await runner.cleanup()


async def test_a_browser_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert (await CHECKS["browser"](config())).status == "warn"


@pytest.mark.parametrize("status", ["ok", "warn", "fail"])
@pytest.mark.parametrize("as_json", [True, False])
def test_the_command(status: doctor.Status, as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    mend = "and stout" if status != "ok" else ""
    found = Check("teapot", status, "is short", mend, "--teapot names it")

    async def look(_: Config) -> Check:
        await asyncio.sleep(0)
        return found

    monkeypatch.setattr(doctor, "CHECKS", {"teapot": look})
    monkeypatch.setattr(doctor, "ENGINES", ())
    result = CliRunner().invoke(app, ["doctor", *(["--json"] if as_json else [])])
    assert result.exit_code == (1 if status == "fail" else 0)
    if as_json:
        assert json.loads(result.stdout) == {"ok": status != "fail", "checks": [asdict(found)]}
    else:
        assert result.stdout.split()[:4] == [status, "teapot", "is", "short"]
        assert "because --teapot names it" in result.stdout
        assert ("-> and stout" in result.stdout) == (status != "ok")


async def test_no_livekit_server_is_needed() -> None:
    check = await CHECKS["livekit"](config())
    assert (check.status, check.mend) == ("ok", "")


async def test_a_livekit_server_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    check = await CHECKS["livekit"](config(livekit_url="ws://127.0.0.1:9"))
    assert check.status == "fail"
    assert "LIVEKIT_API_KEY" in check.mend and "devkey" in check.mend
    monkeypatch.setenv("LIVEKIT_API_KEY", "devkey")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "secret")
    check = await CHECKS["livekit"](config(livekit_url="ws://127.0.0.1:9"))
    assert check.status == "fail"
    assert "ws://127.0.0.1:9 cannot be reached" in check.found
    assert "--livekit-url" in check.mend


@pytest.mark.slow
@pytest.mark.parametrize(("secret", "status"), [("", "ok"), ("wrong", "fail")])
async def test_a_livekit_server_and_its_key(
    secret: str, status: str, livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", livekit.key)
    monkeypatch.setenv("LIVEKIT_API_SECRET", secret or livekit.secret)
    check = await CHECKS["livekit"](config(livekit_url=livekit.url))
    assert check.status == status
    assert ("LIVEKIT_API_SECRET" in check.mend) is bool(secret)


async def test_ice_servers_are_asked_as_a_participant_would(tmp_path: Path) -> None:
    with turn_server(tmp_path) as coturn:
        await coturn.answers()
        stun = f"stun:127.0.0.1:{coturn.port}"
        check = await CHECKS["ice servers"](config(ice_servers=(stun, coturn.ice_server)))
        assert check.status == "ok"
        assert "sees us as 127.0.0.1" in check.found and "relays from 127.0.0.1" in check.found
        wrong = coturn.ice_server.replace(CREDENTIAL, "wrong")
        check = await CHECKS["ice servers"](config(ice_servers=(stun, wrong)))
    assert check.status == "warn"
    assert "401" in check.found and "wrong" not in check.found
    assert "--ice-server" in check.mend
    assert (await CHECKS["ice servers"](config())).status == "ok"


async def test_http_is_enough_here_and_not_for_the_network() -> None:
    assert (await CHECKS["tls"](config())).status == "ok"
    check = await CHECKS["tls"](config(host="0.0.0.0"))
    assert check.status == "warn"
    assert "microphone" in check.found and "--tls auto" in check.mend


async def test_a_certificate_of_our_own(here: Path) -> None:
    check = await CHECKS["tls"](config(tls="auto"))
    assert check.status == "ok" and "makes a certificate" in check.found
    files = self_made_files(here / "data")
    keep_certificate(files, machine_names(), datetime.now(UTC))
    check = await CHECKS["tls"](config(tls="auto"))
    assert check.status == "ok" and "self-signed" in check.found, check
    check = await CHECKS["tls"](config(tls="auto", public_address="203.0.113.7"))
    assert check.status == "ok" and "not for 203.0.113.7" in check.found
    files.key.chmod(0o644)
    check = await CHECKS["tls"](config(tls="auto"))
    assert check.status == "warn" and check.mend == f"chmod 600 {files.key}"


async def test_a_certificate_of_the_operators(here: Path) -> None:
    files = write_pair(here / "given", "talk.example.org")
    given = f"{files.certificate},{files.key}"
    check = await CHECKS["tls"](config(tls=given))
    assert check.status == "ok" and "for talk.example.org" in check.found
    write_pair(here / "given", "talk.example.org", at=datetime.now(UTC) - YEAR + timedelta(days=3))
    check = await CHECKS["tls"](config(tls=given))
    assert check.status == "warn" and "renew" in check.mend
    write_pair(here / "given")
    check = await CHECKS["tls"](config(tls=given))
    assert check.status == "warn" and "names no host" in check.found
    write_pair(here / "given", "talk.example.org", at=datetime.now(UTC) - 2 * YEAR)
    check = await CHECKS["tls"](config(tls=given))
    assert check.status == "fail" and "ran out" in check.found and check.mend == "renew it"
