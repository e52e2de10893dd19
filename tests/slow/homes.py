"""People at home: a browser in a network namespace each, and the servers they have in common."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from playwright.async_api import async_playwright

from mulisa.compare.browser import FLAGS
from mulisa.compare.coturn import TurnServer
from mulisa.compare.homes import PORT, PathSeen, paths_of
from mulisa.compare.internet import Internet
from mulisa.compare.namespaces import Namespace, program_in
from mulisa.compare.ways import Nat
from mulisa.core.room import Topology
from tests.browser.people import Person, person_in, until
from tests.browser.server import Program, Server
from tests.turn_server import turn_program

TURN_PORT: Final = 3478
SECRET: Final = "shared-for-tests"
SCRIPTED: Final = ("--stt", "scripted", "--llm", "scripted", "--tts", "scripted")


class Inhabitant:
    """Somebody at home, and what their NAT is like."""

    def __init__(self, nat: Nat, person: Person, url: str) -> None:
        self.nat: Nat = nat
        self.person = person
        self._url = url
        self.identity = ""

    @property
    def name(self) -> str:
        """In the room."""
        return self.person.name

    async def enter(self, room: str, options: str = "") -> None:
        """Join."""
        await self.person.enter(self._url, room, options)
        self.identity = await self.person.identity()

    async def paths(self) -> dict[str, PathSeen]:
        """All connections, by the name of where they lead."""
        return await paths_of(self.person.page)

    async def path_to(self, name: str) -> PathSeen:
        """Wait until this connection has a path."""
        paths = await until(
            self.paths,
            lambda paths: name in paths and bool(paths[name].local),
            f"a path from {self.name} to {name}",
        )
        return paths[name]


class Public:
    """A gateway with an agent, and coturn, on two hosts of the internet."""

    def __init__(self, server: Server, url: str, turn: TurnServer, log: Path) -> None:
        self.server = server
        self.url = url
        self.turn = turn
        self.log = log


def ways(log: Path) -> list[str]:
    """Types of candidates of an agent's connections that are over, its own first, as they ended."""
    return re.findall(r"a connection ends; packets went (\w+ to \w+)", log.read_text())


@contextmanager
def public(
    net: Internet,
    folder: Path,
    topology: Topology,
    servers: Sequence[str],
    *options: str,
    host: Namespace | None = None,
    address: str = "",
) -> Iterator[Public]:
    """`servers` are those of ``stun``, ``udp``, ``tcp`` and ``tls`` that people are told of.

    The gateway is on `host`, which people reach at `address`, or on a public one.
    """
    program = turn_program()
    relay, host = net.host("relay", 20), host or net.host("server", 10)
    turn = TurnServer(
        program,
        folder,
        address=relay.address,
        port=TURN_PORT,
        tls_port=TURN_PORT + 1,
        secret=SECRET,
        prefix=relay.prefix,
    )
    given = [part for each in servers for part in ("--ice-server", turn.url(each))]
    log = folder / "server.log"
    try:
        with log.open("w") as file:
            server = Server(
                folder / "data",
                *SCRIPTED,
                *("--host", "0.0.0.0", "--port", str(PORT), "--turn-secret", SECRET, "--debug"),
                *given,
                *options,
                environment=environment(turn),
                log=file,
                topology=topology,
                prefix=host.prefix,
            )
            try:
                if "--no-agent" not in options:
                    server.wait_for("agent_ready")
                yield Public(server, f"http://{address or host.address}:{PORT}", turn, log)
            finally:
                assert server.stop() == 0
    finally:
        turn.stop()


@contextmanager
def agent_at(home: Namespace, where: Public, folder: Path) -> Iterator[Path]:
    """An agent process there, which registers with that gateway; its log."""
    log = folder / "agent.log"
    with log.open("w") as file:
        url = where.url.replace("http", "ws")
        options = ("--url", url, "--data", str(folder / "agent"), "--debug", *SCRIPTED)
        given = environment(where.turn)
        agent = Program("worker", *options, environment=given, log=file, prefix=home.prefix)
        try:
            agent.wait_for("registered")
            yield log
        finally:
            assert agent.stop() == 0


def environment(turn: TurnServer) -> dict[str, str]:
    """Of our processes: one key, scripted ears, and trust in the relay's certificate."""
    return {
        "LIVEKIT_API_KEY": "key",
        "LIVEKIT_API_SECRET": SECRET * 2,
        "MULISA_VAD": "scripted",
        "SSL_CERT_FILE": str(turn.files.certificate),
    }


@asynccontextmanager
async def inhabitants(
    chromium: str, homes: Mapping[str, tuple[Nat, Namespace]], url: str, folder: Path
) -> AsyncIterator[list[Inhabitant]]:
    """A browser in each of these homes, by the name of who lives there."""
    flags = [
        *FLAGS,
        f"--unsafely-treat-insecure-origin-as-secure={url}",
        "--ignore-certificate-errors",
    ]
    async with async_playwright() as playwright, AsyncExitStack() as stack:

        async def move_in(name: str, nat: Nat, home: Namespace) -> Inhabitant:
            program = program_in(home, chromium, folder)
            browser = await playwright.chromium.launch(executable_path=program, args=flags)
            stack.push_async_callback(browser.close)
            return Inhabitant(nat, await person_in(browser, name), url)

        moves = [move_in(name, nat, home) for name, (nat, home) in homes.items()]
        yield list(await asyncio.gather(*moves))
