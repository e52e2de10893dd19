"""Model files that come as wheels: found without importing their package, known by checksum."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from mulisa.core.errors import ProviderUnavailable

LOCAL_EXTRA = "pip install 'mulisa[local]'"


def package_folder(package: str, mend: str = LOCAL_EXTRA) -> Path:
    """Folder of an installed top-level package, which is not imported.

    Raises ProviderUnavailable that names `mend`, the command that installs it.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ProviderUnavailable(f"the package {package} is not installed: {mend}")
    return Path(spec.submodule_search_locations[0])


def verify(path: Path, sha256: str) -> None:
    """Read the whole file (blocking) and compare. Raises ProviderUnavailable if it differs."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ProviderUnavailable(f"cannot read the model file {path}: {error}") from error
    if found != sha256:
        raise ProviderUnavailable(
            f"{path} is not the file that Mulisa was tested with: its sha256 is {found},"
            f" expected {sha256}; install its package again"
        )
