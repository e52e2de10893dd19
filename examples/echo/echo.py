"""An echo participant: sends back what it hears of the person who spoke last.

    .venv/bin/python examples/echo/echo.py ws://localhost:8000 TOKEN

TOKEN is a room token, for example from `POST /api/rooms/{room}/token`. This is all that a
participant needs of Mulisa's mesh transport; `bench/response.py` measures with it what the media
path costs without any engine.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from mulisa.core.events import TrackSubscribed
from mulisa.core.room import Identity
from mulisa.transport.mesh.transport import MeshTransport


async def echo(transport: MeshTransport, identity: Identity) -> None:
    """Every frame of one person goes back to the room as it comes."""
    async for frame in transport.frames(identity):
        transport.send_frame(frame.samples)


async def main(url: str, token: str) -> None:
    """Stay until the room is gone or Ctrl-C."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with MeshTransport(url, token) as transport, asyncio.TaskGroup() as tasks:
        async for event in transport.events():
            if isinstance(event, TrackSubscribed):
                tasks.create_task(echo(transport, event.identity))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
