"""Which transport takes an agent into a room of a topology."""

from __future__ import annotations

from mulisa.core.room import Topology
from mulisa.core.routing import Routing
from mulisa.core.transport import Transport
from mulisa.transport.mesh.network import MeshNetwork


def open_transport(
    topology: Topology,
    url: str,
    token: str,
    routing: Routing,
    network: MeshNetwork = MeshNetwork(),  # noqa: B008 - it is frozen
) -> Transport:
    """A transport that is not entered yet. `url` is the WebSocket base of the server.

    `routing` holds from the first packet on.
    """
    if topology == "mesh":
        from mulisa.transport.mesh.transport import MeshTransport  # loads aiortc

        return MeshTransport(url, token, routing=routing, network=network)
    from mulisa.transport.sfu.transport import SFUTransport  # loads the livekit SDK

    return SFUTransport(url, token, routing=routing)
