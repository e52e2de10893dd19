"""On what, and with what, was measured."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from mulisa.compare.result import Machine, Stack

_PACKAGES: Final = ("mulisa", "aiortc", "livekit", "av", "playwright")
_CODEC: Final = "Opus, 48 kHz, mono"
_NETEQ: Final = "NetEq, adaptive"


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


def stacks(codec: str) -> tuple[Stack, ...]:
    """Whose code carries media, on each side; `codec` is what the browsers agreed on."""
    codec = codec or _CODEC
    return (
        Stack("mesh", "browser", "Chromium (libwebrtc)", codec, 20.0, _NETEQ),
        Stack("mesh", "Mulisa", "aiortc", codec, 20.0, "Mulisa's own, adaptive"),
        Stack("sfu", "browser", "Chromium (libwebrtc), livekit-client", codec, 20.0, _NETEQ),
        Stack("sfu", "Mulisa", "livekit SDK (libwebrtc)", codec, 20.0, _NETEQ),
        Stack("sfu", "server", "Mulisa's embedded SFU", "forwards what comes", 20.0, "none"),
    )


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
