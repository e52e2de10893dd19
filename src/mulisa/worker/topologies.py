"""Which transport takes an agent into a room of a topology."""

from __future__ import annotations

from mulisa.core.errors import TransportError
from mulisa.core.room import Topology
from mulisa.core.transport import Transport


def open_transport(topology: Topology, url: str, token: str) -> Transport:
    """A transport that is not entered yet. `url` is the WebSocket base of the server.

    Raises TransportError for a topology that this version cannot join.
    """
    if topology == "mesh":
        from mulisa.transport.mesh.transport import MeshTransport  # loads aiortc

        return MeshTransport(url, token)
    raise TransportError(f"no transport for topology {topology!r}", retryable=False)
