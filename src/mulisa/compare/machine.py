"""On what, and with what, was measured."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from mulisa.compare.measure import Book
from mulisa.compare.metrics import SPEECH, Topology
from mulisa.compare.result import Machine, Stack

_PACKAGES: Final = ("mulisa", "aiortc", "aioice", "livekit", "av", "playwright")
_NETEQ: Final = "NetEq, adaptive"
_SIDES: Final[Mapping[Topology, tuple[tuple[str, tuple[str, ...], str], ...]]] = {
    # Side, packages by their names in `versions`, jitter buffer.
    "mesh": (
        ("browser", ("chromium",), _NETEQ),
        ("Mulisa", ("mulisa", "aiortc"), "her own, adaptive"),
    ),
    "sfu": (
        ("browser", ("chromium",), _NETEQ),
        ("Mulisa", ("livekit",), _NETEQ),
        ("server", ("mulisa",), "none: it forwards what comes"),
    ),
    "mediasoup": (
        ("browser", ("chromium",), _NETEQ),
        ("Mulisa", ("aioice",), "her own, adaptive"),
        ("server", (), "none: it forwards what comes"),
    ),
}
_TITLES: Final = {
    "chromium": "Chromium",
    "mulisa": "Mulisa",
    "livekit": "LiveKit's Python SDK (libwebrtc)",
}


def machine() -> Machine:
    """This one."""
    return Machine(
        system=platform.platform(),
        processor=_processor(),
        cores=psutil.cpu_count() or 1,
        memory_mib=psutil.virtual_memory().total // 2**20,
    )


def versions(browser: str) -> dict[str, str]:
    """Of everything that carries media; `browser` is its version."""
    found = {"chromium": browser, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if commit := _commit():
        found["commit"] = commit
    return found


def stacks(books: Iterable[Book], found: Mapping[str, str]) -> tuple[Stack, ...]:
    """Whose code carries media, on each side, as far as it was seen; `found` are `versions`."""
    seen: dict[Topology, Book] = {}
    for book in books:
        if book.codec and book.streams.get(SPEECH):
            seen.setdefault(book.topology, book)
    return tuple(
        Stack(
            book.topology,
            side,
            software=", ".join(filter(None, [*_named(packages, found), book.clients.get(side)])),
            codec=book.codec,
            packet_ms=round(1000 / book.streams[SPEECH].packets_per_second, 1),
            jitter_buffer=jitter_buffer,
        )
        for book in seen.values()
        for side, packages, jitter_buffer in _SIDES[book.topology]
    )


def _named(packages: Iterable[str], found: Mapping[str, str]) -> list[str]:
    return [f"{_TITLES.get(name, name)} {found[name]}" for name in packages if name in found]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _commit() -> str:
    """Empty outside a clone; marked when the tree differs from it."""
    command = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    try:
        done = subprocess.run([*command, "--exclude=*"], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()
