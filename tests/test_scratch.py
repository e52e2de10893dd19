"""Folders of processes that end as they should, are killed, or still live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mulisa.scratch import ScratchFolder

pytestmark = pytest.mark.network  # other processes

OWNER = """
import sys
from mulisa.scratch import ScratchFolder
folder = ScratchFolder("test", sys.argv[1])
(folder.path / "sound.wav").write_bytes(b"RIFF")
print(folder.path, flush=True)
sys.stdin.read()
"""


def owner(place: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a folder, which lives until its standard input ends."""
    command = [sys.executable, "-c", OWNER, str(place)]
    process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_goes_and_what_is_in_use_stays(tmp_path: Path) -> None:
    killed, left = owner(tmp_path)
    living, in_use = owner(tmp_path)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=10)
    assert left.exists()
    strangers = [tmp_path / name for name in ("mulisa-other-1-abc", "mulisa-test-abc", "notes")]
    for stranger in strangers:
        stranger.mkdir()
    with ScratchFolder("test", str(tmp_path)) as folder:
        assert not left.exists()
        assert (in_use / "sound.wav").exists()
        assert sorted(tmp_path.iterdir()) == sorted([in_use, folder.path, *strangers])
    living.communicate(timeout=10)


def test_it_is_gone_with_everything_and_only_once(tmp_path: Path) -> None:
    folder = ScratchFolder("test", str(tmp_path))
    (folder.path / "a").mkdir()
    assert str(os.getpid()) in folder.path.name
    folder.remove()
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_never_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "mulisa-test-1-abcdefgh").symlink_to(precious)
    with ScratchFolder("test", str(tmp_path)):
        assert precious.exists()


def test_a_place_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        ScratchFolder("test", str(tmp_path / "nowhere"))
