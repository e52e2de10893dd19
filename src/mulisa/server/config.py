"""What the gateway is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mulisa.core.room import Identity, Topology
from mulisa.server.tls import TlsConfig
from mulisa.transport.mesh.signaling import IceServer

PAGE_FOLDER: Final = Path(__file__).parent / "page"
"""Where the build of ``web/`` puts the page."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """One gateway."""

    api_key: str
    api_secret: str = field(repr=False)
    data_dir: Path
    """Where the agent process writes the transcript; the gateway only reads it."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes any free port; the event `Listening` says which."""
    tls: TlsConfig | None = None
    """None: plain http, which browsers give a microphone on this machine only."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of reverse proxies besides those of this machine."""
    topology: Topology = "sfu"
    """In which a room is opened unless whoever opens it says otherwise."""
    livekit_url: str = ""
    """WebSocket base of the LiveKit server that has the rooms of topology ``sfu``; it must know
    `api_key`. Empty: the embedded SFU has them.
    """
    rtc_port: int = 8001
    """UDP and TCP port of the embedded SFU; 0 takes any free one."""
    public_address: str = ""
    """IP address that people outside reach the embedded SFU at, if the machine does not have it."""
    ice_servers: tuple[IceServer, ...] = ()
    """TURN servers without credentials are those that share `turn_secret`."""
    turn_secret: str = field(default="", repr=False)
    webhooks: tuple[str, ...] = ()
    """URLs that are told what happens on the embedded SFU, as LiveKit's webhooks tell it."""
    agent: bool = True
    """False: no agent process belongs to this gateway, and one may still register."""
    agent_identity: Identity = Identity("mulisa")
    agent_name: str = "Mulisa"
    page_folder: Path = PAGE_FOLDER
    token_burst: int = 60
    """Tokens that one address may ask for at once."""
    token_rate: float = 1.0
    """Tokens per second that one address may ask for in the long run."""
    join_burst: int = 60
    """Times that people of one address may join at once: a page that comes back, a whole office."""
    join_rate: float = 5.0
    """Joins per second of people of one address in the long run."""
    departure_timeout: float = 15.0
    """Seconds an agent stays with nobody; a reload must not lose her."""
    api_burst: int = 100
    """Requests to the RoomService and its siblings that one address may make at once."""
    api_rate: float = 50.0
    """The same per second in the long run."""
    routing_timeout: float = 10.0
    """Seconds for an agent to confirm that a change of her routing holds."""
