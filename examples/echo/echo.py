"""An echo participant: sends back what it hears of the person who spoke last.

    .venv/bin/python examples/echo/echo.py ws://localhost:8000 TOKEN
    .venv/bin/python examples/echo/echo.py ws://localhost:7880 TOKEN sfu

TOKEN is a room token, for example from `POST /api/rooms/{room}/token`; with `sfu` the URL is that
of a LiveKit server. This is all that a participant needs of Mulisa's transports;
`bench/response.py` measures with it what the media path costs without any engine.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import numpy as np

from mulisa.core.events import TrackSubscribed
from mulisa.core.room import Identity, Topology
from mulisa.core.routing import Routing
from mulisa.core.transport import Transport
from mulisa.worker.topologies import open_transport

FAINT = 32
"""Amplitude (int16), -60 dBFS: no word begins below it."""


async def echo(transport: Transport, identity: Identity) -> None:
    """What one person says goes back to the room as it comes; silence is the transport's to send.

    Sent as speech, silence would come on top of what a transport fills a gap with, and all that
    follows would be late.
    """
    async for frame in transport.frames(identity):
        if np.max(np.abs(frame.samples.astype(np.int32))) > FAINT:
            transport.send_frame(frame.samples)


async def main(url: str, token: str, topology: Topology = "mesh") -> None:
    """Stay until the room is gone or Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    transport = open_transport(topology, url, token, Routing())
    async with transport, asyncio.TaskGroup() as tasks:
        async for event in transport.events():
            if isinstance(event, TrackSubscribed):
                tasks.create_task(echo(transport, event.identity))


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[3:] not in ([], ["mesh"], ["sfu"]):
        sys.exit(__doc__)
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2], "sfu" if "sfu" in sys.argv[3:] else "mesh"))
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
