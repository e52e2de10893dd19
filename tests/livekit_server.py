"""A real LiveKit server on free ports of loopback, as a child process.

The fixture `livekit` of `tests/conftest.py` is one for the whole run; a test that stops or
configures its server starts its own with the fixture `livekit_program`.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from mulisa.compare.coturn import RELAY_PORTS
from tests.network import free_port
from tests.sfu_server import KEY, SECRET, SfuServer


class LiveKitServer(SfuServer):
    """See `SfuServer`."""

    def __init__(
        self, program: str, *, turn: bool = False, config: Mapping[str, Any] | None = None
    ) -> None:
        """`turn` switches its own TURN server on; `config` is merged into its configuration."""
        super().__init__()
        self._program = program
        self.turn_port = free_port(socket.SOCK_DGRAM)
        self._config = {
            "port": self.port,
            "bind_addresses": ["127.0.0.1"],
            "keys": {KEY: SECRET},
            "rtc": {
                "tcp_port": self.tcp_port,
                "udp_port": self.udp_port,
                "use_external_ip": False,
                "node_ip": "127.0.0.1",
                "enable_loopback_candidate": True,
            },
            "logging": {"level": "info"},
        }
        if turn:
            addresses = ["127.0.0.1"]  # from any, its answers would come from another one
            self._config["turn"] = {
                "enabled": True,
                "udp_port": self.turn_port,
                "bind_addresses": addresses,
                "relay_range_start": RELAY_PORTS.start,
                "relay_range_end": RELAY_PORTS.stop - 1,
            }
        _merge(self._config, config or {})

    def command(self) -> Sequence[str]:
        """See `SfuServer`."""
        return (self._program, "--config-body", json.dumps(self._config))


def _merge(into: dict[str, Any], config: Mapping[str, Any]) -> None:
    for key, value in config.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value
