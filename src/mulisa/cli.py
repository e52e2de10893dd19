"""The command ``mulisa``: parses, calls, prints.

Exit codes: 0 fine, 1 failed, 2 wrong usage. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

import mulisa
from mulisa.console import Console, configure_logging
from mulisa.core.errors import ConfigError, InputError, MulisaError

if TYPE_CHECKING:
    from mulisa.config import Config
    from mulisa.core.room import RoomName

FAILED: Final = 1
WRONG_USAGE: Final = 2

_SERVICES: Final = """

\b
Services, by the keys in the environment; 'mulisa doctor' checks them:
  OpenAI and servers that speak its protocol   OPENAI_API_KEY, OPENAI_BASE_URL
  Azure OpenAI      AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY, OPENAI_API_VERSION
  Azure Speech      AZURE_SPEECH_KEY, AZURE_SPEECH_REGION (or AZURE_SPEECH_ENDPOINT)
  Azure Voice Live  AZURE_VOICE_LIVE_ENDPOINT, AZURE_VOICE_LIVE_API_KEY
  LiveKit plugins   whatever the plugin asks for, as DEEPGRAM_API_KEY for livekit:deepgram"""

app = typer.Typer(
    name="mulisa",
    help="Mulisa is an AI participant for voice rooms with several people.\n\n"
    "Begin with 'mulisa serve', open the link, and talk.",
    epilog="Settings: flags, then the environment (MULISA_..., LIVEKIT_..., OPENAI_..., "
    "AZURE_...), then mulisa.toml.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="ADDRESS",
        help="Listen here; 127.0.0.1 by default, 0.0.0.0 with --tls: the network (where browsers "
        "give a microphone to https only).",
    ),
]
TlsOption = Annotated[
    str | None,
    typer.Option(
        "--tls",
        metavar="auto|CERT,KEY",
        help="Serve https, with a certificate made here, or with yours: two files in PEM, which "
        "may be renewed meanwhile.",
    ),
]
TrustOption = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        metavar="CERT",
        help="Trust this certificate, too: of a 'mulisa serve --tls auto' elsewhere it is "
        "tls/certificate.pem in its data folder.",
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option("--port", metavar="PORT", help="8000 by default; 0 for any free one."),
]
TopologyOption = Annotated[
    str | None,
    typer.Option(
        "--topology",
        metavar="sfu|mesh",
        help="How rooms are opened: everybody connected to an SFU, which forwards (the default), "
        "or to everybody else; a link with ?topology=... chooses for its room.",
    ),
]
LiveKitOption = Annotated[
    str | None,
    typer.Option(
        "--livekit-url",
        metavar="URL",
        help="ws://HOST:PORT of a LiveKit server that carries the rooms instead of the embedded "
        "SFU (LIVEKIT_URL), with its LIVEKIT_API_KEY and LIVEKIT_API_SECRET in the environment.",
    ),
]
RtcPortOption = Annotated[
    int | None,
    typer.Option(
        "--rtc-port",
        metavar="PORT",
        help="Where the embedded SFU takes media, UDP and TCP: 8001 by default, any free one "
        "with 0 or beside --port 0. A firewall must let it through.",
    ),
]
PublicAddressOption = Annotated[
    str | None,
    typer.Option(
        "--public-address",
        metavar="ADDRESS",
        help="IP address at which people reach this machine, if it does not have it itself: "
        "behind a 1:1 NAT or in a container.",
    ),
]
MeshPortsOption = Annotated[
    str | None,
    typer.Option(
        "--mesh-ports",
        metavar="FIRST-LAST",
        help="UDP ports of her connections in a mesh, where a firewall lets only some through; "
        "any free ones by default.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder of transcripts and the generated key."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file instead of ./mulisa.toml."),
]
PersonaOption = Annotated[
    Path | None,
    typer.Option(
        "--persona",
        metavar="FILE",
        help="TOML with name, identity, aliases, instructions, language.",
    ),
]
SttOption = Annotated[
    str | None,
    typer.Option(
        "--stt",
        metavar="E[,E]",
        help="Hearing: local (whisper), whisper:base.en, whisper:/model, openai, azure, "
        "livekit:PLUGIN. With commas a chain, as openai,local: where one fails, the next takes "
        "over.",
    ),
]
LlmOption = Annotated[
    str | None,
    typer.Option(
        "--llm",
        metavar="E[,E]",
        help="Thinking: openai:gpt-4o-mini, azure:DEPLOYMENT, ollama:llama3.2, livekit:PLUGIN, "
        "concierge; or a chain. By default OpenAI if OPENAI_API_KEY or OPENAI_BASE_URL is set, "
        "else Azure OpenAI if AZURE_OPENAI_API_KEY is, else Ollama if it runs here, else "
        "concierge.",
    ),
]
TtsOption = Annotated[
    str | None,
    typer.Option(
        "--tts",
        metavar="E[,E]",
        help="Speaking: local (piper), piper:/path/voice.onnx, openai:/VOICE, azure:VOICE, "
        "livekit:PLUGIN/MODEL; or a chain.",
    ),
]
RealtimeOption = Annotated[
    str | None,
    typer.Option(
        "--realtime",
        metavar="E",
        help="Hearing, thinking and speaking in one: openai, openai:MODEL, azure (Voice Live), "
        "none (the default). What it cannot do the other engines do.",
    ),
]
PatienceOption = Annotated[
    float | None,
    typer.Option(
        "--patience",
        metavar="SECONDS",
        help="In a chain: how long an engine may take to begin before the next one is asked; 1.2 "
        "by default. More for a model that is slow and worth it.",
    ),
]
BudgetOption = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="LIMITS",
        help="The most that services may do for one room, as "
        "seconds=3600,tokens=200000,characters=50000 (of sound, of language models, of speech); "
        "then free engines of the chains go on.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Log everything, with tracebacks.")]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        print(f"mulisa {mulisa.__version__}")
        raise typer.Exit


@app.command(
    short_help="Serve the talking room, with Mulisa in it.",
    epilog="\b\nExamples:\n"
    "  mulisa serve                           the room at http://localhost:8000\n"
    "  mulisa serve --llm openai:gpt-4o-mini  with OPENAI_API_KEY set\n"
    "  mulisa serve --stt openai,local --tts azure,local   local engines when a service fails\n"
    "  mulisa serve --stt livekit:deepgram    any LiveKit plugin that is installed\n"
    "  mulisa serve --realtime openai --budget seconds=3600   speech to speech, an hour a room\n"
    "  mulisa serve --tls auto                for phones and others in your network, too\n"
    "  mulisa serve --no-agent                the room alone; 'mulisa worker' may join it\n"
    "  mulisa serve --public-address 203.0.113.7   in a container, or behind a 1:1 NAT\n"
    "  mulisa serve --ice-server turn:turn.example.org:3478 --turn-secret ...   with coturn's\n"
    "      static-auth-secret; MULISA_TURN_SECRET in the environment is not seen in 'ps'\n"
    "  mulisa serve --livekit-url ws://HOST:7880   rooms on a LiveKit server, with\n"
    "      LIVEKIT_API_KEY and LIVEKIT_API_SECRET set (devkey and secret if it runs with --dev)"
    + _SERVICES,
)
def serve(
    host: HostOption = None,
    port: PortOption = None,
    tls: TlsOption = None,
    topology: TopologyOption = None,
    livekit_url: LiveKitOption = None,
    stt: SttOption = None,
    llm: LlmOption = None,
    tts: TtsOption = None,
    realtime: RealtimeOption = None,
    patience: PatienceOption = None,
    budget: BudgetOption = None,
    persona: PersonaOption = None,
    no_agent: Annotated[
        bool, typer.Option("--no-agent", help="Start the room without Mulisa.")
    ] = False,
    ice_server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="stun:HOST:PORT, turn:USER:PASSWORD@HOST:PORT, or turn:HOST:PORT with "
            "--turn-secret; may be given several times.",
        ),
    ] = None,
    turn_secret: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            help="Shared with the TURN servers (coturn: use-auth-secret): everybody gets "
            "credentials of their own, valid for 12 hours.",
        ),
    ] = None,
    rtc_port: RtcPortOption = None,
    public_address: PublicAddressOption = None,
    mesh_ports: MeshPortsOption = None,
    webhook: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Is told who comes and goes, signed as LiveKit signs it; may be given several "
            "times.",
        ),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address or network of a reverse proxy in front of this that is not on this "
            "machine; its X-Forwarded-... are believed. May be given several times.",
        ),
    ] = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Serve the talking room, with Mulisa in every room that has people."""
    console = Console(as_json=as_json, quiet=quiet)
    _headline(console)
    configure_logging(debug=debug, quiet=quiet)
    settings = _settings(
        console,
        config,
        host=host,
        port=port,
        tls=tls,
        trusted_proxies=tuple(trusted_proxy) if trusted_proxy else None,
        topology=topology,
        livekit_url=livekit_url,
        stt=stt,
        llm=llm,
        tts=tts,
        realtime=realtime,
        patience=patience,
        budget=budget,
        persona=persona,
        agent=False if no_agent else None,
        ice_servers=tuple(ice_server) if ice_server else None,
        turn_secret=turn_secret,
        rtc_port=rtc_port,
        public_address=public_address,
        mesh_ports=mesh_ports,
        webhooks=tuple(webhook) if webhook else None,
        data=data,
    )
    _check(console, settings)
    _check_server(console, settings)
    _check_tls(console, settings)
    with _failures(console, debug=debug):
        from mulisa.serving import run_until_interrupted, serve_room

        run_until_interrupted(serve_room(settings, console, debug=debug))


@app.command(
    short_help="Run Mulisa alone, for a server elsewhere.",
    epilog="\b\nExamples:\n"
    "  mulisa worker                          one more for the 'mulisa serve' of this machine\n"
    "  mulisa worker --url ws://HOST:8000     with LIVEKIT_API_KEY and LIVEKIT_API_SECRET set\n"
    "  mulisa worker --url wss://HOST:8000 --trust CERT   the same if it serves with --tls auto\n"
    "  mulisa worker --url wss://my.livekit.example   every room of a LiveKit server or cluster\n"
    "  mulisa worker --url ... --agent-name mulisa    only rooms that ask for 'mulisa'\n"
    "  mulisa worker --stt azure,local --llm openai,concierge   chains of engines" + _SERVICES,
)
def worker(
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            "--livekit-url",
            metavar="URL",
            help="ws://HOST:PORT of a 'mulisa serve' or a LiveKit server (LIVEKIT_URL); "
            "ws://localhost:8000 by default.",
        ),
    ] = None,
    agent_name: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="For LiveKit's explicit dispatch: take only rooms that ask for NAME "
            "(AgentDispatchService, or roomConfig.agents of a token).",
        ),
    ] = "",
    public_address: PublicAddressOption = None,
    mesh_ports: MeshPortsOption = None,
    stt: SttOption = None,
    llm: LlmOption = None,
    tts: TtsOption = None,
    realtime: RealtimeOption = None,
    patience: PatienceOption = None,
    budget: BudgetOption = None,
    persona: PersonaOption = None,
    trust: TrustOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Run an agent process alone: it registers with a server and takes its rooms."""
    console = Console(as_json=as_json, quiet=quiet or supervised)
    _headline(console)
    configure_logging(debug=debug, quiet=quiet)
    settings = _settings(
        console,
        config,
        livekit_url=url,
        public_address=public_address,
        mesh_ports=mesh_ports,
        stt=stt,
        llm=llm,
        tts=tts,
        realtime=realtime,
        patience=patience,
        budget=budget,
        persona=persona,
        trust=trust,
        data=data,
    )
    if supervised:
        from mulisa.worker.parent import end_with_parent

        end_with_parent()
    else:
        _check(console, settings)
    with _trusting(console, settings), _failures(console, debug=debug, told=True):
        from mulisa.announce import Announcer
        from mulisa.serving import run_until_interrupted
        from mulisa.worker.status import tell_parent
        from mulisa.working import take_part

        announce = tell_parent if supervised else Announcer(console, "", "worker")
        run_until_interrupted(take_part(settings, announce, agent_name))


@app.command(
    short_help="Join one room of a server elsewhere.",
    epilog="\b\nExamples, with LIVEKIT_API_KEY and LIVEKIT_API_SECRET set:\n"
    "  mulisa join --room standup --url ws://localhost:7880\n"
    "  mulisa join --room standup --url wss://my.livekit.example --llm openai:gpt-4o-mini\n"
    "  mulisa join --room standup --url ... --stt openai,local --budget tokens=200000\n\n"
    "\b\nOf an application on mediasoup that speaks its demo's protoo:\n"
    "  mulisa join --room standup --mediasoup wss://my.mediasoup.example:4443"
    + _SERVICES
    + "\n\nEnds with code 0 on Ctrl-C or when somebody removes her, "
    "1 if the server refuses the key.",
)
def join(
    room: Annotated[str, typer.Option("--room", metavar="ROOM", help="Name of the room.")],
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            "--livekit-url",
            metavar="URL",
            help="ws://HOST:PORT of a LiveKit server (LIVEKIT_URL).",
        ),
    ] = None,
    mediasoup: Annotated[
        str | None,
        typer.Option(
            "--mediasoup",
            metavar="URL",
            help="wss://HOST:PORT of a mediasoup application instead: its protoo WebSocket.",
        ),
    ] = None,
    stt: SttOption = None,
    llm: LlmOption = None,
    tts: TtsOption = None,
    realtime: RealtimeOption = None,
    patience: PatienceOption = None,
    budget: BudgetOption = None,
    persona: PersonaOption = None,
    relay: Annotated[
        bool, typer.Option("--relay", help="Through the server's TURN servers only.")
    ] = False,
    trust: TrustOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Join one room of a LiveKit server or of a mediasoup application, and stay in it."""
    console = Console(as_json=as_json, quiet=quiet)
    _headline(console)
    configure_logging(debug=debug, quiet=quiet)
    settings = _settings(
        console,
        config,
        livekit_url=url,
        stt=stt,
        llm=llm,
        tts=tts,
        realtime=realtime,
        patience=patience,
        budget=budget,
        persona=persona,
        trust=trust,
        data=data,
    )
    name = _room_name(console, room)
    _check(console, settings)
    if mediasoup is not None:
        _check_mediasoup(console, mediasoup, url=url, relay=relay)
    elif not settings.livekit_url:
        _stop(
            console,
            "which server? name it with --url or LIVEKIT_URL, or with --mediasoup",
            WRONG_USAGE,
        )
    else:
        _check_server(console, settings)
    with _trusting(console, settings), _failures(console, debug=debug, told=True):
        from mulisa.announce import Announcer
        from mulisa.serving import run_until_interrupted
        from mulisa.working import RoomToJoin, join_room

        announce = Announcer(console, "", "join")
        wanted = RoomToJoin(name, relay, mediasoup or "")
        run_until_interrupted(join_room(settings, wanted, announce))


@app.command(
    epilog="\b\nExamples:\n"
    "  mulisa transcript standup\n"
    "  mulisa transcript standup --format vtt > standup.vtt"
)
def transcript(
    room: Annotated[str, typer.Argument(metavar="ROOM", help="Name of the room.")],
    export: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="txt, md, json or vtt.")
    ] = "txt",
    every_call: Annotated[
        bool, typer.Option("--all", help="All calls of the room, not only the latest.")
    ] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    debug: DebugOption = False,
) -> None:
    """Show what was said in a room, by whom, when."""
    console = Console()
    configure_logging(debug=debug)
    settings = _settings(console, config, data=data)
    with _failures(console, debug=debug):
        from mulisa.store.exports import EXPORTS
        from mulisa.store.transcript import TranscriptReader

        formats = {str(name): write for name, (write, _) in EXPORTS.items()}
        if export not in formats:
            _stop(console, f"--format is one of {', '.join(formats)}, not {export!r}", WRONG_USAGE)
        name = _room_name(console, room)
        reader = TranscriptReader(settings.data)
        found = reader.everything(name) if every_call else reader.latest(name)
        if found is None:
            rooms = ", ".join(reader.rooms()[:10]) or "none yet"
            _stop(
                console,
                f"nothing was said in the room {room!r}, says {settings.data}\n"
                f"rooms with words: {rooms}; another folder is chosen with --data",
                FAILED,
            )
        sys.stdout.write(formats[export](found))


@app.command(
    short_help="Measure mesh and SFU side by side.",
    epilog="\b\nExamples:\n"
    "  mulisa compare                         calls of 2 and of 4 people; some minutes\n"
    "  mulisa compare --participants 2        a first look, half as long\n"
    "  mulisa compare --full --out report     2, 3, 4 and 6 people, NATs, bad networks\n"
    "  mulisa compare --mediasoup ws://127.0.0.1:3000   a mediasoup application as well\n"
    "  mulisa compare --from result.json      the report again, without measuring\n\n"
    "Needs the extras 'compare' and 'local', and a Chromium (MULISA_CHROMIUM names another one);\n"
    "as root it sees every packet on the wire, too. Leave the machine alone meanwhile: sizes at\n"
    "which it was busy are marked.",
)
def compare(
    participants: Annotated[
        str | None,
        typer.Option(
            "--participants",
            metavar="N[,N]",
            help="People in each call, Mulisa not counted: 2,4 by default, 2,3,4,6 with --full.",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="More sizes and more trials, for percentiles.")
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Where report.html and result.json go; here by default."
        ),
    ] = Path("."),
    mediasoup: Annotated[
        str | None,
        typer.Option(
            "--mediasoup",
            metavar="URL",
            help="Measure a further SFU: ws://HOST:PORT of examples/mediasoup, which runs.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Measure nothing: make report.html of this result.json."
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure what a P2P mesh and an SFU cost, with real browsers and the real Mulisa.

    People are pages of a headless Chromium that speak with recorded voices; every call is held
    in both topologies. The answer is in report.html, all figures are in result.json.
    """
    console = Console(as_json=as_json, quiet=quiet)
    _headline(console)
    configure_logging(debug=debug, quiet=True)
    if source is not None and (full or participants or mediasoup):
        _stop(console, "--from measures nothing: leave out what else was said", WRONG_USAGE)
    if mediasoup is not None:
        _check_mediasoup(console, mediasoup)
    with _failures(console, debug=debug):
        if source is not None:
            from mulisa.compare.writing import report_again

            report_again(console, source, out)
            return
        try:
            from mulisa.compare.command import run
        except ImportError as error:
            raise ConfigError(
                f"{error.name} is not installed: pip install 'mulisa[compare,local]'"
            ) from error
        from mulisa.compare.scenario import parse_sizes

        try:
            sizes = parse_sizes(participants, full=full)
        except InputError as error:
            _stop(console, str(error), WRONG_USAGE)
        run(console, sizes, full=full, mediasoup=mediasoup or "", folder=out)


@app.command(short_help="Check what she needs; say how to mend it.")
def doctor(
    host: HostOption = None,
    port: PortOption = None,
    tls: TlsOption = None,
    livekit_url: LiveKitOption = None,
    rtc_port: RtcPortOption = None,
    stt: SttOption = None,
    llm: LlmOption = None,
    tts: TtsOption = None,
    realtime: RealtimeOption = None,
    patience: PatienceOption = None,
    budget: BudgetOption = None,
    persona: PersonaOption = None,
    data: DataOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Check engines, ports, keys, server and folders, and say how to mend what is missing."""
    console = Console()
    configure_logging(debug=debug)
    settings = _settings(
        console,
        config,
        host=host,
        port=port,
        tls=tls,
        livekit_url=livekit_url,
        rtc_port=rtc_port,
        stt=stt,
        llm=llm,
        tts=tts,
        realtime=realtime,
        patience=patience,
        budget=budget,
        persona=persona,
        data=data,
    )
    with _failures(console, debug=debug):
        import asyncio

        if asyncio.run(_examine(settings, as_json=as_json)):
            raise typer.Exit(FAILED)


async def _examine(settings: Config, *, as_json: bool) -> bool:
    """Print the checks; True if one of them failed."""
    from mulisa.doctor import examine

    checks = []
    async for check in examine(settings):
        checks.append(check)
        if not as_json:
            print(f"{check.status:<5} {check.name:<11} {check.found}", flush=True)
            if check.why:
                print(f"{'':<17} because {check.why}", flush=True)
            if check.mend:
                print(f"{'':<17} -> {check.mend}", flush=True)
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        print(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    return failed


def main() -> None:
    """Entry point of the command."""
    app()


def _headline(console: Console) -> None:
    version = mulisa.__version__
    console.headline(f"Mulisa {version}, Ctrl-C ends", "starting", version=version)


def _settings(console: Console, file: Path | None, **flags: Any) -> Config:
    from mulisa.config import load_config

    try:
        return load_config(flags, file)
    except ConfigError as error:
        _stop(console, str(error), WRONG_USAGE)


def _check(console: Console, settings: Config) -> None:
    """What can be found wrong before anything starts is wrong usage."""
    from mulisa.app import check_names

    try:
        check_names(settings)
    except ConfigError as error:
        _stop(console, str(error), WRONG_USAGE)


def _check_server(console: Console, settings: Config) -> None:
    """The same for the LiveKit server that is to be used, if there is one."""
    from mulisa.config import server_api_keys

    try:
        if settings.livekit_url:
            server_api_keys(settings)
    except ConfigError as error:
        _stop(console, str(error), WRONG_USAGE)


def _check_mediasoup(
    console: Console, mediasoup: str, *, url: str | None = None, relay: bool = False
) -> None:
    """The same for a mediasoup application."""
    from mulisa.core.room import Identity, RoomName
    from mulisa.transport.mediasoup.address import room_url

    if url is not None:
        _stop(console, "--url and --mediasoup are two servers: name one of them", WRONG_USAGE)
    if relay:
        _stop(console, "--relay is for LiveKit servers: mediasoup has no relays", WRONG_USAGE)
    try:
        room_url(mediasoup, RoomName("room"), Identity("mulisa"))
    except ConfigError as error:
        _stop(console, f"--mediasoup: {error}", WRONG_USAGE)


def _check_tls(console: Console, settings: Config) -> None:
    """The same for the operator's certificate."""
    from mulisa.https import check_certificate, tls_config

    tls = tls_config(settings)
    try:
        if tls and not tls.is_self_made:
            check_certificate(tls)
    except ConfigError as error:
        _stop(console, str(error), WRONG_USAGE)


@contextmanager
def _trusting(console: Console, settings: Config) -> Iterator[None]:
    """Trust the certificate of the settings while inside; before anything speaks TLS."""
    if settings.trust is None:
        yield
        return
    from mulisa.scratch import ScratchFolder
    from mulisa.trust import trust

    with ScratchFolder("trust") as folder:
        try:
            trust(settings.trust, folder.path)
        except ConfigError as error:
            _stop(console, str(error), WRONG_USAGE)
        yield


def _room_name(console: Console, text: str) -> RoomName:
    from mulisa.core.room import parse_room_name

    try:
        return parse_room_name(text)
    except InputError as error:
        _stop(console, str(error), WRONG_USAGE)


@contextmanager
def _failures(console: Console, *, debug: bool, told: bool = False) -> Iterator[None]:
    """Turn what fails into exit code 1, with a message unless `told`; Ctrl-C is no failure."""
    try:
        yield
    except KeyboardInterrupt:
        console.end_loading()
    except MulisaError as error:
        if debug:
            raise
        if told:
            raise typer.Exit(FAILED) from error
        _stop(console, str(error), FAILED)


def _stop(console: Console, message: str, code: int) -> NoReturn:
    console.error(message)
    raise typer.Exit(code)
