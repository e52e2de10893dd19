"""What the import contracts of pyproject.toml cannot say."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"

MUST_BE_PURE = {
    "mulisa.agent.endpointing",
    "mulisa.agent.floor",
    "mulisa.agent.gate",
    "mulisa.agent.sentences",
    "mulisa.transport.mesh.negotiation",
    "mulisa.transport.mesh.backlog",
    "mulisa.transport.mesh.outcome",
    "mulisa.transport.mesh.past",
    "mulisa.transport.mesh.relay",
    "mulisa.transport.mesh.sids",
    "mulisa.transport.mesh.stays",
    "mulisa.transport.mesh.vigil",
    "mulisa.transport.mesh.signaling",
}
"""Beside these, every module whose docstring says "Pure." or "Pure:"."""

SAYS_PURE = re.compile(r"\bPure[.:]")
CLOCKS_AND_THREADS = {"asyncio", "concurrent", "multiprocessing", "threading", "time"}
STANDARD_IO = {"http", "select", "selectors", "socket", "sqlite3", "ssl", "subprocess"}
HEAVY = {"aiortc", "av", "ctranslate2", "faster_whisper", "livekit.rtc", "onnxruntime", "openai"}
OTHERS_IO = HEAVY | {
    "urllib.request",
    "aiohttp",
    "aioice",
    "httpx",
    "prometheus_client",
    "rich",
    "typer",
}
IMPURE = CLOCKS_AND_THREADS | STANDARD_IO | OTHERS_IO

MACHINE_PATH = re.compile(r"(?<![\w.$}~-])/(?:work|root|tmp/bash_jobs|home/[a-z]\w*)/\w")
INDEX_HOST = re.compile(r"//(?:registry|pypi|files\.pythonhosted|deb|proxy\.golang)\.[a-z.]+")


def path_of(module: str) -> Path | None:
    """The file of one of our modules; None for what is no module (a name in one) or not ours."""
    path = SOURCE / module.replace(".", "/")
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def our_modules() -> Iterator[str]:
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def says_pure(module: str) -> bool:
    path = path_of(module)
    assert path is not None
    return bool(SAYS_PURE.search(ast.get_docstring(ast.parse(path.read_text())) or ""))


def imports(module: str) -> Iterator[str]:
    """What a module imports, at its top or later, and its package; not what only types need."""
    path = path_of(module)
    assert path is not None
    if "." in module:
        yield module.rpartition(".")[0]
    left: list[ast.AST] = [ast.parse(path.read_text())]
    while left:
        node = left.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            left.extend(node.orelse)
        else:
            left.extend(ast.iter_child_nodes(node))


def impurities(module: str) -> Iterator[str]:
    """Chains of imports that lead from a module to something that waits or does I/O."""
    seen = {module}
    chains: list[tuple[str, ...]] = [(module,)]
    while chains:
        chain = chains.pop()
        for name in imports(chain[-1]):
            if any(name == impure or name.startswith(f"{impure}.") for impure in IMPURE):
                yield " -> ".join((*chain, name))
            elif name not in seen and path_of(name):
                seen.add(name)
                chains.append((*chain, name))


@pytest.mark.parametrize("module", sorted(MUST_BE_PURE | set(filter(says_pure, our_modules()))))
def test_a_pure_module_neither_waits_nor_does_io(module: str) -> None:
    assert path_of(module), f"{module} is gone; mend the list in this test"
    assert sorted(impurities(module)) == []


def test_livekit_agents_is_known_to_one_adapter() -> None:
    """Which import contracts cannot say: to them all of `livekit` is one package."""
    agents = ("livekit.agents", "livekit.plugins")
    adapter = "mulisa.providers.livekit_agents"
    strangers = [
        module
        for module in our_modules()
        if not f"{module}.".startswith(f"{adapter}.")
        and any(name.startswith(agents) for name in imports(module))
    ]
    assert strangers == []


@pytest.mark.parametrize("module", ["mulisa", "mulisa.core.provider", "mulisa.cli"])
def test_importing_is_cheap(module: str) -> None:
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert HEAVY.isdisjoint(json.loads(done.stdout))


def files_in_git() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no git clone")
    return [path for name in done.stdout.decode().split("\0") if (path := ROOT / name).is_file()]


def test_no_file_names_a_machine_or_a_package_index() -> None:
    found = []
    for path in files_in_git():
        for number, line in enumerate(path.read_text(errors="ignore").splitlines(), 1):
            if MACHINE_PATH.search(line) or INDEX_HOST.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_lock_files_pin_by_hash_and_name_no_host() -> None:
    locks = sorted(ROOT.glob("requirements/*.lock"))
    names = [lock.name for lock in locks]
    assert names == ["dev.lock", "plugins.lock", "run.lock", "tools.lock"]
    for lock in locks:
        text = lock.read_text()
        requirements = re.findall(r"^[a-z].*(?:\n +--hash=\S+.*)*", text, re.MULTILINE)
        assert all("==" in each and "--hash=sha256:" in each for each in requirements)
        assert "://" not in text
    for folder in ("web", "examples/mediasoup"):
        assert '"resolved"' not in (ROOT / folder / "package-lock.json").read_text()
