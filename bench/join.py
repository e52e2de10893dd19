"""From connecting to the first sound heard: the embedded SFU and a LiveKit server, paired.

    .venv/bin/python bench/join.py                      Python SDK and Chromium, 100 trials of each
    .venv/bin/python bench/join.py --clients python     without a browser
    .venv/bin/python bench/join.py --stacks embedded    without a LiveKit server

Somebody in a room speaks without a pause, on the livekit SDK. A trial is a client that connects to
the room, hears an audible sample, and leaves: the Python SDK in this process, or livekit-client in
Chromium, whose page and audio context are there before. Trials take turns between the servers.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from aiohttp import web
from livekit import rtc
from playwright.async_api import Error as PlaywrightError
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench._people import PATIENCE, Ear, Frames, person_in
from bench._report import circumstances, in_milliseconds, write
from bench._rtc_servers import STACKS, Sfu, Stack, running, stacks_of

from mulisa.compare.browser import browser_at, chromium
from mulisa.core.audio import FRAME_DURATION, FRAME_SAMPLES, SAMPLE_RATE_HZ, AudioFrame
from mulisa.core.room import Identity
from mulisa.providers.tones import tone

Client: TypeAlias = Literal["python", "chromium"]
Join: TypeAlias = Callable[[str, str], Awaitable[float]]
"""Connects to a URL with a token, and says how long it took until something was heard, in s."""
SPEAKER = Identity("speaker")
REST = 0.2
"""Seconds after a client has left."""

_ROOT = Path(__file__).parents[1]
_SDK = _ROOT / "web" / "node_modules" / "livekit-client" / "dist"
_PAGE = """<!doctype html>
<script src="/sdk/livekit-client.umd.js"></script>
<script>
const audible = `registerProcessor("audible", class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (!samples?.some((sample) => Math.abs(sample) > 0.018)) return true;
    this.port.postMessage(true);
    return false;
  }
});`;
let context;
async function open() {
  context = new AudioContext({sampleRate: 48000});
  const source = URL.createObjectURL(new Blob([audible], {type: "text/javascript"}));
  await context.audioWorklet.addModule(source);
  await context.resume();
}
function hear(track) {
  track.attach();
  const source = context.createMediaStreamSource(new MediaStream([track.mediaStreamTrack]));
  const ear = new AudioWorkletNode(context, "audible");
  source.connect(ear);
  return new Promise((resolve) => {
    ear.port.onmessage = () => {
      const heardAt = performance.now();
      source.disconnect();
      track.detach();
      resolve(heardAt);
    };
  });
}
async function join(url, token) {
  const room = new LivekitClient.Room();
  const heard = new Promise((resolve) => {
    room.on(LivekitClient.RoomEvent.TrackSubscribed, (track) => resolve(hear(track)));
  });
  const begin = performance.now();
  try {
    await room.connect(url, token);
    return await heard - begin;
  } finally {
    await room.disconnect();
  }
}
</script>
"""


def main() -> None:
    """Measure, print a table, and keep it as JSON if asked."""
    options = parse()
    options.stacks = stacks_of(options.stacks)
    with running(options.stacks) as sfus:
        rows = asyncio.run(measure(sfus, options))
    result = {"benchmark": "join", "clients": rows, "paired": paired(rows)}
    show(result)
    write(result | circumstances("livekit", "mulisa"), options.json)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known: tuple[Client, ...] = get_args(Client)
    parser.add_argument("--clients", choices=known, nargs="+", default=known)
    parser.add_argument("--stacks", choices=STACKS, nargs="+", help="all that are here by default")
    parser.add_argument("--trials", type=int, default=100, help="at least 100 for a p95")
    parser.add_argument(
        "--chromium",
        default=chromium(),
        metavar="PATH",
        help="the browser; what `make` has found, or one on the PATH, by default",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--small", action="store_true", help="a quick look, no p95 to rely on")
    options = parser.parse_args()
    if options.small:
        options.trials = 5
    if "chromium" in options.clients and not (options.chromium and _SDK.exists()):
        parser.error("no browser or no livekit-client here: run `make`, or say --clients python")
    return options


async def measure(
    sfus: Mapping[Stack, Sfu], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """By client and server: how long it took, and how often it failed."""
    rows: dict[str, dict[str, Any]] = {}
    async with AsyncExitStack() as stack:
        for sfu in sfus.values():
            await stack.enter_async_context(speaker(sfu))
        for client in options.clients:
            join = await stack.enter_async_context(_CLIENTS[client](options))
            rows[client] = await trials(client, join, sfus, options.trials)
    return rows


async def trials(
    client: Client, join: Join, sfus: Mapping[Stack, Sfu], count: int
) -> dict[str, Any]:
    """The first of each server is not counted: it loads what clients share."""
    took: dict[Stack, list[float]] = {name: [] for name in sfus}
    failed = dict.fromkeys(sfus, 0)
    for trial in range(count + 1):
        for name, sfu in sfus.items():
            token = sfu.token(f"{client}-{trial}", "room")
            try:
                async with asyncio.timeout(PATIENCE):
                    seconds = await join(websocket_url(sfu), token)
            except (TimeoutError, rtc.ConnectError, PlaywrightError) as error:
                print(f"\n{client}, {name}: {error!r}", file=sys.stderr)
                failed[name] += 1
                continue
            if trial:
                took[name].append(seconds)
            await asyncio.sleep(REST)
        print(f"\r{client}: {trial} of {count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {name: in_milliseconds(took[name]) | {"failed": failed[name]} for name in sfus}


@asynccontextmanager
async def speaker(sfu: Sfu) -> AsyncIterator[None]:
    """Somebody who does not stop."""
    async with person_in("sfu", websocket_url(sfu), sfu.token(SPEAKER, "room"), ()) as person:
        task = asyncio.create_task(speak(person.send))
        try:
            yield
        finally:
            task.cancel()


async def speak(send: Callable[[Any], None]) -> None:
    """One pitch, 20 ms at a time, for ever."""
    word = tone(7, 1.0)[FRAME_SAMPLES:-FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        for frame in word:
            due += FRAME_DURATION
            await asyncio.sleep(due - loop.time())
            send(frame)


@asynccontextmanager
async def in_python(options: argparse.Namespace) -> AsyncIterator[Join]:
    """The livekit SDK in this process."""
    yield join_in_python


async def join_in_python(url: str, token: str) -> float:
    """See `Join`."""
    room, ear, loop = rtc.Room(), Ear(), asyncio.get_running_loop()
    listening: list[asyncio.Task[None]] = []

    def hear(track: rtc.Track, *_: object) -> None:
        listening.append(asyncio.create_task(ear.listen(frames_of(track))))

    room.on("track_subscribed", hear)
    begin = loop.time()
    try:
        await room.connect(url, token)
        return await ear.heard() - begin
    finally:
        for task in listening:
            task.cancel()
        await room.disconnect()


async def frames_of(track: rtc.Track) -> Frames:
    """What the SDK gives, when it gives it."""
    loop = asyncio.get_running_loop()
    stream = rtc.AudioStream.from_track(track=track, sample_rate=SAMPLE_RATE_HZ, num_channels=1)
    try:
        async for event in stream:
            yield AudioFrame(np.frombuffer(event.frame.data, dtype=np.int16), loop.time())
    finally:
        await stream.aclose()


@asynccontextmanager
async def in_chromium(options: argparse.Namespace) -> AsyncIterator[Join]:
    """livekit-client in one page of a browser."""
    async with hosted() as url, browser_at(options.chromium) as browser:
        page = await browser.new_page()
        await page.goto(url)
        await page.evaluate("open()")

        async def join(url: str, token: str) -> float:
            took: float = await page.evaluate("given => join(...given)", [url, token])
            return took / 1000

        yield join


@asynccontextmanager
async def hosted() -> AsyncIterator[str]:
    """Where the page is."""
    app = web.Application()
    app.router.add_get("/", _page)
    app.router.add_static("/sdk", _SDK)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _page(request: web.Request) -> web.Response:
    return web.Response(text=_PAGE, content_type="text/html")


_CLIENTS: Mapping[Client, Any] = {"python": in_python, "chromium": in_chromium}


def websocket_url(sfu: Sfu) -> str:
    """What a client is given."""
    return sfu.url.replace("http", "ws", 1)


def paired(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """By client: figures of the embedded SFU less those of LiveKit, ms."""
    return {
        client: {
            figure: round(row["embedded"][figure] - row["livekit"][figure], 1)
            for figure in ("p50_ms", "p95_ms")
        }
        for client, row in rows.items()
        if all(row.get(stack, {}).get("trials") for stack in STACKS)
    }


def show(result: Mapping[str, Any]) -> None:
    """As a table."""
    table = Table("client", "SFU", title="from connecting to the first sound")
    for column in ("trials", "failed", "p50 ms", "p95 ms", "max ms"):
        table.add_column(column, justify="right")
    for client, row in result["clients"].items():
        for stack, figures in row.items():
            names = ("trials", "failed", "p50_ms", "p95_ms", "max_ms")
            table.add_row(client, stack, *(str(figures.get(name, "-")) for name in names))
    Console().print(table)


if __name__ == "__main__":
    main()
