"""What every benchmark says about itself: percentiles, machine, versions and commit."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

_FOLDER = Path(__file__).parent


def in_milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Number of trials, median, p95 and the longest."""
    if not seconds:
        return {"trials": 0}
    p50, p95 = np.percentile(seconds, (50, 95))
    return {
        "trials": len(seconds),
        "p50_ms": round(float(p50) * 1000, 1),
        "p95_ms": round(float(p95) * 1000, 1),
        "max_ms": round(max(seconds) * 1000, 1),
    }


def circumstances(*packages: str) -> dict[str, Any]:
    """When, where and what was measured; `packages` are those whose versions matter."""
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "load": [round(load, 2) for load in os.getloadavg()],
        },
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
        "commit": _commit(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(result: Mapping[str, Any], path: Path | None) -> None:
    """Keep it as JSON, if a file was asked for."""
    if path:
        path.write_text(json.dumps(result, indent=2) + "\n")


def _commit() -> str:
    """Empty outside a clone; marked when the tree differs from it."""
    command = ("git", "-C", str(_FOLDER), "describe", "--always", "--dirty", "--exclude=*")
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()
