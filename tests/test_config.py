"""Flags win over the environment, that over the file; what is wrong is named with its place."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mulisa.config import (
    KEYS_FILE_NAME,
    ApiKeys,
    EngineSpec,
    IceServerSpec,
    TlsSpec,
    load_api_keys,
    load_config,
    server_api_keys,
    worker_environment,
)
from mulisa.core.errors import ConfigError

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder and home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return tmp_path


def test_without_settings(here: Path) -> None:
    config = load_config()
    assert (config.listen_host, config.port, config.agent) == ("127.0.0.1", 8000, True)
    assert (config.stt, config.llm, config.tts) == ("local", "auto", "local")
    assert config.data == here / "home/.local/share/mulisa"


def test_data_is_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/data")
    assert load_config().data == Path("/srv/data/mulisa")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    assert load_config().data.is_absolute()


def test_flags_over_environment_over_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "mulisa.toml").write_text('port = 1\nstt = "whisper:file"\nllm = "concierge"\n')
    monkeypatch.setenv("MULISA_PORT", "2")
    monkeypatch.setenv("MULISA_STT", "whisper:env")
    config = load_config({"port": 3, "stt": None})
    assert (config.port, config.stt, config.llm) == (3, "whisper:env", "concierge")


def test_names_of_the_ecosystem(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "mulisa.toml").write_text('livekit_api_key = "file"\nopenai_base_url = "http://file"\n')
    monkeypatch.setenv("LIVEKIT_API_KEY", "env")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "s3cret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    config = load_config({"livekit_url": "ws://flag"})
    assert config.livekit_api_key == "env"
    assert config.livekit_url == "ws://flag"
    assert config.openai_api_key.get_secret_value() == "sk-1"
    assert config.openai_base_url == "http://file"
    assert "s3cret" not in repr(config)
    assert "sk-1" not in repr(config)


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULISA_PORT", "")
    monkeypatch.setenv("OPENAI_API_KEY", "")
    config = load_config()
    assert config.port == 8000
    assert not config.openai_api_key.get_secret_value()


def test_another_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "mulisa.toml").write_text("port = 1")
    (here / "env.toml").write_text("port = 2")
    (here / "flag.toml").write_text("port = 3")
    monkeypatch.setenv("MULISA_CONFIG", "env.toml")
    assert load_config().port == 2
    assert load_config(file=here / "flag.toml").port == 3


def test_a_config_is_frozen() -> None:
    config: Any = load_config()
    with pytest.raises(ValueError, match="frozen"):
        config.port = 1


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"port = ", "is not TOML"),
        (b"\xff\xfe\x00", "is not TOML"),
        (b"port = 'many'", r"port in mulisa\.toml: .*integer"),
        (b"prot = 1", "there is no setting 'prot'; there are host, port"),
        (b"[port]\nx = 1", r"port in mulisa\.toml"),
        (b"stt = ':tiny'", r"stt in mulisa\.toml: ':tiny' is not an engine"),
        (b"ice_servers = ['http://a']", "is no ICE server"),
    ],
)
def test_a_file_that_is_wrong(here: Path, content: bytes, complaint: str) -> None:
    (here / "mulisa.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=complaint):
        load_config()


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"there is no file missing\.toml"):
        load_config(file=Path("missing.toml"))


def test_a_variable_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULISA_PORT", "99999")
    with pytest.raises(ConfigError, match="^MULISA_PORT: .*65535"):
        load_config()


def test_a_flag_that_is_wrong_is_named_without_its_secret() -> None:
    with pytest.raises(ConfigError, match="^--ice-server: a TURN server needs") as caught:
        load_config({"ice_servers": ("turn:hunter2@turn.example.org",)})
    assert "hunter2" not in str(caught.value)


@settings(deadline=None)  # the machine may be busy
@given(st.text(max_size=200))
def test_no_file_raises_anything_else(content: str) -> None:
    path = Path("any.toml")
    path.write_text(content, encoding="utf-8", errors="replace")
    try:
        load_config(file=path)
    except ConfigError:
        pass


@pytest.mark.parametrize(
    ("text", "name", "model"),
    [
        ("whisper", "whisper", ""),
        ("whisper:base.en", "whisper", "base.en"),
        ("whisper:/models/large", "whisper", "/models/large"),
        ("openai:ft:gpt-4o-mini:acme", "openai", "ft:gpt-4o-mini:acme"),
        (" piper : /a b.onnx ", "piper", "/a b.onnx"),
    ],
)
def test_engines(text: str, name: str, model: str) -> None:
    assert EngineSpec.parse(text) == EngineSpec(name, model)


@pytest.mark.parametrize("text", ["", " ", ":", ":tiny", "whisper:", "whisper: "])
def test_what_is_no_engine(text: str) -> None:
    with pytest.raises(ValueError, match="NAME or NAME:MODEL"):
        EngineSpec.parse(text)


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("stun:stun.example.org:3478", IceServerSpec("stun:stun.example.org:3478")),
        ("turn:u:p@h:3478?transport=tcp", IceServerSpec("turn:h:3478?transport=tcp", "u", "p")),
        ("turns:17:a%40b%3A:c@h", IceServerSpec("turns:h", "17", "a@b::c")),
        ("turn:1700000000:alice:p@[2001:db8::1]:3478", None),
    ],
)
def test_ice_servers(text: str, server: IceServerSpec | None) -> None:
    parsed = IceServerSpec.parse(text)
    assert parsed == (server or IceServerSpec("turn:[2001:db8::1]:3478", "1700000000", "alice:p"))


@pytest.mark.parametrize("text", ["", "stun:", "stun://", "turn:", "turn:u@h", "https://h", "h:1"])
def test_what_is_no_ice_server(text: str) -> None:
    with pytest.raises(ValueError, match="ICE server|TURN server"):
        IceServerSpec.parse(text)


def test_ice_servers_of_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULISA_ICE_SERVERS", "stun:a, turn:u:p@b  stun:c")
    assert load_config().ice_servers == ("stun:a", "turn:u:p@b", "stun:c")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://localhost:7880", "ws://localhost:7880"),
        (" wss://my.livekit.example/ ", "wss://my.livekit.example"),
        ("https://my.livekit.example", "wss://my.livekit.example"),
        ("http://[::1]:7880/lk/", "ws://[::1]:7880/lk"),
    ],
)
def test_a_livekit_server(text: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config({"livekit_url": text}).livekit_url == url
    monkeypatch.setenv("LIVEKIT_URL", text)
    assert load_config().livekit_url == url


@pytest.mark.parametrize(
    "text",
    [
        *("localhost:7880", "ftp://h", "ws://", "ws://u:p@h", "ws://h?a=b"),
        *("ws://h:port", "ws://h:65536", "ws://[::1:7880"),
    ],
)
def test_what_is_no_livekit_server(text: str) -> None:
    with pytest.raises(ConfigError, match="^--livekit-url: "):
        load_config({"livekit_url": text})


def test_rooms_are_on_the_sfu_unless_somebody_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load_config().topology == "sfu"
    assert load_config({"topology": "mesh"}).topology == "mesh"
    monkeypatch.setenv("MULISA_TOPOLOGY", "mesh")
    assert load_config().topology == "mesh"


def test_what_the_embedded_sfu_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    standard = load_config()
    assert (standard.media_port, standard.public_address, standard.webhooks) == (8001, "", ())
    assert load_config({"port": 9000}).media_port == 8001
    assert load_config({"port": 0}).media_port == 0, "several may run beside each other"
    assert load_config({"port": 0, "rtc_port": 9001}).media_port == 9001
    (here / "mulisa.toml").write_text('rtc_port = 9001\nwebhooks = ["http://a/hook"]\n')
    monkeypatch.setenv("MULISA_PUBLIC_ADDRESS", "203.0.113.7")
    chosen = load_config({"rtc_port": 0})
    assert (chosen.media_port, chosen.public_address) == (0, "203.0.113.7")
    assert chosen.webhooks == ("http://a/hook",)
    monkeypatch.setenv("MULISA_WEBHOOKS", "https://a/1, https://b/2?c=d")
    assert load_config().webhooks == ("https://a/1", "https://b/2?c=d")


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ({"rtc_port": 70_000}, "--rtc-port: "),
        ({"public_address": "me.example.org"}, "--public-address: "),
        ({"webhooks": ("https://a/hook", "ftp://b")}, "--webhook: "),
        ({"webhooks": ("https:///hook",)}, "--webhook: "),
        ({"ice_servers": ("turn:a",)}, "--ice-server: "),
        ({"ice_servers": ("turn:user@a",), "turn_secret": "s"}, "--ice-server: "),
    ],
)
def test_what_the_embedded_sfu_cannot_be_told(flags: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=f"^{where}"):
        load_config(flags)


def test_a_secret_stands_for_the_passwords_of_turn_servers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MULISA_TURN_SECRET", "north")
    config = load_config({"ice_servers": ("turn:a", "turn:u:p@b", "stun:c")})
    needs = [IceServerSpec.parse(server).needs_secret for server in config.ice_servers]
    assert needs == [True, False, False]
    assert "north" not in repr(config)


def test_a_server_wants_its_own_key_and_not_a_generated_one(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config({"livekit_url": "ws://h:1", "data": here / "data"})
    with pytest.raises(ConfigError, match="ws://h:1 wants an API key; set LIVEKIT_API_KEY"):
        server_api_keys(config)
    assert not (here / "data").exists()
    monkeypatch.setenv("LIVEKIT_API_KEY", "devkey")
    with pytest.raises(ConfigError, match="LIVEKIT_API_SECRET is missing"):
        server_api_keys(load_config({"livekit_url": "ws://h:1"}))
    monkeypatch.setenv("LIVEKIT_API_SECRET", "secret")
    assert server_api_keys(load_config({"livekit_url": "ws://h:1"})).secret == "secret"


def test_keys_are_generated_once_and_for_the_owner_only(here: Path) -> None:
    config = load_config({"data": here / "data"})
    first = load_api_keys(config)
    assert load_api_keys(config) == first
    assert len(first.secret) >= 32
    assert first.secret not in repr(first)
    path = here / "data" / KEYS_FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == [KEYS_FILE_NAME]
    assert load_api_keys(load_config({"data": here / "other"})).secret != first.secret


def test_configured_keys_leave_no_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "devkey")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "secret")
    keys = load_api_keys(load_config({"data": here / "data"}))
    assert (keys.key, keys.secret) == ("devkey", "secret")
    assert not (here / "data").exists()


def test_half_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "devkey")
    with pytest.raises(ConfigError, match="LIVEKIT_API_SECRET is missing"):
        load_api_keys(load_config())


@pytest.mark.parametrize("content", [b"", b"nonsense", b"key: ", b"\xff"])
def test_a_broken_key_file_is_refused(here: Path, content: bytes) -> None:
    (here / KEYS_FILE_NAME).write_bytes(content)
    with pytest.raises(ConfigError, match=KEYS_FILE_NAME):
        load_api_keys(load_config({"data": here}))


def test_a_worker_is_given_what_was_chosen(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "other.toml").write_text('stt = "whisper:file"\nopenai_api_key = "sk-file"\n')
    monkeypatch.setenv("LIVEKIT_API_KEY", "former")
    monkeypatch.setenv("MULISA_TTS", "piper:env")
    monkeypatch.setenv("LIVEKIT_URL", "ws://sfu")
    config = load_config({"llm": "concierge", "data": here}, here / "other.toml")
    environment = worker_environment(config, ApiKeys("k", "s", ""), "ws://localhost:1")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    theirs = load_config()
    assert (theirs.livekit_api_key, theirs.livekit_url) == ("k", "ws://localhost:1")
    assert theirs.livekit_api_secret.get_secret_value() == "s"
    ours = config.model_dump(exclude={"livekit_api_key", "livekit_api_secret", "livekit_url"})
    assert theirs.model_dump(include=set(ours)) == ours


def test_https_is_for_the_network(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config({"tls": "auto"}).listen_host == "0.0.0.0"
    assert load_config({"tls": "auto", "host": "127.0.0.1"}).listen_host == "127.0.0.1"
    monkeypatch.setenv("MULISA_TLS", "cert.pem, ~/key.pem")
    spec = TlsSpec.parse(load_config().tls)
    assert (spec.certificate, spec.key) == (Path("cert.pem"), here / "home/key.pem")
    (here / "mulisa.toml").write_text('tls = ["a.pem", "b.pem"]')
    monkeypatch.delenv("MULISA_TLS")
    assert load_config().tls == "a.pem,b.pem"


@pytest.mark.parametrize("tls", ["yes", "cert.pem", "cert.pem,", ",key.pem", "a,b,c"])
def test_https_without_certificate_or_key(tls: str) -> None:
    with pytest.raises(ConfigError, match="--tls: write auto, or the files CERT,KEY"):
        load_config({"tls": tls})


def test_proxies_are_addresses_or_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULISA_TRUSTED_PROXIES", "10.0.0.0/8, 2001:db8::1")
    assert load_config().trusted_proxies == ("10.0.0.0/8", "2001:db8::1")
    with pytest.raises(ConfigError, match="--trusted-proxy: 'nginx' is no address"):
        load_config({"trusted_proxies": ("nginx",)})


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        ("local", (EngineSpec("local"),)),
        ("openai, local", (EngineSpec("openai"), EngineSpec("local"))),
        (
            "livekit:cartesia/sonic-3,azure:en-US-AvaNeural,piper",
            (
                EngineSpec("livekit", "cartesia/sonic-3"),
                EngineSpec("azure", "en-US-AvaNeural"),
                EngineSpec("piper"),
            ),
        ),
        ("openai:gpt-4o,openai:gpt-4o-mini", None),
    ],
)
def test_a_chain_of_engines(text: str, chain: tuple[EngineSpec, ...] | None) -> None:
    parsed = load_config({"tts": text}).chain("tts")
    assert parsed == (
        chain or (EngineSpec("openai", "gpt-4o"), EngineSpec("openai", "gpt-4o-mini"))
    )


def test_a_chain_is_a_list_in_the_file(here: Path) -> None:
    (here / "mulisa.toml").write_text('stt = ["openai:whisper-1", "local"]')
    assert load_config().stt == "openai:whisper-1,local"


@pytest.mark.parametrize("name", ["stt", "llm", "tts"])
@pytest.mark.parametrize("text", [",", "openai,", ",local", "a,,b", "openai:,local", "a, a"])
def test_what_is_no_chain(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^--{name}: "):
        load_config({name: text})


def test_one_engine_detects_speech_and_one_hears_and_speaks_in_one() -> None:
    assert load_config().chain("realtime") == ()
    assert load_config({"realtime": "none"}).chain("realtime") == ()
    spec = EngineSpec("openai", "gpt-realtime")
    assert load_config({"realtime": "openai:gpt-realtime"}).chain("realtime") == (spec,)
    for name in ("vad", "realtime"):
        with pytest.raises(ConfigError, match=f"^--{name}: 'a,b' is a chain"):
            load_config({name: "a,b"})


def test_a_budget(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config().limits == {}
    text = "seconds=3600, tokens=2e5 characters=0"
    assert load_config({"budget": text}).limits == {
        "seconds": 3600,
        "tokens": 200_000,
        "characters": 0,
    }
    monkeypatch.setenv("MULISA_BUDGET", "tokens=5")
    assert load_config().limits == {"tokens": 5}
    monkeypatch.delenv("MULISA_BUDGET")
    (here / "mulisa.toml").write_text("[budget]\nseconds = 1.5\n")
    assert load_config().limits == {"seconds": 1.5}


@pytest.mark.parametrize(
    "text",
    ["5", "tokens", "tokens=", "tokens=many", "tokens=-1", "tokens=nan", "tokens=inf"]
    + ["minutes=5", "tokens=1,tokens=2", "tokens = 5"],
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="^--budget: .* is no limit of a budget; write seconds="):
        load_config({"budget": text})


def test_patience(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config().patience is None
    (here / "mulisa.toml").write_text("patience = 2.5\n")
    assert load_config().patience == 2.5
    monkeypatch.setenv("MULISA_PATIENCE", "3")
    config = load_config()
    assert config.patience == 3.0
    environment = worker_environment(config, ApiKeys("k", "s", ""), "ws://localhost:1")
    assert environment["MULISA_PATIENCE"] == "3.0"
    assert load_config({"patience": 8}).patience == 8.0


@pytest.mark.parametrize("seconds", [0, -1, 0.29, 8.1, 1e9, "nan", "inf"])
def test_what_is_no_patience(seconds: object) -> None:
    with pytest.raises(ConfigError, match="^--patience: .* is no patience; write seconds from 0.3"):
        load_config({"patience": seconds})


SERVICES = {
    "OPENAI_API_KEY": "sk-openai-0123456789",
    "OPENAI_BASE_URL": "https://someone:hunter2hunter2@llm.example.org/v1",
    "OPENAI_API_VERSION": "2025-04-01-preview",
    "AZURE_OPENAI_API_KEY": "azure-openai-0123456789",
    "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com",
    "AZURE_OPENAI_DEPLOYMENT": "my-gpt",
    "AZURE_SPEECH_KEY": "azure-speech-0123456789",
    "AZURE_SPEECH_REGION": "westeurope",
    "AZURE_SPEECH_ENDPOINT": "wss://mine.example.org",
    "AZURE_VOICE_LIVE_API_KEY": "voice-live-0123456789",
    "AZURE_VOICE_LIVE_ENDPOINT": "https://mine.services.ai.azure.com",
    "AZURE_VOICE_LIVE_MODEL": "gpt-realtime",
}


def test_services_by_their_usual_names_reach_the_agent_process(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SERVICES.items():
        monkeypatch.setenv(name, value)
    config = load_config({"stt": "azure,local", "realtime": "azure", "budget": "tokens=5"})
    assert config.azure_speech_key.get_secret_value() == SERVICES["AZURE_SPEECH_KEY"]
    assert config.azure_voice_live_model == "gpt-realtime"
    for secret in ("0123456789", "hunter2"):
        assert secret not in repr(config) + str(config)
    environment = worker_environment(config, ApiKeys("k", "s", ""), "ws://localhost:1")
    assert SERVICES.items() <= environment.items()
    assert environment["MULISA_STT"] == "azure,local"
    assert environment["MULISA_REALTIME"] == "azure"
    assert environment["MULISA_BUDGET"] == "tokens=5"


def test_a_setting_knows_where_it_was_made(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "mulisa.toml").write_text('stt = "openai"\nopenai_api_key = "sk-0123456789"\n')
    monkeypatch.setenv("MULISA_TTS", "azure")
    monkeypatch.setenv("STT", "of somebody else")
    config = load_config({"llm": "concierge"})
    origins = [config.origin(name) for name in ("llm", "tts", "stt", "openai_api_key", "vad")]
    assert origins == [
        "--llm",
        "MULISA_TTS",
        "stt in mulisa.toml",
        "openai_api_key in mulisa.toml",
        "",
    ]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-9876543210")
    assert load_config().origin("openai_api_key") == "OPENAI_API_KEY"
