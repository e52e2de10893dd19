"""What the operator chose: flags > environment > ``mulisa.toml`` > defaults.

The only reader of the environment. Names are the ecosystem's own (``LIVEKIT_*``, ``OPENAI_*``,
``AZURE_*``) or ours (``MULISA_*``); a key of ``mulisa.toml`` is the name of a field of `Config`.
The file is the one of ``--config`` or ``MULISA_CONFIG``, else ``mulisa.toml`` in the current
folder.
"""

from __future__ import annotations

import base64
import ipaddress
import math
import os
import secrets
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import (
    AliasChoices,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from mulisa.core.account import UNITS, Unit
from mulisa.core.errors import ConfigError
from mulisa.core.room import Topology
from mulisa.core.secrets import keep_secret
from mulisa.wire.ice_url import IceUrl

FILE_NAME: Final = "mulisa.toml"
KEYS_FILE_NAME: Final = "livekit-keys"
"""In the data folder: one line ``key: secret``, as the ``--key-file`` of a LiveKit server."""

RTC_PORT: Final = 8001
LEAST_PATIENCE: Final = 0.3
MOST_PATIENCE: Final = 8.0
"""Seconds; longer nobody waits for an answer."""

_ENV_PREFIX: Final = "MULISA_"
_ENGINE_SETTINGS: Final = (
    *("vad", "stt", "llm", "tts", "realtime", "patience", "budget"),
    *("persona", "data", "config", "ollama_url"),
)
_SERVICE_SETTINGS: Final = (
    *("openai_api_key", "openai_base_url", "openai_api_version"),
    *("azure_openai_api_key", "azure_openai_endpoint", "azure_openai_deployment"),
    *("azure_speech_key", "azure_speech_region", "azure_speech_endpoint"),
    *("azure_voice_live_api_key", "azure_voice_live_endpoint", "azure_voice_live_model"),
)
"""Of the services behind engines, by the names that other programs read, too."""
_NETWORK_SETTINGS: Final = ("public_address", "mesh_ports")
_SERVER_SCHEMES: Final = ("ws", "wss", "http", "https")
_REPEATED_FLAGS: Final = {
    "ice_servers": "ice_server",
    "webhooks": "webhook",
    "trusted_proxies": "trusted_proxy",
}


def default_data() -> Path:
    """The user's data folder for Mulisa (XDG base directory specification)."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local/share") / "mulisa"


def _ecosystem(name: str) -> AliasChoices:
    """A name that other tools read, too: no prefix of ours in the environment."""
    return AliasChoices(name, name.upper())


def _service(name: str) -> Any:
    """An address or a name; not shown, as an address may hold a password."""
    return Field("", validation_alias=_ecosystem(name), repr=False)


def _secret(name: str) -> Any:
    return Field(SecretStr(""), validation_alias=_ecosystem(name))


class Config(BaseSettings):
    """Everything that can be chosen; frozen. Made by `load_config`."""

    model_config = SettingsConfigDict(
        env_prefix=_ENV_PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    host: str | None = Field(None, min_length=1)
    """Interface to listen on. None: see `listen_host`."""
    port: int = Field(8000, ge=0, le=65535)
    """0 takes any free port."""
    tls: str = ""
    """``auto`` for a certificate of our own, ``CERT,KEY`` for files (`TlsSpec`); empty: http."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses and networks of reverse proxies besides those of this machine; strings as
    `ice_servers`.
    """
    trust: Path | None = None
    """A certificate (PEM) that a worker trusts besides those that the system does."""
    topology: Topology = "sfu"
    """In which a room is opened unless its link says otherwise."""
    agent: bool = True
    """Whether `serve` starts an agent process."""
    persona: Path | None = None
    vad: str = "silero"
    stt: str = "local"
    """Engines are ``NAME`` or ``NAME:MODEL`` (`EngineSpec`), with commas between them a chain:
    when one fails, the next takes over.
    """
    llm: str = "auto"
    tts: str = "local"
    realtime: str = ""
    """One engine that hears, thinks and speaks in one; empty for none."""
    patience: float | None = None
    """Seconds in which an engine of a chain must begin before the next one is asked. None: as
    `ChainConfig.first` has it.
    """
    budget: str = ""
    """What the engines may use for one room, ``seconds=N,tokens=N,characters=N`` (`limits`)."""
    rtc_port: int | None = Field(None, ge=0, le=65535)
    """UDP and TCP port of the embedded SFU; 0 takes any free one. None: see `media_port`."""
    public_address: str = ""
    """IP address that people outside reach this machine at, the embedded SFU as well as an agent
    in a mesh, where the machine does not have it itself: behind a 1:1 NAT or in a container.
    """
    mesh_ports: str = ""
    """``FIRST-LAST``: UDP ports of an agent's connections in a mesh; empty takes any free ones."""
    turn_secret: SecretStr = SecretStr("")
    """Shared with the TURN servers (coturn's ``static-auth-secret``), which then need no password:
    everybody gets credentials of their own that expire.
    """
    ice_servers: Annotated[tuple[str, ...], NoDecode] = Field((), repr=False)
    """See `IceServerSpec`; a string may hold several, with spaces or commas between them."""
    webhooks: Annotated[tuple[str, ...], NoDecode] = Field((), repr=False)
    """URLs that are told who comes and goes on the embedded SFU; strings as `ice_servers`."""
    data: Path = Field(default_factory=default_data)
    """Folder of the transcripts and the generated key."""
    livekit_url: str = Field("", validation_alias=_ecosystem("livekit_url"))
    """WebSocket base of a LiveKit server: the SFU of `serve` instead of the embedded one, the
    room's server of `join`, and what a worker registers with. Without it a worker looks for the
    `serve` of this machine.
    """
    livekit_api_key: str = Field("", validation_alias=_ecosystem("livekit_api_key"))
    livekit_api_secret: SecretStr = Field(
        SecretStr(""), validation_alias=_ecosystem("livekit_api_secret")
    )
    openai_api_key: SecretStr = _secret("openai_api_key")
    openai_base_url: str = _service("openai_base_url")
    """Of OpenAI or of whatever speaks its protocol."""
    azure_openai_api_key: SecretStr = _secret("azure_openai_api_key")
    azure_openai_endpoint: str = _service("azure_openai_endpoint")
    azure_openai_deployment: str = _service("azure_openai_deployment")
    """The deployment that ``--llm azure`` means without a name of one."""
    openai_api_version: str = _service("openai_api_version")
    """Of Azure OpenAI's API, a date."""
    azure_speech_key: SecretStr = _secret("azure_speech_key")
    azure_speech_region: str = _service("azure_speech_region")
    azure_speech_endpoint: str = _service("azure_speech_endpoint")
    azure_voice_live_api_key: SecretStr = _secret("azure_voice_live_api_key")
    azure_voice_live_endpoint: str = _service("azure_voice_live_endpoint")
    azure_voice_live_model: str = _service("azure_voice_live_model")
    ollama_url: str = Field("http://localhost:11434", repr=False)
    """Where Ollama is looked for when no other language model is configured."""
    config: Path | None = None
    """The file that these settings came from, if there is one."""
    chromium: str = ""
    """A browser for tests, when it is not on the PATH."""

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def origin(self, name: str) -> str:
        """Where a setting was made, in the operator's words; empty if it was not.

        ``--stt``, ``MULISA_STT``, ``stt in mulisa.toml``.
        """
        return self._origins.get(name, "")

    def chain(self, name: str) -> tuple[EngineSpec, ...]:
        """The engines of the setting `name` in the order in which they are tried; () for none."""
        return EngineSpec.parse_chain(getattr(self, name)) if getattr(self, name) else ()

    @property
    def limits(self) -> Mapping[Unit, float]:
        """`budget`; a unit that is not in it has no limit."""
        return _parse_budget(self.budget)

    @property
    def listen_host(self) -> str:
        """`host`, else this machine alone, or every interface with TLS.

        Browsers give a microphone to plain http on this machine only, and TLS is for the others.
        """
        return self.host or ("0.0.0.0" if self.tls else "127.0.0.1")

    @property
    def media_port(self) -> int:
        """`rtc_port`, else 8001, or any free one beside a gateway on any free port."""
        return self.rtc_port if self.rtc_port is not None else RTC_PORT if self.port else 0

    @property
    def mesh_port_range(self) -> tuple[int, int] | None:
        """`mesh_ports`; None if any will do."""
        return _parse_ports(self.mesh_ports) if self.mesh_ports else None

    @field_validator("tls", mode="before")
    @classmethod
    def _join_paths(cls, value: object) -> object:
        return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value

    @field_validator("tls")
    @classmethod
    def _check_tls(cls, text: str) -> str:
        if text:
            TlsSpec.parse(text)
        return text

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError as error:
                raise ValueError(
                    f"{network!r} is no address and no network, as in 10.0.0.0/8"
                ) from error
        return networks

    @field_validator("persona", "data", "trust", mode="after")
    @classmethod
    def _expand_home(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path is not None else None

    @field_validator("stt", "llm", "tts")
    @classmethod
    def _check_chain(cls, text: str) -> str:
        EngineSpec.parse_chain(text)
        return text

    @field_validator("vad", "realtime")
    @classmethod
    def _check_engine(cls, text: str, info: ValidationInfo) -> str:
        if info.field_name == "realtime" and text in ("", "none"):
            return ""
        if len(EngineSpec.parse_chain(text)) > 1:
            raise ValueError(f"{text!r} is a chain; this takes one engine")
        return text

    @field_validator("stt", "llm", "tts", mode="before")
    @classmethod
    def _join_chain(cls, value: object) -> object:
        return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value

    @field_validator("patience")
    @classmethod
    def _check_patience(cls, seconds: float | None) -> float | None:
        if seconds is not None and not LEAST_PATIENCE <= seconds <= MOST_PATIENCE:
            raise ValueError(
                f"{seconds:g} is no patience; write seconds from {LEAST_PATIENCE:g} to"
                f" {MOST_PATIENCE:g}, as in 2.5"
            )
        return seconds

    @field_validator("budget", mode="before")
    @classmethod
    def _join_limits(cls, value: object) -> object:
        if isinstance(value, Mapping):
            return ",".join(f"{unit}={limit}" for unit, limit in value.items())
        return value

    @field_validator("budget")
    @classmethod
    def _check_budget(cls, text: str) -> str:
        _parse_budget(text)
        return text

    @field_validator("livekit_url")
    @classmethod
    def _check_server(cls, url: str) -> str:
        return parse_server_url(url) if url else url

    @field_validator("public_address")
    @classmethod
    def _check_address(cls, address: str) -> str:
        return str(ipaddress.ip_address(address)) if address else address

    @field_validator("mesh_ports")
    @classmethod
    def _check_ports(cls, ports: str) -> str:
        if ports:
            _parse_ports(ports)
        return ports

    @field_validator("webhooks")
    @classmethod
    def _check_webhooks(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            check_webhook(url)
        return urls

    @field_validator("ice_servers", "webhooks", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("ice_servers")
    @classmethod
    def _check_ice_servers(cls, servers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        specs = [IceServerSpec.parse(server) for server in servers]
        secret = info.data.get("turn_secret")
        if any(spec.needs_secret for spec in specs) and not (secret and secret.get_secret_value()):
            raise ValueError(
                "a TURN server needs credentials: turn:USER:PASSWORD@HOST, or --turn-secret"
            )
        return servers


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine as it is named in a flag: ``whisper``, ``whisper:base.en``, ``openai:gpt-4o``."""

    name: str
    model: str = ""
    """Model, voice or path, in the engine's own words; empty for its default."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Split at the first colon. Raises ValueError."""
        name, colon, model = text.strip().partition(":")
        if not name.strip() or (colon and not model.strip()):
            raise ValueError(f"{text!r} is not an engine; write NAME or NAME:MODEL")
        return cls(name.strip(), model.strip())

    @classmethod
    def parse_chain(cls, text: str) -> tuple[Self, ...]:
        """Split at commas, each as `parse`. Raises ValueError."""
        specs = tuple(map(cls.parse, text.split(",")))
        for spec in specs:
            if specs.count(spec) > 1:
                raise ValueError(f"{text!r} names {spec} twice")
        return specs

    def __str__(self) -> str:
        return f"{self.name}:{self.model}" if self.model else self.name


@dataclass(frozen=True, slots=True)
class TlsSpec:
    """``auto``, or the files ``CERT,KEY``."""

    certificate: Path | None = None
    """None: one of our own."""
    key: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        if text.strip() == "auto":
            return cls()
        certificate, _, key = (part.strip() for part in text.partition(","))
        if not certificate or not key or "," in key:
            raise ValueError("write auto, or the files CERT,KEY (both in PEM)")
        return cls(Path(certificate).expanduser(), Path(key).expanduser())


@dataclass(frozen=True, slots=True)
class IceServerSpec:
    """``stun:HOST[:PORT]`` or ``turn:[USER:PASSWORD@]HOST[:PORT][?transport=udp|tcp]``.

    URLs are those of RFC 7064 and RFC 7065, except that the credentials of a TURN server stand
    in front of its host, percent-encoded where they hold ``:`` or ``@``. A TURN server without
    them is one that shares a secret with us.
    """

    url: str
    username: str = ""
    credential: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, without the credentials in its message."""
        scheme, _, rest = text.partition(":")
        userinfo, _, host = rest.rpartition("@")
        url = f"{scheme}:{host}"
        try:
            IceUrl.parse(url)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        username, _, credential = userinfo.partition(":")
        if bool(username) != bool(credential):
            raise ValueError("a TURN server needs credentials: turn:USER:PASSWORD@HOST")
        return cls(url, unquote(username), unquote(credential))

    @property
    def needs_secret(self) -> bool:
        """It is a TURN server that was named without credentials."""
        return self.url.startswith("turn") and not self.username


def _parse_budget(text: str) -> dict[Unit, float]:
    """Raises ValueError."""
    units: dict[str, Unit] = {unit: unit for unit in UNITS}
    limits: dict[Unit, float] = {}
    for part in filter(None, text.replace(",", " ").split()):
        name, _, number = part.partition("=")
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        if name not in units or units[name] in limits or not 0 <= limit < math.inf:
            raise ValueError(
                f"{part!r} is no limit of a budget; write seconds=3600,tokens=200000,"
                "characters=50000, or some of these"
            )
        limits[units[name]] = limit
    return limits


def _parse_ports(text: str) -> tuple[int, int]:
    """Raises ValueError."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536):
        raise ValueError("write FIRST-LAST, as in 50000-50100; two for each person are enough")
    return int(first), int(last)


def parse_server_url(text: str) -> str:
    """``ws://HOST[:PORT]`` or ``wss://``, as the SDKs want it; http and https mean the same.

    Raises ValueError.
    """
    parts = urlsplit(text.strip().rstrip("/"))
    if parts.scheme not in _SERVER_SCHEMES or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{text!r} is not a LiveKit server; write ws://HOST:PORT or wss://HOST")
    if parts.username or parts.password:
        raise ValueError("a LiveKit server's address holds no user or password")
    try:
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{text!r} has a port that is no number from 0 to 65535") from error
    return parts._replace(scheme=parts.scheme.replace("http", "ws")).geturl()


def check_webhook(text: str) -> None:
    """Raises ValueError, without credentials in its message, unless it can be posted to."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a webhook is an address to post to: https://HOST/PATH")


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The key and secret that sign and check tokens."""

    key: str
    secret: str = field(repr=False)
    origin: str
    """Where they came from, for people."""


def load_config(flags: Mapping[str, Any] | None = None, file: Path | None = None) -> Config:
    """Merge what was given; `flags` that are None were not given.

    Raises ConfigError, which names the flag, the variable or the key that is wrong.
    """
    path = _config_file(file)
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    given |= {"config": path} if path else {}

    class Layered(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            file_settings = TomlConfigSettingsSource(settings_cls, toml_file=path)
            return init_settings, env_settings, file_settings

    try:
        config = Layered(**given)
        config._origins.update(_origins(config, given, path))
        _keep_secrets(config)
        return config
    except ValidationError as error:
        raise ConfigError(
            "; ".join(_complaint(item, given, path) for item in error.errors(include_url=False))
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error


def load_api_keys(config: Config) -> ApiKeys:
    """The configured key and secret, else those of the data folder, generated the first time.

    Raises ConfigError when only one of the two is configured, or the folder cannot be used.
    """
    secret = config.livekit_api_secret.get_secret_value()
    if bool(config.livekit_api_key) != bool(secret):
        missing = "LIVEKIT_API_SECRET" if config.livekit_api_key else "LIVEKIT_API_KEY"
        raise ConfigError(f"{missing} is missing: set both, or neither to have them generated")
    if secret:
        return ApiKeys(config.livekit_api_key, secret, "from the configuration")
    path = config.data / KEYS_FILE_NAME
    try:
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileExistsError):
            _write_keys(path)
        key, _, secret = path.read_text(encoding="utf-8").strip().partition(": ")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot keep the API key in {path}: {error}") from error
    if not key or not secret:
        raise ConfigError(f"{path} does not hold 'key: secret'; delete it to have a new one")
    keep_secret(secret)
    return ApiKeys(key, secret, f"from {path}")


def server_api_keys(config: Config) -> ApiKeys:
    """The key and secret of the LiveKit server at `livekit_url`, which must be configured.

    Raises ConfigError.
    """
    if not config.livekit_api_key and not config.livekit_api_secret.get_secret_value():
        raise ConfigError(
            f"{config.livekit_url} wants an API key; set LIVEKIT_API_KEY and LIVEKIT_API_SECRET "
            "to those of that server (if it was started with --dev: devkey and secret)"
        )
    return load_api_keys(config)


def worker_environment(config: Config, keys: ApiKeys, url: str) -> dict[str, str]:
    """The environment of an agent process that shall register at `url` with these settings.

    Secrets travel here, because a command line can be read by everybody on the machine.
    """
    settings = {
        f"{_ENV_PREFIX}{name.upper()}": str(getattr(config, name))
        for name in _ENGINE_SETTINGS + _NETWORK_SETTINGS
        if getattr(config, name)
    }
    ecosystem = {
        "LIVEKIT_URL": url,
        "LIVEKIT_API_KEY": keys.key,
        "LIVEKIT_API_SECRET": keys.secret,
    } | {name.upper(): _plain(getattr(config, name)) for name in _SERVICE_SETTINGS}
    return {**os.environ, **settings, **{name: text for name, text in ecosystem.items() if text}}


def share_metrics(folder: Path) -> None:
    """From now on this process and its children count into `folder` (prometheus-client).

    Call it before prometheus-client is imported, which reads the variable only then.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)


def _write_keys(path: Path) -> None:
    """Write the file as a whole or not at all; raises FileExistsError if it is there."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"API{secrets.token_hex(6)}: {secrets.token_urlsafe(32)}\n")
        os.link(draft, path)
    finally:
        draft.unlink()


def _plain(value: SecretStr | str) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _keep_secrets(config: Config) -> None:
    """From now on none of them is shown, whoever repeats them to us."""
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, SecretStr):
            keep_secret(value.get_secret_value())
    addresses = (
        config.openai_base_url,
        config.ollama_url,
        config.azure_openai_endpoint,
        config.azure_speech_endpoint,
        config.azure_voice_live_endpoint,
    )
    for url in (*addresses, *config.webhooks):
        _keep_credentials(url)
    for server in config.ice_servers:
        keep_secret(IceServerSpec.parse(server).credential)


def _keep_credentials(url: str) -> None:
    with suppress(ValueError):  # what is no URL is found where it is used
        parts = urlsplit(url)
        for text in (
            parts.username,
            parts.password,
            *(value for _, value in parse_qsl(parts.query)),
        ):
            keep_secret(text or "")
            keep_secret(unquote(text or ""))
        if parts.username or parts.password:
            keep_secret(_basic(unquote(parts.username or ""), unquote(parts.password or "")))


def _basic(user: str, password: str) -> str:
    """As they are sent, and as a service may repeat them (RFC 7617)."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _origins(config: Config, flags: Mapping[str, Any], path: Path | None) -> dict[str, str]:
    """Where each setting was made that was made."""
    return {
        name: _where(name, flags, path) for name in config.model_fields_set if getattr(config, name)
    }


def _where(name: str, flags: Mapping[str, Any], path: Path | None) -> str:
    """Which flag, variable or key of the file sets it, the strongest first."""
    if name in flags:
        return f"--{_REPEATED_FLAGS.get(name, name)}".replace("_", "-")
    field = Config.model_fields.get(name)
    prefix = "" if field is not None and field.validation_alias else _ENV_PREFIX
    variable = f"{prefix}{name.upper()}"
    return variable if os.environ.get(variable) else f"{name} in {path}"


def _config_file(file: Path | None) -> Path | None:
    chosen = file or Path(os.environ.get(f"{_ENV_PREFIX}CONFIG") or FILE_NAME).expanduser()
    if chosen.is_file():
        return chosen
    if file is not None or os.environ.get(f"{_ENV_PREFIX}CONFIG"):
        raise ConfigError(f"there is no file {chosen}")
    return None


def _complaint(item: Any, flags: Mapping[str, Any], path: Path | None) -> str:
    """One error of pydantic in the operator's words: which setting, where it was set, why."""
    name = str(item["loc"][0]).lower() if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        return f"{path}: there is no setting {name!r}; there are {', '.join(Config.model_fields)}"
    return f"{_where(name, flags, path)}: {item['msg'].removeprefix('Value error, ')}"
